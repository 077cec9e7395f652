"""Image checks: damaged files found without touching them."""

from __future__ import annotations

import os
import re
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from tests.fuzz import bounded
from tests.utils.data.conftest import picture
from tests.utils.data.image_files import encoded, plain_files, smooth, tiff
from utils.data.image_check import BadImage, check_image, load_image
from utils.data.images import read_image
from utils.errors import DataError


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'tif', 'avif'])
def test_whole_pictures_pass_and_cut_ones_do_not(tmp_path, suffix):
    file = picture(tmp_path / f'a.{suffix}', (80, 60))
    content = file.read_bytes()
    assert check_image(file).size == (80, 60)
    file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BadImage):
        check_image(file)
    assert file.read_bytes() == content[: len(content) * 2 // 3]


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_data_behind_the_end_is_harmless(tmp_path, suffix):
    file = picture(tmp_path / f'a.{suffix}')
    file.write_bytes(file.read_bytes() + b'\0' * 100)
    assert check_image(file).size == (60, 40)


@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('cut', [1, 2])
def test_a_jpeg_that_lacks_only_its_end_mark_is_used_as_it_is(tmp_path, progressive, cut):
    rng = np.random.default_rng(0)
    for i in range(20):  # whether Pillow minds depends on the last bits
        picture = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
        picture.save(file := tmp_path / f'{i}.jpg', progressive=progressive)
        content = file.read_bytes()[:-cut]
        file.write_bytes(content)
        assert check_image(file).size == (60, 40)
        assert file.read_bytes() == content
        assert read_image(file).shape == (40, 60, 3)


def test_a_jpeg_cut_earlier_is_found_wherever(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(file := tmp_path / 'a.jpg')
    content = file.read_bytes()
    for length in range(20, len(content) - 12, 7):
        file.write_bytes(content[:length])
        with pytest.raises(BadImage):
            check_image(file)


def test_a_progressive_jpeg_passes_only_if_a_scan_ends_there(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(file := tmp_path / 'a.jpg', progressive=True)
    content = file.read_bytes()
    ends = {m.start() + i for m in re.finditer(rb'\xff[\xc4\xda\xd9]', content) for i in (-1, 0, 1)}
    for length in set(range(20, len(content), 5)) - ends:
        file.write_bytes(content[:length])
        with pytest.raises(BadImage):
            check_image(file)


@pytest.mark.parametrize(
    ('content', 'complaint'), [(b'', 'not a picture'), (b'hello', 'not a picture'), (None, 'no such picture')]
)
def test_what_is_no_picture(tmp_path, content, complaint):
    file = tmp_path / 'a.jpg'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadImage, match=complaint):
        check_image(file)
    with pytest.raises(DataError, match=str(file)):
        read_image(file)


def test_too_small_and_foreign_formats(tmp_path):
    with pytest.raises(BadImage, match='60x9 pixels'):
        check_image(picture(tmp_path / 'a.jpg', (60, 9)))
    assert check_image(picture(tmp_path / 'b.jpg', (10, 10))).size == (10, 10)
    with pytest.raises(BadImage, match='a GIF file'):
        check_image(picture(tmp_path / 'c.jpg', format='GIF'))


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')  # Pillow's, before the error
@pytest.mark.parametrize(
    'content',
    [
        encoded('.png', smooth().astype(np.uint16) * 16), tiff(smooth().astype(np.uint16)),
        tiff(smooth(1).astype(np.uint16)), tiff((smooth() / 255).astype(np.float32)),
        tiff((smooth(1) / 255).astype(np.float32)),
    ],
    ids=['png', 'tif RGB', 'tif', 'tif float RGB', 'tif float'],
)  # fmt: skip
def test_cut_files_of_more_than_8_bits_are_found(tmp_path, content):
    file = tmp_path / 'a'
    # A TIFF cut at its end loses its tags, so pixels before them are taken out, too.
    cuts = [content[:length] for length in range(0, len(content) - 100, 97)]
    if content[:2] == b'II':
        start = int.from_bytes(content[4:8], 'little')
        cuts += [content[:4] + (start - cut).to_bytes(4, 'little') + content[8 : start - cut] + content[start:]
                 for cut in (500, 2000)]  # fmt: skip
    for cut in cuts:
        file.write_bytes(cut)
        with pytest.raises(BadImage):
            check_image(file)
        with pytest.raises(DataError):
            load_image(file)


@pytest.mark.parametrize('suffix', ['bmp', 'png', 'tif', 'webp'])
def test_headers_that_claim_far_too_much_allocate_nothing(tmp_path, suffix):
    content = bytearray(picture(tmp_path / f'a.{suffix}').read_bytes())
    if suffix == 'webp':
        content = bytearray(
            Image.new('RGBA', (20, 20)).tobytes() and b'RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0' + b'\x5f\xea\0' * 2
        )
    elif suffix == 'tif':
        content = bytearray(tiff(smooth(), _256=60_000, _257=60_000))
    else:
        at, order = {'bmp': (18, 'little'), 'png': (16, 'big')}[suffix]
        content[at : at + 8] = (60_000).to_bytes(4, order) * 2
    (tmp_path / 'b').write_bytes(content)
    with pytest.raises(BadImage, match='more than 178,956,970 pixels|unreadable|not a picture'):
        check_image(tmp_path / 'b')


@pytest.mark.parametrize('kind', ['png RGB', 'png animated', 'png deep'])
@pytest.mark.parametrize('length', [0x10000000, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize('place', ['first', 'IDAT', 'IEND'])
def test_lengths_of_png_chunks_are_not_believed(tmp_path, kind, length, place):
    """OpenCV would allocate them."""
    content = (plain_files() | {'png deep': encoded('.png', smooth().astype(np.uint16))})[kind]
    at = 33 if place == 'first' else content.find(place.encode()) - 4
    rest = b'tEXt' + content[at:] if place == 'first' else content[at + 4 :]
    (tmp_path / 'a.png').write_bytes(content[:at] + length.to_bytes(4, 'big') + rest)
    with bounded(megabytes=60):
        for read, error in ((check_image, BadImage), (load_image, DataError), (read_image, DataError)):
            with suppress(error):
                read(tmp_path / 'a.png')


def test_what_is_no_file(tmp_path):
    for read, error in ((check_image, BadImage), (load_image, DataError), (read_image, DataError)):
        with pytest.raises(error):
            read(tmp_path)
        with pytest.raises(error):
            read(tmp_path / ('n' * 300 + '.jpg'))
    os.mkfifo(tmp_path / 'a.jpg')  # opening it would wait for ever
    for read, error in ((check_image, BadImage), (load_image, DataError), (read_image, DataError)):
        with pytest.raises(error, match='no such picture'):
            read(tmp_path / 'a.jpg')
