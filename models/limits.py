"""What a model's description may ask for. OneFlow ends the process where memory is short, so sizes are compared before
anything is allocated: parameters as each layer is made, maps before each row is run for the first time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from oneflow import nn

from utils.memory import available_memory

MAX_ROWS = 1000  # of a description
MAX_LAYERS = 5000  # over all rows, with repeats; yolov5x6 has 100
MAX_CLASSES = 100_000
MAX_ANCHORS = 100  # of a level
MAX_IMAGE_CHANNELS = 1000
MAX_ARGUMENT = 100_000  # channels, kernel, padding, ...
MAX_MAP = 1 << 28  # numbers that a layer may work on, of an image of 256 x 256
MAX_WORK = 1 << 39  # multiplications for such an image; yolov5x6 takes 2^34

_allowance: ContextVar[_Allowance | None] = ContextVar('allowance', default=None)


class TooLarge(ValueError):
    """A layer would take more than there is."""


class _Allowance:
    def __init__(self, numbers: int, holder: str) -> None:
        self.left, self.holder = numbers, holder


@contextmanager
def parameters_within(numbers: int | None = None, holder: str = '') -> Iterator[None]:
    """Layers that are made within the block have so many parameters and buffers in all, or `TooLarge` is raised.

    Args:
        numbers: how many; by default those of the block around this one, or as many as fit into the memory.
        holder: what has or takes so many, for the message: 'makes more parameters than' it.
    """
    if numbers is None and _allowance.get() is not None:
        yield
        return
    if numbers is None:
        free = available_memory()
        numbers, holder = free // 4, f'fit into the {free / 1e9:.1f} GB of memory that are free'
    token = _allowance.set(_Allowance(numbers, holder))
    try:
        yield
    finally:
        _allowance.reset(token)


def reserve(*shape: int) -> None:
    """To be called before a parameter or buffer of this shape is made.

    Raises:
        TooLarge: it is more than what is left, see `parameters_within`; outside of such a block there is no limit.
        ValueError: a side is no positive whole number.
    """
    if not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f'weights of {" x ".join(map(str, shape))}')
    allowance = _allowance.get()
    if allowance is None:
        return
    allowance.left -= math.prod(shape)
    if allowance.left < 0:
        raise TooLarge(f'makes more parameters than {allowance.holder}')


class Watch:
    """Runs the rows of a model one after the other, none that would take too much.

    Attributes:
        numbers, work: what is left for all rows together.
    """

    def __init__(self) -> None:
        self.numbers, self.work = 4 * MAX_MAP, MAX_WORK

    def run(self, layer: nn.Module, x: Any, last: bool = False) -> Any:
        """The row's output for a map or a list of maps.

        Raises:
            TooLarge: it would work on too much.
        """
        maps = x if isinstance(x, list) else [x]
        shapes = [tuple(level.shape) for level in maps]
        if all(len(shape) == 4 for shape in shapes):
            self.work -= check_maps(layer, shapes)
            self.numbers -= sum(map(math.prod, shapes))
            if min(self.work, self.numbers) < 0:
                raise TooLarge('works on too much')
        return layer(x)


def check_maps(layer: nn.Module, shapes: Sequence[Sequence[int]]) -> int:
    """How many multiplications a row takes at the most; to be called before it is run for the first time.

    What a row works on is estimated from its parts as if each came after the other and none made the map smaller, so it
    is never less than the truth.

    Args:
        shapes: of its inputs, (b, c, h, w).

    Raises:
        TooLarge: it works on too much.
    """
    c = max(sum(shape[1] for shape in shapes), 1)
    h, w = (max(shape[axis] for shape in shapes) for axis in (2, 3))
    largest, work = sum(map(math.prod, shapes)), 0
    for part in layer.modules():
        c, h, w, size, count = _step(part, c, h, w)
        largest, work = max(largest, size, c * h * w), work + count
        if largest > MAX_MAP or work > MAX_WORK:
            raise TooLarge('works on too much')
    return work


def _step(part: nn.Module, c: int, h: int, w: int) -> tuple[int, int, int, int, int]:
    """Channels, height, width after a part at the most; numbers it works on beside them; its multiplications."""
    size = work = 0
    if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
        (kh, kw), (ph, pw) = _pair(part.kernel_size), _pair(part.padding)
        outputs, inputs, *_ = part.weight.shape
        if isinstance(part, nn.ConvTranspose2d):
            (sh, sw), outputs, inputs = _pair(part.stride), inputs * part.groups, outputs
            h, w = h * sh + kh + sh, w * sw + kw + sw  # output padding is less than a stride
        else:
            h, w = max(h, h + 2 * ph - kh + 1), max(w, w + 2 * pw - kw + 1)
            inputs *= part.groups
        # The convolution is a product with a copy of the map for each place of the kernel.
        size, work = max(inputs, c) * kh * kw * h * w, part.weight.numel() * h * w
        c = max(c, inputs, outputs)
    elif isinstance(part, nn.ZeroPad2d):
        left, right, top, bottom = part.padding
        h, w = h + max(top + bottom, 0), w + max(left + right, 0)
    elif isinstance(part, nn.Upsample):
        sides = _pair(part.size) if part.size is not None else (0, 0)
        scale = _pair(part.scale_factor) if part.scale_factor is not None else (1, 1)
        h, w = (max(n, side, math.ceil(n * by)) for n, side, by in zip((h, w), sides, scale))
    elif isinstance(part, (nn.MaxPool2d, nn.AvgPool2d)):
        ph, pw = _pair(part.padding)
        h, w = h + 2 * ph, w + 2 * pw
    elif hasattr(part, 'gain'):  # Expand
        h, w = h * part.gain, w * part.gain
    elif isinstance(part, nn.Linear):
        work = part.weight.numel() * h * w
    elif hasattr(part, 'num_heads'):  # attention compares every pixel with every other
        size = part.num_heads * (h * w) ** 2
    return c, h, w, size, work


def _pair(value: float | Sequence[float]) -> Sequence[float]:
    return value if isinstance(value, (tuple, list)) else (value, value)
