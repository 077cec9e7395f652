"""From our layers to the operations of a plan: one short function a layer, in one table.

Each mirrors the layer's `forward` in models/common.py. A layer that is not in the table makes the whole network train
on plain OneFlow: types are looked up exactly, for a subclass may compute something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oneflow import nn

from models import common, head
from models import ops as layers
from models.cpu import dnnl, norm, ops
from models.cpu.builder import Builder
from models.cpu.plan import Value
from models.sync_bn import SyncBatchNorm2d

Maps = Value | list[Value]


class UnknownLayer(Exception):
    """There is no lowering for a layer, or for the way it is set up; the text names it."""


def lower(b: Builder, model: Any, shape: tuple[int, int, int, int]) -> None:
    """Record the network of a `models.yolo.Model` for pictures of this shape.

    Raises:
        UnknownLayer, DnnlError: it can't be done.
    """
    x: Maps = b.input(shape)
    outputs: list[Maps] = []
    for layer in model.model:
        if layer.f != -1:
            x = outputs[layer.f] if isinstance(layer.f, int) else [x if j == -1 else outputs[j] for j in layer.f]
        x = apply(b, layer, x)
        outputs.append(x)
    if not b.outputs:
        raise UnknownLayer('no Detect')


def apply(b: Builder, layer: nn.Module, x: Maps) -> Maps:
    """Record one layer, by the table."""
    kind = type(layer)
    if kind.__module__ == layers.__name__:
        kind = kind.__base__  # models/ops.py: other arithmetic, the same result
    if kind not in LAYERS:
        raise UnknownLayer(kind.__name__)
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise UnknownLayer(f'{kind.__name__} with a hook')
    return LAYERS[kind](b, layer, x)


def _convolution(b: Builder, m: nn.Conv2d, x: Value, *beside: nn.Conv2d) -> Value:
    for layer in (m, *beside):
        if layer.padding_mode != 'zeros' or isinstance(layer.padding, str):
            raise UnknownLayer('Conv2d with a padding mode')
    return ops.convolution(b, x, m, *beside)


def _batch_norm(b: Builder, m: nn.BatchNorm2d, x: Value, *beside: nn.BatchNorm2d) -> Value:
    for layer in (m, *beside):
        if not (layer.training and layer.affine and layer.track_running_stats and layer.momentum is not None):
            raise UnknownLayer('BatchNorm2d that is frozen, or without weights, momentum or running statistics')
    return norm.batch_norm(b, x, m, *beside)


def _conv(b: Builder, m: common.Conv, x: Value) -> Value:
    y = apply(b, m.conv, x)
    return apply(b, m.act, y if m.bn is None else apply(b, m.bn, y))


def _bottleneck(b: Builder, m: common.Bottleneck, x: Value) -> Value:
    y = apply(b, m.cv2, apply(b, m.cv1, x))
    return ops.add(b, x, y) if m.add else y


def _c3(b: Builder, m: common.C3, x: Value) -> Value:
    one, other = m.cv1, m.cv2
    if not _alike(one, other):
        return apply(b, m.cv3, ops.concat(b, [apply(b, m.m, apply(b, one, x)), apply(b, other, x)]))
    # Both see the same map: as one convolution they read it once, and its gradient comes in one piece.
    both = _batch_norm(b, one.bn, _convolution(b, one.conv, x, other.conv), other.bn)
    both = apply(b, one.act, both)
    return apply(b, m.cv3, ops.around(b, both, one.conv.out_channels, lambda y: apply(b, m.m, y)))


def _alike(one: common.Conv, other: common.Conv) -> bool:
    """Whether two Convs may run as one: pointwise, without hooks, and different in their numbers alone."""

    def traits(m: common.Conv) -> tuple:
        frozen = [p.requires_grad for p in m.parameters()]
        return [(type(layer), layer.extra_repr()) for layer in m.children()], m.conv.in_channels, frozen

    def plain(m: common.Conv) -> bool:
        hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in m.modules())
        return type(m) is common.Conv and m.bn is not None and m.conv.pointwise and not hooked

    return plain(one) and plain(other) and traits(one) == traits(other)


def _bottleneck_csp(b: Builder, m: common.BottleneckCSP, x: Value) -> Value:
    worked, passed = apply(b, m.cv3, apply(b, m.m, apply(b, m.cv1, x))), apply(b, m.cv2, x)
    return apply(b, m.cv4, apply(b, m.act, apply(b, m.bn, ops.concat(b, [worked, passed]))))


def _spp(b: Builder, m: common.SPP, x: Value) -> Value:
    x = apply(b, m.cv1, x)
    return apply(b, m.cv2, ops.concat(b, [x, *(apply(b, pool, x) for pool in m.m)]))


def _sppf(b: Builder, m: common.SPPF, x: Value) -> Value:
    maps = [apply(b, m.cv1, x)]
    for _ in range(3):
        maps.append(apply(b, m.m, maps[-1]))
    return apply(b, m.cv2, ops.concat(b, maps))


def _ghost_conv(b: Builder, m: common.GhostConv, x: Value) -> Value:
    y = apply(b, m.cv1, x)
    return ops.concat(b, [y, apply(b, m.cv2, y)])


def _ghost_bottleneck(b: Builder, m: common.GhostBottleneck, x: Value) -> Value:
    return ops.add(b, apply(b, m.conv, x), apply(b, m.shortcut, x))


def _mix_conv(b: Builder, m: common.MixConv2d, x: Value) -> Value:
    return apply(b, m.act, apply(b, m.bn, ops.concat(b, [apply(b, conv, x) for conv in m.m])))


def _sum(b: Builder, m: common.Sum, x: list[Value]) -> Value:
    if m.weight:
        raise UnknownLayer('Sum with weights')
    total = x[0]
    for other in x[1:]:
        total = ops.add(b, total, other)
    return total


def _concat(b: Builder, m: common.Concat, x: list[Value]) -> Value:
    if m.d != 1:
        raise UnknownLayer(f'Concat along {m.d}')
    return ops.concat(b, x)


def _sequential(b: Builder, m: nn.Sequential, x: Maps) -> Maps:
    for layer in m:
        x = apply(b, layer, x)
    return x


def _max_pool(b: Builder, m: nn.MaxPool2d, x: Value) -> Value:
    if m.ceil_mode or m.return_indices or m.dilation not in (1, (1, 1), [1, 1]):
        raise UnknownLayer('MaxPool2d with ceil_mode, indices or dilation')
    return ops.max_pool(b, x, m)


def _upsample(b: Builder, m: nn.Upsample, x: Value) -> Value:
    if m.mode != 'nearest' or m.size is not None or m.scale_factor != int(m.scale_factor):
        raise UnknownLayer(f'Upsample ({m.mode}) to a size or by a fraction')
    return ops.upsample(b, x, int(m.scale_factor))


def _detect(b: Builder, m: head.Detect, x: list[Value]) -> list[Value]:
    if not m.training:
        raise UnknownLayer('Detect in evaluation mode')
    for conv, level in zip(m.m, x):
        ops.detections(b, ops.convolution(b, level, conv), m.na)
    return x


LAYERS: dict[type, Callable[[Builder, Any, Any], Maps]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    SyncBatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.Upsample: _upsample,
    nn.ZeroPad2d: lambda b, m, x: ops.zero_pad(b, x, *m.padding),
    nn.Identity: lambda b, m, x: x,
    nn.SiLU: lambda b, m, x: ops.activation(b, x, dnnl.SWISH, 1.0),
    nn.ReLU: lambda b, m, x: ops.activation(b, x, dnnl.RELU),
    nn.LeakyReLU: lambda b, m, x: ops.activation(b, x, dnnl.RELU, m.negative_slope),
    nn.Hardswish: lambda b, m, x: ops.activation(b, x, dnnl.HARDSWISH, 1 / 6, 0.5),
    nn.Mish: lambda b, m, x: ops.activation(b, x, dnnl.MISH),
    nn.Sequential: _sequential,
    common.Conv: _conv,
    common.DWConv: _conv,
    common.Focus: lambda b, m, x: apply(b, m.conv, ops.focus(b, x)),
    common.Bottleneck: _bottleneck,
    common.CrossConv: _bottleneck,
    common.BottleneckCSP: _bottleneck_csp,
    common.C3: _c3,
    common.C3x: _c3,
    common.C3SPP: _c3,
    common.C3Ghost: _c3,
    common.SPP: _spp,
    common.SPPF: _sppf,
    common.GhostConv: _ghost_conv,
    common.GhostBottleneck: _ghost_bottleneck,
    common.MixConv2d: _mix_conv,
    common.Sum: _sum,
    common.Concat: _concat,
    head.Detect: _detect,
}
