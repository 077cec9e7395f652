"""The detection head: feature maps to raw maps, raw maps to boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import oneflow as torch
from oneflow import nn

from models.ops import AnchorConv2d, without_half


class Detect(nn.Module):
    """One 1x1 convolution a level, and in evaluation mode the decoder behind it.

    Args:
        nc: number of classes.
        anchors: per level a flat list w, h, w, h, ... in pixels. They are a buffer of shape (levels, anchors, 2);
            `set_strides` turns it to grid units (pixels / stride), which it keeps from then on.
        ch: channels of each level's feature map.
    """

    def __init__(self, nc: int = 80, anchors: Sequence[Sequence[float]] = (), ch: Sequence[int] = ()) -> None:
        super().__init__()
        self.nc = nc
        self.no = nc + 5  # x, y, w, h, objectness, classes
        self.nl = len(anchors)
        self.na = len(anchors[0]) // 2
        self._strides = [1.0] * self.nl  # numbers, for reading a tensor would wait for the device
        self._offsets: dict[tuple, tuple] = {}
        self.register_buffer('anchors', torch.tensor(anchors, dtype=torch.float32).reshape(self.nl, self.na, 2))
        self.m = nn.ModuleList([AnchorConv2d(c, self.na, self.no) for c in ch])

    def __getstate__(self) -> dict:
        """What is copied: not the kept offsets, for OneFlow's copies of tensors forget which GPU they were on."""
        return super().__getstate__() | {'_offsets': {}}

    @property
    def stride(self) -> torch.Tensor:
        """Pixels per cell of each level, (nl,), on the CPU."""
        return torch.tensor(self._strides)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
        """Casts and moves; the anchors stay in float32, in which boxes are decoded."""
        anchors = self.anchors
        return super()._apply(lambda tensor: without_half(fn, tensor) if tensor is anchors else fn(tensor))

    def forward(self, x: Sequence[torch.Tensor]) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Feature maps (b, c, ny, nx), finest first.

        Returns:
            training: raw maps, one a level, (b, na, ny, nx, 5 + nc), logits;
            evaluation: (boxes, raw maps); boxes (b, rows, 5 + nc) are x, y, w, h in input pixels, then objectness and
            class probabilities; rows run by level, anchor, y, x.
        """
        maps = [conv(level) for conv, level in zip(self.m, x)]
        if self.training:
            return maps
        return torch.cat([self.decode(i, level) for i, level in enumerate(maps)], 1), maps

    def decode(self, level: int, raw: torch.Tensor) -> torch.Tensor:
        """Raw map (b, na, ny, nx, 5 + nc) of a level -> boxes (b, na * ny * nx, 5 + nc).

        A centre is (2σ - 0.5 + cell) * stride: within half a cell around its own. A size is (2σ)² * anchor: at most
        four times the anchor, so that it can't run away as YOLOv3's exponential does. It is worked out in float32:
        float16 has whole pixels only from 1024 on, and every other one from 2048.
        """
        raw = raw.float() if raw.dtype == torch.float16 else raw
        b, na, ny, nx, no = raw.shape
        stride = self._strides[level]
        y = raw.sigmoid()
        # The pieces are joined afresh: OneFlow does not notice an in-place change that a gradient needs undone.
        centre = y[..., 0:2] * (2 * stride) + self._offset(level, ny, nx, raw)
        size = y[..., 2:4] ** 2 * (4 * stride * self.anchors[level]).view(1, na, 1, 1, 2)
        return torch.cat([centre, size, y[..., 4:]], -1).view(b, na * ny * nx, no)

    def _offset(self, level: int, ny: int, nx: int, like: torch.Tensor) -> torch.Tensor:
        """(cell - 0.5) * stride as (1, 1, ny, nx, 2), x before y; the last size's is kept."""
        key = (ny, nx, str(like.device), like.dtype)  # a device itself could not be copied
        kept, offset = self._offsets.get(level, (None, None))
        if kept != key:
            cells = np.stack(np.meshgrid(np.arange(nx), np.arange(ny)), -1)
            offset = ((cells - 0.5) * self._strides[level]).astype(np.float32).reshape(1, 1, ny, nx, 2)
            offset = torch.tensor(offset).to(device=like.device, dtype=like.dtype)
            self._offsets[level] = key, offset
        return offset  # not what is kept now: another thread may be at another size

    def set_strides(self, strides: Sequence[float]) -> None:
        """Take the levels' strides in pixels, and turn the anchors from pixels to grid units.

        Anchors that run from large to small while the strides grow are turned about first.
        """
        self._strides = [float(s) for s in strides]
        self._offsets = {}
        anchors = self.anchors.numpy()
        area = anchors.prod(-1).mean(-1)
        if (area[-1] - area[0]) * (self._strides[-1] - self._strides[0]) < 0:
            anchors = anchors[::-1]
        grid = anchors / np.float32(self._strides).reshape(-1, 1, 1)
        self.anchors.copy_(torch.tensor(grid, device=self.anchors.device))

    def initialize_biases(self, cf: Sequence[float] | None = None) -> None:
        """Start from the odds of a typical picture, so that early training isn't spent on finding that most cells are
        empty (focal loss, https://arxiv.org/abs/1708.02002 section 3.3): about 8 objects in 640 pixels, classes even.

        Args:
            cf: how often each class occurs, if that is known, length nc.
        """
        frequency = 0.6 / (self.nc - 0.999999) if cf is None else np.asarray(cf) / np.sum(cf)
        for conv, stride in zip(self.m, self._strides):
            bias = conv.bias.detach().numpy().reshape(self.na, -1).copy()
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5 : 5 + self.nc] += np.log(frequency)
            with torch.no_grad():
                conv.bias.copy_(torch.tensor(bias.reshape(-1), device=conv.bias.device))
