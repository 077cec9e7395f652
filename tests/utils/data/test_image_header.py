"""Headers: what they say of size, orientation and depth, without decoding."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.utils.data.image_files import SHAPE, avif_files, encoded, plain_files, saved, smooth, tiff
from utils.data.image_header import Header, exif_size, read_header

WIDE, TALL = SHAPE[::-1], SHAPE
DEEP = smooth().astype(np.uint16)


@pytest.mark.parametrize('kind', [*plain_files(), *avif_files()])
def test_plain_files_are_neither_deep_nor_turned(kind):
    header = read_header(io.BytesIO((plain_files() | avif_files())[kind]))
    names = {'jpg': 'JPEG', 'tif': 'TIFF'}
    suffix = kind.split()[0]
    assert header == Header(names.get(suffix, suffix.upper()), WIDE)


@pytest.mark.parametrize(
    ('content', 'header'),
    [
        (tiff(DEEP), Header('TIFF', WIDE, deep=True)),
        (tiff(DEEP, '>', _274=6), Header('TIFF', TALL, turned=True, deep=True)),
        (tiff(DEEP[..., 0], _262=0, _281=4095), Header('TIFF', WIDE, deep=True, most=4095, inverted=True)),
        (tiff(DEEP[..., 0], bits=10), Header('TIFF', WIDE, deep=True, most=65535)),
        (tiff(DEEP.astype(np.float32)), Header('TIFF', WIDE, deep=True)),
        (tiff(smooth().astype(np.int8)), Header('TIFF', WIDE, deep=True)),
        (tiff(DEEP, _262=5), Header('TIFF', WIDE)),  # of CMYK three channels of OpenCV's own
        (encoded('.png', DEEP), Header('PNG', WIDE, deep=True)),
    ],
)
def test_deep_files(content, header):
    assert read_header(io.BytesIO(content)) == header


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'WEBP'])
def test_sizes_as_shown(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(smooth()), kind, exif=exif)
    shown = TALL if orientation > 4 else WIDE
    header = read_header(io.BytesIO(content))
    assert (header.size, header.turned) == (shown, orientation > 1)
    assert exif_size(Image.open(io.BytesIO(content))) == shown


def test_a_tiff_of_too_many_pixels():
    with pytest.raises(Image.DecompressionBombError, match='60000x60000'):
        read_header(io.BytesIO(tiff(DEEP, _256=60_000, _257=60_000)))
