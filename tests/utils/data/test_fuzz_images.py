"""Damaged and mislabelled image files, and arrays of any kind: an image or a short refusal, in little memory.

A longer run: YOLOV5_FUZZ=20 python -m pytest tests/utils/data/test_fuzz_images.py
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tests.fuzz import bounded, damaged, fuzzed, refusals
from tests.utils.data.image_files import avif_files, encoded, plain_files, smooth, tiff
from utils.data.image_check import BadImage, check_image, load_image
from utils.data.images import IMG_FORMATS, from_array, from_pil, read_image

DEEP = smooth().astype(np.uint16) * 16
ORIGINALS = [
    *plain_files().values(), *avif_files().values(), encoded('.png', DEEP), encoded('.png', DEEP[..., 0]),
    *(tiff(pixels, order) for pixels in (DEEP, DEEP[..., 0], DEEP.astype(np.int32), (DEEP / 4096).astype(np.float32))
      for order in '<>'),
    tiff(DEEP[..., 0], bits=12), encoded('.tif', (smooth() / 255).astype(np.float32)),
]  # fmt: skip
# Markers of the formats, sides of 60,000 pixels, and the tags of a TIFF.
PIECES = [
    *(b'\xff\xd8\xff', b'\xff\xd9', b'\xff\xc0', b'\xff\xc2', b'\xff\xda', b'Exif\0\0', b'II*\0', b'MM\0*'),
    *(b'IHDR', b'IDAT', b'PLTE', b'tRNS', b'sBIT', b'eXIf', b'acTL', b'fcTL', b'VP8X', b'VP8L', b'ANIM', b'ANMF'),
    *(b'ftypheic', b'ftypavif', b'\0\0\xea\x60' * 2, b'\x60\xea\0\0' * 2, b'\xea\x60' * 2, b'\x60\xea' * 2),
    *(tag.to_bytes(2, order) for tag in (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 281, 339)
      for order in ('little', 'big')),
]  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings('ignore::UserWarning'),  # Pillow's, before its errors
    pytest.mark.filterwarnings('ignore::RuntimeWarning'),
    pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning'),
]


@pytest.fixture(scope='module', autouse=True)
def warmed_up() -> None:
    """What the libraries take once is not an example's."""
    for content in ORIGINALS:
        with refusals(OSError):
            from_pil(Image.open(io.BytesIO(content)), 'a')


@fuzzed(2000, content=damaged(ORIGINALS, inserts=PIECES), suffix=st.sampled_from(IMG_FORMATS))
def test_fuzz_image_files(tmp_path_factory, content, suffix):
    file = tmp_path_factory.getbasetemp() / f'a.{suffix}'
    file.write_bytes(content)
    size = loaded = None
    with bounded(megabytes=400):
        with suppress(BadImage):
            size = check_image(file).size
        with refusals():
            loaded = load_image(file)
        if size:
            with refusals():
                read_image(file)
    file.unlink()
    assert loaded is None or size, 'a file that the check refuses is loaded'
    if loaded is not None:
        assert (loaded.dtype, loaded.shape) == (np.uint8, (*size[::-1], 3))


@fuzzed(300, content=damaged(ORIGINALS, inserts=PIECES))
def test_fuzz_pil_images(content):
    try:
        image = Image.open(io.BytesIO(content))
    except Exception:  # not ours
        return
    if image.size[0] * image.size[1] < 1e6:
        with bounded(megabytes=400), refusals():
            assert from_pil(image, 'a').shape[2] == 3


DTYPES = (
    arrays.unsigned_integer_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes(sizes=(16, 32, 64))
    | arrays.boolean_dtypes() | arrays.complex_number_dtypes() | arrays.unicode_string_dtypes(max_len=2)
)  # fmt: skip


@fuzzed(
    300,
    array=DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_side=6, min_side=0))),
)
def test_fuzz_arrays(array):
    with refusals():
        image = from_array(array, 'a')
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.shape[0] * image.shape[1] > 0
