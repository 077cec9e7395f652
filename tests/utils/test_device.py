"""Device choice, seeds, and what the launcher's environment says."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from utils import device as device_module
from utils.device import describe_device, init_seeds, select_device, time_sync, to_input, tune_convolutions
from utils.distributed import is_main, local_rank, rank, world_size
from utils.errors import UsageError


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that the machine has two GPUs (nothing is run on them)."""
    monkeypatch.setattr(device_module.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(device_module.torch.cuda, 'device_count', lambda: 2)


@pytest.fixture
def two_processes(monkeypatch):
    for key, value in {'RANK': '1', 'LOCAL_RANK': '1', 'WORLD_SIZE': '2'}.items():
        monkeypatch.setenv(key, value)


def test_cpu():
    assert select_device('cpu').type == 'cpu'
    assert describe_device(select_device('cpu')).endswith(', cpu')


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [('gpu', 'not a device'), ('5', 'only 2 GPUs'), ('0,1', 'one process each')],
)
def test_a_device_that_is_not_there(gpus, text, complaint):
    with pytest.raises(UsageError, match=complaint):
        select_device(text)


def test_no_gpu_is_said_before_oneflow_is_asked(monkeypatch):
    monkeypatch.setattr(device_module.torch.cuda, 'is_available', lambda: False)
    assert select_device('').type == 'cpu'
    with pytest.raises(UsageError, match='no CUDA GPU'):
        select_device('0')


def test_each_process_takes_its_own_gpu(gpus, two_processes):
    assert device_module._gpu_indices('', 2) == [0, 1]
    assert select_device('0,1').index == 1
    with pytest.raises(UsageError, match='fewer GPUs than processes'):
        select_device('0')


def test_batch_size_must_divide(two_processes):
    with pytest.raises(UsageError, match='Try 14'):
        select_device('cpu', batch_size=15)
    assert select_device('cpu', batch_size=16).type == 'cpu'


def test_launcher_environment(two_processes):
    assert (rank(), local_rank(), world_size(), is_main()) == (1, 1, 2, False)


def test_alone_without_the_launcher(monkeypatch):
    for key in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'):
        monkeypatch.delenv(key, raising=False)
    assert (rank(), local_rank(), world_size(), is_main()) == (0, 0, 1, True)
    monkeypatch.setenv('RANK', '-1')  # as OneFlow does
    assert (rank(), is_main()) == (0, True)


def test_input_is_bytes_over_255():
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x = to_input(images, torch.device('cpu'))
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), np.float32(images) / 255, atol=6e-8)
    assert to_input(images, torch.device('cpu'), half=True).dtype == torch.float16


class Cuda:
    """A GPU as `to_input` and `tune_convolutions` see one."""

    type = 'cuda'


def test_input_goes_to_a_gpu_from_pinned_memory(monkeypatch):
    steps = []
    tensor = torch.Tensor
    plain = tensor.to
    monkeypatch.setattr(tensor, 'pin_memory', lambda x: steps.append('pin') or x)
    monkeypatch.setattr(tensor, 'to', lambda x, *to: steps.append(x.dtype) or (x if to[0] is gpu else plain(x, *to)))
    gpu = Cuda()
    to_input(np.zeros((1, 3, 4, 4), np.uint8), gpu)
    assert steps[:2] == ['pin', torch.uint8]


def test_cudnn_tries_out_where_shapes_stay(monkeypatch):
    guesses = []
    monkeypatch.setattr(torch.backends.cudnn, 'enable_conv_heuristic_search_algo', guesses.append)
    tune_convolutions(torch.device('cpu'), one_size=True)
    assert guesses == []
    tune_convolutions(Cuda(), one_size=True)
    tune_convolutions(Cuda(), one_size=False)
    assert guesses == [False, True]


def test_seeds_repeat():
    init_seeds(3)
    first = torch.randn(4).numpy().copy()
    init_seeds(3)
    assert (torch.randn(4).numpy() == first).all()


def test_time_goes_on():
    assert time_sync() <= time_sync()
