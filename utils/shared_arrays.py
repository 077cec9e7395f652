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

    def __init__(self) -> None:
        self.known: dict[tuple[int, str], tuple[torch.Tensor, np.ndarray]] = {}
        self.turn = 0

    def fetch(self, places: Sequence[tuple[Any, str]]) -> list[np.ndarray]:
        """The arrays of tensors, given by layer and name, when all that OneFlow has been told to do is done."""
        torch._oneflow_internal.eager.Sync()
        self.turn = (self.turn + 1) % len(places)
        if self._moved(*places[0]) or self._moved(*places[self.turn]):
            self.known.clear()
        return [self._array(layer, name) for layer, name in places]

    def _array(self, layer: Any, name: str) -> np.ndarray:
        tensor, key = getattr(layer, name), (id(layer), name)
        if key not in self.known or self.known[key][0] is not tensor:
            self.known[key] = tensor, tensor.numpy()
        return self.known[key][1]

    def _moved(self, layer: Any, name: str) -> bool:
        return getattr(layer, name).numpy().ctypes.data != self._array(layer, name).ctypes.data
