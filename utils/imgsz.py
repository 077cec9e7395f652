"""Image sizes have to be multiples of the network's largest stride."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utils.errors import UsageError
from utils.log import LOGGER


def make_divisible(x: float, divisor: int) -> int:
    """x rounded up to a multiple of the divisor."""
    return math.ceil(x / int(divisor)) * int(divisor)


def check_img_size(imgsz: int | Sequence[int], s: int = 32, floor: int = 0) -> int | list[int]:
    """The image size, or (height, width), rounded up to multiples of the stride `s`; a change is said.

    Args:
        imgsz: pixels.
        s: the largest stride of the network.
        floor: smallest side.

    Raises:
        UsageError: a side of 0 or less.
    """
    sides = [imgsz] if isinstance(imgsz, int) else list(imgsz)
    if min(sides) < 1:
        raise UsageError(f'--img {_words(sides)}: too small', f'give a multiple of {int(s)}')
    fitted = [max(make_divisible(side, int(s)), floor) for side in sides]
    if fitted != sides:
        what = f'no multiple of the largest stride {int(s)}' if min(sides) >= floor else f'less than {floor}'
        LOGGER.warning(f'WARNING: --img {_words(sides)} is {what}, using {_words(fitted)}')
    return fitted[0] if isinstance(imgsz, int) else fitted


def _words(sides: Sequence[int]) -> str:
    return ' '.join(map(str, sides))
