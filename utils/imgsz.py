"""Image sizes have to be multiples of the network's largest stride."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.errors import UsageError
from utils.log import LOGGER
from utils.values import items, whole_number

if TYPE_CHECKING:
    import oneflow as torch

    from models.yolo import Model

MAX_SIDE = 1 << 16  # pixels


def make_divisible(x: float, divisor: int) -> int:
    """x rounded up to a multiple of the divisor."""
    return math.ceil(x / int(divisor)) * int(divisor)


def image_sides(what: str, imgsz: Any) -> list[int]:
    """An image size as one side or as [height, width]: 640, np.int64(640), '640', [384, 640], (384.0, 640).

    Args:
        what: the name of the option or argument, for messages.

    Raises:
        UsageError: not one or two whole numbers, or a side beyond `MAX_SIDE`.
    """
    sides = [whole_number(what, side) for side in items(what, imgsz)]
    if len(sides) not in (1, 2):
        raise UsageError(f'{what} {_words(sides)}: not an image size', 'give a side, or height and width')
    if max(sides) > MAX_SIDE:
        raise UsageError(f'{what} {_words(sides)}: too large', f'give {MAX_SIDE:,} at most')
    return sides


def check_img_size(imgsz: int | Sequence[int], s: int = 32, floor: int = 0) -> int | list[int]:
    """The image size, or (height, width), rounded up to multiples of the stride `s`; a change is said.

    Args:
        imgsz: pixels.
        s: the largest stride of the network.
        floor: smallest side.

    Raises:
        UsageError: a side of 0 or less, or beyond `MAX_SIDE`.
    """
    sides = image_sides('--img', imgsz)
    if min(sides) < 1:
        raise UsageError(f'--img {_words(sides)}: too small', f'give a multiple of {int(s)}')
    fitted = [max(make_divisible(side, int(s)), floor) for side in sides]
    if fitted != sides:
        what = f'no multiple of the largest stride {int(s)}' if min(sides) >= floor else f'less than {floor}'
        LOGGER.warning(f'WARNING: --img {_words(sides)} is {what}, using {_words(fitted)}')
    return fitted if isinstance(imgsz, Sequence) and not isinstance(imgsz, str) else fitted[0]


def grid_size(model: Model) -> int:
    """What image sides have to be a multiple of: the largest stride in the network, at least 32."""
    return max(model.largest_stride, 32)


def rescale(images: torch.Tensor, imgsz: int, stride: int, seed: Sequence[int]) -> torch.Tensor:
    """--multi-scale: a batch resized so that its longer side is a random multiple of the stride, 0.5 to 1.5 imgsz.

    Args:
        images: (batch, 3, height, width) float.
        seed: of the size drawn: that of the run and the iteration.
    """
    low, high = imgsz // 2, imgsz * 3 // 2 + stride
    longest = int(np.random.default_rng(seed).integers(low, high)) // stride * stride
    factor = longest / max(images.shape[2:])
    if factor == 1:
        return images
    from oneflow.nn import functional

    size = [make_divisible(round(side * factor), stride) for side in images.shape[2:]]
    return functional.interpolate(images, size=size, mode='bilinear', align_corners=False)


def _words(sides: Sequence[int]) -> str:
    return ' '.join(map(str, sides))
