"""OneFlow's layers with cheaper arithmetic on a CPU: same constructor, state and results.

OneFlow 0.9.0's CPU kernels are uneven. Every class here gives its parent's result (the same sums, in another order at
most) through operations that were measured to be faster on a CPU, forward and backward, or more precise; on a GPU it
is its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import oneflow as torch
from oneflow import nn

from models.limits import reserve

Ints = int | Sequence[int]


class SiLU(nn.SiLU):
    """x * sigmoid(x) (Elfwing et al., https://arxiv.org/abs/1702.03118). OneFlow's own has a slow gradient on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.is_cuda or not x.requires_grad else x * x.sigmoid()


class Conv2d(nn.Conv2d):
    """A convolution. On a CPU a 1x1 kernel is a matrix product without im2col, and the bias is added apart.

    The bias takes its four dimensions: OneFlow adds a (1, c, 1, 1) tensor about ten times faster than a (1, c, 1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        check_window(kernel_size, stride, padding)
        reserve(out_channels, in_channels // groups, *_pair(kernel_size))
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel depends on its own input pixel alone."""
        return (
            self.kernel_size == (1, 1) and self.stride == (1, 1) and tuple(self.padding) == (0, 0) and self.groups == 1
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda:
            return super().forward(x)
        if self.pointwise:
            b, c, h, w = x.shape
            y = torch.matmul(self.weight.view(-1, c), x.reshape(b, c, h * w)).view(b, -1, h, w)
        else:
            y = self._conv_forward(x, self.weight, None)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)


class AnchorConv2d(Conv2d):
    """The 1x1 convolution of a detection head: each anchor's values come out side by side.

    (b, c, ny, nx) -> (b, anchors, ny, nx, values), contiguous, for `anchors * values` output channels. Turning the
    small side of the product instead of its result saves a CPU most of this layer's time.
    """

    def __init__(self, channels: int, anchors: int, values: int) -> None:
        super().__init__(channels, anchors * values, 1)
        self.anchors, self.values = anchors, values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, ny, nx = x.shape
        if x.is_cuda:
            y = super().forward(x).view(b, self.anchors, self.values, ny, nx)
            return y.permute(0, 1, 3, 4, 2).contiguous()
        weight = self.weight.view(1, -1, c).expand(b, -1, c)
        y = torch._C.matmul(x.reshape(b, c, ny * nx), weight, transpose_a=True, transpose_b=True) + self.bias
        y = y.view(b, ny * nx, self.anchors, self.values).permute(0, 2, 1, 3).contiguous()
        return y.view(b, self.anchors, ny, nx, self.values)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm. On a CPU the statistics of a batch are summed by matrix products, in blocks.

    OneFlow's kernel adds a channel's values one after another in float32: over 16 maps of 160 x 160 its result is off
    by 6e-4 and its scale's gradient by 1e-4 of its size; here it is 1e-6 and 1e-7, in the same time.

    OneFlow's batch norm takes no float16: `.half()` leaves this layer's numbers in float32, and it computes in that.
    """

    def __init__(self, num_features: int, *settings: float, **more: float) -> None:
        reserve(4, num_features)
        super().__init__(num_features, *settings, **more)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
        return super()._apply(lambda tensor: without_half(fn, tensor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float16:
            return self.forward(x.float()).half()
        if x.is_cuda or not self.training or not self.affine:
            return super().forward(x)
        self._check_input_dim(x)
        n = x.numel() // x.shape[1]
        with torch.no_grad():
            mean = channel_sum(x) / n
            centred = x - mean.view(1, -1, 1, 1)
            variance = channel_dot(centred, centred) / n
            if self.track_running_stats:
                self.num_batches_tracked.add_(1)
                self.running_mean.mul_(1 - self.momentum).add_(mean * self.momentum)
                self.running_var.mul_(1 - self.momentum).add_(variance * (self.momentum * n / max(n - 1, 1)))
            inverse = (variance + self.eps).rsqrt()
        return _Normalize.apply(x, self.weight, self.bias, centred, inverse)


def without_half(fn: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    """What a cast or move `fn`, as `Module.half()` and `.to()` apply it, makes of a tensor; in float32 for float16."""
    result = fn(tensor)
    return tensor.float().to(result.device) if result.dtype == torch.float16 else result


class _Normalize(torch.autograd.Function):
    """y = centred * inverse * weight + bias, whose gradient knows how the batch's mean and deviation depend on x.

    With u = centred * inverse: dweight = sum(dy u), dbias = sum(dy), and
    dx = weight inverse (dy - mean(dy) - u mean(dy u)) (Ioffe and Szegedy, https://arxiv.org/abs/1502.03167).
    """

    @staticmethod
    def forward(ctx, x, weight, bias, centred, inverse):
        ctx.save_for_backward(weight, centred, inverse)
        return _channel_affine(centred, weight * inverse, bias)

    @staticmethod
    def backward(ctx, dy):
        weight, centred, inverse = ctx.saved_tensors
        n = dy.numel() // dy.shape[1]
        dbias = channel_sum(dy)
        dweight = channel_dot(dy, centred) * inverse
        scale = weight * inverse
        slope = scale * inverse * dweight / -n
        dx = _channel_affine(dy, scale, scale * dbias / -n) + centred * slope.view(1, -1, 1, 1)
        return dx, dweight, dbias, None, None


def channel_sum(x: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> the sum over all but c, (c,)."""
    b, c, h, w = x.shape
    return torch.matmul(x.reshape(b * c, h * w), torch.ones(h * w, 1)).view(b, c).sum(0)


def channel_dot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The sum of x * y over all but the channels, (c,)."""
    b, c, h, w = x.shape
    return torch._C.batch_matmul(x.reshape(b * c, 1, h * w), y.reshape(b * c, h * w, 1)).view(b, c).sum(0)


def _channel_affine(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x * scale + shift by channel in one pass: a batch norm of stored mean 0 and variance 1."""
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
    return torch._C.normalization(x, zeros, ones, scale, shift, axis=1, epsilon=0.0, momentum=0.0, is_training=False)


class ConvTranspose2d(nn.ConvTranspose2d):
    """OneFlow's own, with its size checked before it is made."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        check_window(kernel_size, stride, padding)
        if not all(0 <= more < by for more, by in zip(_pair(output_padding), _pair(stride))):
            raise ValueError('the output padding is no less than the stride')
        reserve(in_channels, out_channels // groups, *_pair(kernel_size))
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias)


class Linear(nn.Linear):
    """OneFlow's own, with its size checked before it is made."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        reserve(out_features, in_features)
        super().__init__(in_features, out_features, bias)


class AvgPool2d(nn.AvgPool2d):
    """The mean over a window."""

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, *settings: bool) -> None:
        check_window(kernel_size, stride, padding, pooling=True)
        super().__init__(kernel_size, stride, padding, *settings)


class MaxPool2d(nn.MaxPool2d):
    """The maximum over a window. On a CPU a large one is taken along rows, then along columns."""

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, *settings: Ints) -> None:
        check_window(kernel_size, stride, padding, pooling=True)
        super().__init__(kernel_size, stride, padding, *settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda or self.return_indices or self.ceil_mode or min(self.kernel_size) < 5:
            return super().forward(x)
        return self._along(self._along(x, 1), 0)

    def _along(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        def only(values: tuple[int, int], neutral: int) -> list[int]:
            return [value if i == axis else neutral for i, value in enumerate(values)]

        dilation = self.dilation if isinstance(self.dilation, tuple | list) else (self.dilation, self.dilation)
        return nn.functional.max_pool2d(
            x, only(self.kernel_size, 1), only(self.stride, 1), only(self.padding, 0), only(dilation, 1)
        )


class Upsample(nn.Upsample):
    """Interpolation to a larger map. On a CPU doubling by nearest neighbours is two joins."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda or x.ndim != 4 or self.size is not None or self.mode != 'nearest' or self.scale_factor != 2:
            return super().forward(x)
        b, c, h, w = x.shape
        row = x.reshape(b, c, h, w, 1)
        row = torch.cat([row, row], 4).view(b, c, h, 2 * w)
        return torch.cat([row, row], 3).view(b, c, 2 * h, 2 * w)


def check_window(kernel: Ints, stride: Ints | None, padding: Ints, pooling: bool = False) -> None:
    """Refuse a window that OneFlow would divide by zero over, or read outside of the map for.

    Raises:
        ValueError: kernel or stride are not from 1, padding is not from 0, or for pooling more than half of the kernel.
    """
    sides, steps, edges = _pair(kernel), _pair(kernel if stride is None else stride), _pair(padding)
    whole = all(isinstance(n, int) and len(ns) == 2 for ns in (sides, steps, edges) for n in ns)
    if not whole or min(*sides, *steps) < 1 or min(edges) < 0:
        raise ValueError(f'a window of {kernel} with stride {stride} and padding {padding}')
    if pooling and any(edge > side // 2 for side, edge in zip(sides, edges)):
        raise ValueError(f'padding {padding} is more than half of the kernel {kernel}')


def _pair(value: Ints) -> Sequence[int]:
    return value if isinstance(value, (tuple, list)) else (value, value)
