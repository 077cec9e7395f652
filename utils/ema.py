"""The moving average of a model's weights, which is what gets evaluated and saved."""

from __future__ import annotations

import math
from collections.abc import Collection
from copy import deepcopy

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.shared_arrays import SharedArrays


class ModelEMA:
    """Exponential moving average of everything in the model's state, buffers included.

    The decay grows as decay * (1 - exp(-updates / tau)), so that early averages follow the model quickly
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). Make it before the model is wrapped
    for distributed training: evaluating a copy of a wrapped model on one rank waits for ever.

    Attributes:
        ema: the averaged copy, in evaluation mode, without gradients.
        updates: how often `update` was called; both are to be restored when training is resumed.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000, updates: int = 0) -> None:
        self.ema = deepcopy(model).eval()
        self.decay, self.tau, self.updates = decay, tau, updates
        self._arrays = SharedArrays()
        for parameter in self.ema.parameters():
            parameter.requires_grad = False

    def update(self, model: nn.Module) -> None:
        """Move the average towards the model; whole-number entries (counters) stay as they were."""
        self.updates += 1
        decay = self.decay_at(self.updates)
        averages, current = _places(self.ema), _places(model)
        if next(model.parameters()).device.type == 'cpu':
            # Some 350 small tensors: as operations of OneFlow's they take ten times as long.
            for average, value in zip(self._arrays.fetch(averages), self._arrays.fetch(current)):
                average *= np.float32(decay)
                average += np.float32(1 - decay) * value
        else:
            with torch.no_grad():
                for (layer, name), (other, _) in zip(averages, current):
                    getattr(layer, name).mul_(decay).add_(getattr(other, name).detach() * (1 - decay))

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


def _places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where the entries of a model's state are that are no whole numbers: layer and name."""
    return [
        (layer, name)
        for layer in model.modules()
        for name, tensor in (*layer._parameters.items(), *layer._buffers.items())
        if tensor is not None and name not in layer._non_persistent_buffers_set and tensor.is_floating_point()
    ]
