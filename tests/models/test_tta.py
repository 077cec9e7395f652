"""The views of test-time augmentation, on arrays as on tensors."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from models.tta import VIEWS, augmented

SIZES = 64, 96  # height, width
LEVELS, STRIDE = 2, 32


def cells(view) -> np.ndarray:
    """A network of one class that finds a box in each cell of two levels: where its centre is, and the grey there."""
    grey = view[:, :1] if isinstance(view, np.ndarray) else view[:, :1].numpy()
    rows = []
    for stride in (16, 32):
        y, x = np.mgrid[stride // 2 : grey.shape[2] : stride, stride // 2 : grey.shape[3] : stride]
        seen = grey[:, 0, y, x].reshape(len(grey), -1)
        x, y, wide = (np.broadcast_to(v.reshape(1, -1), seen.shape) for v in (x, y, np.full(x.shape, stride)))
        rows.append(np.stack([x, y, wide, wide, seen, seen], -1).astype(np.float32))
    return np.concatenate(rows, 1)


@pytest.fixture
def slope() -> np.ndarray:
    """Two pictures (2, 3, 64, 96) whose grey is a thousandth of x + 2y, of pixels' centres."""
    y, x = np.mgrid[: SIZES[0], : SIZES[1]] + 0.5
    return np.broadcast_to((x + 2 * y) / 1000, (2, 3, *SIZES)).astype(np.float32)


def test_boxes_lie_where_they_were_seen(slope):
    """Of each row whose cell is inside the picture, the grey is that of the place the row now says it has."""
    rows = augmented(slope, cells, STRIDE, LEVELS)
    x, y = rows[..., 0], rows[..., 1]
    inside = (x > 1) & (x < SIZES[1] - 1) & (y > 1) & (y < SIZES[0] - 1)
    assert inside.sum() > 80
    # A cell's centre is a pixel's corner, and views' sides are rounded down: up to 0.75 pixels and 2% off.
    np.testing.assert_allclose(rows[..., 4][inside], ((x + 2 * y) / 1000)[inside], atol=5e-3)


def test_sizes_and_levels(slope):
    rows = augmented(slope, cells, STRIDE, LEVELS)
    sizes, counts = np.unique(rows[0, :, 2].round(3), return_counts=True)
    # Every view is filled up to 64 x 96: 53.1 x 79.7 and 42.9 x 64.3 are not multiples of 32.
    wanted = {16: 4 * 6, 16 / 0.83: 4 * 6, 32 / 0.83: 2 * 3, 32 / 0.67: 2 * 3}
    np.testing.assert_allclose(sizes, list(wanted), atol=1e-3)
    assert counts.tolist() == list(wanted.values())


def test_tensors_give_what_arrays_give(slope):
    arrays = augmented(slope, cells, STRIDE, LEVELS)
    tensors = augmented(torch.tensor(slope), lambda view: torch.tensor(cells(view)), STRIDE, LEVELS)
    np.testing.assert_allclose(tensors.numpy(), arrays, atol=1e-5)


def test_a_view_of_its_own_size_is_the_picture_itself(slope):
    seen = []
    augmented(slope, lambda view: seen.append(view) or cells(view), STRIDE, LEVELS)
    assert seen[0] is slope
    assert [view.dtype for view in seen] == [np.float32] * len(VIEWS)
