"""Eight bits a channel, whatever an image has: one rule for files, arrays and PIL images, in every command."""

from __future__ import annotations

import threading

import numpy as np

from utils.errors import DataError
from utils.log import LOGGER
from utils.terminal import counted, printable

_MORE = 0.05  # share by which resizing may have put floats above 1 or 255, or below 0; it is cut off
_DARKEST = 2  # the least maximum of floats in 0..255: between 1 and this nobody can tell a bright 1 from a dark 255


def to_8_bits(pixels: np.ndarray, name: str, most: int = 0) -> tuple[np.ndarray, str]:
    """Pixels of any number type as uint8, and a note on how they were converted ('' where nothing was).

    - uint8 stays, bool becomes 0 and 255.
    - Integers of more bits are divided by a power of two. Cameras of 10, 12 and 14 bits fill 16-bit files from below,
      and files hardly ever say so: the depth is the smallest of 8, 10, 12, 14 and 16 bits that holds the image's
      maximum. A maximum of 3996 means 12 bits, so values are divided by 16; above 16383 all 16 bits count, and values
      are divided by 256. Five steps, rather than stretching every image to its own maximum, because images of one
      camera have to come out alike: they do unless one is so dark that it needs fewer bits than the others, by a
      factor of four. The notes' counts show such a mixture. A file that does say its depth, by TIFF's MaxSampleValue
      or PNG's sBIT, is believed. Nothing but the image decides, so training, validation, detection and the Python API
      agree.
    - Floats in 0..1 are multiplied by 255, floats in 0..255 rounded.
    - All else is refused, for any guess would be wrong for somebody: negative values, integers above 65535, floats
      above 255, or with their maximum between 1 and 2, NaN and infinity. Resizing overshoots, so 5% are cut off.

    Args:
        pixels: any shape.
        name: of the image, for messages.
        most: the largest value that integers may have, where it is known. It makes the depth certain.

    Raises:
        DataError: there is no rule for these values; the message says how to convert them.
    """
    if pixels.dtype == np.uint8:
        return pixels, ''
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255), ''
    kind = pixels.dtype.kind
    if kind not in 'uif' or not pixels.size:
        raise DataError(f'{name}: pixels of type {pixels.dtype} in shape {pixels.shape} are no image')
    low, high = pixels.min(), pixels.max()  # NaN if one is among them
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f'{name}: has NaN or infinite pixels', 'replace them, for example by numpy.nan_to_num')
    convert = _from_floats if kind == 'f' else _from_integers
    converted = convert(pixels, float(low), float(high), most)
    if converted is None:
        raise DataError(
            f'{name}: {pixels.dtype} pixels from {low:g} to {high:g}, for which there is no rule',
            "convert all images to 8 bits alike: ((im - low) / (high - low) * 255).astype('uint8')",
        )
    return converted


def _from_integers(pixels: np.ndarray, low: float, high: float, most: int) -> tuple[np.ndarray, str] | None:
    if low < 0 or high > 65535:
        return None
    bits = min(16, max(8, (max(int(high), most).bit_length() + 1) // 2 * 2))
    how = f'divided by {1 << bits - 8}' if bits > 8 else 'taken as they are'
    note = f'{pixels.dtype.itemsize * 8}-bit pixels with values of {bits} bits, {how}'
    return (pixels >> (bits - 8)).astype(np.uint8), note


def _from_floats(pixels: np.ndarray, low: float, high: float, _: int) -> tuple[np.ndarray, str] | None:
    for top, done in ((1, 'multiplied by 255'), (255, 'rounded')):
        if 0 <= high <= top * (1 + _MORE) and low >= -_MORE * high and not 1 + _MORE < high < _DARKEST:
            # In float32 at least: float16 has steps of 1/8 up there.
            scaled = pixels.astype(np.promote_types(pixels.dtype, np.float32)) * (255 / top)
            return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), f'floats in 0..{top}, {done}'
    return None


class ImageNotes:
    """Counts what was noted about the images of a run or data set, so that it is said once. Threads may share one.

    Args:
        at_once: log a kind of note when its first image comes, for those who don't know which image is the last.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self._found: dict[str, tuple[int, str]] = {}  # note: how many images, the first one's name
        self._lock = threading.Lock()

    def add(self, name: str, note: str) -> None:
        """Count a note about an image; an empty one is none."""
        if not note:
            return
        with self._lock:
            count, first = self._found.get(note, (0, name))
            self._found[note] = count + 1, first
        if self.at_once and not count:
            LOGGER.warning(f'{name}: {note}; images like it are not mentioned again')

    def lines(self) -> list[str]:
        """One line for each kind, the commonest first: '12 images: floats in 0..1, multiplied by 255 (a.tif)'."""
        ordered = sorted(self._found.items(), key=lambda item: -item[1][0])
        return [f'{counted(count, "image")}: {note} (for example {printable(name)})' for note, (count, name) in ordered]

    def log(self) -> None:
        """The lines as warnings."""
        for line in self.lines():
            LOGGER.warning(line)
