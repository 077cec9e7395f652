"""What the parity tests of the network share: filling a model by the golden recipe, and comparing with tolerances."""

from __future__ import annotations

import numpy as np
import oneflow as torch
from oneflow import nn

from tests.golden import recipes


def fill(module: nn.Module, base: int) -> None:
    """Give entry i of the ordered state the golden weight i; those that the recipe leaves out keep their value."""
    with torch.no_grad():
        for i, (key, tensor) in enumerate(module.state_dict().items()):
            value = recipes().weight(i, key, tensor.shape, base)
            if value is not None:
                tensor.copy_(torch.tensor(value))


def running(module: nn.Module, name: str) -> np.ndarray:
    """All buffers called `name` end to end, in module order."""
    return np.concatenate([b.numpy().reshape(-1) for key, b in module.named_buffers() if key.endswith(name)])


def check(ours: np.ndarray, stored: np.ndarray, about: dict, what: str) -> None:
    """Compare an array with a golden one: its stored elements within ten times the reference's own rounding, and
    shape, sum and sum of absolute values of the whole."""
    assert list(ours.shape) == about['shape'], what
    sampled = recipes().sample(ours, about.get('step', 1))
    tolerance = 10 * about['noise'] + 1e-6 * about['absmax']
    worst = np.abs(sampled.astype(np.float64) - stored.reshape(-1)).max()
    assert worst <= tolerance, f'{what}: off by {worst:.3g}, allowed {tolerance:.3g}'
    whole = recipes().checksum(ours)
    assert abs(whole['sum'] - about['sum']) <= 1e-5 * about['abs'] + 1e-12, f'{what}: sum'
    assert abs(whole['abs'] - about['abs']) <= 1e-5 * about['abs'] + 1e-12, f'{what}: sum of absolute values'
