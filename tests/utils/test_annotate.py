import string
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from utils import fonts
from utils.annotate import Annotator, Colors, colors, save_one_box
from utils.fonts import default_font, find_font
from utils.paths import ROOT
from utils.terminal import shown_name


def test_colours_go_round_and_turn_to_bgr():
    assert colors(0) == (255, 0, 102)
    assert colors(0, bgr=True) == (102, 0, 255)
    assert colors(np.float32(23)) == colors(3)
    assert Colors.hex2rgb('#0102ff') == (1, 2, 255)
    assert colors.n == len(set(colors.palette)) == 20


def test_colours_are_far_apart_and_dark_enough_for_white_letters():
    rgb = np.array(colors.palette, np.float32)[None] / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e3 * np.eye(20)
    assert distance.min() > 36
    # Contrast to white as WCAG 2 defines it.
    linear = np.where(rgb[0] <= 0.03928, rgb[0] / 12.92, ((rgb[0] + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (luminance + 0.05)).min() > 2.5


@pytest.mark.parametrize('pil', [False, True])
def test_a_box_is_drawn_where_it_is_and_nowhere_else(pil):
    pen = Annotator(np.zeros((100, 120, 3), np.uint8), line_width=2, pil=pil)
    pen.box_label((20.4, 30, 80, 70.3), color=(1, 200, 3))
    im = pen.result()
    assert im.shape == (100, 120, 3)
    assert im[50, 20].tolist() == im[30, 50].tolist() == im[50, 80].tolist() == im[70, 50].tolist() == [1, 200, 3]
    assert im[34:67, 24:77].max() == 0
    assert im[:26].max() == im[75:].max() == im[:, :16].max() == im[:, 85:].max() == 0


@pytest.mark.parametrize('pil', [False, True])
def test_a_label_stands_on_its_box_or_hangs_inside_at_the_upper_border(pil):
    def filled_rows(y):
        pen = Annotator(np.zeros((100, 200, 3), np.uint8), line_width=2, font_size=12, pil=pil)
        pen.box_label((20, y, 120, 90), 'cat', color=(0, 90, 0))
        return np.flatnonzero((pen.result()[:, 24:30, 1] > 0).all(1))  # left of the letters' end, inside the ground

    above, inside = filled_rows(50), filled_rows(3)
    assert above.min() < 45
    assert 55 not in above
    assert {5, 10} <= set(inside)


@pytest.mark.parametrize('pil', [False, True])
def test_a_label_at_the_right_border_is_moved_into_the_picture(pil):
    pen = Annotator(np.zeros((60, 200, 3), np.uint8), line_width=2, font_size=12, pil=pil)
    pen.box_label((190, 40, 198, 55), 'giraffe', color=(0, 90, 0))
    ground = np.flatnonzero(pen.result()[36, :, 1])
    assert ground.min() <= 160


def test_opencv_draws_in_place_and_a_read_only_picture_is_copied():
    im = np.zeros((50, 50, 3), np.uint8)
    Annotator(im).box_label((5, 5, 40, 40), color=(9, 9, 9))
    assert im.max() == 9
    fixed = np.zeros((50, 50, 3), np.uint8)
    fixed.flags.writeable = False
    pen = Annotator(fixed[:, ::-1])
    pen.box_label((5, 5, 40, 40), color=(9, 9, 9))
    assert fixed.max() == 0
    assert pen.result().max() == 9


def test_other_scripts_are_drawn_by_pillow():
    assert not Annotator(np.zeros((50, 50, 3), np.uint8), example=['cat', 'dog']).pil
    pen = Annotator(np.zeros((60, 200, 3), np.uint8), example=['cat', 'собака'], font_size=20)
    assert pen.pil
    pen.box_label((10, 40, 190, 55), 'собака', color=(0, 0, 90))
    assert (pen.result()[20:40] > 200).all(2).sum() > 100  # white letters


def test_a_pil_image_is_drawn_on_too():
    im = Image.new('RGB', (50, 50))
    Annotator(im).rectangle((5, 5, 20, 20), fill=(7, 8, 9))
    assert im.getpixel((10, 10)) == (7, 8, 9)


@pytest.mark.parametrize('pil', [False, True])
def test_plain_rectangles_and_text(pil):
    pen = Annotator(np.full((100, 100, 3), 128, np.uint8), line_width=3, font_size=15, pil=pil)
    pen.rectangle((10, 10, 20, 20), fill=(1, 2, 3), outline=(4, 5, 6))
    assert pen.result()[15, 15].tolist() == [1, 2, 3]
    assert pen.result()[10, 15].tolist() == [4, 5, 6]
    pen.text((10, 30), 'HIH')
    pen.text((10, 90), 'HIH', anchor='bottom')
    changed = np.flatnonzero((pen.result()[25:] != 128).any((1, 2))) + 25
    assert 28 <= changed.min() <= 38
    assert 82 <= changed.max() <= 93
    assert pen.result()[25:].min() == 0  # outlined in black
    assert pen.result()[25:].max() > 230  # white, smoothed


def test_text_is_smaller_in_small_pictures_and_grows_with_the_lines():
    def scale(side, line_width):
        return Annotator(np.zeros((side, side, 3), np.uint8), line_width=line_width).text_scale

    assert scale(900, 3) == scale(2000, 3) == 1
    assert scale(900, 6) == 2
    assert scale(600, 3) == pytest.approx(2 / 3)
    assert scale(64, 3) == 0.4  # smaller could not be read


def test_boxes_with_corners_in_the_wrong_order_are_drawn():
    pen = Annotator(np.zeros((50, 50, 3), np.uint8), pil=True)
    pen.box_label((40, 40, 5, 5), color=(9, 9, 9))
    assert pen.result()[40, 20].tolist() == [9, 9, 9]


def test_a_crop_has_its_margin_and_its_file(tmp_path):
    im = np.zeros((100, 200, 3), np.uint8)
    im[40:60, 50:90] = (255, 0, 0)  # blue in BGR
    crop = save_one_box([50, 40, 90, 60], im, tmp_path / 'new' / 'c.png', gain=1.5, pad=10, BGR=True)
    assert crop.shape == (40, 70, 3)  # 20 * 1.5 + 10, 40 * 1.5 + 10
    assert crop[20, 35].tolist() == [255, 0, 0]
    assert crop[0, 0].tolist() == [0, 0, 0]
    saved = cv2.imread(str(tmp_path / 'new' / 'c.jpg'))
    assert saved.shape == crop.shape
    assert np.abs(saved[20, 35].astype(int) - [255, 0, 0]).max() < 8


def test_crops_are_square_clipped_rgb_and_numbered(tmp_path):
    im = np.zeros((100, 200, 3), np.uint8)
    im[..., 2] = 255
    crop = save_one_box([0, 40, 40, 60], im, save=False, gain=1, pad=0, square=True)
    assert crop.shape == (40, 40, 3)
    assert crop[0, 0].tolist() == [255, 0, 0]
    assert save_one_box([180, 90, 200, 100], im, tmp_path / 'c.jpg', gain=1, pad=40).shape == (30, 40, 3)
    save_one_box([180, 90, 200, 100], im, tmp_path / 'c.jpg')
    assert sorted(f.name for f in tmp_path.iterdir()) == ['c.jpg', 'c2.jpg']


@pytest.fixture
def font_folder(tmp_path, monkeypatch):
    """An empty folder as the machine's only one with fonts, nothing remembered."""
    monkeypatch.setattr(fonts, 'FONT_DIRS', (str(tmp_path),))
    monkeypatch.setattr(fonts, '_said', [])
    caches = (fonts._find_font, fonts._system_fonts, fonts._code_points)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def test_fonts_are_found_without_a_download_and_a_missing_script_is_said_once(font_folder, caplog):
    (font_folder / 'broken.ttf').write_bytes(b'no font')
    assert find_font('cat') == find_font('Größe собака') == default_font()
    assert not caplog.messages
    assert find_font('白猫') == find_font('黑猫') == default_font()
    (line,) = caplog.messages
    assert '猫白' in line
    assert 'fonts-noto-cjk' in line


@pytest.mark.parametrize(('name', 'named'), [('한국어', True), ('かな', True), ('ꦧꦱ', False), ('अ', False)])
def test_fonts_for_chinese_japanese_and_korean_are_named_where_they_would_help(font_folder, caplog, name, named):
    find_font(name)
    (line,) = caplog.messages
    assert ('fonts-noto-cjk' in line) == named


def test_one_rare_character_does_not_take_the_font_from_the_others(font_folder, monkeypatch, caplog):
    """The font with the most characters is taken, whatever the order; what it lacks is said."""
    have = {'a.ttf': '白', 'b.ttf': '白猫黑' + string.digits, 'c.ttf': '😀', 'DejaVuSans.ttf': string.ascii_letters}
    for name in have:
        (font_folder / name).write_bytes(b'')
    monkeypatch.setattr(fonts, '_code_points', lambda path: frozenset(map(ord, have[path.name])))
    fonts._find_font.cache_clear()
    assert find_font('白猫黑😀') == font_folder / 'b.ttf'
    assert find_font('白猫') == font_folder / 'b.ttf'  # digits, too, which come with the confidence
    (line,) = caplog.messages
    assert 'boxes take the place of 😀 (1 of 14)' in line
    assert 'noto' not in line


def test_a_system_font_that_has_the_glyphs_is_taken(font_folder, monkeypatch):
    found = font_folder / 'deep' / 'Other.TTF'
    found.parent.mkdir()
    found.write_bytes(default_font().read_bytes())
    monkeypatch.setattr(fonts, 'default_font', lambda: found.with_name('gone.ttf'))
    assert find_font('собака') == found


def test_drawing_imports_no_matplotlib_and_no_oneflow():
    code = 'import sys, utils.annotate; print([m for m in ("matplotlib", "oneflow", "pandas") if m in sys.modules])'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == '[]'


@pytest.mark.parametrize('pil', [False, True])
def test_a_label_from_a_hostile_file_is_one_short_line(pil):
    name = 'a\n\x1b[2J\u202e' + 'b' * 1_000_000
    drawn = []
    for label in (name, shown_name(name)):
        pen = Annotator(np.zeros((60, 1500, 3), np.uint8), line_width=2, pil=pil)
        pen.box_label((2, 30, 40, 50), label)
        drawn.append(pen.result())
    assert drawn[0].any()
    np.testing.assert_array_equal(*drawn)
