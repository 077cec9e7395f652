"""Decoded pictures kept in memory (--cache ram), one copy for all loader workers."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

import numpy as np

from utils.data.picture_cache import load_all


class RamCache:
    """Pictures of known shapes, one after another in a block of shared memory.

    The block is anonymous: workers that are forked later see it without a copy of their own, however often they read,
    and nothing is left over when the processes end. Memory is taken as the pictures come in.

    Args:
        shapes: (height, width, 3) of each.

    Attributes:
        nbytes: of all.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]]) -> None:
        self.shapes = np.array(shapes, np.int32).reshape(-1, 3)
        self.ends = self.shapes.prod(1, dtype=np.int64).cumsum()
        self.nbytes = int(self.ends[-1]) if len(self) else 0
        self.block: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def fill(self, load: Callable[[int], np.ndarray], title: str) -> None:
        """Load all pictures, in several threads; `title` is the progress bar's."""
        block = np.frombuffer(mmap.mmap(-1, max(self.nbytes, 1)), np.uint8)
        for picture, end in zip(load_all(load, range(len(self)), title), self.ends.tolist()):
            block[end - picture.size : end] = picture.ravel()
        block.flags.writeable = False
        self.block = block

    def __getitem__(self, index: int) -> np.ndarray:
        """A picture (h, w, 3) uint8, read-only."""
        shape, end = self.shapes[index], self.ends[index]
        return self.block[end - shape.prod() : end].reshape(shape)
