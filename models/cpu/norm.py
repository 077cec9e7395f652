"""Batch norm as an operation of a plan."""

from __future__ import annotations

from ctypes import c_float, c_uint

import numpy as np
import oneflow as torch
from oneflow import nn

from models.cpu import dnnl as d
from models.cpu.builder import Builder, Statistics
from models.cpu.dnnl import Arg, Descriptor, Primitive
from models.cpu.plan import Buffer, External, Place, Value
from models.sync_bn import SyncBatchNorm2d, joined

# The faster batch norm, 'bnorm_jit', lets its threads spin while they wait for each other. On cores that loader
# workers want as well one of them is asleep meanwhile: it was measured to take 3 to 6 times as long as this one then.
BATCH_NORM = 'bnorm_tbb_jit'


def batch_norm(b: Builder, x: Value, *layers: nn.BatchNorm2d) -> Value:
    """Batch norm by the batch's own statistics (Ioffe and Szegedy, https://arxiv.org/abs/1502.03167).

    Several layers share the channels out. With `SyncBatchNorm2d` the batch is that of all processes: what each counted
    is joined before the norm, and in backward the sums over all follow what came from this process's own.
    """
    n, c, h, w = x.shape
    scale, shift = b.parameter(layers, 'weight'), b.parameter(layers, 'bias')
    y = b.value(x.shape, x.needs_gradient or bool(scale.gradient or shift.gradient))
    layout, vector = x.descriptor, b.dnnl.descriptor((c,), (1,))
    statistics = Statistics(layers, n * h * w, np.zeros(c, np.float32), np.zeros(c, np.float32))
    b.statistics.append(statistics)
    mean, variance = ((vector, External.of(array)) for array in (statistics.mean, statistics.variance))
    places = {Arg.SRC: (layout, x.buffer), Arg.MEAN: mean, Arg.VARIANCE: variance, Arg.SCALE: (vector, scale.value)}

    sync = isinstance(layers[0], SyncBatchNorm2d) and torch.env.get_world_size() > 1
    known = _count_in_groups(b, x, y, statistics, sync)
    forward = _norm_forward(b, layout, layers[0].eps, d.USE_SCALE | d.USE_SHIFT | (d.GIVEN_STATISTICS if known else 0))
    b.step(forward, {**places, Arg.SHIFT: (vector, shift.value), Arg.DST: (layout, y.buffer)})

    def backward() -> None:
        gradient, free = b.take_gradient(y)
        # With statistics that are given, what they owe to this process's own x is left to `_joint_part`.
        flags = d.USE_SCALE | d.USE_SHIFT | (d.GIVEN_STATISTICS if sync else 0)
        hint = _norm_forward(b, layout, layers[0].eps, flags)
        settings = c_float(layers[0].eps), c_uint(flags), hint
        made = b.dnnl.primitive(
            'batch_normalization_backward', d.BACKWARD, layout, layout, layout, *settings, prefer=BATCH_NORM
        )
        dscale, dshift = scale.gradient or _own(c), shift.gradient or _own(c)
        parts = {Arg.DIFF_DST: gradient, Arg.DIFF_SRC: free}
        parts |= {Arg.DIFF_SCALE: (vector, dscale), Arg.DIFF_SHIFT: (vector, dshift)}
        b.pass_on(x, made, {**places, **parts})
        if sync:
            _joint_part(b, x, layers[0].eps, statistics, places, (dscale, dshift))

    b.backward(y, backward)
    return y


def _own(c: int) -> External:
    return External.of(np.zeros(c, np.float32))


def _joint_part(
    b: Builder, x: Value, eps: float, whole: Statistics, places: dict[int, Place], gradients: tuple[External, External]
) -> None:
    """Add to the gradient of `x` what reaches it through the statistics, from the losses of all processes.

    With u the normalised x that is -weight inverse (u sum(dy u) + sum(dy)) / n: a batch norm of x with another scale
    and shift.
    """
    scale, shift = _own(len(whole.mean)), _own(len(whole.mean))
    dscale, dshift = gradients
    weight = places[Arg.SCALE][1]

    def add_up() -> None:
        sums = torch.from_numpy(np.stack([dscale.array, dshift.array]))
        torch.comm.all_reduce(sums)
        scale.array[:], shift.array[:] = sums.numpy() * (weight.array / np.sqrt(whole.variance + eps) / -whole.count)

    b.call(add_up)
    layout, vector = places[Arg.SRC][0], places[Arg.MEAN][0]
    part = Buffer(layout.size)
    flags = d.USE_SCALE | d.USE_SHIFT | d.GIVEN_STATISTICS
    given = {arg: places[arg] for arg in (Arg.SRC, Arg.MEAN, Arg.VARIANCE)}
    other = {Arg.SCALE: (vector, scale), Arg.SHIFT: (vector, shift), Arg.DST: (layout, part)}
    b.step(_norm_forward(b, layout, eps, flags), given | other)
    b.add_part(x, part)


def _norm_forward(b: Builder, layout: Descriptor, eps: float, flags: int) -> Primitive:
    settings = c_float(eps), c_uint(flags)
    return b.dnnl.primitive(
        'batch_normalization_forward', d.FORWARD_TRAINING, layout, layout, *settings, prefer=BATCH_NORM
    )


def _count_in_groups(b: Builder, x: Value, y: Value, whole: Statistics, sync: bool) -> bool:
    """Record a calculation of mean and variance apart from the norm, more exact for a large map, over all processes.

    False where neither is needed.

    oneDNN adds up a channel's numbers one after another in float32: over 16 maps of 160 x 160 the variance is off by
    5e-5 of its value, and what comes out of the network by 3e-4. Groups of pixels that count as channels of their own
    make the sums short; they are joined in float64. What that norm writes to `y` is not used. With one thread, whose
    sums are the longest, groups of 256 keep the gradient norm within 2e-5 of the reference's; groups of 2048 miss it
    by 2e-3 after three steps.
    """
    n, c, h, w = x.shape
    groups = 1
    while n * h * w > 2048 and n * h * w // groups > 256 and h * w % (2 * groups) == 0 and groups * c < 8192:
        groups *= 2
    if groups == 1 and not sync:
        return False
    many = groups * c
    layout = b.nhwc((n, many, 1, h * w // groups))
    vector = b.dnnl.descriptor((many,), (1,))
    means, variances = np.zeros((groups, c), np.float32), np.zeros((groups, c), np.float32)
    places = {Arg.SRC: (layout, x.buffer), Arg.DST: (layout, y.buffer)}
    places |= {Arg.MEAN: (vector, External.of(means)), Arg.VARIANCE: (vector, External.of(variances))}
    b.step(_norm_forward(b, layout, 1.0, 0), places)

    def join() -> None:
        exact = means.astype(np.float64)
        whole.mean[:] = exact.mean(0)
        whole.variance[:] = variances.mean(0, dtype=np.float64) + exact.var(0)
        if sync:
            mean, variance = (torch.from_numpy(array.copy()) for array in (whole.mean, whole.variance))
            total, mean, variance = (t.numpy() for t in joined(n * h * w, mean, variance))
            whole.count, whole.mean[:], whole.variance[:] = int(total[0]), mean, variance

    b.call(join)
    return True
