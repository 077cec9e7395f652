"""Boxes and polygons: formats, moving between network input and picture, and the IoU family.

A box is four numbers along the last axis, in one of four formats:

    xyxy    corners x1, y1, x2, y2 in pixels
    xywh    centre, width, height in pixels
    xyxyn   corners, divided by the picture's width and height
    xywhn   centre, width, height, divided by the picture's

Every function takes NumPy arrays or OneFlow tensors and gives back the same kind. Functions for NumPy only say so.
OneFlow is imported only when a tensor comes in, so label reading and loader workers never pay for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import TypeVar

import numpy as np

Array = TypeVar('Array')  # np.ndarray or oneflow.Tensor
Shape = Sequence[int]  # height, width


def _library(x: Array) -> ModuleType:
    """The module with stack, clip, minimum, maximum and arctan for `x`: numpy or oneflow."""
    if isinstance(x, np.ndarray):
        return np
    import oneflow as torch

    return torch


def _columns(boxes: Array) -> list[Array]:
    """(..., n) -> n arrays of shape (...)."""
    return [boxes[..., i] for i in range(boxes.shape[-1])]


# Formats --------------------------------------------------------------------------------------------------------------


def xyxy2xywh(x: Array) -> Array:
    """Corners to centre and size: (..., 4) -> (..., 4), in the same unit."""
    x1, y1, x2, y2 = _columns(x)
    return _library(x).stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def xywh2xyxy(x: Array) -> Array:
    """Centre and size to corners: (..., 4) -> (..., 4), in the same unit."""
    cx, cy, w, h = _columns(x)
    return _library(x).stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)


def xywhn2xyxy(x: Array, w: float = 640, h: float = 640, padw: float = 0, padh: float = 0) -> Array:
    """Normalised xywh to corners in pixels of a w x h picture, moved right by `padw` and down by `padh`."""
    xn, yn, wn, hn = _columns(x)
    corners = (
        w * (xn - wn / 2) + padw,
        h * (yn - hn / 2) + padh,
        w * (xn + wn / 2) + padw,
        h * (yn + hn / 2) + padh,
    )
    return _library(x).stack(corners, -1)


def xyxy2xywhn(x: Array, w: float = 640, h: float = 640, clip: bool = False, eps: float = 0.0) -> Array:
    """Corners in pixels of a w x h picture to normalised xywh.

    With `clip` the boxes are first cut to [0, w - eps] x [0, h - eps]; `x` itself is left alone.
    """
    library = _library(x)
    x1, y1, x2, y2 = _columns(x)
    if clip:
        x1, x2 = (library.clip(v, 0, w - eps) for v in (x1, x2))
        y1, y2 = (library.clip(v, 0, h - eps) for v in (y1, y2))
    return library.stack(((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h), -1)


def xyn2xy(x: Array, w: float = 640, h: float = 640, padw: float = 0, padh: float = 0) -> Array:
    """Normalised points (n, 2) to pixels of a w x h picture, moved right by `padw` and down by `padh`."""
    return _library(x).stack((w * x[..., 0] + padw, h * x[..., 1] + padh), -1)


# Polygons (NumPy) -----------------------------------------------------------------------------------------------------


def segment2box(segment: np.ndarray, width: float = 640, height: float = 640) -> np.ndarray:
    """The xyxy extent (4,) of the polygon's points (n, 2) inside a picture, its borders included; else zeros."""
    x, y = segment[:, 0], segment[:, 1]
    inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
    if not inside.any():
        return np.zeros(4, segment.dtype)
    points = segment[inside]
    return np.concatenate((points.min(0), points.max(0)))


def segments2boxes(segments: Sequence[np.ndarray]) -> np.ndarray:
    """The xywh extents (n, 4) of n polygons, each (points, 2), in the polygons' unit."""
    if not len(segments):
        return np.zeros((0, 4), np.float32)
    return xyxy2xywh(np.stack([np.concatenate((s.min(0), s.max(0))) for s in segments]))


def resample_segments(segments: Sequence[np.ndarray], n: int = 1000) -> list[np.ndarray]:
    """Close each polygon and give it n points, spaced evenly over the point number (not over the length).

    Returns:
        float64 arrays (n, 2). The polygons given are left alone.
    """
    resampled = []
    for segment in segments:
        closed = np.concatenate((segment, segment[:1]))
        number = np.arange(len(closed))
        at = np.linspace(0, len(closed) - 1, n)
        resampled.append(np.stack([np.interp(at, number, axis) for axis in closed.T], -1))
    return resampled


# Network input and picture --------------------------------------------------------------------------------------------


def clip_coords(boxes: Array, shape: Shape) -> Array:
    """Cut xyxy boxes (..., 4) to a picture of `shape` (height, width), in place; returns them too."""
    clip = _library(boxes).clip
    height, width = shape[:2]
    for column, limit in enumerate((width, height, width, height)):
        boxes[..., column] = clip(boxes[..., column], 0, int(limit))
    return boxes


def scale_coords(
    img1_shape: Shape,
    coords: Array,
    img0_shape: Shape,
    ratio_pad: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Array:
    """Move xyxy boxes from the letterboxed network input to the picture and cut them to it.

    Works in place, on a float array or a tensor without history; returns it too.

    Args:
        img1_shape: (height, width) of the network input.
        coords: (..., 4) in pixels of the network input.
        img0_shape: (height, width) of the picture.
        ratio_pad: ((ratio_y, ratio_x), (pad_x, pad_y)) as the letterbox made them; the first ratio serves both axes,
            but where one pixel is left of a side. None takes them from the two shapes: picture centred, one ratio.
    """
    (h1, w1), (h0, w0) = img1_shape[:2], img0_shape[:2]
    if ratio_pad is None:
        gain_x = gain_y = min(h1 / h0, w1 / w0)
        # A letterbox leaves at least one pixel of a side, however long the other one is.
        inner_w, inner_h = max(w0 * gain_x, 1), max(h0 * gain_y, 1)
        gain_x, gain_y = max(gain_x, 1 / w0), max(gain_y, 1 / h0)
        pad_x, pad_y = (w1 - inner_w) / 2, (h1 - inner_h) / 2
    else:
        gain_x = gain_y = float(ratio_pad[0][0])
        if len(ratio_pad[0]) > 1 and min(h0 * gain_y, w0 * ratio_pad[0][1]) < 1.5:  # one pixel of a side is left
            gain_x = float(ratio_pad[0][1])
        pad_x, pad_y = (float(p) for p in ratio_pad[1])
    for column, (pad, gain) in enumerate(((pad_x, gain_x), (pad_y, gain_y)) * 2):
        coords[..., column] = (coords[..., column] - pad) / gain
    return clip_coords(coords, img0_shape)


# Overlap --------------------------------------------------------------------------------------------------------------


def box_iou(box1: Array, box2: Array, eps: float = 1e-7) -> Array:
    """IoU of every pair of xyxy boxes: (n, 4), (m, 4) -> (n, m). `eps` keeps the division defined."""
    library = _library(box1)
    a, b = box1[:, None], box2[None]
    size = library.minimum(a[..., 2:], b[..., 2:]) - library.maximum(a[..., :2], b[..., :2])
    size = library.clip(size, 0, None)
    intersection = size[..., 0] * size[..., 1]
    return intersection / (_area(a) + _area(b) - intersection + eps)


def _area(boxes: Array) -> Array:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def bbox_ioa(box1: Array, box2: Array, eps: float = 1e-7) -> Array:
    """Share of each box's area that `box1` covers: xyxy (4,) against (n, 4) -> (n,)."""
    library = _library(box2)
    size = library.minimum(box1[2:], box2[:, 2:]) - library.maximum(box1[:2], box2[:, :2])
    size = library.clip(size, 0, None)
    return size[:, 0] * size[:, 1] / (_area(box2) + eps)


def wh_iou(wh1: Array, wh2: Array, eps: float = 1e-7) -> Array:
    """IoU of every pair of boxes that share a centre: widths and heights (n, 2), (m, 2) -> (n, m)."""
    a, b = wh1[:, None], wh2[None]
    shared = _library(wh1).minimum(a, b)
    intersection = shared[..., 0] * shared[..., 1]
    return intersection / (a[..., 0] * a[..., 1] + b[..., 0] * b[..., 1] - intersection + eps)


def bbox_iou(
    box1: Array,
    box2: Array,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> Array:
    """IoU of boxes row by row, or a variant of it: (n or 1, 4), (n, 4) -> (n, 1). Differentiable.

    GIoU: https://arxiv.org/abs/1902.09630, DIoU and CIoU: https://arxiv.org/abs/1911.08287.

    Args:
        xywh: the boxes are centre and size; otherwise corners.
        eps: added to the union, the enclosing area and diagonal, and CIoU's heights, to keep divisions defined.
    """
    library = _library(box1)
    (left1, top1, right1, bottom1), (w1, h1) = _corners_and_size(box1, xywh)
    (left2, top2, right2, bottom2), (w2, h2) = _corners_and_size(box2, xywh)

    width = library.clip(library.minimum(right1, right2) - library.maximum(left1, left2), 0, None)
    height = library.clip(library.minimum(bottom1, bottom2) - library.maximum(top1, top2), 0, None)
    intersection = width * height
    union = w1 * h1 + w2 * h2 - intersection + eps
    iou = intersection / union
    if not (GIoU or DIoU or CIoU):
        return iou

    enclosing_w = library.maximum(right1, right2) - library.minimum(left1, left2)
    enclosing_h = library.maximum(bottom1, bottom2) - library.minimum(top1, top2)
    if GIoU:
        enclosing = enclosing_w * enclosing_h + eps
        return iou - (enclosing - union) / enclosing

    # DIoU: the centres' distance, squared, over the enclosing box's diagonal, squared.
    distance = ((left2 + right2 - left1 - right1) ** 2 + (top2 + bottom2 - top1 - bottom1) ** 2) / 4
    diou = iou - distance / (enclosing_w**2 + enclosing_h**2 + eps)
    return diou - _aspect_penalty(iou, w1 / (h1 + eps), w2 / (h2 + eps), eps) if CIoU else diou


def _corners_and_size(boxes: Array, xywh: bool) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
    """(n, 4) -> (left, top, right, bottom), (width, height), each (n, 1)."""
    a, b, c, d = (boxes[..., i : i + 1] for i in range(4))
    if xywh:
        return (a - c / 2, b - d / 2, a + c / 2, b + d / 2), (c, d)
    return (a, b, c, d), (c - a, d - b)


def _aspect_penalty(iou: Array, ratio1: Array, ratio2: Array, eps: float) -> Array:
    """CIoU's last term v * alpha, v being how much the aspect ratios differ, 0 to 1 (equations 8 to 11)."""
    arctan = _library(iou).arctan
    v = (4 / math.pi**2) * (arctan(ratio2) - arctan(ratio1)) ** 2
    alpha = v / (v - iou + (1 + eps))
    # The paper keeps alpha, a trade-off between the terms, constant for the gradient, which loss_cpu.py has as the
    # imaginary part of arrays.
    return v * (alpha.real if isinstance(alpha, np.ndarray) else alpha.detach())
