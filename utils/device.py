"""Choosing the device, waiting for it, seeding it, and naming it in the log."""

from __future__ import annotations

import platform
import random
import time

import numpy as np
import oneflow as torch

from utils.distributed import local_rank, world_size
from utils.errors import UsageError


def select_device(device: str = '', batch_size: int = 0) -> torch.device:
    """The device that `--device` asks for: '' (a GPU if there is one), 'cpu', '0', 'cuda:0', '0,1'.

    Several GPUs take one process each, started by the launcher; the process's local rank picks its own.

    Args:
        device: the option's text.
        batch_size: the batch over all processes; has to divide by their number. 0 is not checked.

    Raises:
        UsageError: no such device, more devices than processes, or a batch size that does not divide.
    """
    text = str(device).strip().lower().replace('cuda:', '').replace('none', '')
    if batch_size > 0 and batch_size % world_size():
        raise UsageError(
            f'--batch-size {batch_size}: not a multiple of the {world_size()} processes',
            f'try {batch_size // world_size() * world_size() or world_size()}',
        )
    # Asking OneFlow for CUDA where there is none ends the process, so look first.
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == 'cpu' or (not text and not count):
        return torch.device('cpu')
    indices = _gpu_indices(text, count)
    return torch.device(f'cuda:{indices[local_rank()]}')


def _gpu_indices(text: str, count: int) -> list[int]:
    parts = text.split(',') if text else [str(i) for i in range(count)][: max(world_size(), 1)]
    if not all(p.strip().isdigit() for p in parts):
        raise UsageError(f'--device {text}: not a device', "use cpu, a GPU's number such as 0, or several: 0,1")
    indices = [int(p) for p in parts]
    if not count:
        raise UsageError(f'--device {text}: OneFlow sees no CUDA GPU on this machine', 'use --device cpu')
    if max(indices) >= count:
        raise UsageError(f'--device {text}: there are only {count} GPUs, numbered from 0', 'name one of those')
    if len(indices) > 1 and world_size() == 1:
        raise UsageError(
            f'--device {text}: several GPUs take one process each',
            f'start with python -m oneflow.distributed.launch --nproc_per_node {len(indices)} train.py ...',
        )
    if local_rank() >= len(indices):
        raise UsageError(f'--device {text}: fewer GPUs than processes', f'name {local_rank() + 1} or more')
    return indices


def describe_device(device: torch.device) -> str:
    """One line on the versions and the device, for the head of a log."""
    name = device.type
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        name = f'cuda:{device.index} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)'
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


def tune_convolutions(device: torch.device, one_size: bool) -> None:
    """Let cuDNN try its algorithms out where all batches have one shape, and guess the best where shapes vary.

    OneFlow guesses by default. Trying takes its time for every new shape: rectangular batches have many.
    """
    if device.type == 'cuda':
        torch.backends.cudnn.enable_conv_heuristic_search_algo(not one_size)


def time_sync() -> float:
    """Seconds on a steady clock, taken after the GPU has finished what was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def init_seeds(seed: int = 0) -> None:
    """Seed Python's, numpy's and OneFlow's global random generators.

    The data path does not use them: its streams are drawn from the seed, the epoch and the place in it.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)
