"""AutoBatch, `train.py --batch-size -1`: the largest batch that fits the GPU, from the memory that small ones take.

OneFlow 0.9.0 tells how much memory a GPU has and not how much is in use, so `nvidia-smi` is asked for both. It tells
of the whole GPU: in a container a process can't find itself among those that nvidia-smi lists. What others hold
already counts as taken; what they take or free while we measure spoils the reading. OneFlow keeps what was freed, so
that a reading after a step is the most that the step had; before the next one that is given back.

The arithmetic and the handling of readings are tested. Measuring has not been run on a GPU yet: the project's
machines have none.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.device import copy_module, free_cached_memory, time_sync
from utils.errors import ResourceError
from utils.log import LOGGER, colorstr

SIZES = (1, 2, 4, 8, 16)  # batches to measure
MAX_BATCH_SIZE = 1024  # a line through five small batches says nothing beyond
DEFAULT_BATCH_SIZE = 16  # where nothing can be measured
MARGIN = 2**29  # bytes left to the context, which grows when further kernels are loaded


class Memory(NamedTuple):
    """Of a GPU, in bytes; `used` by whomever."""

    total: int
    used: int


def autobatch(
    model: nn.Module,
    imgsz: int = 640,
    fraction: float = 0.9,
    batch_size: int = DEFAULT_BATCH_SIZE,
    stride: int = 32,
) -> int:
    """The batch size, from 1 to MAX_BATCH_SIZE, that training fills a fraction of the GPU's free memory with.

    Training is followed by an evaluation, which takes twice the batch, without gradients.

    Args:
        model: on its device; it is left as it is.
        imgsz: height and width of the pictures; an evaluation's may be one stride larger.
        fraction: of the free memory, less MARGIN, that may be taken.
        batch_size: the answer where nothing can be measured: on a CPU, or without nvidia-smi.

    Raises:
        ResourceError: not even one picture fits.
    """
    device = next(model.parameters()).device
    if device.type == 'cpu':
        _log(f'no GPU, using the default batch size {batch_size}')
        return batch_size
    memory = gpu_memory(device.index or 0)
    if memory is None:
        _log(f'WARNING: nvidia-smi does not tell the memory in use, using the default batch size {batch_size}')
        return batch_size
    _log(f'{device} has {_gib(memory.total)}, {_gib(memory.total - memory.used)} free; {_gib(MARGIN)} are left alone')
    readings = measure(model, imgsz, memory, lambda: gpu_memory(device.index or 0), stride)
    return choose(readings, memory._replace(used=memory.used + MARGIN), fraction, batch_size)


check_train_batch_size = autobatch  # the reference's name for it


def choose(
    readings: Sequence[float | None], memory: Memory, fraction: float = 0.9, batch_size: int = DEFAULT_BATCH_SIZE
) -> int:
    """The batch size that readings speak for, with a line in the log.

    Args:
        readings: bytes taken by batches of SIZES, as `fit_batch_size` has them.
        memory: before any of them.
        batch_size: the answer where the readings do not grow, so that they tell nothing.

    Raises:
        ResourceError: the first size failed already.
    """
    if not readings or readings[0] is None:
        raise ResourceError(
            f'--batch-size -1: a single picture does not fit the {_gib(memory.total - memory.used)} that are free',
            'take a smaller --img or a smaller model, or free the GPU',
        )
    free = memory.total - memory.used
    fit = fit_batch_size(readings, free, fraction)
    if fit is None:
        _log(f'WARNING: the memory in use does not grow with the batch, using the default {batch_size}')
        return batch_size
    _log(f'using batch size {fit} for {fraction:.0%} of the free memory')
    return fit


def fit_batch_size(readings: Sequence[float | None], free: float, fraction: float = 0.9) -> int | None:
    """The batch size at which the straight line through the readings reaches a fraction of the free memory.

    It stays below the first size that failed, and from 1 to MAX_BATCH_SIZE.

    Args:
        readings: memory taken by batches of SIZES, as many as were tried, in the unit of `free`; None where that
            size failed. Those that are numbers are taken as of the first sizes.
        free: memory before any of them.

    Returns:
        The size, or None if the line does not rise.
    """
    good = [reading for reading in readings if reading is not None]
    if len(good) < 2:  # no line; a second size was not tried or failed
        return 1
    slope, intercept = np.polyfit(SIZES[: len(good)], good, deg=1)
    if slope <= 0:
        return None
    size = int((fraction * free - intercept) / slope)
    if None in readings:
        failed = readings.index(None)
        if size >= SIZES[failed]:
            size = SIZES[max(failed - 1, 0)]
    return min(max(size, 1), MAX_BATCH_SIZE)


def measure(
    model: nn.Module, imgsz: int, before: Memory, read: Callable[[], Memory | None], stride: int = 32
) -> list[float | None]:
    """Memory that a training step, or the evaluation after it, takes by batch size, in bytes, until a size fails.

    A size whose need might exceed what is free is not tried: OneFlow ends the process when an allocation fails. A
    batch of twice the size needs at most twice the memory, so the sizes that are left out are near the limit.

    Args:
        before: the memory before any step.
        read: tells it now.

    Raises:
        ResourceError: it is not told any more.
    """
    readings: list[float | None] = []
    device = next(model.parameters()).device
    for size in SIZES:
        if readings and 2 * readings[-1] > before.total - before.used:
            break
        taken = []
        for step in (partial(_train, model, size, imgsz), partial(_evaluate, model, 2 * size, imgsz + stride)):
            taken.append(_taken_by(step, device, before, read))
            if taken[-1] is None:
                return [*readings, None]
        readings.append(max(taken))
        _log(f'a batch of {size} takes {_gib(readings[-1])}')
    return readings


def _taken_by(
    step: Callable[[], None], device: torch.device, before: Memory, read: Callable[[], Memory | None]
) -> float | None:
    """Bytes in use after a step beyond those before; None if there was too little memory. What it took is freed."""
    try:
        step()
        time_sync(device)
    except RuntimeError as error:
        if 'memory' not in str(error).lower():
            raise
        return None
    finally:
        after = read()
        free_cached_memory(device)
    if after is None:
        raise ResourceError('--batch-size -1: nvidia-smi does not answer any more', 'give a batch size')
    return float(after.used - before.used)


def _train(model: nn.Module, size: int, imgsz: int) -> None:
    """A forward and a backward pass of a copy."""
    trained = copy_module(model).train()
    sum(level.sum() for level in trained(_images(model, size, imgsz))).backward()


def _evaluate(model: nn.Module, size: int, imgsz: int) -> None:
    """A forward pass of a copy as it is when evaluated beside the model and its gradients."""
    with torch.no_grad():
        copy_module(model).eval()(_images(model, size, imgsz))


def _images(model: nn.Module, size: int, imgsz: int) -> torch.Tensor:
    first = next(model.parameters())
    return torch.zeros(size, first.shape[1], imgsz, imgsz, device=first.device, dtype=first.dtype)


def gpu_memory(index: int) -> Memory | None:
    """The memory of the GPU that CUDA counts as `index`; None if nvidia-smi is missing or does not tell.

    nvidia-smi counts by bus, as CUDA does among GPUs of one kind, and among others with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    visible = [name.strip() for name in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if name.strip()]
    name = visible[index] if index < len(visible) else str(index)
    command = ['nvidia-smi', '--query-gpu=memory.total,memory.used', '--format=csv,noheader,nounits', '-i', name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        total, used = (int(cell) << 20 for cell in done.stdout.strip().split(','))  # told in MiB
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Memory(total, used)


def _gib(size: float) -> str:
    return f'{size / 2**30:.2f} GiB'


def _log(text: str) -> None:
    LOGGER.info(colorstr('AutoBatch: ') + text)
