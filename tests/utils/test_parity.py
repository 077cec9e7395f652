"""Comparing an exported file's results with the checkpoint's."""

from __future__ import annotations

import numpy as np
import pytest

from utils.errors import DataError
from utils.parity import EXACT, HALF, OTHER, Difference, compare_detections, compare_rows, fit, sample_picture

ROWS = np.array([[[10, 20, 30, 40, 0.5, 0.9], [50, 60, 7, 8, 0.1, 0.2]]], np.float32)
FOUND = np.array([[0, 0, 10, 10, 0.9, 1], [5, 5, 9, 9, 0.8, 1], [5, 5, 9, 9, 0.7, 0]], np.float32)


def test_rows():
    other = ROWS.copy()
    other[0, 0, 2] += 0.5
    other[0, 1, 5] -= 0.125
    found = compare_rows(other, ROWS, side=200)
    assert (found.pixels, found.relative, found.scores) == pytest.approx((0.5, 0.25, 0.125))
    assert str(found) == '0.5 px, 0.12 in scores'
    assert compare_rows(ROWS[:, :1], ROWS, 200) == OTHER


def test_detections_in_any_order():
    other = FOUND[[1, 0, 2]].copy()
    assert compare_detections([other, other[:0]], [FOUND, FOUND[:0]], 100) == Difference()
    other[1, 3] += 0.25
    other[2, 4] -= 0.0625
    found = compare_detections([other], [FOUND], 50)
    assert (found.pixels, found.relative, found.scores) == pytest.approx((0.25, 0.5, 0.0625))


@pytest.mark.parametrize('other', [FOUND[:2], np.vstack([FOUND[:2], FOUND[:1]])], ids=['fewer', 'of another class'])
def test_other_detections(other):
    assert compare_detections([other], [FOUND], 100) == OTHER


def test_limits():
    assert Difference(6e-3, 0.9e-3, 0.9e-3).within(EXACT)  # 0.006 pixels of a picture of 640
    assert not Difference(0.011, 1.1e-3, 0).within(EXACT)
    assert not Difference(0, 0, 1.1e-3).within(EXACT)
    assert not Difference(float('nan'), float('nan'), 0).within(HALF)
    assert not OTHER.within(HALF)


def test_the_picture_is_the_data_sets_first_or_drawn(tiny, tmp_path):
    name, picture = sample_picture(tiny.data)
    assert name == str(tiny.data.parent / 'images/val/00000.jpg')
    assert picture.shape == (64, 64, 3)
    absent = {'path': str(tmp_path), 'train': 'a', 'val': 'b', 'names': ['x'], 'download': 'shapes'}
    name, picture = sample_picture(absent)
    assert name == 'a drawn picture'
    assert picture.std() > 20
    np.testing.assert_array_equal(picture, sample_picture(absent)[1])
    assert list(tmp_path.iterdir()) == []  # nothing is fetched
    (tmp_path / 'b').mkdir()
    assert sample_picture(absent)[0] == 'a drawn picture'
    with pytest.raises(DataError, match='gone.yaml'):
        sample_picture('gone.yaml')


def test_fit():
    im = np.zeros((10, 20, 3), np.uint8)
    im[..., 0] = 200  # blue
    x = fit(im, (64, 64))
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((1, 3, 64, 64), np.uint8, True)
    assert x[0, :, 32, 32].tolist() == [0, 0, 200]
    assert x[0, :, 0, 0].tolist() == [114] * 3
