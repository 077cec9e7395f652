"""How long layers take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import oneflow as torch
from oneflow import nn

from models.summary import layer_flops


class LayerTimer:
    """Runs a model's rows one by one, and prints each one's time, operations and parameters."""

    def __init__(self, repeats: int = 10) -> None:
        self.repeats, self.total = repeats, 0.0

    def run(self, layer: nn.Module, x: Any, last: bool) -> Any:
        """`layer(x)`; after the last row the total is printed too."""
        y = layer(x)
        _finish(y)
        milliseconds = _measure(lambda: _finish(layer(x)), self.repeats)
        if layer.i == 0:
            print(f'{"time (ms)":>10s} {"GFLOPs":>10s} {"params":>10s}  module')
        print(f'{milliseconds:10.2f} {layer_flops(layer, x):10.2f} {layer.np:10.0f}  {layer.type}')
        self.total += milliseconds
        if last:
            print(f'{self.total:10.2f} {"-":>10s} {"-":>10s}  Total')
        return y


def profile(
    input: torch.Tensor | Sequence[torch.Tensor],
    ops: Callable | Sequence[Callable],
    n: int = 10,
    device: str | torch.device | None = None,
) -> list[list[Any] | None]:
    """Time modules or functions, forward and backward, and print a table.

        profile(torch.randn(16, 3, 640, 640), [m1, m2], n=100)

    Args:
        input: one input or several; every op is run on every one.
        n: over so many runs.
        device: where to run; as it is by default.

    Returns:
        per pair [parameters, GFLOPs, GPU memory in GB, forward ms, backward ms, input shape, output shape]; None for an
        op that failed. Backward is NaN where there is no gradient.
    """
    columns = ('Params', 'GFLOPs', 'GPU_mem (GB)', 'forward (ms)', 'backward (ms)', 'input', 'output')
    print('{:>12s}{:>12s}{:>14s}{:>14s}{:>14s}{:>24s}{:>24s}'.format(*columns))
    results = []
    for x in input if isinstance(input, list | tuple) else [input]:
        for op in ops if isinstance(ops, list | tuple) else [ops]:
            try:
                row = _profile_one(x if device is None else x.to(device), op, n, device)
                print('{:12}{:12.4g}{:>14.3f}{:14.4g}{:14.4g}{!s:>24s}{!s:>24s}'.format(*row))
            except Exception as problem:  # one op that can't run does not stop the comparison
                print(problem)
                row = None
            results.append(row)
    return results


def _profile_one(x: torch.Tensor, op: Callable, n: int, device: str | torch.device | None) -> list[Any]:
    is_module = isinstance(op, nn.Module)
    if is_module and device is not None:
        op.to(device)
    x = x.detach().requires_grad_(True)
    y = op(x)
    _finish(y)
    forward = _measure(lambda: _finish(op(x)), n)
    backward = _measure_backward(op, x, n)
    parameters = sum(p.numel() for p in op.parameters()) if is_module else 0
    flops = layer_flops(op, x) if is_module else 0.0
    return [parameters, flops, _gpu_memory(x.device), forward, backward, tuple(x.shape), _shape(y)]


def _measure(run: Callable[[], None], n: int) -> float:
    """Mean milliseconds of a run."""
    start = time.perf_counter()
    for _ in range(n):
        run()
    return (time.perf_counter() - start) * 1000 / n


def _measure_backward(op: Callable, x: torch.Tensor, n: int) -> float:
    """Mean milliseconds of the backward pass alone, NaN where there is none."""
    total = 0.0
    for _ in range(n):
        roots = [t for t in _tensors(op(x)) if t.requires_grad]
        if not roots:
            return float('nan')
        loss = sum((t.sum() for t in roots[1:]), roots[0].sum())
        _finish(loss)
        start = time.perf_counter()
        loss.backward()
        _finish(x.grad)
        total += time.perf_counter() - start
        x.grad = None
    return total * 1000 / n


def _finish(y: Any) -> None:
    """Wait until `y` is computed: OneFlow works in the background, on a CPU too."""
    for tensor in _tensors(y):
        tensor.reshape(-1)[0].numpy()


def _tensors(y: Any) -> Iterable[torch.Tensor]:
    if isinstance(y, torch.Tensor):
        yield y
    elif isinstance(y, list | tuple):
        for part in y:
            yield from _tensors(part)


def _shape(y: Any) -> tuple[int, ...] | str:
    return tuple(y.shape) if isinstance(y, torch.Tensor) else 'list'


def _gpu_memory(device: torch.device) -> float:
    """GB of GPU memory that the device's driver counts as used; 0 on a CPU."""
    return torch._oneflow_internal.GetCUDAMemoryUsed() / 1e3 if device.type == 'cuda' else 0.0
