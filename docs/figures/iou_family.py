"""Where the gradient of each loss of the IoU family moves a box, as in the simulation of the DIoU paper.

https://arxiv.org/abs/1911.08287: B <- B - rate · (2 - IoU) · ∂(1 - metric)/∂B. The rate falls to 0, so that the box
comes to rest.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import oneflow as torch

from docs.figures.style import BLUE, DARK, GREEN, GREY, ORANGE, PURPLE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.boxes import bbox_iou, xywh2xyxy

TARGET = (0.0, 0.0, 2.0, 1.0)  # centre and size
START = (-2.6, 1.3, 1.0, 1.4)
STEPS, RATE = 400, 0.05
METRICS = {'IoU': RED, 'GIoU': ORANGE, 'DIoU': BLUE, 'CIoU': PURPLE}
DRAWN = (0, 20, 40, 80, 120, 400)


def descend(metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The box (STEPS + 1, 4), xywh, and its IoU with the target (STEPS + 1) after each step."""
    target, at = torch.tensor([TARGET]), np.array([START], np.float32)
    boxes, overlaps = [], []
    for step in range(STEPS + 1):
        here = torch.tensor(at, requires_grad=True)
        overlap = float(bbox_iou(here, target))
        boxes.append(at[0])
        overlaps.append(overlap)
        value = bbox_iou(here, target, **({} if metric == 'IoU' else {metric: True}))
        (1 - value).sum().backward()
        at = at - RATE * (1 - step / STEPS) * (2 - overlap) * here.grad.numpy()
    return np.array(boxes), np.array(overlaps)


def make() -> None:
    runs = {metric: descend(metric) for metric in METRICS}
    figure, axes = canvas(2, 4, height=5.2)
    grid = axes[0, 0].get_gridspec()
    for column, (metric, color) in enumerate(METRICS.items()):
        _draw_path(picture_axes(axes[0, column]), metric, color, runs[metric][0])
        axes[1, column].remove()
    with matplotlib.rc_context({'axes.spines.top': False, 'axes.spines.right': False}):
        curves = figure.add_subplot(grid[1, :])
    _draw_overlaps(curves, {metric: overlaps for metric, (_, overlaps) in runs.items()})
    save(figure, 'iou_family.svg')
    write_numbers('iou_family', {metric.lower(): _numbers(*run) for metric, run in runs.items()} | {'steps': STEPS})


def _draw_path(axes, metric: str, color: str, boxes: np.ndarray) -> None:
    box(axes, xywh2xyxy(np.array(TARGET)), GREEN, fill=True, facecolor='#009e7330', linewidth=2)
    corners = xywh2xyxy(boxes)
    for number, step in enumerate(DRAWN):
        strength = (number + 1) / len(DRAWN)
        box(axes, corners[step], GREY if step == 0 else color, alpha=1 if step == 0 else strength, linewidth=1.3)
    axes.plot(boxes[:, 0], boxes[:, 1], color=DARK, linewidth=1)
    axes.plot(*boxes[0, :2], 'o', color=GREY, markersize=4)
    axes.plot(*boxes[-1, :2], 'o', color=color, markersize=4)
    axes.set(xlim=(-3.4, 1.3), ylim=(2.25, -1.1), title=metric)


def _draw_overlaps(axes, overlaps: dict[str, np.ndarray]) -> None:
    for metric, values in overlaps.items():
        axes.plot(values, color=METRICS[metric], linewidth=2, label=metric)
    axes.set(xlabel='step', ylabel='IoU', xlim=(0, STEPS), ylim=(-0.02, 1.02))
    axes.grid(color='#e8e8e8')
    axes.legend(loc='lower right', frameon=False)


def _numbers(boxes: np.ndarray, overlaps: np.ndarray) -> dict:
    def first(level: float) -> int | str:
        return int(np.argmax(overlaps >= level)) if overlaps.max() >= level else '-'

    moved = float(np.hypot(*(boxes[-1, :2] - boxes[0, :2])))
    return {
        'final': f'{overlaps[-1]:.2f}', 'touch': first(0.01), 'half': first(0.5), 'nine': first(0.9),
        'moved': f'{moved:.2f}',
    }  # fmt: skip
