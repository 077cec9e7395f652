"""Mosaics: four or nine pictures side by side on one canvas (https://arxiv.org/abs/2004.10934, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.boxes import xyn2xy, xywhn2xyxy
from utils.data.letterbox import GREY


@dataclass(frozen=True)
class Tile:
    """A picture to be placed.

    Attributes:
        image: (h, w, 3) uint8, or a `Later` one.
        labels: (n, 5) [class, x, y, w, h], normalised.
        segments: none, or n polygons (points, 2), normalised.
    """

    image: np.ndarray | Later
    labels: np.ndarray
    segments: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Later:
    """A picture whose shape is known and whose pixels are loaded when an array of them is asked for.

    Decoding is most of the work on a sample, and about one tile in ten comes to lie outside of what is shown.
    """

    shape: tuple[int, int, int]
    load: Callable[[], np.ndarray]

    def __array__(self, dtype: np.dtype | None = None) -> np.ndarray:
        return np.asarray(self.load(), dtype)


@dataclass(frozen=True)
class Mosaic:
    """A square canvas, not drawn yet, with its labels.

    Attributes:
        side: of the canvas, 2 size.
        tiles: with their (left, top), which may lie outside; later ones cover earlier ones.
        labels: (n, 5) [class, x1, y1, x2, y2] in pixels, clipped to the canvas.
        segments: none when no tile has polygons; else n polygons (points, 2) in pixels, clipped to the canvas, (0, 2)
            for labels of tiles without polygons.
    """

    side: int
    tiles: list[tuple[Tile, tuple[int, int]]]
    labels: np.ndarray
    segments: list[np.ndarray]

    @property
    def image(self) -> np.ndarray:
        """The canvas (side, side, 3) uint8, grey where no tile is."""
        return self.draw((0, 0, self.side, self.side))

    def draw(self, window: tuple[int, int, int, int]) -> np.ndarray:
        """The canvas with only that x1, y1, x2, y2 of it drawn: what lies outside of it is undefined."""
        x1, y1, x2, y2 = window
        canvas = np.empty((self.side, self.side, 3), np.uint8)
        seen = canvas[y1:y2, x1:x2]
        seen[:] = GREY[0]
        for tile, (left, top) in self.tiles:
            paste(seen, tile.image, left - x1, top - y1)
        return canvas


def draw_centre(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Where four tiles meet, x and y: uniformly in the middle half of a canvas of 2 size."""
    y, x = (int(value) for value in rng.uniform(size // 2, 2 * size - size // 2, 2))
    return x, y


def mosaic4(tiles: Sequence[Tile], size: int, centre: tuple[int, int]) -> Mosaic:
    """Four tiles, top left, top right, bottom left, bottom right, that meet at `centre` (x, y)."""
    xc, yc = centre
    lefts_tops = []
    for i, tile in enumerate(tiles):
        height, width = tile.image.shape[:2]
        lefts_tops.append((xc if i % 2 else xc - width, yc if i >= 2 else yc - height))
    return assemble(zip(tiles, lefts_tops), 2 * size)


def draw_corner(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Which part of the nine tiles to show: the x and y of the top left corner of a 2 size window in a 3 size one."""
    y, x = (int(value) for value in rng.uniform(0, size, 2))
    return x, y


def mosaic9(tiles: Sequence[Tile], size: int, corner: tuple[int, int]) -> Mosaic:
    """Nine tiles: the first in the centre, the others round it clockwise from the top; `corner` is the window's."""
    shapes = [tile.image.shape[:2] for tile in tiles]
    lefts_tops = []
    for i, (height, width) in enumerate(shapes):
        left, top = _around_centre(i, width, height, shapes[0], shapes[i - 1])
        lefts_tops.append((size + left - corner[0], size + top - corner[1]))
    return assemble(zip(tiles, lefts_tops), 2 * size)


def _around_centre(
    i: int, width: int, height: int, centre: tuple[int, int], previous: tuple[int, int]
) -> tuple[int, int]:
    """Left and top of tile `i` of nine, from the centre tile's corner; shapes are (height, width)."""
    centre_h, centre_w = centre
    previous_h, previous_w = previous
    return (
        (0, 0),  # centre
        (0, -height),  # top
        (previous_w, -height),  # top right
        (centre_w, 0),  # right
        (centre_w, previous_h),  # bottom right
        (centre_w - width, centre_h),  # bottom
        (centre_w - previous_w - width, centre_h),  # bottom left
        (-width, centre_h - height),  # left
        (-width, centre_h - previous_h - height),  # top left
    )[i]


def assemble(placed: Iterable[tuple[Tile, tuple[int, int]]], side: int) -> Mosaic:
    """Tiles at their (left, top) on a square canvas, with their labels in its pixels."""
    placed = list(placed)
    labels, segments = [np.zeros((0, 5), np.float32)], []
    for tile, (left, top) in placed:
        height, width = tile.image.shape[:2]
        boxes = xywhn2xyxy(tile.labels[:, 1:5], width, height, left, top).clip(0, side)
        labels.append(np.concatenate((tile.labels[:, :1], boxes), 1, dtype=np.float32))
        if len(tile.segments):
            segments += [xyn2xy(polygon, width, height, left, top).clip(0, side) for polygon in tile.segments]
        else:
            segments += [np.zeros((0, 2), np.float32)] * len(boxes)
    return Mosaic(side, placed, np.concatenate(labels), segments if any(map(len, segments)) else [])


def paste(canvas: np.ndarray, image: np.ndarray | Later, left: int, top: int) -> None:
    """Copy `image` into `canvas` at (left, top), what hangs over the edges left out; one all outside is not loaded."""
    height, width = image.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x1 < x2 and y1 < y2:
        canvas[y1:y2, x1:x2] = np.asarray(image)[y1 - top : y2 - top, x1 - left : x2 - left]
