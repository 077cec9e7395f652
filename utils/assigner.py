"""Which cells and anchors answer for which target: the anchor ratio test and its two nearest neighbour cells.

Plain numpy on the host, so that the result is the same on every device. The arithmetic is float32 on purpose:
labels are often whole pixels, their centres then fall exactly on half cells, and the rounding decides the neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEAR = 0.5  # how close, in cells, a centre must be to a neighbour cell for that cell to answer too
# (x, y) shifts that lead from a centre into its own cell and into the left, upper, right and lower neighbour.
_SHIFTS = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32) * np.float32(NEAR)


@dataclass(frozen=True)
class Matches:
    """The n matches of one level, in the order own cell, left, up, right, down; within it by anchor, then target.

    Attributes:
        image, anchor, gj, gi: (n,) int64, image in the batch, anchor of the level, row and column of the cell.
        box: (n, 4) float32, x and y as offset from the cell's corner, width and height; grid units.
        anchor_wh: (n, 2) float32, the anchor's width and height in grid units.
        cls: (n,) int64 class.
    """

    image: np.ndarray
    anchor: np.ndarray
    gj: np.ndarray
    gi: np.ndarray
    box: np.ndarray
    anchor_wh: np.ndarray
    cls: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def cells(self, na: int, ny: int, nx: int) -> np.ndarray:
        """(n,) int64 place of each match in a flattened (batch, na, ny, nx) map."""
        return ((self.image * na + self.anchor) * ny + self.gj) * nx + self.gi


def build_targets(
    targets: np.ndarray, shapes: Sequence[tuple[int, int]], anchors: np.ndarray, anchor_t: float = 4.0
) -> list[Matches]:
    """Assign targets to the cells and anchors of every level.

    A target fits an anchor when neither its width nor its height is `anchor_t` times larger or smaller. It is given
    to the cell of its centre and to the nearer horizontal and vertical neighbour inside the map.

    Args:
        targets: (n, 6) image, class, x, y, w, h; normalised to the picture.
        shapes: (ny, nx) of every level's map.
        anchors: (levels, na, 2) widths and heights in grid units of their level.
        anchor_t: the ratio a target must stay strictly below.
    """
    targets = np.asarray(targets, dtype=np.float32).reshape(-1, 6)
    anchors = np.asarray(anchors, dtype=np.float32)
    return [_match_level(targets, shape, level, anchor_t) for shape, level in zip(shapes, anchors)]


def last_in_cell(cells: np.ndarray) -> np.ndarray:
    """Ascending places of those entries whose cell no later entry names.

    Two targets may fall on one cell and anchor: the later one in `Matches`' order decides its objectness. Scattering
    only these places has one outcome on every device.
    """
    order = np.arange(len(cells))
    last = np.empty(cells.max(initial=-1) + 1, np.int64)
    last[cells] = order  # of equal indices NumPy keeps the last
    return np.flatnonzero(last[cells] == order)


def _match_level(targets: np.ndarray, shape: tuple[int, int], anchors: np.ndarray, anchor_t: float) -> Matches:
    ny, nx = shape
    size = np.array([nx, ny], dtype=np.float32)
    wh = targets[:, 4:6] * size
    anchor, target = np.nonzero(fits_anchor(wh, anchors, anchor_t))
    centre = targets[target, 2:4] * size
    shift, fitted = np.nonzero(_answering_cells(centre, size))
    anchor, target, centre = anchor[fitted], target[fitted], centre[fitted]

    # Cut to the map before the offset is taken: a centre on the right border belongs to the last column, offset 1.
    cell = (centre - _SHIFTS[shift]).astype(np.int64).clip(0, [nx - 1, ny - 1])
    return Matches(
        image=targets[target, 0].astype(np.int64),
        anchor=anchor,
        gj=cell[:, 1],
        gi=cell[:, 0],
        box=np.concatenate([centre - cell.astype(np.float32), wh[target]], axis=1),
        anchor_wh=anchors[anchor],
        cls=targets[target, 1].astype(np.int64),
    )


def fits_anchor(wh: np.ndarray, anchors: np.ndarray, anchor_t: float) -> np.ndarray:
    """(na, n) bool: the larger of both sides' ratios, either way up, is strictly below `anchor_t`.

    Args:
        wh: (n, 2) float32 widths and heights; anchors: (na, 2) float32 in the same unit.
    """
    ratio = wh[None] / anchors[:, None]
    with np.errstate(divide='ignore'):  # a side of zero fits nothing
        return np.maximum(ratio, 1 / ratio).max(axis=2) < np.float32(anchor_t)


def _answering_cells(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(5, n) bool: does the own, left, upper, right, lower cell answer for a centre (n, 2), in grid units?"""
    from_far_side = size - centre
    near_side = (centre % 1 < NEAR) & (centre > 1)
    far_side = (from_far_side % 1 < NEAR) & (from_far_side > 1)
    return np.concatenate([np.ones((1, len(centre)), dtype=bool), near_side.T, far_side.T])
