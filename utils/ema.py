"""The moving average of a model's weights, which is what gets evaluated and saved."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.device import copy_module
from utils.fused import average, choose_average
from utils.shared_arrays import SharedArrays

Place = tuple[nn.Module, str]  # a layer and the name of a tensor in it


class ModelEMA:
    """Exponential moving average of everything in the model's state, buffers included.

    The decay grows as decay * (1 - exp(-updates / tau)), so that early averages follow the model quickly
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). Make it before the model is wrapped
    for distributed training: evaluating a copy of a wrapped model on one rank waits for ever.

    Args:
        fused: on a GPU, average by OneFlow's fused operator if it gives the same numbers.

    Attributes:
        ema: the averaged copy, in evaluation mode, without gradients.
        updates: how often `update` was called; both are to be restored when training is resumed.
    """

    def __init__(
        self, model: nn.Module, decay: float = 0.9999, tau: float = 2000, updates: int = 0, fused: bool = False
    ) -> None:
        self.ema = copy_module(model).eval()
        self.decay, self.tau, self.updates = decay, tau, updates
        self._arrays = SharedArrays()
        self._average = choose_average(next(model.parameters()).device) if fused else average
        for parameter in self.ema.parameters():
            parameter.requires_grad = False

    def update(self, model: nn.Module) -> None:
        """Move the average towards the model; whole-number entries (counters) stay as they were."""
        self.updates += 1
        decay = self.decay_at(self.updates)
        averages, current = _places(self.ema), _places(model)
        if next(model.parameters()).device.type == 'cpu':
            # Some 350 small tensors: as operations of OneFlow's they take ten times as long.
            for mean, value in zip(self._arrays.fetch(averages), self._arrays.fetch(current)):
                mean *= np.float32(decay)
                mean += np.float32(1 - decay) * value
        else:
            self._update_on_device(averages, current, decay)

    def _update_on_device(self, averages: list[Place], current: list[Place], decay: float) -> None:
        with torch.no_grad():
            self._average([getattr(*place) for place in averages], [getattr(*p).detach() for p in current], decay)

    def decay_at(self, updates: int) -> float:
        """The decay of the update with that number, counted from 1."""
        return self.decay * (1 - math.exp(-updates / self.tau))

    def update_attr(
        self, model: nn.Module, include: Collection[str] = (), exclude: Collection[str] = ('process_group', 'reducer')
    ) -> None:
        """Copy the model's plain attributes (names, hyp, ...) to the average: the public ones, or `include` only."""
        for name, value in vars(model).items():
            hidden = name.startswith('_') or name == 'training' or name in exclude
            if not hidden and (not include or name in include):
                setattr(self.ema, name, value)


def _places(model: nn.Module) -> list[Place]:
    """Where the entries of a model's state are that are no whole numbers: layer and name."""
    return [
        (layer, name)
        for layer in model.modules()
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items())
        if tensor is not None and name not in layer._non_persistent_buffers_set and tensor.is_floating_point()
    ]
