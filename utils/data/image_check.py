"""Whether image files are whole and usable, found without touching them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from utils.data.bit_depth import ImageNotes
from utils.data.image_header import MAX_PIXELS, Header, open_with_pillow, read_header
from utils.data.images import IMG_FORMATS, decode_image, open_file, read_bytes
from utils.errors import DataError

MIN_SIDE = 10  # pixels: anything smaller is a thumbnail or an accident

_FORMATS = ('AVIF', 'BMP', 'DNG', 'HEIF', 'JPEG', 'MPO', 'PNG', 'TIFF', 'WEBP')  # as Pillow names them
_ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}


class BadImage(Exception):
    """An image can't be used; the text says why."""


class ImageInfo(NamedTuple):
    """What `check_image` finds.

    Attributes:
        size: width and height in pixels as shown.
        note: how reading converts its pixels, where that is worth a word, see `to_8_bits`; else ''. Gather notes with
            `ImageNotes`, which counts them: they are to be said once per data set.
    """

    size: tuple[int, int]
    note: str = ''


def check_image(path: str | Path) -> ImageInfo:
    """Look whether an image file is whole and can be used.

    Reads the header and the last bytes. Decodes only BMP and TIFF, which have no end mark, PNG, whose EXIF may stand
    anywhere, images of more than eight bits, whose values tell how they are converted, and those that don't end as
    they should: data behind the mark is harmless, and so is a JPEG's missing mark if all pixels are there.

    Raises:
        BadImage: no file, no image of `IMG_FORMATS`, smaller than 10 pixels a side, of more than 178,956,970 pixels,
            cut off, HEIC without a decoder for it, or with pixels of which nobody can tell what they mean.
    """
    try:
        with open_file(path) as file:
            header = _checked_header(file)
    except DataError as problem:
        raise BadImage(problem.message.removeprefix(f'{path}: ')) from None
    try:
        return ImageInfo(header.size, decode_image(read_bytes(path), path)[1] if header.deep else '')
    except DataError as problem:
        raise BadImage(str(problem).removeprefix(f'{path}: ')) from None


def load_image(path: str | Path, notes: ImageNotes | None = None) -> np.ndarray:
    """An image file that nobody has checked yet, as by `read_image`: uint8 (h, w, 3), BGR.

    One that is cut off is refused, where OpenCV would fill it with grey.

    Args:
        notes: gets what is to be said about its conversion.

    Raises:
        DataError: it can't be used, see `check_image`.
    """
    return load_bytes(read_bytes(path), path, notes)


def load_bytes(data: bytes, name: str | Path, notes: ImageNotes | None = None) -> np.ndarray:
    """`load_image` for the content of a file; the name is for messages."""
    try:
        _checked_header(io.BytesIO(data))
    except BadImage as problem:
        raise DataError(f'{name}: {problem}') from None
    pixels, note = decode_image(data, name)
    if notes:
        notes.add(str(name), note)
    return pixels


def _checked_header(file: BinaryIO) -> Header:
    """The header of a file whose end shows, or whose decoding shows, that it is whole.

    Raises:
        BadImage: it isn't, or can't be used.
    """
    try:
        header = read_header(file)
        if header.format not in _FORMATS:
            raise BadImage(f'a {header.format} file, not one of {", ".join(IMG_FORMATS)}')
        if min(header.size) < MIN_SIDE:
            raise BadImage(f'{"x".join(map(str, header.size))} pixels, under {MIN_SIDE} a side')
        if not (header.deep and header.format == 'TIFF') and not _ends_well(file, header.format):
            _decode(file)  # deep TIFF, of which Pillow doesn't know all kinds, is decoded by who asked
        return header
    except BadImage:
        raise
    except ImportError as problem:  # of a decoder
        raise BadImage(str(problem)) from None
    except Image.UnidentifiedImageError:
        raise BadImage('not a picture') from None
    except Image.DecompressionBombError:  # told by the header, before any pixel is decoded
        raise BadImage(f'more than {MAX_PIXELS:,} pixels') from None
    except Exception as problem:  # what Pillow raises on damaged files is of any kind
        raise BadImage(f'unreadable: {str(problem).strip()}') from None


def _ends_well(file: BinaryIO, kind: str) -> bool:
    """Whether an image's end shows it to be whole; False also means unknown."""
    if kind == 'WEBP':  # a RIFF file: bytes 4 to 7 are the length of what follows them
        file.seek(4)
        length = int.from_bytes(file.read(4), 'little') + 8
        return file.seek(0, os.SEEK_END) >= length
    if kind in ('AVIF', 'HEIF'):
        return _boxes_end_well(file)
    if kind not in _ENDS:
        return False
    file.seek(-len(_ENDS[kind]), os.SEEK_END)
    return file.read() == _ENDS[kind]


def _boxes_end_well(file: BinaryIO) -> bool:
    """Whether the boxes of an AVIF or HEIC file, each of which begins with its length, fill it (ISO/IEC 14496-12)."""
    end, place = file.seek(0, os.SEEK_END), 0
    while place < end:
        file.seek(place)
        length = int.from_bytes(file.read(4), 'big')
        if length < 8:  # to the end of the file, or more than 4 GiB: unknown
            return False
        place += length
    return place == end


def _decode(file: BinaryIO) -> None:
    file.seek(0)
    picture = open_with_pillow(file)
    try:
        picture.load()
    except OSError:
        if picture.format != 'JPEG' or not _lacks_only_its_end(file):
            raise


def _lacks_only_its_end(file: BinaryIO) -> bool:
    """Whether a JPEG without end mark is complete: then it has the same pixels whatever is appended before the mark.

    So has a progressive one that was cut between two scans: it is there in full, if coarse.
    """
    file.seek(0)
    data = file.read().rstrip(b'\xff')  # half an end mark
    tails = (b'', b'\x55' * 512, bytes(range(1, 255)) * 8)  # nothing, then what decodes to something in most places
    first, *others = (open_with_pillow(io.BytesIO(data + tail + b'\xff\xd9')).tobytes() for tail in tails)
    return all(pixels == first for pixels in others)
