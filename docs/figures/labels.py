"""What a label row says: a box and a polygon with their numbers, and what loose boxes cost."""

from __future__ import annotations

import numpy as np

from docs.figures.style import BLUE, DARK, GREEN, ORANGE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.boxes import box_iou, segment2box, xywhn2xyxy
from utils.data.shapes import NAMES, draw_picture

SIZE = 320
LOOSE = 0.05, 0.1, 0.2  # of the sides, on each side


def make() -> None:
    image, labels = draw_picture(np.random.default_rng([7, 5]), SIZE)
    largest = labels[np.prod(labels[:, 3:], 1).argmax()]
    x1, y1, x2, y2 = xywhn2xyxy(largest[None, 1:], SIZE, SIZE)[0].tolist()
    triangle = np.array([[x1, y2], [x1 * 0.55 + x2 * 0.45, y1], [x2, y1 * 0.04 + y2 * 0.96]])
    figure, axes = canvas(1, 3, height=3.4)
    for axis in axes[0]:
        picture_axes(axis).imshow(image[..., ::-1], extent=(0, SIZE, SIZE, 0))
        axis.set(xlim=(0, SIZE), ylim=(SIZE, 0))
    _box_panel(axes[0, 0], (x1, y1, x2, y2))
    axes[0, 1].plot(*np.vstack((triangle, triangle[:1])).T, 'o-', color=ORANGE, markersize=4, linewidth=1.8)
    for number, (x, y) in enumerate(triangle):
        offset = (-38, -13) if number == 0 else (4, 5)  # beside the triangle, not on it
        axes[0, 1].annotate(f'x{number + 1} y{number + 1}', (x, y), offset, textcoords='offset points', color='white')
    box(axes[0, 1], segment2box(triangle, SIZE, SIZE), 'white', linestyle=':', linewidth=1.2)
    box(axes[0, 2], (x1, y1, x2, y2), GREEN, linewidth=2)
    rows = []
    for share in LOOSE:
        loose = _grown((x1, y1, x2, y2), share)
        overlap = float(box_iou(np.array([loose]), np.array([[x1, y1, x2, y2]]))[0, 0])
        box(axes[0, 2], loose, RED, linewidth=1.1)
        rows.append([f'{share:.0%}', f'{overlap:.2f}'])
    for axis, title in zip(axes[0], ('x y w h', 'x1 y1 x2 y2 x3 y3', 'IoU ' + ', '.join(row[1] for row in rows))):
        axis.set_title(title, pad=4)
    save(figure, 'labels.png', dpi=110)
    row = [str(int(largest[0])), *(f'{value:.3f}' for value in largest[1:])]
    write_numbers('labels', {'as_row': [row], 'name': NAMES[int(largest[0])], 'loose': rows})


def _box_panel(axis, xyxy: tuple[float, float, float, float]) -> None:
    x1, y1, x2, y2 = xyxy
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    arrow = {'arrowstyle': '<->', 'linewidth': 1.4, 'shrinkA': 0, 'shrinkB': 0}
    box(axis, xyxy, BLUE, linewidth=2)
    ends = [((0, y), (x, y), 'x'), ((x, 0), (x, y), 'y'), ((x1, y2 + 12), (x2, y2 + 12), 'w'),
            ((x2 + 12, y1), (x2 + 12, y2), 'h')]  # fmt: skip
    for start, end, name in ends:
        color = 'white' if name in 'xy' else '#9fd3ff'
        axis.annotate('', start, end, arrowprops=arrow | {'color': color})
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        offset = (-4, -13) if name == 'w' else (5, 5)  # below its arrow, not on the box
        axis.annotate(name, middle, offset, textcoords='offset points', color=color, fontweight='bold')
    axis.plot(x, y, 'o', color=DARK, markersize=5)


def _grown(xyxy: tuple[float, float, float, float], share: float) -> list[float]:
    x1, y1, x2, y2 = xyxy
    w, h = (x2 - x1) * share, (y2 - y1) * share
    return [x1 - w, y1 - h, x2 + w, y2 + h]
