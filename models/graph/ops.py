"""The operations that several layers share, with the shapes of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import oneflow as torch
from oneflow import nn

from models.graph.writer import Value, Writer


def array(tensor: torch.Tensor) -> np.ndarray:
    """A parameter's or buffer's numbers, float64: what is folded is rounded only once."""
    return tensor.detach().cpu().numpy().astype(np.float64)


def convolution(g: Writer, x: Value, m: nn.Conv2d, bn: nn.BatchNorm2d | None = None) -> Value:
    """A convolution, with the batch norm behind it folded in."""
    weight, bias = array(m.weight), None if m.bias is None else array(m.bias)
    if bn is not None:
        scale, shift = scale_and_shift(bn)
        weight, bias = weight * scale.reshape(-1, 1, 1, 1), shift if bias is None else bias * scale + shift
    kernel, stride, padding, dilation = (pair(v) for v in (m.kernel_size, m.stride, m.padding, m.dilation))
    spatial = window(x.shape[2:], kernel, stride, padding, dilation)
    parts = [g.numbers(weight)] + ([] if bias is None else [g.numbers(bias)])
    return g.op(
        'Conv', x, *parts, shape=(x.shape[0], len(weight), *spatial), kernel_shape=kernel, strides=stride,
        pads=[*padding, *padding], dilations=dilation, group=m.groups,
    )  # fmt: skip


def scale_and_shift(bn: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm on its stored statistics is x * scale + shift, channel by channel."""
    scale = 1 / np.sqrt(array(bn.running_var) + bn.eps)
    if bn.affine:
        scale = array(bn.weight) * scale
    return scale, (array(bn.bias) if bn.affine else 0) - array(bn.running_mean) * scale


def linear(g: Writer, x: Value, *layers: tuple[torch.Tensor, torch.Tensor | None]) -> Value:
    """Linear maps (weight, bias) on the last axis, one after another, as one product."""
    weight, bias = np.eye(x.shape[-1]), None
    for w, b in layers:
        w, b = array(w), None if b is None else array(b)
        weight = w @ weight
        bias = b if bias is None else w @ bias + (0 if b is None else b)
    y = g.op('MatMul', x, g.numbers(weight.T), shape=(*x.shape[:-1], len(weight)))
    return y if bias is None else g.op('Add', y, g.numbers(bias), shape=y.shape)


def add(g: Writer, a: Value, b: Value) -> Value:
    return g.op('Add', a, b, shape=a.shape)


def concat(g: Writer, values: Sequence[Value], axis: int = 1) -> Value:
    if len(values) == 1:
        return values[0]
    sizes = [v.shape[axis] for v in values]
    shape = list(values[0].shape)
    shape[axis] = None if None in sizes else sum(sizes)
    return g.op('Concat', *values, shape=tuple(shape), axis=axis)


def cut(g: Writer, x: Value, axis: int, start: int, stop: int | None = None, step: int = 1) -> Value:
    """x[..., start:stop:step, ...] along an axis; without `stop` to its end."""
    size = x.shape[axis]
    end = stop if size is None else size if stop is None else min(stop, size)
    shape = list(x.shape)
    shape[axis] = None if end is None else max(0, -(-(end - start) // step))
    limits = [np.array([n], np.int64) for n in (start, np.iinfo(np.int64).max if stop is None else stop, axis, step)]
    return g.op('Slice', x, *limits, shape=tuple(shape))


def silu(g: Writer, x: Value) -> Value:
    return g.op('Mul', x, g.op('Sigmoid', x, shape=x.shape), shape=x.shape)


def mish(g: Writer, x: Value) -> Value:
    tanh = g.op('Tanh', g.op('Softplus', x, shape=x.shape), shape=x.shape)
    return g.op('Mul', x, tanh, shape=x.shape)


def hardswish(g: Writer, x: Value) -> Value:
    return g.op('Mul', x, g.op('HardSigmoid', x, shape=x.shape, alpha=1 / 6, beta=0.5), shape=x.shape)


def pair(value: Any) -> list[int]:
    """A size of a layer, one number or two, as two."""
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * 2


def window(
    sizes: Sequence[int | None],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    ceil: bool = False,
) -> list[int | None]:
    """How many places a sliding window has along height and width."""

    def places(size: int | None, k: int, s: int, p: int, d: int) -> int | None:
        if size is None:
            return None
        room = size + 2 * p - d * (k - 1) - 1
        count = (room + s - 1 if ceil else room) // s + 1
        return count - 1 if ceil and (count - 1) * s >= size + p else count  # no window wholly in the padding

    return [places(*axis) for axis in zip(sizes, kernel, stride, padding, dilation)]
