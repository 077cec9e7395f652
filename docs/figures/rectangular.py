"""Rectangular batches: which shape each batch of pictures gets, and how many pixels that saves."""

from __future__ import annotations

import numpy as np

from docs.figures.style import BLUE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.data.letterbox import rect_batch_shapes, rect_order

SIZE, STRIDE, BATCH = 640, 32, 8
# Widths and heights as cameras and telephones make them, and how often.
SHAPES, SHARES = ((640, 480), (480, 640), (640, 427), (427, 640), (640, 360), (500, 500)), (9, 5, 9, 3, 4, 2)


def pictures() -> np.ndarray:
    """(32, 2) widths and heights, in a random order."""
    return np.random.default_rng(0).permutation(np.repeat(SHAPES, SHARES, axis=0))


def make() -> None:
    shapes = pictures()
    ordered = shapes[rect_order(shapes)]
    batches = rect_batch_shapes(ordered, BATCH, SIZE, STRIDE, 0.0)
    figure, axes = canvas(1, len(batches), height=2.9)
    for number, (axis, shape) in enumerate(zip(axes[0], batches.tolist())):
        _draw(picture_axes(axis), shape, ordered[number * BATCH : (number + 1) * BATCH])
    save(figure, 'rectangular.svg')
    content = float((SIZE**2 * shapes.min(1) / shapes.max(1)).sum())
    mixed = rect_batch_shapes(shapes, BATCH, SIZE, STRIDE, 0.0)
    write_numbers('rectangular', {
        'pictures': len(shapes), 'batch': BATCH, 'size': SIZE,
        'table': [_row(name, sides, content) for name, sides in (
            ('square', np.full((len(batches), 2), SIZE)), ('mixed', mixed), ('ordered', batches),
        )],
    })  # fmt: skip


def _row(name: str, sides: np.ndarray, content: float) -> list[str]:
    pixels = float(sides.prod(1).sum() * BATCH)
    return [f'`{name}`', f'{pixels / 1e6:.1f}', f'{1 - content / pixels:.0%}']


def _draw(axes, shape: list[int], shapes: np.ndarray) -> None:
    height, width = shape
    box(axes, (0, 0, width, height), BLUE, fill=True, facecolor='#0072b218', linewidth=1.8)
    for w, h in shapes.tolist():
        scale = SIZE / max(w, h)
        half = np.array([w, h]) * scale / 2
        middle = np.array([width, height]) / 2
        box(axes, (*(middle - half), *(middle + half)), RED, linewidth=1.0, alpha=0.7)
    axes.set(xlim=(-10, SIZE + 10), ylim=(SIZE + 10, -10))
    axes.set_title(f'{width}×{height}', x=(width / 2 + 10) / (SIZE + 20), pad=4)
