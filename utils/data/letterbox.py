"""Fitting a picture into a given size without distorting it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

GREY = (114, 114, 114)  # the padding colour the official weights were trained with


def letterbox(
    im: np.ndarray,
    new_shape: int | Sequence[int] = (640, 640),
    color: Sequence[int] = GREY,
    auto: bool = True,
    scaleFill: bool = False,
    scaleup: bool = True,
    stride: int = 32,
) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
    """Resize `im` to fit into `new_shape` and fill the rest with a border of `color`.

    Args:
        im: (h, w, 3) uint8.
        new_shape: height and width in pixels, or one number for both.
        auto: pad only up to the next multiple of `stride` (the result may be smaller than `new_shape`).
        scaleFill: stretch to exactly `new_shape` instead of padding; without effect when `auto`.
        scaleup: allow enlarging.

    Returns:
        The picture; the scale factors (x, y); the padding on each side (x, y) in pixels, halves included: an odd
        padding puts the extra pixel right and below.
    """
    height, width = im.shape[:2]
    new_h, new_w = (new_shape, new_shape) if isinstance(new_shape, int) else new_shape
    scale = min(new_h / height, new_w / width)
    if not scaleup:
        scale = min(scale, 1.0)
    ratio = scale, scale
    inner_w, inner_h = max(round(width * scale), 1), max(round(height * scale), 1)
    pad_w, pad_h = new_w - inner_w, new_h - inner_h
    if auto:
        pad_w, pad_h = pad_w % stride, pad_h % stride
    elif scaleFill:
        pad_w, pad_h = 0, 0
        inner_w, inner_h = new_w, new_h
        ratio = new_w / width, new_h / height
    if (width, height) != (inner_w, inner_h):
        im = cv2.resize(im, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
    top, left = pad_h // 2, pad_w // 2
    im = cv2.copyMakeBorder(im, top, pad_h - top, left, pad_w - left, cv2.BORDER_CONSTANT, value=tuple(color))
    return im, ratio, (pad_w / 2, pad_h / 2)


def resize_longest(im: np.ndarray, size: int, augment: bool = False) -> np.ndarray:
    """Scale `im` (h, w, 3) so that its longer side is `size` pixels; the shorter one is truncated.

    Shrinking averages areas, which is sharper and free of aliasing; training shrinks bilinearly, which is faster and
    makes no difference after augmentation.
    """
    height, width = im.shape[:2]
    scale = size / max(height, width)
    if scale == 1:
        return im
    interpolation = cv2.INTER_LINEAR if augment or scale > 1 else cv2.INTER_AREA
    return cv2.resize(im, resized_shape(width, height, size), interpolation=interpolation)


def resized_shape(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is scaled to `size`; at least one pixel each."""
    scale = size / max(height, width)
    return max(int(width * scale), 1), max(int(height * scale), 1)


def rect_order(shapes: np.ndarray) -> np.ndarray:
    """Picture numbers by rising height / width, (n,); pictures of equal ratio keep their order.

    Args:
        shapes: (n, 2) widths and heights in pixels.
    """
    return np.argsort(shapes[:, 1] / shapes[:, 0], kind='stable')


def rect_batch_shapes(shapes: np.ndarray, batch_size: int, size: int, stride: int, pad: float) -> np.ndarray:
    """The smallest shape for each batch of pictures ordered by `rect_order`: (batches, 2) heights and widths.

    Each is a multiple of `stride` that holds every picture of the batch scaled to `size`, `pad` strides larger.
    """
    aspect = shapes[:, 1] / shapes[:, 0]
    batches = []
    for start in range(0, len(aspect), batch_size):
        lowest, highest = aspect[start : start + batch_size].min(), aspect[start : start + batch_size].max()
        relative = (highest, 1.0) if highest < 1 else (1.0, 1 / lowest) if lowest > 1 else (1.0, 1.0)
        batches.append([math.ceil(side * size / stride + pad) * stride for side in relative])
    return np.array(batches, int).reshape(-1, 2)
