"""A compiled network: a plan for one input shape, and the tensors that go in and out of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import oneflow as torch

from models.cpu.builder import Builder
from models.cpu.dnnl import Dnnl
from models.cpu.lower import lower
from models.cpu.plan import aligned
from utils.shared_arrays import SharedArrays

BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')  # of a batch norm


class Network:
    """A model for one input shape and one choice of frozen parameters.

    Raises:
        UnknownLayer, DnnlError: the model can't be compiled.
    """

    def __init__(self, dnnl: Dnnl, model: Any, shape: tuple[int, int, int, int]) -> None:
        builder = Builder(dnnl)
        lower(builder, model, shape)
        self.plan = builder.finish()
        self.pictures, self.outputs = builder.pictures, builder.outputs
        self.parameters, self.statistics = builder.parameters, builder.statistics
        self.trained = [p for p in self.parameters if p.gradient]
        self.places = [(layer, p.name) for p in self.parameters for layer in p.layers]
        self.places += [(norm, name) for s in self.statistics for norm in s.layers for name in BUFFERS]

    def forward(self, x: torch.Tensor, arena: np.ndarray, shared: SharedArrays) -> list[torch.Tensor]:
        """Raw maps of pictures (n, c, h, w); the batch norms' running statistics move.

        Args:
            arena: at least `plan.size` bytes; it must be left alone until the backward.
        """
        self.plan.bind(arena)
        self.pictures.give(np.ascontiguousarray(x.numpy()))
        arrays = iter(shared.fetch(self.places))
        for p in self.parameters:
            parts = [next(arrays) for _ in p.layers]
            p.value.give(parts[0] if len(parts) == 1 else np.concatenate(parts))
        for result, _ in self.outputs:
            result.give(np.empty(result.shape, np.float32))
        self.plan.forward()
        self._move_statistics(arrays)
        return [torch.from_numpy(result.array) for result, _ in self.outputs]

    def backward(self, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of the maps -> gradients of the trained tensors, in fresh memory, for OneFlow may keep them."""
        for (_, place), gradient in zip(self.outputs, gradients):
            place.give(np.ascontiguousarray(gradient.numpy()))
        sizes = [math.prod(p.value.shape) for p in self.trained]
        rooms = [-(-size // 16) * 16 for size in sizes]  # in whole cache lines
        memory = aligned(4 * sum(rooms)).view(np.float32)
        start = 0
        for p, size, room in zip(self.trained, sizes, rooms):
            p.gradient.give(memory[start : start + size].reshape(p.value.shape))
            start += room
        self.plan.backward()
        return [
            torch.from_numpy(array)
            for p in self.trained
            for array in _split(p.gradient.array, [len(t) for t in p.tensors])
        ]

    def _move_statistics(self, running: Iterator[np.ndarray]) -> None:
        """OneFlow's own running averages, in place: mean, unbiased variance and the number of batches of each norm."""
        for s in self.statistics:
            unbiased = s.variance * (s.count / max(s.count - 1, 1))
            channels = [norm.num_features for norm in s.layers]
            for norm, mean, variance in zip(s.layers, _split(s.mean, channels), _split(unbiased, channels)):
                rate = np.float32(norm.momentum)
                for batch in (mean, variance):
                    average = next(running)
                    average += rate * (batch - average)
                batches = next(running)
                batches += 1


def _split(numbers: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Pieces of these lengths along the first dimension."""
    ends = itertools.accumulate(lengths)
    return [numbers[end - length : end] for end, length in zip(ends, lengths)]
