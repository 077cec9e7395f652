"""What two everyday operations cost in OneFlow on this machine's CPU, and how ours go round them."""

from __future__ import annotations

import time
from collections.abc import Callable

import oneflow as torch
from oneflow import nn

from docs.tools.numbers import write_numbers
from models.ops import Conv2d, SiLU

MEASURES = True  # times differ from run to run: drawn again only when named
ROUNDS = 7


def make() -> None:
    x = torch.randn(1, 64, 80, 80)
    plain, ours = nn.Conv2d(64, 255, 1), Conv2d(64, 255, 1)
    without = nn.Conv2d(64, 255, 1, bias=False)
    with torch.no_grad():
        times = {
            'bias': best(lambda: plain(x)), 'no_bias': best(lambda: without(x)), 'ours': best(lambda: ours(x)),
        }  # fmt: skip
    y = torch.randn(4, 32, 80, 80, requires_grad=True)
    silu = {name: best(lambda layer=layer: layer(y).sum().backward()) for name, layer in
            {'silu': nn.SiLU(), 'silu_ours': SiLU()}.items()}  # fmt: skip
    write_numbers('oneflow', {name: f'{1000 * seconds:.1f}' for name, seconds in {**times, **silu}.items()})


def best(call: Callable[[], object]) -> float:
    """The least of some times of a call, in seconds, waited for by reading a number back."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = call()
        if result is not None:
            result.sum().numpy()
        torch.zeros(1).numpy()
        times.append(time.perf_counter() - start)
    return min(times)
