"""From our layers to ONNX operations: one short emitter a layer type, in one table.

Each mirrors the layer's `forward` in evaluation mode (models/common.py). Types are looked up exactly, for a
subclass may compute something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from oneflow import nn

from models import attention, common, head
from models import ops as ours
from models.graph import detect, ops
from models.graph.writer import Value, Writer
from utils.errors import ConfigError

Maps = Value | list[Value]


def emit(g: Writer, layer: nn.Module, x: Maps) -> Maps:
    """Write one layer, by the table.

    Raises:
        ConfigError: there is no emitter for it, or for the way it is set up; the message names it.
    """
    kind = type(layer)
    if kind not in LAYERS and kind.__module__ == ours.__name__:
        kind = kind.__base__  # models/ops.py: other arithmetic, the same result
    if kind not in LAYERS:
        raise unknown(type(layer).__name__)
    return LAYERS[kind](g, layer, x)


def unknown(what: str) -> ConfigError:
    return ConfigError(f'{what}: this layer has no ONNX form here', 'exported can be ' + ', '.join(known()))


def known() -> list[str]:
    """The names of the layer types with an emitter."""
    return sorted(kind.__name__ for kind in LAYERS)


def _convolution(g: Writer, m: nn.Conv2d, x: Value, bn: nn.BatchNorm2d | None = None) -> Value:
    if m.padding_mode != 'zeros' or isinstance(m.padding, str):
        raise unknown('Conv2d with a padding mode')
    return ops.convolution(g, x, m, bn)


def _transposed_convolution(g: Writer, m: nn.ConvTranspose2d, x: Value) -> Value:
    kernel, stride, padding, dilation, extra = (
        ops.pair(v) for v in (m.kernel_size, m.stride, m.padding, m.dilation, m.output_padding)
    )
    sizes = [
        None if n is None else (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(x.shape[2:], kernel, stride, padding, dilation, extra)
    ]
    parts = [g.numbers(ops.array(t)) for t in (m.weight, m.bias) if t is not None]
    channels = m.weight.shape[1] * m.groups
    return g.op(
        'ConvTranspose', x, *parts, shape=(x.shape[0], channels, *sizes), kernel_shape=kernel, strides=stride,
        pads=[*padding, *padding], dilations=dilation, output_padding=extra, group=m.groups,
    )  # fmt: skip


def _batch_norm(g: Writer, m: nn.BatchNorm2d, x: Value) -> Value:
    scale, shift = (g.numbers(v.reshape(-1, 1, 1)) for v in ops.scale_and_shift(m))
    return g.op('Add', g.op('Mul', x, scale, shape=x.shape), shift, shape=x.shape)


def _conv(g: Writer, m: common.Conv, x: Value) -> Value:
    return emit(g, m.act, _convolution(g, m.conv, x, m.bn))


def _bottleneck(g: Writer, m: common.Bottleneck, x: Value) -> Value:
    y = emit(g, m.cv2, emit(g, m.cv1, x))
    return ops.add(g, x, y) if m.add else y


def _bottleneck_csp(g: Writer, m: common.BottleneckCSP, x: Value) -> Value:
    worked, passed = emit(g, m.cv3, emit(g, m.m, emit(g, m.cv1, x))), emit(g, m.cv2, x)
    return emit(g, m.cv4, emit(g, m.act, emit(g, m.bn, ops.concat(g, [worked, passed]))))


def _c3(g: Writer, m: common.C3, x: Value) -> Value:
    return emit(g, m.cv3, ops.concat(g, [emit(g, m.m, emit(g, m.cv1, x)), emit(g, m.cv2, x)]))


def _spp(g: Writer, m: common.SPP, x: Value) -> Value:
    x = emit(g, m.cv1, x)
    return emit(g, m.cv2, ops.concat(g, [x, *(emit(g, pool, x) for pool in m.m)]))


def _sppf(g: Writer, m: common.SPPF, x: Value) -> Value:
    maps = [emit(g, m.cv1, x)]
    for _ in range(3):
        maps.append(emit(g, m.m, maps[-1]))
    return emit(g, m.cv2, ops.concat(g, maps))


def _focus(g: Writer, m: common.Focus, x: Value) -> Value:
    places = [ops.cut(g, ops.cut(g, x, 2, row, step=2), 3, column, step=2) for column in (0, 1) for row in (0, 1)]
    return emit(g, m.conv, ops.concat(g, places))


def _ghost_conv(g: Writer, m: common.GhostConv, x: Value) -> Value:
    y = emit(g, m.cv1, x)
    return ops.concat(g, [y, emit(g, m.cv2, y)])


def _ghost_bottleneck(g: Writer, m: common.GhostBottleneck, x: Value) -> Value:
    return ops.add(g, emit(g, m.conv, x), emit(g, m.shortcut, x))


def _mix_conv(g: Writer, m: common.MixConv2d, x: Value) -> Value:
    return emit(g, m.act, emit(g, m.bn, ops.concat(g, [emit(g, conv, x) for conv in m.m])))


def _transformer_block(g: Writer, m: common.TransformerBlock, x: Value) -> Value:
    if m.conv is not None:
        x = emit(g, m.conv, x)
    b, c, h, w = x.shape
    length = None if h is None or w is None else h * w
    rows = g.op('Reshape', x, np.array([0, c, -1], np.int64), shape=(b, c, length))
    pixels = g.op('Transpose', rows, shape=(b, length, c), perm=[0, 2, 1])  # the batch stays in front here
    y = emit(g, m.tr, ops.add(g, pixels, ops.linear(g, pixels, (m.linear.weight, m.linear.bias))))
    y = g.op('Transpose', y, shape=(b, c, length), perm=[0, 2, 1])
    return g.op('Reshape', y, g.shape_of(x), shape=x.shape)


def _transformer_layer(g: Writer, m: attention.TransformerLayer, x: Value) -> Value:
    x = ops.add(g, _attention(g, m, x), x)
    return ops.add(g, ops.linear(g, x, (m.fc1.weight, None), (m.fc2.weight, None)), x)


def _attention(g: Writer, m: attention.TransformerLayer, x: Value) -> Value:
    """(b, length, c) -> the same; the layer's own projections and those of the attention become one."""
    (b, length, c), heads = x.shape, m.ma.num_heads
    size = c // heads
    weights, biases = m.ma.in_proj_weight.chunk(3), m.ma.in_proj_bias.chunk(3)
    split = np.array([0, -1, heads, size], np.int64)
    q, k, v = (
        g.op('Reshape', ops.linear(g, x, (own.weight, None), (w, bias)), split, shape=(b, length, heads, size))
        for own, w, bias in zip((m.q, m.k, m.v), weights, biases)
    )
    q, v = (g.op('Transpose', y, shape=(b, heads, length, size), perm=[0, 2, 1, 3]) for y in (q, v))
    k = g.op('Transpose', k, shape=(b, heads, size, length), perm=[0, 2, 3, 1])
    q = g.op('Mul', q, g.numbers(1 / math.sqrt(size)), shape=q.shape)
    scores = g.op('MatMul', q, k, shape=(b, heads, length, length))
    scores = g.op('Softmax', scores, shape=scores.shape, axis=-1 if g.opset >= 13 else 3)
    joined = g.op('MatMul', scores, v, shape=(b, heads, length, size))
    joined = g.op('Transpose', joined, shape=(b, length, heads, size), perm=[0, 2, 1, 3])
    joined = g.op('Reshape', joined, np.array([0, -1, c], np.int64), shape=(b, length, c))
    return ops.linear(g, joined, (m.ma.out_proj.weight, m.ma.out_proj.bias))


def _sum(g: Writer, m: common.Sum, x: list[Value]) -> Value:
    total, *others = x
    scales = 2 / (1 + np.exp(-ops.array(m.w))) if m.weight else [1.0] * len(others)
    for other, scale in zip(others, scales):
        scaled = g.op('Mul', other, g.numbers(scale), shape=other.shape) if m.weight else other
        total = ops.add(g, total, scaled)
    return total


def _blocks_to_channels(g: Writer, m: common.Contract, x: Value) -> Value:
    (b, c, h, w), s = x.shape, m.gain
    sizes = [None if n is None else n // s for n in (h, w)]
    return g.op('SpaceToDepth', x, shape=(b, c * s * s, *sizes), blocksize=s)


def _channels_to_blocks(g: Writer, m: common.Expand, x: Value) -> Value:
    (b, c, h, w), s = x.shape, m.gain
    sizes = [None if n is None else n * s for n in (h, w)]
    return g.op('DepthToSpace', x, shape=(b, c // s**2, *sizes), blocksize=s, mode='DCR')


def _classify(g: Writer, m: common.Classify, x: Maps) -> Value:
    maps = x if isinstance(x, list) else [x]
    means = [g.op('GlobalAveragePool', y, shape=(*y.shape[:2], 1, 1)) for y in maps]
    y = emit(g, m.conv, ops.concat(g, means))
    return g.op('Flatten', y, shape=(y.shape[0], y.shape[1]), axis=1)


def _sequential(g: Writer, m: nn.Sequential, x: Maps) -> Maps:
    for layer in m:
        x = emit(g, layer, x)
    return x


def _max_pool(g: Writer, m: nn.MaxPool2d, x: Value) -> Value:
    if m.return_indices:
        raise unknown('MaxPool2d with indices')
    kernel, stride, padding, dilation = (ops.pair(v) for v in (m.kernel_size, m.stride, m.padding, m.dilation))
    spatial = ops.window(x.shape[2:], kernel, stride, padding, dilation, m.ceil_mode)
    return g.op(
        'MaxPool', x, shape=(*x.shape[:2], *spatial), kernel_shape=kernel, strides=stride,
        pads=[*padding, *padding], dilations=dilation, ceil_mode=int(m.ceil_mode),
    )  # fmt: skip


def _average_pool(g: Writer, m: nn.AvgPool2d, x: Value) -> Value:
    if m.divisor_override:
        raise unknown('AvgPool2d with a divisor of its own')
    kernel, stride, padding = (ops.pair(v) for v in (m.kernel_size, m.stride, m.padding))
    spatial = ops.window(x.shape[2:], kernel, stride, padding, ceil=m.ceil_mode)
    return g.op(
        'AveragePool', x, shape=(*x.shape[:2], *spatial), kernel_shape=kernel, strides=stride,
        pads=[*padding, *padding], ceil_mode=int(m.ceil_mode), count_include_pad=int(m.count_include_pad),
    )  # fmt: skip


def _zero_pad(g: Writer, m: nn.ZeroPad2d, x: Value) -> Value:
    left, right, top, bottom = m.padding if isinstance(m.padding, (tuple, list)) else [m.padding] * 4
    b, c, h, w = x.shape
    shape = b, c, *(None if n is None else n + more for n, more in ((h, top + bottom), (w, left + right)))
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    # onnxruntime (1.23 at least) makes a Pad of zeros part of a MaxPool behind it, whose own padding is minus infinity.
    # The smallest number that is not zero stops it, and changes no result.
    nearly_zero = g.numbers(np.finfo(g.dtype).smallest_subnormal)
    return g.op('Pad', x, pads, nearly_zero, shape=shape, mode='constant')


RESIZE = {
    'nearest': {'mode': 'nearest', 'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'},
    'bilinear': {'mode': 'linear'},
    'bicubic': {'mode': 'cubic', 'cubic_coeff_a': -0.75},
}


def _upsample(g: Writer, m: nn.Upsample, x: Value) -> Value:
    if m.mode not in RESIZE:
        raise unknown(f'Upsample ({m.mode})')
    how = dict(RESIZE[m.mode])
    if m.mode != 'nearest':
        how['coordinate_transformation_mode'] = 'align_corners' if m.align_corners else 'half_pixel'
    left_out = None if g.opset >= 13 else np.zeros(0, np.float32)  # before 13 an input may be empty, but not absent
    if m.size is not None:
        sizes = ops.pair(m.size)
        target = ops.concat(g, [ops.cut(g, g.shape_of(x), 0, 0, 2), g.constant(np.array(sizes, np.int64))], 0)
        return g.op('Resize', x, left_out, left_out, target, shape=(*x.shape[:2], *sizes), **how)
    factors = m.scale_factor if isinstance(m.scale_factor, (tuple, list)) else [m.scale_factor] * 2
    sizes = [None if n is None else int(n * factor) for n, factor in zip(x.shape[2:], factors)]
    scales = np.array([1, 1, *factors], np.float32)
    return g.op('Resize', x, left_out, scales, shape=(*x.shape[:2], *sizes), **how)


def _concat(g: Writer, m: common.Concat, x: list[Value]) -> Value:
    return ops.concat(g, x, m.d)


def _as_it_is(g: Writer, m: nn.Module, x: Maps) -> Maps:
    return x


LAYERS: dict[type, Callable[[Writer, Any, Any], Maps]] = {
    nn.Conv2d: _convolution,
    ours.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Upsample: _upsample,
    nn.ZeroPad2d: _zero_pad,
    nn.Identity: _as_it_is,
    nn.Dropout: _as_it_is,
    nn.SiLU: lambda g, m, x: ops.silu(g, x),
    nn.ReLU: lambda g, m, x: g.op('Relu', x, shape=x.shape),
    nn.LeakyReLU: lambda g, m, x: g.op('LeakyRelu', x, shape=x.shape, alpha=float(m.negative_slope)),
    nn.Hardswish: lambda g, m, x: ops.hardswish(g, x),
    nn.Mish: lambda g, m, x: ops.mish(g, x),
    nn.Sequential: _sequential,
    common.Conv: _conv,
    common.DWConv: _conv,
    common.DWConvTranspose2d: _transposed_convolution,
    common.Bottleneck: _bottleneck,
    common.BottleneckCSP: _bottleneck_csp,
    common.CrossConv: _bottleneck,
    common.C3: _c3,
    common.C3x: _c3,
    common.C3TR: _c3,
    common.C3SPP: _c3,
    common.C3Ghost: _c3,
    common.TransformerBlock: _transformer_block,
    attention.TransformerLayer: _transformer_layer,
    common.SPP: _spp,
    common.SPPF: _sppf,
    common.Focus: _focus,
    common.GhostConv: _ghost_conv,
    common.GhostBottleneck: _ghost_bottleneck,
    common.MixConv2d: _mix_conv,
    common.Sum: _sum,
    common.Concat: _concat,
    common.Contract: _blocks_to_channels,
    common.Expand: _channels_to_blocks,
    common.Classify: _classify,
    head.Detect: detect.rows,
}
