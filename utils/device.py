"""Choosing the device, waiting for it, seeding it, and naming it in the log."""

from __future__ import annotations

import os
import platform
import random
import time
from copy import deepcopy
from typing import Any

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.device_choice import VISIBLE, cuda_numbers, parse_device
from utils.distributed import local_rank, local_world_size, world_size
from utils.errors import UsageError
from utils.terminal import counted


def select_device(device: Any = '', batch_size: int = 0) -> torch.device:
    """The device that `--device` asks for: '' (a GPU if there is one), 'cpu', 'cuda', '0', 'cuda:0', '0,1', an object.

    Several GPUs take one process each, started by the launcher; the process's local rank picks its own.

    Args:
        device: as `utils.device_choice.parse_device` takes it. One of OneFlow's own, such as this function gives, has
            the number that CUDA gives a GPU, where `--device` may have another; see `utils.device_choice`.
        batch_size: the batch over all processes; has to divide by their number. 0 is not checked.

    Raises:
        UsageError: no such device, fewer devices than processes, or a batch size that does not divide.
    """
    kind, gpus = parse_device(device)
    if batch_size > 0 and batch_size % world_size():
        raise UsageError(
            f'--batch-size {batch_size}: not a multiple of the {world_size()} processes',
            f'try {batch_size // world_size() * world_size() or world_size()}',
        )
    # Asking OneFlow for CUDA where there is none ends the process, so look first.
    count = torch.cuda.device_count() if kind != 'cpu' and torch.cuda.is_available() else 0
    if kind == 'cpu' or (not kind and not count):
        return torch.device('cpu')
    if not count:
        number = ' of this number' if gpus else ''  # others may be hidden
        raise UsageError(f'--device {device}: OneFlow sees no CUDA GPU{number} on this machine', 'use --device cpu')
    chosen = device.index if isinstance(device, torch.device) else _gpu_of_this_process(gpus, count, device)
    if chosen >= count:
        raise UsageError(
            f'--device {device}: OneFlow sees only {counted(count, "GPU")}, numbered from 0', 'name one of those'
        )
    return torch.device(f'cuda:{chosen}')


def _gpu_of_this_process(gpus: list[int], count: int, device: Any) -> int:
    """CUDA's number of the GPU that this process works on.

    Args:
        gpus: those that `device` names; none for any.
        count: of the GPUs that OneFlow sees.
    """
    asked = f'--device {device}' if gpus else '--device'
    numbers = cuda_numbers(gpus) if gpus else list(range(count))
    if len(numbers) > 1 and max(numbers) >= count:
        raise UsageError(f'{asked}: OneFlow sees only {counted(count, "GPU")} on this machine', 'name fewer')
    if len(gpus) > 1 and world_size() == 1:
        raise UsageError(
            f'{asked}: several GPUs take one process each',
            f'start with python -m oneflow.distributed.launch --nproc_per_node {len(gpus)} train.py ...',
        )
    if local_rank() >= len(numbers):
        processes = f'{local_world_size()} processes on this machine for {len(numbers)} GPUs'
        raise UsageError(f'{asked}: {processes}', f'start with --nproc_per_node {len(numbers)}')
    chosen = numbers[local_rank()]
    if world_size() > 1 and chosen != local_rank():
        names = ','.join(map(str, gpus))
        raise UsageError(
            f'{asked}: OneFlow was imported before the device was chosen, and takes process {local_rank()} only on GPU '
            f'{local_rank()}',
            f'set CUDA_VISIBLE_DEVICES={names} and leave the device out',
        )
    return chosen


def describe_device(device: torch.device) -> str:
    """One line on the versions and the device, for the head of a log."""
    name = device.type
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        visible = os.environ.get(VISIBLE)
        of = f' of {VISIBLE}={visible}' if visible else ''
        name = f'cuda:{device.index}{of} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)'
    return f'YOLOv5 on OneFlow {torch.__version__}, Python {platform.python_version()}, {name}'


def to_input(images: np.ndarray, device: torch.device, half: bool = False) -> torch.Tensor:
    """Pictures as the network takes them: on the device, 0 to 1. Training, evaluation and inference all come by here.

    Args:
        images: (batch, 3, height, width) uint8 RGB, on the host; sent as bytes and divided there.
        half: float16 in place of float32.
    """
    x = torch.from_numpy(images)
    if device.type == 'cuda':
        x = x.pin_memory()  # from page-locked memory the copy goes on while the host prepares what follows
    x = x.to(device)
    return (x.half() if half else x.float()) / 255


def free_cached_memory(device: torch.device) -> None:
    """Give back the GPU memory that OneFlow keeps for later.

    Its allocator never joins blocks: memory that training cut up does not serve an evaluation, and the other way about.
    """
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def time_sync(device: torch.device | None = None) -> float:
    """Seconds on a steady clock, taken after the device has finished what was asked of it; a CPU is not waited for.

    Args:
        device: None for the current GPU, if there is one.
    """
    if device.type == 'cuda' if device is not None else torch.cuda.is_available():
        torch.cuda.synchronize(device)
    return time.perf_counter()


def copy_module(model: nn.Module) -> nn.Module:
    """A deep copy on the model's own device: OneFlow's copies of tensors go to the GPU of the local rank's number."""
    copies = {id(tensor): tensor.detach().clone() for tensor in model.buffers()}
    for parameter in model.parameters():
        copies[id(parameter)] = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
    return deepcopy(model, copies)


def init_seeds(seed: int = 0) -> None:
    """Seed Python's, numpy's and OneFlow's global random generators.

    The data path does not use them: its streams are drawn from the seed, the epoch and the place in it.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)
