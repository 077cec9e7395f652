"""OneFlow's layers with cheaper arithmetic on a CPU: same constructor, state and results.

OneFlow 0.9.0's CPU kernels are uneven. Every class here gives its parent's result (the same sums, in another order at
most) through operations that were measured to be faster on a CPU, forward and backward; on a GPU it is its parent.
"""

from __future__ import annotations

import oneflow as torch
from oneflow import nn


class SiLU(nn.SiLU):
    """x * sigmoid(x) (Elfwing et al., https://arxiv.org/abs/1702.03118)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.is_cuda else x * x.sigmoid()


class Conv2d(nn.Conv2d):
    """A convolution. On a CPU a 1x1 kernel is a matrix product without im2col, and the bias is added apart.

    The bias takes its four dimensions: OneFlow adds a (1, c, 1, 1) tensor about ten times faster than a (1, c, 1).
    """

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
        return y.view(b, ny * nx, self.anchors, self.values).permute(0, 2, 1, 3).reshape(b, -1, ny, nx, self.values)


class MaxPool2d(nn.MaxPool2d):
    """The maximum over a window. On a CPU a large one is taken along rows, then along columns."""

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
