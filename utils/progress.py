"""The progress bar of an epoch: memory, running means of the losses, labels and size; and the guard on them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.distributed import is_main
from utils.errors import TrainingError
from utils.log import LOGGER

HEADER = ('Epoch', 'memory', 'box_loss', 'obj_loss', 'cls_loss', 'Instances', 'Size')
BAR_FORMAT = '{l_bar}{bar:10}{r_bar}{bar:-10b}'


class TrainProgress:
    """Iterates over a loader behind a progress bar and keeps the epoch's mean losses.

    Reading a loss waits for the device, so on a GPU it is done once every `interval` batches, for all of them at once.

    Args:
        loader: yields batches; has a length.
        epoch, epochs: the number of this epoch from 0, and of all.
        device: where the losses are.
        interval: batches between two readings; 1 on the CPU, 10 on a GPU where not given.
    """

    def __init__(self, loader: Any, epoch: int, epochs: int, device: Any, interval: int | None = None) -> None:
        self.loader, self.epoch, self.epochs = loader, epoch, epochs
        self.device, self.interval = device, interval or (1 if device.type == 'cpu' else 10)
        self._sum, self._count = np.zeros(3), 0
        self._pending: list[tuple[Any, Sequence[str]]] = []

    def __enter__(self) -> TrainProgress:
        LOGGER.info(('\n' + '%11s' * len(HEADER)) % HEADER)
        self._bar = progress_bar(self.loader)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __iter__(self) -> Iterator:
        return iter(self._bar)

    def update(self, items: Any, instances: int, size: int, paths: Sequence[str]) -> None:
        """Take in a batch.

        Args:
            items: tensor (3,) of box, objectness and class loss, on the device.
            instances: labels in the batch.
            size: of the pictures, pixels.
            paths: of the pictures.

        Raises:
            TrainingError: a loss is infinite or not a number.
        """
        self._pending.append((items, paths))
        if len(self._pending) >= self.interval:
            self._read()
            row = (f'{self.epoch}/{self.epochs - 1}', memory_used(self.device), *self._mean(), instances, size)
            self._bar.set_description(('%11s' * 2 + '%11.4g' * 5) % row, refresh=False)

    def mean_losses(self) -> tuple[float, float, float]:
        """Mean box, objectness and class loss of the batches so far."""
        self._read()
        return tuple(float(v) for v in self._mean())

    def _mean(self) -> np.ndarray:
        return self._sum / max(self._count, 1)

    def _read(self) -> None:
        for values, (_, paths) in zip(_read_together([items for items, _ in self._pending]), self._pending):
            if not all(map(math.isfinite, values)):
                files = ', '.join(paths)
                raise TrainingError(
                    f'the loss is not finite in epoch {self.epoch} (box {values[0]:g}, objectness {values[1]:g}, class '
                    f'{values[2]:g}) on the batch of {files}',
                    'check these files or lower lr0; the checkpoints of the last epoch are kept',
                )
            self._sum += values
            self._count += 1
        self._pending.clear()


def _read_together(items: Sequence[Any]) -> np.ndarray:
    """Tensors (3,) on a device as one array (n, 3), by one copy."""
    if len(items) < 2:
        return np.array([one.cpu().numpy() for one in items])
    import oneflow as torch

    return torch.stack(items).cpu().numpy()


def progress_bar(loader: Any, title: str = '') -> tqdm:
    """A bar over a loader; where stderr is a file or a pipe, at most one line in five seconds."""
    interval = 0.1 if sys.stderr.isatty() else 5
    return tqdm(
        loader,
        desc=title,
        total=len(loader),
        bar_format=BAR_FORMAT,
        mininterval=interval,
        maxinterval=interval,
        disable=not is_main(),
    )


def memory_used(device: Any) -> str:
    """Memory in use, in GiB, such as 1.25G: on a GPU all that is taken there, by whomever; else this process's own.

    It waits for a GPU. OneFlow tells of cuda:0 alone, where process 0 trains; of others nothing is said.
    """
    if device.type == 'cuda':
        import oneflow

        return f'{oneflow._oneflow_internal.GetCUDAMemoryUsed() / 2**10:.3g}G' if not device.index else '-'
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return f'{pages * os.sysconf("SC_PAGE_SIZE") / 2**30:.3g}G'
