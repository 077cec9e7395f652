"""Mosaics: where tiles, boxes and polygons go."""

from __future__ import annotations

import numpy as np
import pytest

from utils.data.mosaic import Later, Tile, draw_centre, draw_corner, mosaic4, mosaic9, paste

WHOLE = np.array([[0, 0.5, 0.5, 1, 1]], np.float32)


def tile(height: int, width: int, value: int, segments: bool = False) -> Tile:
    """A flat tile whose one label is all of it."""
    labels = WHOLE.copy()
    labels[0, 0] = value
    corners = [np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)] if segments else []
    return Tile(np.full((height, width, 3), value, np.uint8), labels, corners)


def extent(canvas: np.ndarray, value: int) -> list[int]:
    y, x = np.nonzero(canvas[..., 0] == value)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]


def test_four_tiles_touch_the_centre():
    tiles = [tile(30, 40, 1), tile(40, 20, 2), tile(40, 40, 3), tile(10, 40, 4)]
    mosaic = mosaic4(tiles, 40, (50, 30))
    assert mosaic.image.shape == (80, 80, 3)
    boxes = [[10, 0, 50, 30], [50, 0, 70, 30], [10, 30, 50, 70], [50, 30, 80, 40]]
    assert [extent(mosaic.image, value) for value in (1, 2, 3, 4)] == boxes
    assert mosaic.labels.tolist() == [[value, *box] for value, box in zip((1, 2, 3, 4), boxes)]
    assert (mosaic.image[70:] == 114).all()
    assert mosaic.labels.dtype == np.float32
    assert mosaic.segments == []


def test_each_label_is_its_tile_wherever_the_centre_is():
    rng = np.random.default_rng(0)
    for _ in range(50):
        tiles = [tile(int(h), int(w), value) for value, (h, w) in enumerate(rng.integers(20, 41, (4, 2)), 1)]
        mosaic = mosaic4(tiles, 40, draw_centre(rng, 40))
        for label in mosaic.labels:
            assert label[1:].tolist() == extent(mosaic.image, int(label[0]))


def test_nine_tiles_do_not_overlap():
    """Every tile but the last ones, which may reach over their neighbours, shows whole where the window lets it."""
    tiles = [tile(30, 30, value) for value in range(1, 10)]
    mosaic = mosaic9(tiles, 30, (15, 10))
    assert mosaic.image.shape == (60, 60, 3)
    seen = {value: extent(mosaic.image, value) for value in range(1, 10)}
    assert seen[1] == [15, 20, 45, 50]  # centre
    assert seen[2] == [15, 0, 45, 20]  # top
    assert seen[3] == [45, 0, 60, 20]
    assert seen[4] == [45, 20, 60, 50]  # right
    assert seen[5] == [45, 50, 60, 60]
    assert seen[6] == [15, 50, 45, 60]  # bottom
    assert seen[7] == [0, 50, 15, 60]
    assert seen[8] == [0, 20, 15, 50]  # left
    assert seen[9] == [0, 0, 15, 20]
    for label in mosaic.labels:
        assert label[1:].tolist() == seen[int(label[0])]
    assert not (mosaic.image == 114).any()


def test_nine_tiles_of_different_sizes_hug_the_centre():
    sizes = [(20, 30), (10, 12), (14, 16), (18, 22), (24, 26), (12, 28), (30, 20), (16, 18), (22, 24)]
    tiles = [tile(h, w, value) for value, (h, w) in enumerate(sizes, 1)]
    seen = {i + 1: box.tolist() for i, box in enumerate(mosaic9(tiles, 30, (15, 15)).labels[:, 1:])}
    left, top, right, bottom = 15, 15, 45, 35
    assert seen[1] == [left, top, right, bottom]
    assert seen[2] == [left, top - 10, left + 12, top]
    assert seen[3] == [left + 12, top - 14, left + 28, top]
    assert seen[4] == [right, top, 60, top + 18]
    assert seen[5] == [right, top + 18, 60, top + 42]
    assert seen[6] == [right - 28, bottom, right, bottom + 12]
    assert seen[7] == [0, bottom, right - 28, 60]
    assert seen[8] == [0, bottom - 16, left, bottom]
    assert seen[9] == [0, 0, left, bottom - 16]


def test_a_part_of_a_canvas():
    tiles = [tile(40, 40, 1), tile(40, 30, 2), tile(40, 40, 3), tile(40, 40, 4)]
    mosaic = mosaic4(tiles, 40, (40, 40))
    part = mosaic.draw((30, 10, 75, 60))
    assert part.shape == (80, 80, 3)
    np.testing.assert_array_equal(part[10:60, 30:75], mosaic.image[10:60, 30:75])


def test_a_tile_outside_is_not_loaded():
    loaded = []
    tiles = [
        Tile(Later((40, 40, 3), lambda i=i: loaded.append(i) or np.full((40, 40, 3), i, np.uint8)), WHOLE)
        for i in range(4)
    ]
    mosaic = mosaic4(tiles, 40, (40, 40))
    assert loaded == []
    assert (mosaic.draw((0, 41, 80, 80))[41:, 39:41] == [[2] * 3, [3] * 3]).all()
    assert loaded == [2, 3]


def test_polygons_of_some_tiles_stay_with_their_labels():
    tiles = [tile(40, 40, 1), tile(40, 40, 2, segments=True), tile(40, 40, 3), tile(40, 40, 4, segments=True)]
    mosaic = mosaic4(tiles, 40, (40, 40))
    assert [len(polygon) for polygon in mosaic.segments] == [0, 4, 0, 4]
    assert mosaic.segments[1].tolist() == [[40, 0], [80, 0], [80, 40], [40, 40]]


def test_tiles_without_labels():
    empty = Tile(np.zeros((40, 40, 3), np.uint8), np.zeros((0, 5), np.float32))
    mosaic = mosaic4([empty] * 4, 40, (40, 40))
    assert mosaic.labels.shape == (0, 5)


@pytest.mark.parametrize(('left', 'top', 'inside'), [(-5, 3, 35), (6, 6, 16), (20, 0, 0), (-10, 0, 0), (2, -4, 48)])
def test_paste_leaves_out_what_hangs_over(left, top, inside):
    canvas = np.zeros((10, 10, 3), np.uint8)
    paste(canvas, np.ones((10, 10, 3), np.uint8), left, top)
    assert canvas[..., 0].sum() == inside


def test_draws_cover_their_ranges():
    rng = np.random.default_rng(0)
    centres = np.array([draw_centre(rng, 64) for _ in range(3000)])
    assert centres.min(0).tolist() == [32, 32]
    assert centres.max(0).tolist() == [95, 95]
    corners = np.array([draw_corner(rng, 64) for _ in range(3000)])
    assert corners.min(0).tolist() == [0, 0]
    assert corners.max(0).tolist() == [63, 63]
