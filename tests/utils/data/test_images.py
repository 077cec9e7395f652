"""Pictures: sizes and pixels the right way up, damaged ones found without touching them."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.utils.data.conftest import picture
from utils.data.image_check import BadImage, check_image
from utils.data.images import is_image, read_image, write_image
from utils.errors import DataError

FORMATS = {'jpg': {'quality': 100, 'subsampling': 0}, 'png': {}, 'webp': {'lossless': True}, 'tif': {}}


def test_suffixes():
    assert is_image('a.b/c.JPG')
    assert is_image('x.webp')
    assert not is_image('a.txt')
    assert not is_image('jpg')


@pytest.mark.parametrize('suffix', FORMATS)
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30], stored[:20, 30:], stored[20:, :30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(file := tmp_path / f'a.{suffix}', exif=exif, **FORMATS[suffix])
    shown = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation][..., ::-1]  # fmt: skip
    image = read_image(file)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert check_image(file).size == image.shape[1::-1] == shown.shape[1::-1]
    np.testing.assert_allclose(image.astype(int), shown, atol=3)


def test_grey_and_deep_pictures_become_8_bit_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / 'deep.png'), np.full((20, 30), 0x8000, np.uint16))
    cv2.imwrite(str(tmp_path / 'deep.tif'), np.full((20, 30), 0x8000, np.uint16))
    for name in ('deep.png', 'deep.tif'):
        image = read_image(tmp_path / name)
        assert image.shape == (20, 30, 3)
        assert set(np.unique(image)) == {128}


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp', 'tif'])
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


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'written'), [('a.png', 'a.png'), ('a.JPG', 'a.JPG'), ('a.dng', 'a.jpg'), ('a', 'a.jpg')]
)
def test_pictures_are_written_in_a_format_that_can_be(tmp_path, name, written):
    grey = np.full((48, 64, 3), 100, np.uint8)
    assert write_image(tmp_path / name, grey) == tmp_path / written
    assert np.abs(cv2.imread(str(tmp_path / written)).astype(int) - 100).max() <= 1
