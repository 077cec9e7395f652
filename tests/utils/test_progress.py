"""The epoch's progress bar keeps mean losses and stops at one that is not finite."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest

from utils.errors import TrainingError
from utils.progress import TrainProgress, memory_used

CPU = torch.device('cpu')


def items(*values: float) -> torch.Tensor:
    return torch.tensor(np.float32(values))


@pytest.mark.parametrize('interval', [1, 2, 10])
def test_mean_losses_do_not_depend_on_the_reading_interval(interval):
    with TrainProgress(range(3), epoch=0, epochs=2, device=CPU, interval=interval) as progress:
        for i in progress:
            progress.update(items(i, 2 * i, 5), instances=4, size=320, paths=['a.jpg'])
        assert progress.mean_losses() == (1.0, 2.0, 5.0)


def test_the_bar_shows_epoch_losses_instances_and_size(capfd):
    with TrainProgress(range(1), epoch=1, epochs=20, device=CPU) as progress:
        for _ in progress:
            progress.update(items(0.25, 0.5, 0.125), instances=44, size=320, paths=['a.jpg'])
    last = capfd.readouterr().err.replace('\r', '\n').strip().splitlines()[-1].split()
    assert last[0] == '1/19'
    assert last[2:7] == ['0.25', '0.5', '0.125', '44', '320:']


def test_a_loss_that_is_no_number_names_the_files():
    with TrainProgress(range(2), epoch=3, epochs=4, device=CPU, interval=1) as progress:
        progress.update(items(1, 1, 1), 1, 320, ['good.jpg'])
        with pytest.raises(TrainingError, match=r'epoch 3 \(box nan.*x\.jpg, y\.jpg\. Check these files'):
            progress.update(items(np.nan, 1, 1), 1, 320, ['x.jpg', 'y.jpg'])


def test_a_late_reading_still_names_the_right_files():
    with TrainProgress(range(3), epoch=0, epochs=1, device=CPU, interval=3) as progress:
        progress.update(items(1, 1, 1), 1, 320, ['good.jpg'])
        progress.update(items(1, np.inf, 1), 1, 320, ['bad.jpg'])
        with pytest.raises(TrainingError, match=r'batch of bad\.jpg'):
            progress.update(items(1, 1, 1), 1, 320, ['later.jpg'])


def test_losses_of_several_batches_come_in_one_copy(monkeypatch):
    copies, copy = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: copies.append(tuple(self.shape)) or copy(self))
    with TrainProgress(range(10), epoch=0, epochs=1, device=CPU, interval=10) as progress:
        for i in progress:
            progress.update(items(i, 0, 0), 1, 320, ['a.jpg'])
    assert copies == [(10, 3)]


def test_memory_used_is_this_process():
    before = float(memory_used(CPU)[:-1])
    block = np.ones(2**27)  # 1 GiB
    assert float(memory_used(CPU)[:-1]) - before == pytest.approx(1, abs=0.3)
    del block


@pytest.fixture
def gpu(monkeypatch) -> SimpleNamespace:
    """A GPU with 3 GiB in use, and how often that was asked."""
    gpu = SimpleNamespace(type='cuda', index=0, asked=0)

    def used() -> float:  # MiB
        gpu.asked += 1
        return 3 * 1024

    monkeypatch.setattr(torch._oneflow_internal, 'GetCUDAMemoryUsed', used)
    return gpu


def test_memory_used_is_that_of_a_gpu(gpu):
    assert memory_used(gpu) == '3G'
    gpu.index = 1  # a Python program's choice, of which OneFlow does not tell
    assert memory_used(gpu) == '-'
    assert gpu.asked == 1


def test_a_gpu_is_waited_for_every_ten_batches(gpu, monkeypatch):
    """Reading a loss and asking for the memory wait until all that was launched is done."""
    read, plain = [], torch.Tensor.numpy
    monkeypatch.setattr(torch.Tensor, 'numpy', lambda tensor: read.append(number) or plain(tensor))
    with TrainProgress(range(25), epoch=0, epochs=1, device=gpu) as progress:
        for number in progress:  # noqa: B007 - the reading notes it
            progress.update(items(1, 2, 3), 1, 320, ['a.jpg'])
        assert (read, gpu.asked) == ([9, 19], 2)
        assert progress.mean_losses() == (1, 2, 3)
    assert (len(read), gpu.asked) == (3, 2)
