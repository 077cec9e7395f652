"""Pictures on disk: which files count, reading them the right way up, checking that they are whole, writing."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from utils.errors import DataError
from utils.paths import write_file

IMG_FORMATS = ('bmp', 'dng', 'jpeg', 'jpg', 'mpo', 'png', 'tif', 'tiff', 'webp')
MIN_SIDE = 10  # pixels: anything smaller is a thumbnail or an accident
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # 178,956,970, half a gigabyte once decoded: where Pillow refuses

# Others (DNG, MPO) become JPEGs: OpenCV can't write them.
WRITABLE = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')

_PILLOW_FORMATS = ('BMP', 'DNG', 'JPEG', 'MPO', 'PNG', 'TIFF', 'WEBP')
_ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}
_ORIENTATION_TAG = 0x0112  # EXIF 2.32, 4.6.4: which way up a picture is shown, 1 to 8
_OPENCV_TURNS_WRONGLY = ('.dng', '.tif', '.tiff', '.webp')  # 4.11: WebP not at all, TIFF fails or is turned twice
# What Pillow raises on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, KeyError, TypeError, EOFError, Image.DecompressionBombError)


class BadPicture(Exception):
    """A picture can't be used; the text says why."""


def is_image(path: str | Path) -> bool:
    """Whether the file's suffix is that of a picture, in capitals or not."""
    return os.path.splitext(path)[1][1:].lower() in IMG_FORMATS


# Reading --------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path) -> np.ndarray:
    """The picture as it is shown: uint8 (h, w, 3), BGR, contiguous; grey and 16-bit pictures are converted.

    Raises:
        DataError: the file is missing or is no picture that can be decoded.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise DataError(f'{path}: no such picture', 'check the path')
    by_pillow = path.lower().endswith(_OPENCV_TURNS_WRONGLY) and _is_turned(path)
    image = None if by_pillow else cv2.imread(path)
    return _read_with_pillow(path) if image is None else image


def _is_turned(path: str) -> bool:
    """Whether a picture is to be shown otherwise than stored (False for what Pillow can't read)."""
    try:
        with Image.open(path) as picture:
            return picture.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)
    except _DAMAGE:
        return False


def _read_with_pillow(path: str) -> np.ndarray:
    """For turned pictures that OpenCV gets wrong, and what it can't decode, such as some DNG files."""
    try:
        with Image.open(path) as picture:
            rgb = to_rgb(picture)
    except _DAMAGE as problem:
        raise DataError(f'{path}: unreadable picture ({problem})', 'replace or remove the file') from None
    return np.ascontiguousarray(rgb[..., ::-1])


def to_rgb(picture: Image.Image) -> np.ndarray:
    """An opened picture as it is shown: uint8 (h, w, 3), RGB. Of 16 bits the upper eight count, as for OpenCV."""
    shown = ImageOps.exif_transpose(picture)
    if shown.mode.startswith('I;16'):  # Pillow would make everything above 255 white
        shown = Image.fromarray((np.asarray(shown) >> 8).astype(np.uint8))
    return np.array(shown.convert('RGB'))


# Checking -------------------------------------------------------------------------------------------------------------


def check_image(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as shown.

    Reads the header and the last bytes. Decodes only BMP and TIFF, which have no end mark, and pictures that don't end
    as they should: data behind the mark is harmless, and so is a JPEG's missing mark if all pixels are there.

    Raises:
        BadPicture: no file, no picture of `IMG_FORMATS`, smaller than 10 pixels a side, of more than 178,956,970
            pixels, or cut off.
    """
    try:
        with open(path, 'rb') as file, Image.open(file) as picture:
            if picture.format not in _PILLOW_FORMATS:
                raise BadPicture(f'a {picture.format} file, not one of {", ".join(IMG_FORMATS)}')
            width, height = exif_size(picture)
            if min(width, height) < MIN_SIDE:
                raise BadPicture(f'{width}x{height} pixels, under {MIN_SIDE} a side')
            if not _ends_well(file, picture.format):
                _decode(picture, file)
            return width, height
    except FileNotFoundError:
        raise BadPicture('no such picture') from None
    except UnidentifiedImageError:
        raise BadPicture('not a picture') from None
    except Image.DecompressionBombError:  # told by the header, before any pixel is decoded
        raise BadPicture(f'more than {MAX_PIXELS:,} pixels') from None
    except _DAMAGE as problem:
        raise BadPicture(f'unreadable: {problem}') from None


def exif_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture as shown: exchanged where its EXIF orientation lays it on its side."""
    width, height = picture.size
    # Pillow's TIFF reader has exchanged them already.
    sideways = picture.format != 'TIFF' and picture.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return (height, width) if sideways else (width, height)


def _ends_well(file: BinaryIO, kind: str) -> bool:
    """Whether a picture's end shows it to be whole; False also means unknown. Leaves the file where it was."""
    place = file.tell()
    try:
        if kind == 'WEBP':  # a RIFF file: bytes 4 to 7 are the length of what follows them
            file.seek(4)
            length = int.from_bytes(file.read(4), 'little') + 8
            return file.seek(0, os.SEEK_END) >= length
        if kind not in _ENDS:
            return False
        file.seek(-len(_ENDS[kind]), os.SEEK_END)
        return file.read() == _ENDS[kind]
    finally:
        file.seek(place)


def _decode(picture: Image.Image, file: BinaryIO) -> None:
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
    first, *others = (Image.open(io.BytesIO(data + tail + _ENDS['JPEG'])).tobytes() for tail in tails)
    return all(pixels == first for pixels in others)


# Writing --------------------------------------------------------------------------------------------------------------


def write_picture(path: str | Path, im: np.ndarray) -> Path:
    """Write a picture, whole or not at all; returns where.

    Args:
        path: the file; a suffix that can't be written becomes .jpg.
        im: (h, w, 3) uint8 BGR.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    path = Path(path)
    path = path if path.suffix.lower() in WRITABLE else path.with_suffix('.jpg')
    # Not cv2.imwrite: it tells neither of a full disk nor of a missing folder.
    write_file(path, cv2.imencode(path.suffix, im)[1].tobytes())
    return path
