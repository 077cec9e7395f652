"""What the headers of image files say: format, size, which way up, how many bits; nothing is decoded."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, TiffImagePlugin

PNG_START = b'\x89PNG\r\n\x1a\n'
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # 178,956,970, half a gigabyte once decoded: where Pillow refuses

# Grey with white or black as 0, RGB, and the logarithmic forms, which OpenCV makes floats of when asked for all bits,
# but brighter pixels when asked for 8. Of others (CMYK, raw sensors) it knows better what is shown.
_SHOWN_AS_IT_IS = (0, 1, 2, 32844, 32845)
_MAX_SAMPLE_VALUE = 281
_ORIENTATION_TAG = 0x0112  # EXIF 2.32, 4.6.4: which way up an image is shown, 1 to 8
_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')  # ISO/IEC 23008-12, annex B


class Header(NamedTuple):
    """What an image's header says.

    Attributes:
        format: as Pillow names it: JPEG, MPO, PNG, TIFF, WEBP, BMP, AVIF, HEIF, ...
        size: width and height in pixels as shown.
        turned: whether the image is shown otherwise than stored.
        deep: whether its channels have more than eight bits, or are signed or floats.
        most: of a deep image, the largest value that its channels may have, where the file says it; else 0.
        inverted: whether 0 means white in a deep image.
    """

    format: str
    size: tuple[int, int]
    turned: bool = False
    deep: bool = False
    most: int = 0
    inverted: bool = False


def open_with_pillow(file: BinaryIO | str | Path, formats: tuple[str, ...] | None = None) -> Image.Image:
    """Pillow's image, its header read and nothing decoded; HEIC, too, where pillow-heif is installed.

    Raises:
        ImportError: it is HEIC and there is no decoder for that.
        Exception: it is no image, or damaged; what Pillow raises is of any kind.
    """
    try:
        return Image.open(file, formats=formats)
    except Image.UnidentifiedImageError:
        if not _is_heif(file):
            raise
    try:
        importlib.import_module('pillow_heif').register_heif_opener()
    except ImportError:
        raise ImportError('a HEIC image, which needs a decoder: pip install pillow-heif') from None
    return Image.open(file, formats=formats)


def _is_heif(file: BinaryIO | str | Path) -> bool:
    if isinstance(file, (str, Path)):
        with open(file, 'rb') as opened:
            return _is_heif(opened)
    file.seek(0)
    start = file.read(12)
    file.seek(0)
    return start[4:8] == b'ftyp' and start[8:] in _HEIF_BRANDS


def read_header(file: BinaryIO) -> Header:
    """The whole header of an image file that is open at its start; leaves it anywhere.

    Raises:
        Image.DecompressionBombError: it has more than `MAX_PIXELS`.
        Exception: as `open_with_pillow`.
    """
    found = decoding_header(file)
    if found.format == 'TIFF':
        return found
    file.seek(0)
    with open_with_pillow(file) as image:
        turned = image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)
        return found._replace(format=image.format, size=exif_size(image), turned=turned)


def decoding_header(file: BinaryIO) -> Header:
    """As much of a header as decoding needs besides what OpenCV finds out, for files that are most often JPEGs.

    Format and size are there only for TIFF, which way up also for WebP. Leaves the file anywhere.

    Raises:
        Exception: as `read_header`.
    """
    start = file.read(25)
    if start[:4] in TiffImagePlugin.PREFIXES:
        return _tiff_header(file)
    if start.startswith(PNG_START) and start[24:] == b'\x10':
        return Header('', (0, 0), deep=True, most=65535 if _has_sbit(file) else 0)
    if start[8:16] != b'WEBPVP8X':  # others have no room for EXIF
        return Header('', (0, 0))
    file.seek(0)
    with open_with_pillow(file) as image:
        return Header('', (0, 0), image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9))


def exif_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image as shown: exchanged where its EXIF orientation lays it on its side."""
    # Pillow's TIFF reader has exchanged them already.
    sideways = image.format != 'TIFF' and image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return image.size[::-1] if sideways else image.size


def _tiff_header(file: BinaryIO) -> Header:
    """By its tags (TIFF 6.0, section 8): Pillow knows no floats in three channels and more of the kind."""
    file.seek(0)
    start = file.read(8)
    start += file.read(8) if start[2] == 43 else b''  # BigTIFF
    tags = TiffImagePlugin.ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    if not {TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH} <= tags.keys():
        raise ValueError('a TIFF without width or height')
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f'{width}x{height} pixels')
    orientation, meaning = tags.get(_ORIENTATION_TAG, 1), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1)
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    bits = _largest(tags, TiffImagePlugin.BITSPERSAMPLE, 1)
    plain = bits <= 8 and _largest(tags, TiffImagePlugin.SAMPLEFORMAT, 1) == 1
    deep = not plain and meaning in _SHOWN_AS_IT_IS
    # OpenCV shifts packed samples up to 16 bits. Elsewhere a writer may say what its camera's largest value is.
    most = 65535 if 8 < bits < 16 else _largest(tags, _MAX_SAMPLE_VALUE, 0)
    return Header('TIFF', size, orientation in range(2, 9), deep, most, meaning == 0)


def _largest(tags: TiffImagePlugin.ImageFileDirectory_v2, tag: int, default: int) -> int:
    """The largest of a tag's values, of which there is one for each channel or one for all."""
    values = tags.get(tag, default)
    return int(max(values) if isinstance(values, tuple) else values)


def _has_sbit(file: BinaryIO) -> bool:
    """Whether a PNG says how many of its bits count: its values are then scaled up to all 16 (PNG 3, 11.3.2.7)."""
    file.seek(8)
    while len(start := file.read(8)) == 8 and start[4:] not in (b'sBIT', b'PLTE', b'IDAT'):
        file.seek(int.from_bytes(start[:4], 'big') + 4, os.SEEK_CUR)
    return start[4:] == b'sBIT'
