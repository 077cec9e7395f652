"""What each metric of the IoU family says of a box that slides, lies inside, or changes shape; and which loss brings
many boxes home, a small version of the simulation of the DIoU paper.

https://arxiv.org/abs/1911.08287
"""

from __future__ import annotations

import itertools

import numpy as np
import oneflow as torch

from docs.figures.iou_family import METRICS
from docs.figures.style import GREEN, GREY, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.boxes import bbox_iou, xywh2xyxy

ASPECTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # width / height
SCALES = (0.5, 1.0, 2.0)  # area
CENTRES, RADIUS = 40, 3.0  # around the target's
STEPS, RATE = 200, 0.1
LINES = dict(zip(METRICS, ('-', '--', '-', ':')))


def metric_of(boxes: np.ndarray, target: np.ndarray, metric: str) -> np.ndarray:
    """Metric (n,) of boxes (n, 4) with a target (4,), both xywh."""
    options = {} if metric == 'IoU' else {metric: True}
    return bbox_iou(boxes, np.broadcast_to(target, boxes.shape), **options)[:, 0]


def make() -> None:
    figure, axes = canvas(2, 3, height=4.9)
    target = np.array([0.0, 0.0, 2.0, 1.0])
    slide = np.linspace(-4, 4, 161)
    _panel(axes[:, 0], 'x', slide, _boxes(slide, 0, 2, 1), target)
    inside = np.linspace(-0.7, 0.7, 57)
    _panel(axes[:, 1], 'x', inside, _boxes(inside, 0, 0.6, 0.6), target)
    ratio = np.linspace(0.25, 4, 151)
    _panel(axes[:, 2], 'w / h', ratio, _boxes(0, 0, np.sqrt(2 * ratio), np.sqrt(2 / ratio)), target)
    save(figure, 'iou_metrics.svg')
    races = {metric: race(metric) for metric in METRICS}
    _draw_race({metric: overlaps for metric, (overlaps, _) in races.items()})
    first = races['IoU'][0][0]
    write_numbers('iou_metrics', {metric.lower(): _numbers(*run) for metric, run in races.items()} | {
        'boxes': len(first), 'steps': STEPS, 'touch': f'{100 * (first > 0).mean():.0f}%',
    })  # fmt: skip


def _boxes(x, y, w, h) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y, w, h), -1).astype(float)


def _panel(column, label: str, values: np.ndarray, boxes: np.ndarray, target: np.ndarray) -> None:
    """Three of the boxes above, the metrics of all below."""
    picture_axes(column[0])
    box(column[0], xywh2xyxy(target), GREEN, fill=True, facecolor='#009e7330', linewidth=2)
    for place in (0.12, 0.5, 0.88) if label == 'x' else (0.04, 0.47, 0.96):
        box(column[0], xywh2xyxy(boxes[int(place * (len(boxes) - 1))]), GREY)
    wide = np.abs(values).max() > 2 and label == 'x'
    column[0].set(xlim=(-4.2, 4.2) if wide else (-2, 2), ylim=(-2.1, 2.1) if wide else (-1.3, 1.3))
    for metric, color in METRICS.items():
        column[1].plot(
            values, metric_of(boxes, target, metric), LINES[metric], color=color, linewidth=1.8, label=metric
        )
    column[1].set(xlabel=label, ylim=(-0.75 if wide else 0, 0.25 if np.abs(values).max() < 1 else 1.05))
    if wide:
        column[1].legend(loc='upper right', fontsize=8, handlelength=1.4)


def race(metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of all shapes, sizes and places on their way to targets of all shapes: their IoU (STEPS + 1, boxes), and
    the ratio (boxes,) of their last aspect to the target's, the larger over the smaller."""
    start, target = _starts()
    at, goal, overlaps = start, torch.tensor(target), []
    for step in range(STEPS + 1):
        here = torch.tensor(at, requires_grad=True)
        overlap = bbox_iou(at, target)
        overlaps.append(overlap[:, 0])
        value = bbox_iou(here, goal, **({} if metric == 'IoU' else {metric: True}))
        (1 - value).sum().backward()
        rate = RATE * (1 - step / STEPS)
        at = at - np.float32(rate) * (2 - overlap) * here.grad.numpy()
        at[:, 2:] = at[:, 2:].clip(1e-3)
    aspects = at[:, 2] / at[:, 3] / (target[:, 2] / target[:, 3])
    return np.array(overlaps), np.maximum(aspects, 1 / aspects)


def _starts() -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and the target (n, 4) of each, xywh."""
    random = np.random.Generator(np.random.PCG64(0))
    angle, radius = random.uniform(0, 2 * np.pi, CENTRES), RADIUS * np.sqrt(random.uniform(0, 1, CENTRES))
    centres = np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)
    pairs = itertools.product(centres, SCALES, ASPECTS, ASPECTS)
    rows = [
        (x, y, (s * a) ** 0.5, (s / a) ** 0.5, 0, 0, goal**0.5, goal**-0.5) for (x, y), s, a, goal in pairs
    ]  # fmt: skip
    both = np.array(rows, np.float32)
    return both[:, :4], both[:, 4:]


def _draw_race(overlaps: dict[str, np.ndarray]) -> None:
    figure, axes = canvas(1, 2, height=3.3)
    for metric, values in overlaps.items():
        axes[0, 0].plot(values.mean(1), color=METRICS[metric], linewidth=2, label=metric)
        final = np.sort(values[-1])
        axes[0, 1].plot(np.linspace(0, 1, len(final)), final, color=METRICS[metric], linewidth=2)
    axes[0, 0].set(xlabel='step', ylabel='IoU', xlim=(0, STEPS), ylim=(0, 1.02))
    axes[0, 1].set(xlabel='boxes', ylabel=f'IoU, step={STEPS}', xlim=(0, 1), ylim=(0, 1.02))
    axes[0, 0].legend(loc=(0.74, 0.2))
    save(figure, 'iou_race.svg')


def _numbers(overlaps: np.ndarray, aspects: np.ndarray) -> dict:
    final = overlaps[-1]
    return {
        'mean': f'{final.mean():.2f}', 'home': f'{100 * (final > 0.9).mean():.0f}%',
        'shape': f'{100 * (aspects < 1.1).mean():.0f}%',
        'half': int(np.argmax(overlaps.mean(1) >= 0.5)) if overlaps.mean(1).max() >= 0.5 else '-',
    }  # fmt: skip
