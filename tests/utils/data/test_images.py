"""Images: pixels the right way up from files of every kind and name, objects, and writing."""

from __future__ import annotations

import io
import os
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.utils.data.image_files import SHAPE, avif_files, encoded, plain_files, smooth, tiff
from utils.data.bit_depth import ImageNotes
from utils.data.image_check import BadImage, check_image, load_image
from utils.data.images import from_array, from_pil, is_image, read_image, write_image
from utils.errors import DataError, ResourceError

FORMATS = {'jpg': {'quality': 100, 'subsampling': 0}, 'png': {}, 'webp': {'lossless': True}, 'tif': {}}
PLAIN = plain_files()
ODD_NAMES = [os.fsdecode(b'\xb2\xe2.jpg'), '图像 é.jpg', 'a\nb.jpg', '-x [1]%d.jpg', 'n' * 251 + '.jpg']
NOTE_12 = '16-bit pixels with values of 12 bits, divided by 16'
NOTE_16 = '16-bit pixels with values of 16 bits, divided by 256'


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    """(h, w) or (h, w, 3) as shown (EXIF 2.32, 4.6.4)."""
    return {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1), 7: stored[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(stored),
    }[orientation]  # fmt: skip


def test_suffixes():
    assert is_image('a.b/c.JPG')
    assert is_image('x.webp')
    assert not is_image('a.txt')
    assert not is_image('jpg')


@pytest.mark.parametrize('suffix', FORMATS | {'avif': {'quality': 100, 'subsampling': '4:4:4'}})
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30], stored[:20, 30:], stored[20:, :30] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(
        file := tmp_path / f'a.{suffix}', exif=exif, **FORMATS.get(suffix, {'quality': 100, 'subsampling': '4:4:4'})
    )
    shown = turned(stored, orientation)[..., ::-1]
    image = read_image(file)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert check_image(file).size == image.shape[1::-1] == shown.shape[1::-1]
    np.testing.assert_allclose(image.astype(int), shown, atol=3)


# Plain files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', PLAIN)
def test_pixels_are_those_of_opencv_reading_the_file(tmp_path, kind):
    file = tmp_path / f'a.{kind.split()[0]}'
    file.write_bytes(PLAIN[kind])
    image = read_image(file)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, cv2.imread(str(file)))
    np.testing.assert_array_equal(load_image(file), image)
    assert check_image(file) == (SHAPE[::-1], '')


@pytest.mark.parametrize('name', ODD_NAMES, ids=ascii)
def test_files_of_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(PLAIN['jpg RGB'])
    wanted = cv2.imdecode(np.frombuffer(PLAIN['jpg RGB'], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(tmp_path / name), wanted)
    np.testing.assert_array_equal(load_image(str(tmp_path / name)), wanted)


@pytest.mark.parametrize('kind', ['jpg RGB', 'png RGBA', 'bmp P', 'tif L raw', 'webp', 'mpo'])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp', 'avif', 'jfif'])
def test_what_a_file_holds_counts_not_its_suffix(tmp_path, kind, suffix):
    (tmp_path / 'right').with_suffix(f'.{kind.split()[0]}').write_bytes(PLAIN[kind])
    (tmp_path / f'wrong.{suffix}').write_bytes(PLAIN[kind])
    wanted = read_image(next(tmp_path.glob('right*')))
    np.testing.assert_array_equal(load_image(tmp_path / f'wrong.{suffix}'), wanted)


@pytest.mark.parametrize(('kind', 'content'), avif_files().items())
def test_avif(tmp_path, kind, content):
    (tmp_path / 'a.avif').write_bytes(content)
    image = load_image(tmp_path / 'a.avif')
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))[..., ::-1])
    assert check_image(tmp_path / 'a.avif') == (SHAPE[::-1], '')


def test_heic_needs_a_decoder_which_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)  # as if it were not installed
    (tmp_path / 'a.jpg').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(200))
    for read in (read_image, load_image):
        with pytest.raises(DataError, match='a.jpg: .*a HEIC image, which needs a decoder: pip install pillow-heif'):
            read(tmp_path / 'a.jpg')
    with pytest.raises(BadImage, match='^a HEIC image, which needs a decoder: pip install pillow-heif$'):
        check_image(tmp_path / 'a.jpg')


def test_heic_is_read_where_its_decoder_is_installed(tmp_path, monkeypatch):
    class HeifFile(ImageFile.ImageFile):
        format = 'HEIF'

        def _open(self):
            self._size, self._mode = (20, 16), 'L'
            self.tile = [('raw', (0, 0, 20, 16), 24, ('L', 0, 1))]

    plugin = types.ModuleType('pillow_heif')
    plugin.register_heif_opener = lambda: Image.register_open('HEIF', HeifFile, lambda start: start[8:12] == b'heic')
    monkeypatch.setitem(sys.modules, 'pillow_heif', plugin)
    monkeypatch.setattr(Image, 'OPEN', dict(Image.OPEN))
    monkeypatch.setattr(Image, 'ID', list(Image.ID))
    (tmp_path / 'a.heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes([77]) * 320)
    assert check_image(tmp_path / 'a.heic').size == (20, 16)
    assert load_image(tmp_path / 'a.heic').tolist() == [[[77, 77, 77]] * 20] * 16


# More than eight bits -------------------------------------------------------------------------------------------------

RAMP = np.arange(2400).reshape(SHAPE) * 3996 // 2399  # a 12-bit camera's: maximum 3996
COLOUR = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])  # RGB
FULL = (COLOUR * 16).astype(np.uint16)
UNIT = COLOUR / 3996

RAMP_16, COLOUR_16, UNIT_32 = RAMP.astype(np.uint16), COLOUR.astype(np.uint16), UNIT.astype(np.float32)
NOTE_32 = NOTE_12.replace('16-bit', '32-bit')
NOTE_14 = '16-bit pixels with values of 14 bits, divided by 64'
NOTE_1, NOTE_255 = 'floats in 0..1, multiplied by 255', 'floats in 0..255, rounded'

DEEP = {
    'png': (encoded('.png', RAMP_16), RAMP >> 4, NOTE_12),
    'png RGB': (encoded('.png', COLOUR_16[..., ::-1]), COLOUR >> 4, NOTE_12),
    'png RGBA': (encoded('.png', np.dstack([COLOUR_16[..., ::-1], RAMP_16])), COLOUR >> 4, NOTE_12),
    'png 16 bits': (encoded('.png', FULL[..., ::-1]), FULL >> 8, NOTE_16),
    'tif': (tiff(RAMP_16), RAMP >> 4, NOTE_12),
    'tif big-endian': (tiff(RAMP_16, '>'), RAMP >> 4, NOTE_12),
    'tif white is 0': (tiff(RAMP_16, _262=0), 255 - (RAMP >> 4), NOTE_12),
    'tif RGB': (tiff(COLOUR_16), COLOUR >> 4, NOTE_12),
    'tif RGB big-endian': (tiff(COLOUR_16, '>'), COLOUR >> 4, NOTE_12),
    'tif RGBA': (tiff(np.dstack([COLOUR_16, RAMP_16])), COLOUR >> 4, NOTE_12),
    'tif 16 bits': (tiff(FULL[..., 0]), FULL[..., 0] >> 8, NOTE_16),
    'tif RGB 16 bits': (tiff(FULL), np.rint(FULL / 257), NOTE_16),  # as OpenCV makes it
    'tif says 14 bits': (tiff(RAMP_16, _281=16383), RAMP >> 6, NOTE_14),
    'tif packed': (tiff(RAMP_16, bits=12), RAMP >> 4, NOTE_16),
    'tif packed dark': (tiff(RAMP_16 // 8, bits=12), RAMP // 8 >> 4, NOTE_16),
    'tif int16': (tiff(RAMP.astype(np.int16)), RAMP >> 4, NOTE_12),
    'tif int32': (tiff(RAMP.astype(np.int32)), RAMP >> 4, NOTE_32),
    'tif uint32': (tiff(RAMP.astype(np.uint32)), RAMP >> 4, NOTE_32),
    'tif float': (tiff(UNIT_32[..., 0]), np.rint(UNIT_32[..., 0] * 255), NOTE_1),
    'tif float big-endian': (tiff(UNIT_32[..., 0], '>'), np.rint(UNIT_32[..., 0] * 255), NOTE_1),
    'tif float RGB': (tiff(UNIT_32 * 255), np.rint(UNIT_32 * 255), NOTE_255),
    'tif double': (tiff(UNIT), np.rint(UNIT * 255), NOTE_1),
}  # fmt: skip


@pytest.mark.parametrize('kind', DEEP)
def test_deep_files_become_8_bits_by_the_rule_for_all(tmp_path, kind):
    """The same from files, read with and without a check, and from PIL images where Pillow can open them."""
    content, wanted, note = DEEP[kind]
    file, notes = tmp_path / f'a.{kind.split()[0]}', ImageNotes()
    file.write_bytes(content)
    wanted = wanted if wanted.ndim == 3 else np.dstack([wanted] * 3)
    np.testing.assert_array_equal(read_image(file), wanted[..., ::-1])
    np.testing.assert_array_equal(load_image(file, notes), wanted[..., ::-1])
    assert notes.lines() == [f'1 image: {note} (for example {file})']
    assert check_image(file) == (SHAPE[::-1], note)
    if kind not in ('tif float RGB', 'tif double'):  # which Pillow doesn't know
        with Image.open(file) as image:
            np.testing.assert_array_equal(from_pil(image, 'a', notes), wanted)
            image.load()  # still possible
    if kind == 'png':
        assert notes.lines() == [f'2 images: {note} (for example {file})']


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['tif', 'tif RGB', 'tif float RGB', 'png RGB'])
def test_deep_files_are_turned(tmp_path, kind, orientation):
    pixels = (UNIT if 'RGB' in kind else UNIT[..., 0]) * (1 if 'float' in kind else 3996)
    if kind == 'png RGB':
        exif = b'eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0' + bytes([orientation, 0, 0, 0, 0, 0, 0])
        chunk = (len(exif) - 4).to_bytes(4, 'big') + exif
        chunk += zlib.crc32(exif).to_bytes(4, 'big')
        content = encoded('.png', pixels[..., ::-1].astype(np.uint16))
        content = content[:33] + chunk + content[33:]
    else:
        content = tiff(pixels.astype(np.float32 if 'float' in kind else np.uint16), _274=orientation)
    (tmp_path / 'a').write_bytes(content)
    eight = np.rint(pixels * 255) if 'float' in kind else pixels.astype(int) >> 4
    shown = turned(eight, orientation)
    image = read_image(tmp_path / 'a')
    assert check_image(tmp_path / 'a').size == image.shape[1::-1]
    np.testing.assert_array_equal(
        image if shown.ndim == 3 else image[..., 0], shown[..., ::-1] if shown.ndim == 3 else shown
    )


def test_a_png_that_says_its_depth_is_believed(tmp_path):
    """sBIT: the values are scaled up to 16 bits, so even a dark image's are divided by 256."""
    content = encoded('.png', RAMP.astype(np.uint16))
    chunk = b'sBIT\x0c'
    chunk = b'\0\0\0\x01' + chunk + zlib.crc32(chunk).to_bytes(4, 'big')
    (tmp_path / 'a.png').write_bytes(content[:33] + chunk + content[33:])
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png')[..., 0], RAMP >> 8)
    assert check_image(tmp_path / 'a.png').note == NOTE_16


def test_opencvs_own_float_tiff(tmp_path):
    """LogLuv: read as 8 bits, OpenCV would apply a curve."""
    (tmp_path / 'a.tif').write_bytes(encoded('.tif', (UNIT[..., ::-1] * 0.9).astype(np.float32)))
    assert np.abs(read_image(tmp_path / 'a.tif')[..., ::-1] - UNIT * 0.9 * 255).mean() < 2


@pytest.mark.parametrize(
    ('pixels', 'complaint'),
    [
        (COLOUR_16[..., :2], 'of no kind that is known'),
        (UNIT * 4000, 'from 0 to 4000, for which there is no rule'),
        (UNIT / 0.5 - 1, 'from -1 to 1, for which there is no rule'), (np.where(RAMP, UNIT[..., 0], np.nan), 'has NaN'),
        ((RAMP - 1000).astype(np.int16), 'int16 pixels from -1000 to 2996, for which there is no rule'),
        ((RAMP * 100).astype(np.int32), 'int32 pixels from 0 to 399600, for which there is no rule. Convert all'),
    ],
)  # fmt: skip
def test_deep_files_without_a_rule_are_refused(tmp_path, pixels, complaint):
    file = tmp_path / 'a.tif'
    file.write_bytes(tiff(pixels.astype(np.float32) if pixels.dtype.kind == 'f' else pixels))
    for read in (read_image, load_image):
        with pytest.raises(DataError, match=f'{file}: .*{complaint}'):
            read(file)
    with pytest.raises(BadImage, match=f'^[^/]*{complaint}'):
        check_image(file)


# Objects --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'LA', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'HSV', 'I', 'F', 'I;16'])
def test_pil_modes(mode):
    grey = smooth(1)
    made = {
        'I': Image.fromarray(grey.astype(np.int32)), 'F': Image.fromarray(grey.astype(np.float32)),
        'I;16': Image.fromarray(grey.astype(np.uint16)),
    }  # fmt: skip
    image = made.get(mode) or Image.fromarray(smooth()).convert(mode)
    found = from_pil(image, 'a')
    assert (found.shape, found.dtype) == ((*SHAPE, 3), np.uint8)
    np.testing.assert_array_equal(found, np.dstack([grey] * 3) if mode in made else np.asarray(image.convert('RGB')))


@pytest.mark.parametrize('mode', ['I', 'F', 'I;16'])
def test_deep_pil_modes(mode):
    notes = ImageNotes()
    made = {'I': RAMP.astype(np.int32), 'F': UNIT[..., 0].astype(np.float32), 'I;16': RAMP.astype(np.uint16)}[mode]
    found = from_pil(Image.fromarray(made), 'a', notes)[..., 0]
    np.testing.assert_array_equal(found, np.rint(UNIT[..., 0] * 255) if mode == 'F' else RAMP >> 4)
    assert len(notes.lines()) == 1


@pytest.mark.parametrize('scale', [1, 255])
@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16])
def test_float_arrays_in_both_ranges_are_the_uint8_array(scale, dtype):
    image = smooth()
    found = from_array((image / 255 * scale).astype(dtype), 'a')
    assert np.abs(found.astype(int) - image).max() <= (1 if dtype is np.float16 else 0)


@pytest.mark.parametrize(
    'view',
    [
        lambda im: im, lambda im: im.transpose(2, 0, 1), lambda im: np.dstack([im, im[..., 0]]),
        lambda im: im[:, ::-1][:, ::-1], lambda im: im.astype(np.int64), lambda im: im.astype(np.float32),
    ],
)  # fmt: skip
def test_arrays_of_any_layout(view):
    found = from_array(view(smooth()), 'a')
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, smooth())


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'written'), [('a.png', 'a.png'), ('a.JPG', 'a.JPG'), ('a.dng', 'a.jpg'), ('a', 'a.jpg')]
)
def test_pictures_are_written_in_a_format_that_can_be(tmp_path, name, written):
    grey = np.full((48, 64, 3), 100, np.uint8)
    assert write_image(tmp_path / name, grey) == tmp_path / written
    assert np.abs(cv2.imread(str(tmp_path / written)).astype(int) - 100).max() <= 1


@pytest.mark.parametrize(
    ('name', 'shape', 'written', 'line'),
    [
        ('a.jpg', (1, 65501), 'a.png', 'a.jpg: written as PNG, since JPG holds at most 65,500 pixels a side and the '
                                       'image has 65,501x1'),
        ('b.webp', (16384, 1), 'b.png', 'b.webp: written as PNG, since WEBP holds at most 16,383 pixels a side and the '
                                        'image has 1x16,384'),
        ('c.jpg', (1, 65500), 'c.jpg', ''), ('d.webp', (16383, 1), 'd.webp', ''),
        ('e.avif', (1, 65501), 'e.png', 'e.avif: written as PNG, since JPG'),
    ],
)  # fmt: skip
def test_images_too_large_for_a_format_become_png(tmp_path, caplog, name, shape, written, line):
    assert write_image(tmp_path / name, np.full((*shape, 3), 9, np.uint8)) == tmp_path / written
    assert [file.name for file in tmp_path.iterdir()] == [written]
    assert read_image(tmp_path / written).shape == (*shape, 3)
    assert [m.removeprefix(f'{tmp_path}/').startswith(line) for m in caplog.messages] == [True] * bool(line)


def test_what_opencv_refuses_is_one_error(tmp_path):
    with pytest.raises(ResourceError, match=r'a.png: OpenCV can not write an array of 0x5x3 as PNG'):
        write_image(tmp_path / 'a.png', np.zeros((0, 5, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', [*ODD_NAMES, '图' * 85 + '.jpeg', os.fsdecode(b'\xb2' * 255)], ids=ascii)
def test_images_are_written_under_any_name(tmp_path, name):
    path = write_image(tmp_path / name, np.full((16, 16, 3), 50, np.uint8))
    assert len(os.fsencode(path.name)) <= 255
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(path.name)]
    assert read_image(path).shape == (16, 16, 3)
