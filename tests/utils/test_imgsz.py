"""Image sizes are rounded up to the stride, and that is said."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import oneflow as torch
import pytest

from utils.errors import UsageError
from utils.imgsz import check_img_size, grid_size, make_divisible, rescale


def test_make_divisible():
    assert [make_divisible(x, 8) for x in (0.1, 8, 8.1, 24)] == [8, 8, 16, 24]


def test_multiples_stay_as_they_are(caplog):
    assert check_img_size(640, 32) == 640
    assert check_img_size([320, 64], 32) == [320, 64]
    assert not caplog.records


def test_others_are_rounded_up_and_said(caplog):
    with caplog.at_level(logging.WARNING, logger='yolov5'):
        assert check_img_size(600, 32) == 608
        assert check_img_size((97, 32), 32) == [128, 32]
        assert check_img_size(32, 32, floor=64) == 64
    assert [r.message for r in caplog.records] == [
        'WARNING: --img 600 is no multiple of the largest stride 32, using 608',
        'WARNING: --img 97 32 is no multiple of the largest stride 32, using 128 32',
        'WARNING: --img 32 is less than 64, using 64',
    ]


@pytest.mark.parametrize('imgsz', [0, -5, [320, 0]])
def test_no_size_at_all(imgsz):
    with pytest.raises(UsageError, match='too small. Give a multiple of 32'):
        check_img_size(imgsz, 32)


@pytest.mark.parametrize('imgsz', [10**6, [10**400, 640], [65_537, 32]])
def test_sizes_that_no_machine_has_memory_for(imgsz):
    with pytest.raises(UsageError, match='too large. Give 65,536 at most'):
        check_img_size(imgsz, 32)


def test_rescale():
    images = torch.rand(1, 3, 64, 128)
    shapes = [rescale(images, 128, 32, (0, iteration)).shape[2:] for iteration in range(60)]
    assert {width for _, width in shapes} == {64, 96, 128, 160, 192}
    assert {height / width for height, width in shapes} <= {0.5, 64 / 96, 0.6}  # whole strides
    assert shapes == [rescale(images, 128, 32, (0, iteration)).shape[2:] for iteration in range(60)]
    assert rescale(torch.full((1, 1, 64, 64), 0.5), 64, 32, (0, 1)).numpy() == pytest.approx(0.5)


@pytest.mark.parametrize(('largest', 'grid'), [(32, 32), (64, 64), (16, 32)])
def test_grid_size(largest, grid):
    assert grid_size(SimpleNamespace(largest_stride=largest)) == grid
