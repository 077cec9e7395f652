"""Test-time augmentation: three views of a picture, and what is found in them in the pixels of the picture itself.

On arrays as on tensors. Where a CPU runs the network outside OneFlow, arrays stay arrays: with views and rows brought
through OneFlow, yolov5n on two cores took 1.6 times as long for eight pictures of 640 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oneflow as torch

from models.surgery import scale_img
from utils.boxes import Array

VIEWS = (1.0, False), (0.83, True), (0.67, False)  # scale, mirrored


def augmented(x: Array, once: Callable[[Array], Array], stride: int, levels: int) -> Array:
    """Three passes over pictures (b, 3, h, w), the second over the mirror image, rows joined in that order.

    Args:
        once: one pass, pictures -> boxes (b, rows, 5 + nc).
        stride: what the views' sides have to be multiples of.
        levels: of the network's head.
    """
    width, passes = x.shape[3], []
    for scale, mirror in VIEWS:
        view = scale_img(_mirrored(x) if mirror else x, scale, gs=stride)
        passes.append(_unscale(once(view), scale, width if mirror else None))
    return _joined(_clip_augmented(passes, levels), 1)


def _clip_augmented(passes: list[Array], levels: int) -> list[Array]:
    """Drop what each end is worst at: the coarsest level of the largest pass, the finest of the smallest one.

    Level i of n from the coarsest has 4^i of every (1 + 4 + ... + 4^(n-1)) rows.
    """
    cells = sum(4**i for i in range(levels))
    coarsest = passes[0].shape[1] // cells
    finest = passes[-1].shape[1] // cells * 4 ** (levels - 1)
    return [passes[0][:, :-coarsest], *passes[1:-1], passes[-1][:, finest:]]


def _unscale(boxes: Array, scale: float, mirror_width: int | None) -> Array:
    """Boxes (b, rows, 5 + nc) found in a scaled, perhaps mirrored picture, in the pixels of the original one."""
    x, y, wh = (boxes[..., i:j] / scale for i, j in ((0, 1), (1, 2), (2, 4)))
    if mirror_width is not None:
        x = mirror_width - x
    return _joined([x, y, wh, boxes[..., 4:]], -1)


def _mirrored(x: Array) -> Array:
    return x[..., ::-1] if isinstance(x, np.ndarray) else x.flip(3)


def _joined(parts: list[Array], axis: int) -> Array:
    return np.concatenate(parts, axis) if isinstance(parts[0], np.ndarray) else torch.cat(parts, axis)
