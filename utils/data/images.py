"""Images: which files count, decoding them the right way up, writing. The one place that opens an image.

`read_image` is for files that the label check has passed, `utils.data.image_check.load_image` for any others,
`from_pil` and `from_array` for what the Python API is given. All of them give three channels of eight bits.
"""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from utils.data.bit_depth import ImageNotes, to_8_bits
from utils.errors import DataError, ResourceError
from utils.log import LOGGER
from utils.paths import fit_name, write_file

IMG_FORMATS = ('avif', 'bmp', 'dng', 'heic', 'heif', 'jfif', 'jpeg', 'jpg', 'mpo', 'png', 'tif', 'tiff', 'webp')
MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS  # 178,956,970, half a gigabyte once decoded: where Pillow refuses
MAX_BYTES = 2**31 - 1  # of a file: what OpenCV takes

# Others (DNG, AVIF) become JPEGs: OpenCV can't write them.
WRITABLE = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
_LONGEST_SIDE = {'.jpeg': 65_500, '.jpg': 65_500, '.webp': 16_383}  # pixels that libjpeg and libwebp write

_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
_ORIENTATION_TAG = 0x0112  # EXIF 2.32, 4.6.4: which way up an image is shown, 1 to 8
_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')  # ISO/IEC 23008-12, annex B


class Header(NamedTuple):
    """What an image's header says.

    Attributes:
        format: as Pillow names it: JPEG, MPO, PNG, TIFF, WEBP, BMP, AVIF, HEIF, ...
        size: width and height in pixels as shown.
        turned: whether the image is shown otherwise than stored.
        deep: whether its channels may have more than eight bits that count.
        inverted: whether 0 means white in a deep image.
    """

    format: str
    size: tuple[int, int]
    turned: bool = False
    deep: bool = False
    inverted: bool = False


def is_image(path: str | Path) -> bool:
    """Whether the file's suffix is that of an image, in capitals or not."""
    return os.path.splitext(path)[1][1:].lower() in IMG_FORMATS


# Reading --------------------------------------------------------------------------------------------------------------


def read_image(path: str | Path) -> np.ndarray:
    """The image of a file as it is shown: uint8 (h, w, 3), BGR, contiguous. Alpha channels are dropped.

    Of several images (pages, frames) the first. What the file holds decides, not its suffix.

    Raises:
        DataError: the file is missing or is no image that can be decoded.
    """
    return decode_image(read_bytes(path), path)[0]


def read_bytes(path: str | Path) -> bytes:
    """A file's content. Python opens it, for OpenCV takes only names that are UTF-8.

    Raises:
        DataError: it is missing, can't be read, or is too large.
    """
    if not os.path.isfile(path):
        raise DataError(f'{path}: no such picture', 'check the path')
    try:
        with open(path, 'rb') as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise DataError(f'{path}: too large an image file', 'scale it down or cut it')
            return file.read()
    except OSError as problem:
        raise DataError(f'{path}: unreadable picture ({problem.strerror})', 'check the file') from None


def decode_image(data: bytes, name: str | Path) -> tuple[np.ndarray, str]:
    """An image file's content as `read_image` gives it, and a note on its conversion, see `to_8_bits`.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        DataError: it is no image, can't be decoded, is too large, or its values can't be converted.
    """
    try:
        header = read_header(io.BytesIO(data)) if _needs_header(data) else Header('', (0, 0))
        if header.deep and (found := _decode_deep(data, header, name)):
            return found
        # OpenCV 4.11 turns WebP not at all, and TIFF fails or is turned twice.
        by_opencv = not header.turned and data[4:8] != b'ftyp'
        image = _opencv(data, cv2.IMREAD_COLOR) if by_opencv else None
        if image is not None:
            return image, '16-bit pixels with values of 16 bits, divided by 256' if header.deep else ''
        with open_with_pillow(io.BytesIO(data)) as picture:
            rgb, note = _converted(picture, str(name))
        return np.ascontiguousarray(rgb[..., ::-1]), note
    except DataError:
        raise
    except MemoryError:
        raise DataError(f'{name}: too large a picture', 'scale it down or cut it') from None
    except Exception as problem:  # what Pillow raises on damaged files is of any kind
        raise DataError(f'{name}: unreadable picture ({problem})', 'replace or remove the file') from None


def _needs_header(data: bytes) -> bool:
    """Whether OpenCV alone might decode it wrongly: TIFF, WebP, PNG of 16 bits."""
    return _is_tiff(data) or data[8:12] == b'WEBP' or (data[:4] == b'\x89PNG' and data[24:25] == b'\x10')


def _is_tiff(data: bytes) -> bool:
    return data[:4] in TiffImagePlugin.PREFIXES


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is None and data.startswith(_JPEG_START):
            # In memory OpenCV wants a JPEG's end mark; of files it takes those that were cut, as read so far.
            image = cv2.imdecode(np.frombuffer(data + _JPEG_END, np.uint8), flags)
        return image
    except cv2.error:  # such as its limit of 2^30 pixels
        return None


def _decode_deep(data: bytes, header: Header, name: str | Path) -> tuple[np.ndarray, str] | None:
    """An image of more than eight bits, and the note; None where OpenCV's own way to eight bits is right, or Pillow's.

    OpenCV turns TIFF by its tag whatever the flags, and PNG as the flags say. It shifts packed TIFF samples of 10 to
    14 bits up to 16.
    """
    flags = cv2.IMREAD_UNCHANGED if header.format == 'TIFF' else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    pixels = _opencv(data, flags)
    if pixels is None or (pixels.dtype == np.uint16 and pixels.max() >= 1 << 14):
        return None
    pixels, note = to_8_bits(pixels, str(name))
    pixels = 255 - pixels if header.inverted else pixels
    return three_channels(pixels), note


def three_channels(pixels: np.ndarray) -> np.ndarray:
    """(h, w), or (h, w, c) with 1 to 4 channels, as contiguous (h, w, 3): grey is repeated, alpha dropped."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    grey = pixels.shape[2] < 3
    return np.ascontiguousarray(pixels[..., :1].repeat(3, 2) if grey else pixels[..., :3])


# Headers --------------------------------------------------------------------------------------------------------------


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
    """The header of an image file that is open at its start; leaves it anywhere.

    Raises:
        Image.DecompressionBombError: it has more than `MAX_PIXELS`.
        Exception: as `open_with_pillow`.
    """
    start = file.read(25)
    file.seek(0)
    if _is_tiff(start):
        return _tiff_header(file)
    with open_with_pillow(file) as image:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        deep = image.format == 'PNG' and start[24:] == b'\x10' and not _has_sbit(file)
        return Header(image.format, exif_size(image), orientation in range(2, 9), deep)


def exif_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image as shown: exchanged where its EXIF orientation lays it on its side."""
    # Pillow's TIFF reader has exchanged them already.
    sideways = image.format != 'TIFF' and image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return image.size[::-1] if sideways else image.size


def _tiff_header(file: BinaryIO) -> Header:
    """By its tags (TIFF 6.0, section 8): Pillow knows no floats in three channels and more of the kind."""
    start = file.read(8)
    start += file.read(8) if start[2] == 43 else b''  # BigTIFF
    tags = TiffImagePlugin.ImageFileDirectory_v2(start)
    file.seek(tags.next)
    tags.load(file)
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f'{width}x{height} pixels')
    orientation, meaning = tags.get(_ORIENTATION_TAG, 1), tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1)
    # Grey with white or black as 0, and RGB; of others (CMYK, raw sensors) OpenCV knows better what is shown.
    deep = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8 and meaning in (0, 1, 2)
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return Header('TIFF', size, orientation in range(2, 9), deep, meaning == 0)


def _has_sbit(file: BinaryIO) -> bool:
    """Whether a PNG says how many of its bits count: its values are then scaled up to all 16 (PNG 3, 11.3.2.7)."""
    file.seek(8)
    while len(start := file.read(8)) == 8 and start[4:] not in (b'sBIT', b'PLTE', b'IDAT'):
        file.seek(int.from_bytes(start[:4], 'big') + 4, os.SEEK_CUR)
    return start[4:] == b'sBIT'


# Objects --------------------------------------------------------------------------------------------------------------


def from_pil(image: Image.Image, name: str, notes: ImageNotes | None = None) -> np.ndarray:
    """A PIL image as it is shown: uint8 (h, w, 3), RGB.

    Args:
        name: for messages.
        notes: gets what is to be said about its conversion to 8 bits.

    Raises:
        DataError: it can't be decoded, or its values can't be converted.
    """
    try:
        pixels, note = _converted(image, name)
    except DataError:
        raise
    except Exception as problem:  # it is decoded only now, and what Pillow raises on damaged files is of any kind
        raise DataError(f'{name}: unreadable picture ({problem})') from None
    if notes:
        notes.add(name, note)
    return pixels


def _converted(image: Image.Image, name: str) -> tuple[np.ndarray, str]:
    shown = ImageOps.exif_transpose(image)
    if shown.mode not in ('I', 'F') and not shown.mode.startswith('I;16'):
        return np.array(shown.convert('RGB')), ''
    pixels, note = to_8_bits(np.asarray(shown), name)  # Pillow would make all above 255 white
    return three_channels(pixels), note


def from_array(array: np.ndarray, name: str, notes: ImageNotes | None = None) -> np.ndarray:
    """An array as an image: uint8 (h, w, 3), RGB, contiguous; of 8 bits as `to_8_bits` makes them.

    Args:
        array: grey, RGB or RGBA, (h, w), (h, w, c) or (c, h, w): uint8; floats in 0..1 or 0..255; wider integers.
        name: for messages.
        notes: gets what is to be said about its conversion to 8 bits.

    Raises:
        DataError: its shape is no image's, or its values can't be converted.
    """
    im = array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[0] < 5 else array
    if im.ndim not in (2, 3) or (im.ndim == 3 and im.shape[2] not in (1, 3, 4)) or not im.size:
        raise DataError(f'{name}: an array of shape {array.shape} is no picture', 'give (h, w, 3) RGB')
    pixels, note = to_8_bits(im, name)
    if notes:
        notes.add(name, note)
    return three_channels(pixels)


# Writing --------------------------------------------------------------------------------------------------------------


def write_image(path: str | Path, im: np.ndarray) -> Path:
    """Write an image, whole or not at all; returns where.

    Args:
        path: the file. A suffix that can't be written becomes .jpg; one whose format is too small for the image
            becomes .png, which is logged; a name that is too long for a file is cut, see `fit_name`.
        im: (h, w, 3) uint8 BGR.

    Raises:
        OSError: the disk is full, or the folder can't be written.
        ResourceError: OpenCV can't write such an image at all.
    """
    path = Path(path)
    suffix = path.suffix if path.suffix.lower() in WRITABLE else '.jpg'
    longest = _LONGEST_SIDE.get(suffix.lower())
    if longest and max(im.shape[:2]) > longest:
        LOGGER.warning(
            f'{path}: written as PNG, since {suffix[1:].upper()} holds at most {longest:,} pixels a side '
            f'and the image has {im.shape[1]:,}x{im.shape[0]:,}'
        )
        suffix = '.png'
    path = path.with_name(fit_name(path.stem + suffix))
    # Not cv2.imwrite: it tells neither of a full disk nor of a missing folder.
    write_file(path, encode_image(im, suffix, path))
    return path


def encode_image(im: np.ndarray, suffix: str, name: str | Path, options: tuple[int, ...] = ()) -> bytes:
    """An image (h, w, 3) uint8 BGR as the content of a file.

    Args:
        suffix: of the format, with its dot.
        name: for messages.
        options: OpenCV's, such as (cv2.IMWRITE_JPEG_QUALITY, 92).

    Raises:
        ResourceError: OpenCV can't do it, for example because the format holds no image of that size.
    """
    try:
        done, data = cv2.imencode(suffix, im, options)
    except cv2.error:
        done = False
    if not done:
        what = 'x'.join(map(str, im.shape))
        raise ResourceError(f'{name}: OpenCV can not write an array of {what} as {suffix[1:].upper()}')
    return data.tobytes()
