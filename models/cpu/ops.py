"""The operations a plan can do: each records its forward steps and leaves its backward on the tape.

Maps are NHWC throughout: there every kernel used here has a fast version, and mixing layouts is what makes oneDNN
fall back on its slow ones. All functions raise DnnlError where it has none for a shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from ctypes import c_float

from oneflow import nn

from models.cpu import dnnl as d
from models.cpu.builder import Builder, Parameter
from models.cpu.dnnl import Arg, Descriptor, Primitive, dims, floats
from models.cpu.plan import Buffer, External, Place, Value


def convolution(b: Builder, x: Value, *layers: nn.Conv2d) -> Value:
    """A convolution, grouped or not, with or without bias; or several of one kind, their outputs side by side."""
    (n, _, h, w), layer = x.shape, layers[0]
    size = [
        (full + 2 * p - (dilation * (k - 1) + 1)) // s + 1
        for full, k, s, p, dilation in zip((h, w), layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    ]
    weight = b.parameter(layers, 'weight')
    bias = b.parameter(layers, 'bias') if layer.bias is not None else None
    channels = weight.value.shape[0]
    trained = [p for p in (weight, bias) if p and p.gradient]
    y = b.value((n, channels, *size), x.needs_gradient or bool(trained))
    plain, free = _weight_layouts(b, weight.value.shape, layer.groups)
    vector = b.dnnl.descriptor((channels,), (1,)) if bias else None
    padding = dims(layer.padding)
    window = (dims(layer.stride), dims([i - 1 for i in layer.dilation]), padding, padding)

    forward = b.dnnl.primitive(
        'convolution_forward',
        d.FORWARD_TRAINING,
        d.CONVOLUTION_DIRECT,
        x.descriptor,
        free,
        vector,
        y.descriptor,
        *window,
    )
    places = {Arg.SRC: (x.descriptor, x.buffer), Arg.DST: (y.descriptor, y.buffer)}
    places[Arg.WEIGHTS] = b.in_layout((plain, weight.value), forward.chosen(d.WEIGHTS))
    if bias:
        places[Arg.BIAS] = vector, bias.value
    b.step(forward, places)

    def backward() -> None:
        gradient, _ = b.take_gradient(y)
        if trained:
            made = b.dnnl.primitive(
                'convolution_backward_weights', d.CONVOLUTION_DIRECT,
                x.descriptor, free, vector, y.descriptor, *window, forward,
            )  # fmt: skip
            _weight_gradient(b, made, (x.descriptor, x.buffer), gradient, (plain, weight), (vector, bias))
        if x.needs_gradient:
            made = b.dnnl.primitive(
                'convolution_backward_data', d.CONVOLUTION_DIRECT,
                x.descriptor, free, y.descriptor, *window, forward,
            )  # fmt: skip
            weights = b.in_layout((plain, weight.value), made.chosen(d.WEIGHTS))
            b.add_gradient(x, made, {Arg.WEIGHTS: weights, Arg.DIFF_DST: gradient})

    b.backward(y, backward)
    return y


def _weight_layouts(b: Builder, shape: Sequence[int], groups: int) -> tuple[Descriptor, Descriptor]:
    """Weights (out, in, h, w) as OneFlow lays them out, and as oneDNN wants to choose."""
    if groups > 1:
        shape = groups, shape[0] // groups, *shape[1:]
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return b.dnnl.descriptor(shape, strides), b.dnnl.descriptor(shape)


def _weight_gradient(
    b: Builder,
    primitive: Primitive,
    source: Place,
    gradient: Place,
    weight: tuple[Descriptor, Parameter],
    bias: tuple[Descriptor | None, Parameter | None],
) -> None:
    """Record the gradients of weight and bias; oneDNN computes both at once, a frozen one's is dropped."""
    layout, (plain, parameter) = primitive.chosen(d.DIFF_WEIGHTS), weight
    direct = layout.same(plain) and parameter.gradient
    made = layout, parameter.gradient if direct else Buffer(layout.size)
    places = {Arg.SRC: source, Arg.DIFF_DST: gradient, Arg.DIFF_WEIGHTS: made}
    if bias[1]:
        places[Arg.DIFF_BIAS] = bias[0], bias[1].gradient or Buffer(bias[0].size)
    b.step(primitive, places)
    if parameter.gradient and not direct:
        b.reorder(made, (plain, parameter.gradient))


def activation(b: Builder, x: Value, kind: int, alpha: float = 0.0, beta: float = 0.0) -> Value:
    """An element-wise function: one of oneDNN's eltwise kinds with its two numbers."""
    y = b.value(x.shape, x.needs_gradient)
    layout, settings = x.descriptor, (c_float(alpha), c_float(beta))
    forward = b.dnnl.primitive('eltwise_forward', d.FORWARD_TRAINING, kind, layout, layout, *settings)
    b.step(forward, {Arg.SRC: (layout, x.buffer), Arg.DST: (layout, y.buffer)})

    def backward() -> None:
        gradient, free = b.take_gradient(y)
        made = b.dnnl.primitive('eltwise_backward', kind, layout, layout, layout, *settings, forward)
        b.pass_on(x, made, {Arg.SRC: (layout, x.buffer), Arg.DIFF_DST: gradient, Arg.DIFF_SRC: free})

    b.backward(y, backward)
    return y


def max_pool(b: Builder, x: Value, layer: nn.MaxPool2d) -> Value:
    n, c, h, w = x.shape
    kernel, stride, padding = (_both(i) for i in (layer.kernel_size, layer.stride, layer.padding))
    size = [(full + 2 * p - k) // s + 1 for full, k, s, p in zip((h, w), kernel, stride, padding)]
    y = b.value((n, c, *size), x.needs_gradient)
    window = dims(stride), dims(kernel), dims((0, 0)), dims(padding), dims(padding)
    forward = b.dnnl.primitive(
        'pooling_forward', d.FORWARD_TRAINING, d.POOLING_MAX, x.descriptor, y.descriptor, *window
    )
    layout = forward.chosen(d.WORKSPACE)
    workspace = layout, Buffer(layout.size)  # which place of each window won
    b.step(forward, {Arg.SRC: (x.descriptor, x.buffer), Arg.DST: (y.descriptor, y.buffer), Arg.WORKSPACE: workspace})

    def backward() -> None:
        gradient, _ = b.take_gradient(y)
        made = b.dnnl.primitive('pooling_backward', d.POOLING_MAX, x.descriptor, y.descriptor, *window, forward)
        b.add_gradient(x, made, {Arg.DIFF_DST: gradient, Arg.WORKSPACE: workspace})

    b.backward(y, backward)
    return y


def upsample(b: Builder, x: Value, factor: int) -> Value:
    """Nearest neighbours: every pixel `factor` times in both directions."""
    n, c, h, w = x.shape
    y = b.value((n, c, h * factor, w * factor), x.needs_gradient)
    settings = d.NEAREST, floats((factor, factor)), x.descriptor, y.descriptor
    forward = b.dnnl.primitive('resampling_forward', d.FORWARD_TRAINING, *settings)
    b.step(forward, {Arg.SRC: (x.descriptor, x.buffer), Arg.DST: (y.descriptor, y.buffer)})

    def backward() -> None:
        gradient, _ = b.take_gradient(y)
        made = b.dnnl.primitive('resampling_backward', *settings, forward)
        b.add_gradient(x, made, {Arg.DIFF_DST: gradient})

    b.backward(y, backward)
    return y


def add(b: Builder, x: Value, other: Value) -> Value:
    """The sum of two maps of one shape."""
    y = b.value(x.shape, x.needs_gradient or other.needs_gradient)
    layout = y.descriptor
    forward = b.dnnl.primitive('binary', d.ADD, layout, layout, layout)
    b.step(forward, {Arg.SRC: (layout, x.buffer), Arg.SRC_1: (layout, other.buffer), Arg.DST: (layout, y.buffer)})

    def backward() -> None:
        for value in (x, other):
            if not value.needs_gradient:
                continue
            if value.gradient is None:
                b.share_gradient(y, value)
            else:
                b.reorder((layout, y.gradient), b.own_gradient(value), add=True)
        b.take_gradient(y)

    b.backward(y, backward)
    return y


def concat(b: Builder, values: Sequence[Value]) -> Value:
    """Maps side by side along the channels."""
    n, _, h, w = values[0].shape
    y = b.value((n, sum(v.shape[1] for v in values), h, w), any(v.needs_gradient for v in values))
    first = 0
    for x in values:
        _move(b, y, x, [(x.descriptor, y.descriptor.part(x.shape, (0, first, 0, 0)))])
        first += x.shape[1]
    return y


def around(b: Builder, x: Value, channels: int, inner: Callable[[Value], Value]) -> Value:
    """The first channels of `x` go through `inner`, the others pass by and are joined to what comes out."""
    n, c, h, w = x.shape
    passing = x.descriptor.part((n, c - channels, h, w), (0, channels, 0, 0))
    worked = x.descriptor.part((n, channels, h, w), (0, 0, 0, 0))
    first = b.value((n, channels, h, w), x.needs_gradient)
    b.reorder((worked, x.buffer), (first.descriptor, first.buffer))
    b.backward(first, lambda: b.reorder((first.descriptor, first.gradient), (worked, x.gradient)))

    result = inner(first)
    kept = result.shape[1]
    y = b.value((n, kept + c - channels, h, w), x.needs_gradient or result.needs_gradient)
    target = y.descriptor.part((n, c - channels, h, w), (0, kept, 0, 0))
    b.reorder((passing, x.buffer), (target, y.buffer))

    def backward() -> None:
        if x.needs_gradient:
            x.gradient = Buffer(x.descriptor.size)
            b.reorder((target, y.gradient), (passing, x.gradient))

    b.backward(y, backward)
    _move(b, y, result, [(result.descriptor, y.descriptor.part(result.shape, (0, 0, 0, 0)))])
    return y


def focus(b: Builder, x: Value) -> Value:
    """The four pixels of every 2x2 block become channels: (n, c, h, w) -> (n, 4 c, h / 2, w / 2)."""
    n, c, h, w = x.shape
    y = b.value((n, 4 * c, h // 2, w // 2), x.needs_gradient)
    blocks = b.dnnl.descriptor((n, c, h // 2, 2, w // 2, 2), (h * w * c, 1, 2 * w * c, w * c, 2 * c, c))
    joined = b.dnnl.descriptor((n, 4 * c, h // 2, 1, w // 2, 1), (h * w * c, 1, 2 * w * c, 2 * w * c, 4 * c, 4 * c))
    part = (n, c, h // 2, 1, w // 2, 1)
    places = [(row, column) for column in (0, 1) for row in (0, 1)]
    moves = [
        (blocks.part(part, (0, 0, 0, row, 0, column)), joined.part(part, (0, i * c, 0, 0, 0, 0)))
        for i, (row, column) in enumerate(places)
    ]
    _move(b, y, x, moves)
    return y


def zero_pad(b: Builder, x: Value, left: int, right: int, top: int, bottom: int) -> Value:
    """A frame of zeros."""
    n, c, h, w = x.shape
    y = b.value((n, c, top + h + bottom, left + w + right), x.needs_gradient)
    b.call(lambda numbers: numbers.fill(0), y.buffer)
    _move(b, y, x, [(x.descriptor, y.descriptor.part(x.shape, (0, 0, top, left)))])
    return y


def _move(b: Builder, y: Value, x: Value, moves: Sequence[tuple[Descriptor, Descriptor]]) -> None:
    """Copy pieces of `x` to pieces of `y`; the pieces of `x`, which are disjoint, make up all of it."""
    for piece, target in moves:
        b.reorder((piece, x.buffer), (target, y.buffer))

    def backward() -> None:
        more = x.gradient is not None
        place = b.own_gradient(x)[1] if more else Buffer(x.descriptor.size)
        x.gradient = place
        for piece, target in moves:
            b.reorder((target, y.gradient), (piece, place), add=more)

    if x.needs_gradient:
        b.backward(y, backward)


def detections(b: Builder, x: Value, anchors: int) -> None:
    """An output of the network: (n, anchors * values, h, w) as (n, anchors, h, w, values)."""
    n, c, h, w = x.shape
    values = c // anchors
    shape = (n, anchors, h, w, values)
    inside = b.dnnl.descriptor(shape, (h * w * c, values, w * c, c, 1))
    outside = b.dnnl.descriptor(shape, (h * w * c, h * w * values, w * values, values, 1))
    result, gradient = External(shape), External(shape)
    b.outputs.append((result, gradient))
    b.reorder((inside, x.buffer), (outside, result))

    def backward() -> None:
        x.gradient = Buffer(x.descriptor.size)
        b.reorder((outside, gradient), (inside, x.gradient))

    if x.needs_gradient:
        b.tape.append(backward)


def _both(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
