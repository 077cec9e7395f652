"""The layers of models/ops.py as they are usually written, in the vocabulary that OneFlow and PyTorch share.

With them the project's own model source runs on plain OneFlow, as one-yolov5 does, and on PyTorch.
"""

from __future__ import annotations

import oneflow as torch
from oneflow import nn


class AnchorConv2d(nn.Conv2d):
    """A detection convolution: (b, c, ny, nx) -> (b, anchors, ny, nx, values) by convolution, view, permute."""

    def __init__(self, channels: int, anchors: int, values: int) -> None:
        super().__init__(channels, anchors * values, 1)
        self.anchors, self.values = anchors, values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, ny, nx = x.shape
        return super().forward(x).view(b, self.anchors, self.values, ny, nx).permute(0, 1, 3, 4, 2).contiguous()


LAYERS = {'AnchorConv2d': AnchorConv2d} | {
    name: getattr(nn, name) for name in ('SiLU', 'Conv2d', 'BatchNorm2d', 'MaxPool2d', 'Upsample')
}


def use() -> None:
    """Let the models of this process be built of these layers; before any other module of models/ is imported."""
    from models import ops

    for name, layer in LAYERS.items():
        setattr(ops, name, layer)
