"""What `--device` means, and letting a command's process see those GPUs alone, before OneFlow is imported.

OneFlow takes collective operations only on the GPU whose number is the process's local rank, and its deepcopy of a
tensor goes to that GPU, too. CUDA numbers the GPUs that a process may see from 0 on. So for `--device 2,3` a command
shows itself those two, and its processes work on cuda:0 and cuda:1.

Nothing here imports OneFlow.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from utils.cpu import threads
from utils.errors import UsageError

VISIBLE = 'CUDA_VISIBLE_DEVICES'
HINT = 'use cpu, cuda, the number of a GPU such as 0, or several: 0,1'

_shown: list[int] = []  # the GPUs that this process shows itself, by the numbers that --device has


def parse_device(device: Any) -> tuple[str, list[int]]:
    """What a device is called: its type and the numbers of its GPUs.

    Args:
        device: '' or None, 'cpu', 'cuda', '0', 'cuda:0', '0,1', 0, or a device object of OneFlow, PyTorch or alike,
            whose text reads like one of these.

    Returns:
        ('', []) for a GPU if there is one, ('cpu', []), ('cuda', []) for any GPU, ('cuda', [0, 1]) for these.

    Raises:
        UsageError: it is none of these.
    """
    text = '' if device is None else str(device).strip().lower()
    if text in ('', 'none'):
        return '', []
    if text in ('cpu', 'cpu:0'):
        return 'cpu', []
    if text == 'cuda':
        return 'cuda', []
    numbers = [part.strip().removeprefix('cuda:') for part in text.split(',')]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise UsageError(f'--device {device}: not a device', HINT)
    gpus = [int(number) for number in numbers]
    if len(set(gpus)) < len(gpus):
        raise UsageError(f'--device {device}: names a GPU twice', HINT)
    return 'cuda', gpus


def claim_device(device: Any) -> None:
    """Settle what a command's process may use, before OneFlow and OpenCV are imported: GPUs and OpenCV's threads.

    Only for a process that is the command's own: once CUDA has started, no other GPU can be shown. Where
    CUDA_VISIBLE_DEVICES is set already, `--device 1` means the second of those.

    Args:
        device: as `parse_device` takes it. '' and 'cuda' leave all GPUs in sight.

    Raises:
        UsageError: no device, or one beyond those in CUDA_VISIBLE_DEVICES.
    """
    os.environ.setdefault('OPENCV_FOR_THREADS_NUM', str(threads()))  # left alone it takes all cores it sees
    kind, gpus = parse_device(device)
    if 'oneflow' in sys.modules:
        return
    if kind == 'cpu':
        os.environ[VISIBLE] = '-1'
    elif gpus:
        os.environ[VISIBLE] = ','.join(_names(gpus, device))
        _shown[:] = gpus


def _names(gpus: list[int], device: Any) -> list[str]:
    """The GPUs as CUDA knows them: by number, or as CUDA_VISIBLE_DEVICES calls them already (3, GPU-5f..., MIG-...)."""
    if VISIBLE not in os.environ:
        return [str(gpu) for gpu in gpus]
    names = [name.strip() for name in os.environ[VISIBLE].split(',') if name.strip()]
    if max(gpus) >= len(names):
        seen = f'{VISIBLE}={os.environ[VISIBLE]}'
        raise UsageError(f'--device {device}: {seen} names {len(names)} GPUs', 'they are numbered from 0')
    return [names[gpu] for gpu in gpus]


def cuda_numbers(gpus: list[int]) -> list[int]:
    """The numbers that CUDA gives GPUs in this process, by the numbers that --device has.

    Raises:
        UsageError: this process doesn't show itself one of them.
    """
    hidden = [gpu for gpu in gpus if _shown and gpu not in _shown]
    if hidden:
        shown = ','.join(map(str, _shown))
        raise UsageError(f'--device {hidden[0]}: this process was started on --device {shown}', 'start another one')
    return [_shown.index(gpu) if _shown else gpu for gpu in gpus]
