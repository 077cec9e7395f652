"""Images: which files count, decoding them the right way up, writing. The one place that opens an image.

`read_image` is for files that the label check has passed, `utils.data.image_check.load_image` for any others,
`from_pil` and `from_array` for what the Python API is given. All of them give three channels of eight bits.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from utils.data.bit_depth import ImageNotes, to_8_bits
from utils.data.image_header import PNG_START, Header, decoding_header, open_with_pillow
from utils.errors import DataError, ResourceError
from utils.log import LOGGER
from utils.paths import fit_name, write_file

IMG_FORMATS = ('avif', 'bmp', 'dng', 'heic', 'heif', 'jfif', 'jpeg', 'jpg', 'mpo', 'png', 'tif', 'tiff', 'webp')
MAX_BYTES = 2**31 - 1  # of a file: what OpenCV takes

# Others (DNG, AVIF) become JPEGs: OpenCV can't write them.
WRITABLE = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
_LONGEST_SIDE = {'.jpeg': 65_500, '.jpg': 65_500, '.webp': 16_383}  # pixels that libjpeg and libwebp write

_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'


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
    """A file's content. Python opens it, for OpenCV would end the process at a name that isn't UTF-8.

    Raises:
        DataError: it is missing, can't be read, or is too large.
    """
    with open_file(path) as file:
        try:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise DataError(f'{path}: too large an image file', 'scale it down or cut it')
            return file.read()
        except OSError as problem:
            raise DataError(f'{path}: unreadable picture ({problem.strerror})', 'check the disk') from None


def open_file(path: str | Path) -> BinaryIO:
    """A regular file, opened: a pipe of an image's name would be waited for without end.

    Raises:
        DataError: it is missing, no regular file, or can't be opened.
    """
    if not os.path.isfile(path):
        raise DataError(f'{path}: no such picture', 'check the path')
    try:
        return open(path, 'rb')
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
        header = decoding_header(io.BytesIO(data))
        if header.deep and (found := _decode_deep(data, header, name)):
            return found
        # OpenCV 4.11 turns WebP not at all, and TIFF fails or is turned twice.
        by_opencv = not (header.turned or header.deep or data[4:8] == b'ftyp')
        image = _opencv(data, cv2.IMREAD_COLOR) if by_opencv else None
        if image is not None:
            return image, ''
        with open_with_pillow(io.BytesIO(data)) as picture:
            rgb, note = _converted(picture, str(name))
        note = note or ('more than 8 bits, of which Pillow keeps the upper 8' if header.deep else '')
        return np.ascontiguousarray(rgb[..., ::-1]), note
    except DataError:
        raise
    except MemoryError:
        raise DataError(f'{name}: too large a picture', 'scale it down or cut it') from None
    except Image.UnidentifiedImageError:
        raise DataError(
            f'{name}: unreadable picture (of no kind that is known)', 'replace or remove the file'
        ) from None
    except Exception as problem:  # what Pillow raises on damaged files is of any kind
        raise DataError(f'{name}: unreadable picture ({str(problem).strip()})', 'replace or remove the file') from None


def _opencv(data: bytes, flags: int) -> np.ndarray | None:
    if data.startswith(PNG_START) and not _chunks_fit(data):
        return None  # OpenCV 4.11 would allocate and clear what a chunk's length claims, up to 4 GiB
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if image is None and data.startswith(_JPEG_START):
            # In memory OpenCV wants a JPEG's end mark; of files it takes those that were cut, as read so far.
            image = cv2.imdecode(np.frombuffer(data + _JPEG_END, np.uint8), flags)
        return image
    except cv2.error:  # such as its limit of 2^30 pixels
        return None


def _chunks_fit(data: bytes) -> bool:
    """Whether each of a PNG's chunks, which begin with their length and kind, lies within the file (PNG 3, 5.3)."""
    place, kind = len(PNG_START), b''
    while kind != b'IEND' and place + 12 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], 'big'), data[place + 4 : place + 8]
        place += length + 12  # with the sum behind the content
    return kind == b'IEND' and place <= len(data)


def _decode_deep(data: bytes, header: Header, name: str | Path) -> tuple[np.ndarray, str] | None:
    """An image of more than eight bits, and the note; None where OpenCV can't decode it."""
    # OpenCV turns TIFF by its tag whatever the flags, and PNG as the flags say.
    flags = cv2.IMREAD_UNCHANGED if header.format == 'TIFF' else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    pixels = _opencv(data, flags)
    if pixels is None or pixels.dtype == np.uint8:  # it keeps only the upper 8 bits of grey with alpha in TIFF
        return None
    converted, note = to_8_bits(pixels, str(name), header.most)
    full = pixels.dtype == np.uint16 and pixels.max() >= 1 << 14
    if full and header.format == 'TIFF' and pixels.ndim == 3 and not header.turned:
        plain = _opencv(data, cv2.IMREAD_COLOR)  # of colours in TIFF OpenCV rounds all 16 bits instead of cutting them
        converted = converted if plain is None else plain
    return three_channels(255 - converted if header.inverted else converted), note


def three_channels(pixels: np.ndarray) -> np.ndarray:
    """(h, w), or (h, w, c) with 1 to 4 channels, as contiguous (h, w, 3): grey is repeated, alpha dropped."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    grey = pixels.shape[2] < 3
    return np.ascontiguousarray(pixels[..., :1].repeat(3, 2) if grey else pixels[..., :3])


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
        if data := _deep_file(image):
            bgr, note = decode_image(data, name)
            pixels = np.ascontiguousarray(bgr[..., ::-1])
        else:
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


def _deep_file(image: Image.Image) -> bytes:
    """The file behind a deep image that isn't decoded yet: of three channels Pillow would keep eight bits."""
    file, tiles = getattr(image, 'fp', None), getattr(image, 'tile', ())
    if image.format not in ('PNG', 'TIFF') or not file or not tiles or image.tell():
        return b''
    place = file.tell()
    try:
        file.seek(0)
        if not decoding_header(file).deep:
            return b''
        file.seek(0)
        return file.read()
    finally:
        file.seek(place)


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
