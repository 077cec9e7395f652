from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from utils.assigner import build_targets, fits_anchor, last_in_cell

ANCHORS = np.float32([[[1.25, 1.625], [2, 3.75], [4.125, 2.875]], [[1.875, 3.8125], [3.875, 2.8125], [3.6875, 7.4375]]])
SHAPES = [(8, 12), (4, 6)]


def target(x: float, y: float, w: float = 0.25, h: float = 0.25, image: int = 0, cls: int = 0) -> list[float]:
    return [image, cls, x, y, w, h]


def naive(targets: np.ndarray, shape: tuple[int, int], anchors: np.ndarray, anchor_t: float) -> Counter:
    """One target, one anchor, one cell at a time."""
    found = Counter()
    ny, nx = np.float32(shape[0]), np.float32(shape[1])
    for image, cls, x, y, w, h in np.float32(targets):
        gx, gy, gw, gh = x * nx, y * ny, w * nx, h * ny
        for a, (aw, ah) in enumerate(anchors):
            if max(gw / aw, aw / gw, gh / ah, ah / gh) >= anchor_t:
                continue
            shifts = [(0, 0)]
            shifts += [(0.5, 0)] if gx % 1 < 0.5 and gx > 1 else []
            shifts += [(0, 0.5)] if gy % 1 < 0.5 and gy > 1 else []
            shifts += [(-0.5, 0)] if (nx - gx) % 1 < 0.5 and nx - gx > 1 else []
            shifts += [(0, -0.5)] if (ny - gy) % 1 < 0.5 and ny - gy > 1 else []
            for dx, dy in shifts:
                i = min(max(math.floor(gx - np.float32(dx)), 0), int(nx) - 1)
                j = min(max(math.floor(gy - np.float32(dy)), 0), int(ny) - 1)
                found[int(image), a, j, i, int(cls), round(float(gx - i), 4), round(float(gh), 4)] += 1
    return found


def found_by(level) -> Counter:
    return Counter(
        (*map(int, ids), round(float(box[0]), 4), round(float(box[3]), 4))
        for *ids, box in zip(level.image, level.anchor, level.gj, level.gi, level.cls, level.box)
    )


def test_same_as_one_at_a_time():
    rng = np.random.default_rng(3)
    targets = np.column_stack([
        rng.integers(0, 4, 60), rng.integers(0, 5, 60), rng.random((60, 2)), rng.uniform(0.02, 0.9, (60, 2))
    ]).astype(np.float32)  # fmt: skip
    targets[:20, 2:4] = np.round(targets[:20, 2:4] * 12) / 12  # on cell edges
    levels = build_targets(targets, SHAPES, ANCHORS)
    for level, shape, anchors in zip(levels, SHAPES, ANCHORS):
        assert len(level) > 30
        assert found_by(level) == naive(targets, shape, anchors, 4.0)


def test_own_cell_and_two_nearest_neighbours():
    level = build_targets(np.array([target(3.25 / 12, 4.75 / 8)]), SHAPES, ANCHORS)[0]
    first = level.anchor == level.anchor[0]
    assert list(zip(level.gi[first], level.gj[first])) == [(3, 4), (2, 4), (3, 5)]
    np.testing.assert_allclose(level.box[first][:, :2], [[0.25, 0.75], [1.25, 0.75], [0.25, -0.25]], atol=1e-6)
    np.testing.assert_allclose(level.box[first][:, 2:], [[3, 2]] * 3)


def test_half_cell_takes_no_neighbour():
    level = build_targets(np.array([target(3.5 / 12, 4.5 / 8)]), SHAPES, ANCHORS)[0]
    assert set(zip(level.gi, level.gj)) == {(3, 4)}
    assert len(level) == len(set(level.anchor))


@pytest.mark.parametrize(('x', 'column', 'offset'), [(1.0, 11, 1.0), (0.0, 0, 0.0)])
def test_centre_on_the_border_stays_inside(x, column, offset):
    level = build_targets(np.array([target(x, 4.5 / 8)]), SHAPES, ANCHORS)[0]
    assert set(level.gi) == {column}
    np.testing.assert_allclose(level.box[:, 0], offset)


def test_ratio_limit_is_strict():
    anchors = np.float32([[4, 4]])
    wh = np.float32([[16, 4], [15.9, 4], [1, 4], [1.1, 4], [4, 4], [0, 4]])
    assert fits_anchor(wh, anchors, 4.0).tolist() == [[False, True, False, True, True, False]]


@pytest.mark.parametrize('targets', [np.zeros((0, 6)), np.array([target(0.5, 0.5, 0.0001, 0.9)])])
def test_nothing_matches(targets):
    for level in build_targets(targets, SHAPES, ANCHORS):
        assert len(level) == 0
        assert (level.box.shape, level.anchor_wh.shape) == ((0, 4), (0, 2))
        assert level.cells(3, 8, 12).shape == (0,)


def test_cells_are_places_in_the_flattened_map():
    level = build_targets(np.array([target(0.3, 0.6, image=1), target(0.9, 0.1)]), SHAPES, ANCHORS)[0]
    batch_map = np.zeros((2, 3, 8, 12), int)
    batch_map[level.image, level.anchor, level.gj, level.gi] = 1
    assert set(level.cells(3, 8, 12)) == set(np.flatnonzero(batch_map))


def test_last_in_cell():
    cells = np.array([7, 3, 7, 9, 3, 7])
    assert last_in_cell(cells).tolist() == [3, 4, 5]
    assert last_in_cell(cells[:0]).tolist() == []
    by_hand = {cell: place for place, cell in enumerate(cells)}
    assert sorted(by_hand.values()) == last_in_cell(cells).tolist()
