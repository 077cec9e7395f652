"""A compiled network: a plan for one input shape, and the tensors that go in and out of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import oneflow as torch

from models.cpu.builder import Builder
from models.cpu.dnnl import Dnnl
from models.cpu.lower import lower
from models.cpu.plan import aligned


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
        self.norms = [norm for s in self.statistics for norm in s.layers]

    def forward(self, x: torch.Tensor, arena: np.ndarray) -> list[torch.Tensor]:
        """Raw maps of pictures (n, c, h, w); the batch norms' running statistics move."""
        self.plan.bind(arena)
        self.pictures.give(np.ascontiguousarray(x.numpy()))
        for p in self.parameters:
            arrays = [t.numpy() for t in p.tensors]
            p.value.give(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
        for result, _ in self.outputs:
            result.give(np.empty(result.shape, np.float32))
        self.plan.forward()
        self._move_statistics()
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

    def _move_statistics(self) -> None:
        """OneFlow's own running averages: the variance is the unbiased one."""
        for s in self.statistics:
            variance = s.variance * (s.count / max(s.count - 1, 1))
            channels = [norm.num_features for norm in s.layers]
            for norm, m, v in zip(s.layers, *(_split(numbers, channels) for numbers in (s.mean, variance))):
                # On the CPU numpy() shares the tensor's memory.
                for running, batch in ((norm.running_mean.numpy(), m), (norm.running_var.numpy(), v)):
                    running += np.float32(norm.momentum) * (batch - running)
                norm.num_batches_tracked.numpy()[...] += 1


def _split(numbers: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Pieces of these lengths along the first dimension."""
    ends = itertools.accumulate(lengths)
    return [numbers[end - length : end] for end, length in zip(ends, lengths)]
