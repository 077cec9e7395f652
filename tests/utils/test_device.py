"""Device choice, seeds, and what the launcher's environment says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models.backend import find_device, load_backend
from utils import device as device_module
from utils.checkpoint import attempt_load
from utils.device import (
    copy_module,
    describe_device,
    free_cached_memory,
    init_seeds,
    select_device,
    time_sync,
    to_input,
)
from utils.distributed import is_main, local_rank, rank, world_size
from utils.errors import UsageError
from utils.paths import ROOT


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


def test_a_gpu_is_named_with_what_hides_others(monkeypatch):
    a100 = SimpleNamespace(name='A100', total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: a100)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert describe_device(Cuda()).endswith(', cuda:1 (A100, 80 GiB)')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3')
    assert describe_device(Cuda()).endswith(', cuda:1 of CUDA_VISIBLE_DEVICES=2,3 (A100, 80 GiB)')


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [('gpu', 'not a device'), ('5', 'OneFlow sees only 2 GPUs'), ('0,1', 'one process each.*--nproc_per_node 2')],
)
def test_a_device_that_is_not_there(gpus, text, complaint):
    with pytest.raises(UsageError, match=complaint):
        select_device(text)


@pytest.mark.parametrize('device', ['0', 'cuda', 'cuda:0', 0, torch.device('cuda:0')])
def test_no_gpu_is_said_before_oneflow_is_asked(monkeypatch, device):
    monkeypatch.setattr(device_module.torch.cuda, 'is_available', lambda: False)
    assert select_device('').type == select_device(None).type == 'cpu'
    with pytest.raises(
        UsageError, match='OneFlow sees no CUDA GPU( of this number)? on this machine. Use --device cpu'
    ):
        select_device(device)


@pytest.mark.parametrize(
    ('device', 'index'), [('', 0), (None, 0), ('cuda', 0), ('cuda:1', 1), ('1', 1), (1, 1), (torch.device('cuda:1'), 1)]
)
def test_a_gpu_by_any_name(gpus, device, index):
    assert (select_device(device).type, select_device(device).index) == ('cuda', index)
    assert find_device(device).index == index


def test_a_cpu_is_not_asked_about_gpus(monkeypatch):
    monkeypatch.setattr(device_module.torch.cuda, 'is_available', lambda: pytest.fail('CUDA starts'))
    assert select_device('cpu').type == select_device(torch.device('cpu')).type == 'cpu'


@pytest.mark.parametrize('device', ['', 'cuda', '0,1'])
def test_each_process_takes_its_own_gpu(gpus, two_processes, device):
    assert select_device(device).index == 1


@pytest.mark.parametrize(('shown', 'device'), [([2, 3], '2,3'), ([1, 0], '1,0')])
def test_the_gpu_has_the_number_of_the_local_rank(gpus, two_processes, monkeypatch, shown, device):
    """As OneFlow's collectives want it; see utils/device_choice.py for how they got to be shown."""
    monkeypatch.setattr('utils.device_choice._shown', shown)
    assert select_device(device).index == 1


def test_gpus_chosen_after_oneflow_was_imported(gpus, two_processes, monkeypatch):
    with pytest.raises(UsageError, match='only on GPU 1. Set CUDA_VISIBLE_DEVICES=1,0 and leave the device out'):
        select_device('1,0')
    monkeypatch.setenv('WORLD_SIZE', '1')
    monkeypatch.setenv('LOCAL_RANK', '0')
    assert select_device('1').index == 1  # alone, any GPU will do


@pytest.mark.parametrize('local_rank', [0, 1])
def test_a_device_of_oneflows_is_taken_as_it_is(gpus, monkeypatch, local_rank):
    """What was chosen is handed on: --device 1,0 of a command is cuda:0 and cuda:1 for OneFlow."""
    for key, value in {'RANK': local_rank, 'LOCAL_RANK': local_rank, 'WORLD_SIZE': 2}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setattr('utils.device_choice._shown', [3, 2])
    chosen = select_device('3,2')
    assert chosen.index == local_rank
    assert select_device(chosen) == find_device(chosen) == chosen
    with pytest.raises(UsageError, match='--device cuda:2: OneFlow sees only 2 GPUs'):
        select_device(torch.device('cuda:2'))


def test_what_was_chosen_reaches_the_weights(gpus, monkeypatch):
    """A command's --device 1 is cuda:0 to it, from the choice to the network."""
    moved = []
    monkeypatch.setattr('utils.device_choice._shown', [1])
    monkeypatch.setattr(nn.Module, 'to', lambda module, device: moved.append(device.index) or module)
    device = select_device('1')
    weights = ROOT / 'docs/weights/shapes.safetensors'
    attempt_load(weights, device, fuse=False)
    load_backend(weights, device, fuse=False)
    load_backend(weights, '1', fuse=False)
    assert moved == [0, 0, 0]


def test_a_gpu_that_is_named_and_not_there(gpus, two_processes, monkeypatch):
    monkeypatch.setattr('utils.device_choice._shown', [0, 1, 5])
    with pytest.raises(UsageError, match='--device 0,1,5: OneFlow sees only 2 GPUs on this machine'):
        select_device('0,1,5')


def test_more_processes_than_gpus(gpus, two_processes, monkeypatch):
    with pytest.raises(UsageError, match='--device 0: 2 processes on this machine for 1 GPUs. Start with --nproc_per'):
        select_device('0')
    for key, value in {'RANK': '6', 'LOCAL_RANK': '2', 'WORLD_SIZE': '8', 'LOCAL_WORLD_SIZE': '4'}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UsageError, match='--device: 4 processes on this machine for 2 GPUs. Start with --nproc_per_no'):
        select_device('')


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
    """A GPU."""

    type, index = 'cuda', 1


def test_input_goes_to_a_gpu_from_pinned_memory(monkeypatch):
    steps = []
    tensor = torch.Tensor
    plain = tensor.to
    monkeypatch.setattr(tensor, 'pin_memory', lambda x: steps.append('pin') or x)
    monkeypatch.setattr(tensor, 'to', lambda x, *to: steps.append(x.dtype) or (x if to[0] is gpu else plain(x, *to)))
    gpu = Cuda()
    to_input(np.zeros((1, 3, 4, 4), np.uint8), gpu)
    assert steps[:2] == ['pin', torch.uint8]


def test_seeds_repeat():
    init_seeds(3)
    first = torch.randn(4).numpy().copy()
    init_seeds(3)
    assert (torch.randn(4).numpy() == first).all()


def test_only_the_gpu_in_use_is_waited_for(monkeypatch):
    waited, gpu = [], Cuda()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'synchronize', waited.append)
    assert time_sync(torch.device('cpu')) <= time_sync(torch.device('cpu'))
    assert waited == []
    time_sync(gpu)
    assert waited == [gpu]
    time_sync()
    assert waited == [gpu, None]


def test_cached_memory_is_freed_on_a_gpu(monkeypatch):
    freed = []
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: freed.append(1))
    free_cached_memory(torch.device('cpu'))
    assert freed == []
    free_cached_memory(Cuda())
    assert freed == [1]


def test_a_copy_of_a_module_stays_on_its_device(monkeypatch):
    """OneFlow's copy of a tensor keeps 'cuda', and no number; so none is made by it."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    model[0].weight.requires_grad = False
    model.again = model[0]
    expected = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(torch.Tensor, '__getstate__', lambda tensor: pytest.fail('copied by OneFlow'))
    copied = copy_module(model)
    assert copied.again is copied[0]
    assert not copied[0].weight.requires_grad
    assert copied[0].bias.requires_grad
    assert isinstance(copied[0].bias, nn.Parameter)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)
    for name, tensor in copied.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name])
