"""NumPy's view of OneFlow's memory: where a tensor on the CPU lies, without asking every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import oneflow as torch


class SharedArrays:
    """Arrays that share the memory of layers' tensors, for reading and writing in place.

    `tensor.numpy()` hands out such an array, but waits for OneFlow's threads each time: 20 µs, and milliseconds when
    other processes want the cores, for some 350 tensors a step. So arrays are kept as long as a layer has the same
    tensor. Operations in place (optimizers, load_state_dict, broadcasts) keep its memory; assigning `.data`, as
    Module.to() does with all tensors, gives it another: two tensors are asked each time, the first one and the next in
    turn, and if either has moved all are fetched anew.
    """

    def __init__(self, places: Sequence[tuple[Any, str]]) -> None:
        self.places = places  # layer and name of each tensor
        self.tensors: list[torch.Tensor | None] = [None] * len(places)
        self.arrays: list[np.ndarray] = [np.empty(0)] * len(places)
        self.turn = 0

    def fetch(self) -> list[np.ndarray]:
        """The arrays in the order of `places`, when all that OneFlow has been told to do is done."""
        torch._oneflow_internal.eager.Sync()
        self.turn = (self.turn + 1) % len(self.places)
        moved = self._moved(0) or self._moved(self.turn)
        for i, (layer, name) in enumerate(self.places):
            tensor = getattr(layer, name)
            if moved or tensor is not self.tensors[i]:
                self.tensors[i], self.arrays[i] = tensor, tensor.numpy()
        return self.arrays

    def _moved(self, i: int) -> bool:
        layer, name = self.places[i]
        return getattr(layer, name).numpy().ctypes.data != self.arrays[i].ctypes.data
