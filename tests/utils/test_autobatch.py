"""AutoBatch: the size that readings speak for, the readings, and what happens where there is nothing to read.

There is no GPU here: memory is that of a made-up one, and nvidia-smi is a script of ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

import utils.autobatch as ab
from models.yolo import Model
from utils.autobatch import (
    MAX_BATCH_SIZE,
    Memory,
    autobatch,
    check_train_batch_size,
    choose,
    fit_batch_size,
    gpu_memory,
    measure,
)
from utils.checkpoint import state_arrays
from utils.errors import ResourceError

GIB = 2**30
LINE = [0.9, 1.3, 2.1, 3.7, 6.9]  # 0.5 + 0.4 a picture


class Levels(nn.Module):
    """As quick as can be, and like a model in training it gives a list of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = self.layers(images)
        return [maps, maps[..., ::2, ::2]]


@pytest.fixture
def model() -> Levels:
    torch.manual_seed(0)
    return Levels()


@pytest.mark.parametrize(('readings', 'free', 'expected'), [
    (LINE, 10, 21),  # (9 - 0.5) / 0.4 = 21.25
    (LINE[:2], 10, 21),  # as many as there are
    ([0.9, 1.3, 2.1, 3.7, None], 10, 8),  # 16 failed
    ([0.9, 1.3, 2.1, 3.7, None], 4, 7),  # and would not have been taken
    ([0.9, None], 10, 1),
    ([0.9], 10, 1),
    (LINE, 0.5, 1),
    (LINE, 0, 1),
    (LINE, 1e6, MAX_BATCH_SIZE),
    ([2.0, 2.0, 2.0, 2.0, 2.0], 10, None),
    ([2.0, 1.9, 1.8], 10, None),
])  # fmt: skip
def test_the_size_of_readings(readings, free, expected):
    assert fit_batch_size(readings, free) == expected


def test_the_fraction():
    assert [fit_batch_size(LINE, 10, fraction) for fraction in (0.3, 0.5, 1.0)] == [6, 11, 23]


def test_free_is_what_others_leave(messages):
    readings = [value * GIB for value in LINE]
    assert choose(readings, Memory(16 * GIB, 6 * GIB)) == 21
    assert 'AutoBatch: ' in messages()
    assert 'using batch size 21 for 90% of the free memory' in messages()


def test_readings_that_tell_nothing_give_the_default(messages):
    assert choose([GIB] * 5, Memory(16 * GIB, 0), batch_size=6) == 6
    assert 'does not grow with the batch, using the default 6' in messages()


@pytest.mark.parametrize('readings', [[], [None]])
def test_not_even_one_picture(readings):
    with pytest.raises(ResourceError, match='a single picture does not fit the 2.00 GiB that are free. Take a smaller'):
        choose(readings, Memory(16 * GIB, 14 * GIB))


def test_without_a_gpu_it_says_so_and_takes_the_default(model, messages):
    assert check_train_batch_size(model, 64) == 16
    assert autobatch(model, 64, batch_size=8) == 8
    assert 'no GPU, using the default batch size 16' in messages()
    assert 'no GPU, using the default batch size 8' in messages()


class Gpu:
    """A GPU on which a step takes `a` bytes and `b` a picture; it watches the batches of a model on the CPU."""

    def __init__(self, monkeypatch, a: int, b: int, fails_at: int = 10**9, evaluated: float = 0) -> None:
        self.a, self.b, self.fails_at, self.evaluated = a, b, fails_at, evaluated
        self.batches: list[tuple] = []
        forward = Levels.forward
        self.steps: list[str] = []
        monkeypatch.setattr(ab, 'free_cached_memory', lambda device: self.steps.append('free'))

        def watched(model: Levels, images: torch.Tensor) -> list[torch.Tensor]:
            self.batches.append((*images.shape, model.training))
            if len(images) >= self.fails_at:
                raise RuntimeError('CUDA out of memory. Tried to allocate 1.0 GB')
            return forward(model, images)

        monkeypatch.setattr(Levels, 'forward', watched)

    def read(self) -> Memory:
        self.steps.append('read')
        size, training = self.batches[-1][0], self.batches[-1][-1]
        return Memory(16 * GIB, GIB + (self.a + self.b * size if training else int(self.evaluated * size)))


def test_readings_are_of_training_steps_beyond_what_was_in_use(model, monkeypatch):
    gpu, before = Gpu(monkeypatch, a=100, b=10), state_arrays(model)
    model.eval()
    assert measure(model, 32, Memory(16 * GIB, GIB), gpu.read) == [110, 120, 140, 180, 260]
    both = [((size, 3, 32, 32, True), (2 * size, 3, 64, 64, False)) for size in (1, 2, 4, 8, 16)]
    assert gpu.batches == [step for steps in both for step in steps]
    assert gpu.steps == ['read', 'free'] * 10  # what a step leaves in the cache is not counted for the next
    assert not model.training
    for name, array in state_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_evaluation_counts_where_it_takes_more(model, monkeypatch):
    gpu = Gpu(monkeypatch, a=100, b=10, evaluated=40)
    assert measure(model, 32, Memory(16 * GIB, GIB), gpu.read) == [110, 160, 320, 640, 1280]


def test_a_size_that_fails_is_the_last(model, monkeypatch):
    gpu = Gpu(monkeypatch, a=100, b=10, fails_at=4)
    assert measure(model, 32, Memory(16 * GIB, GIB), gpu.read) == [110, None]  # an evaluation of 4
    assert [batch[0] for batch in gpu.batches] == [1, 2, 2, 4]


def test_a_size_that_might_not_fit_is_not_tried(model, monkeypatch):
    gpu = Gpu(monkeypatch, a=0, b=2 * GIB)
    assert measure(model, 32, Memory(16 * GIB, GIB), gpu.read) == [2 * GIB, 4 * GIB, 8 * GIB]  # of 15
    assert [batch[0] for batch in gpu.batches if batch[-1]] == [1, 2, 4]


def test_an_error_that_is_not_about_memory_is_not_hidden(model, monkeypatch):
    def broken(model: Levels, images: torch.Tensor) -> None:
        raise RuntimeError('shapes do not match')

    monkeypatch.setattr(Levels, 'forward', broken)
    with pytest.raises(RuntimeError, match='shapes do not match'):
        measure(model, 32, Memory(16 * GIB, GIB), lambda: None)


def test_a_model_as_it_is_trained(tiny):
    model = Model(tiny.cfg, nc=4)
    model.model[0].conv.weight.requires_grad = False  # with --freeze
    before = Memory(2 * GIB, GIB)
    assert measure(model, 32, before, lambda: Memory(2 * GIB, 2 * GIB)) == [GIB]


def test_a_reader_that_falls_silent(model):
    with pytest.raises(ResourceError, match='does not answer any more'):
        measure(model, 32, Memory(16 * GIB, GIB), lambda: None)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """A function that puts a script called nvidia-smi on PATH, alone."""
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)

    def put(lines: str) -> Path:
        script = tmp_path / 'nvidia-smi'
        script.write_text(f'#!/bin/sh\n{lines}\n')
        script.chmod(0o755)
        return script

    return put


def test_nvidia_smi_is_asked_for_the_gpu_that_is_used(tmp_path, on_path, monkeypatch):
    on_path(f'echo "$@" >> {tmp_path}/asked; echo "16384, 1024"')
    assert gpu_memory(1) == (16 * GIB, GIB)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,GPU-5f')
    gpu_memory(1)
    asked = (tmp_path / 'asked').read_text().splitlines()
    query = '--query-gpu=memory.total,memory.used --format=csv,noheader,nounits -i '
    assert asked == [f'{query}1', f'{query}GPU-5f']


@pytest.mark.parametrize('lines', ['exit 9', 'echo "16384, [N/A]"', 'echo', None])
def test_what_nvidia_smi_does_not_tell(on_path, lines):
    if lines is not None:
        on_path(lines)
    assert gpu_memory(0) is None


class OnGpu:
    """What `autobatch` asks of a model before it measures."""

    def parameters(self):
        yield type('Parameter', (), {'device': torch.device('cuda:1')})


def test_on_a_gpu_it_measures_and_chooses(monkeypatch, messages):
    memory, asked = Memory(16 * GIB, int(5.5 * GIB)), []  # 10 GiB are free beyond the margin
    monkeypatch.setattr(ab, 'gpu_memory', lambda index: asked.append(index) or memory)
    monkeypatch.setattr(ab, 'measure', lambda model, imgsz, before, read, stride: [value * GIB for value in LINE])
    assert autobatch(OnGpu(), 64) == 21
    assert autobatch(OnGpu(), 64, fraction=0.5) == 11
    assert asked == [1, 1]
    assert '16.00 GiB, 10.50 GiB free; 0.50 GiB are left alone' in messages()


def test_on_a_gpu_that_tells_nothing_it_takes_the_default(monkeypatch, messages):
    monkeypatch.setattr(ab, 'gpu_memory', lambda index: None)
    assert autobatch(OnGpu(), 64, batch_size=4) == 4
    assert 'nvidia-smi does not tell the memory in use, using the default batch size 4' in messages()
