"""The precision-recall curve of five detections and three labels, as chapter 11 works it out by hand."""

from __future__ import annotations

import numpy as np

from docs.figures.style import BLUE, DARK, GREEN, GREY, ORANGE, RED, box, canvas, picture_axes, save
from utils.metrics import RECALLS, compute_ap, match_detections

# Two pictures: labels (class, xyxy) and detections (xyxy, confidence, class).
LABELS = [np.array([[0, 0, 0, 10, 10], [0, 20, 0, 30, 10.0]]), np.array([[0, 0, 0, 10, 10.0]])]
DETECTIONS = [
    np.array([[1, 0, 11, 10, 0.9, 0], [2, 0, 12, 10, 0.8, 0], [23, 0, 33, 10, 0.5, 0]]),
    np.array([[0, 0, 10, 10, 0.7, 0], [16, 2, 24, 10, 0.6, 0]]),
]


def curve(threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision after each detection, the most confident first."""
    right = np.concatenate([match_detections(d, t, [threshold])[:, 0] for d, t in zip(DETECTIONS, LABELS)])
    order = np.argsort(-np.concatenate(DETECTIONS)[:, 4])
    found = right[order].cumsum()
    return found / sum(map(len, LABELS)), found / np.arange(1, len(order) + 1)


def make() -> None:
    figure, axes = canvas(2, 2, height=5.2, width=9)
    for number, axis in enumerate(axes[0]):
        _draw_boxes(picture_axes(axis), LABELS[number], DETECTIONS[number])
    for axis, threshold in zip(axes[1], (0.5, 0.75)):
        recall, precision = curve(threshold)
        _, envelope, padded = compute_ap(recall, precision)
        area = np.interp(RECALLS, padded, envelope)
        axis.fill_between(RECALLS, area, color=BLUE, alpha=0.15, linewidth=0)
        axis.plot(RECALLS, area, color=BLUE, linewidth=2)
        axis.plot(RECALLS, _coco(recall, precision), ':', color=ORANGE, linewidth=2)
        axis.plot(recall, precision, 'o--', color=RED, linewidth=1, markersize=5)
        axis.set(xlim=(0, 1.02), ylim=(0, 1.06), xlabel='recall', ylabel='precision', title=f'IoU {threshold}')
    save(figure, 'evaluation.svg')


def _coco(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """pycocotools' reading: the best precision at that recall or beyond, nothing where recall never gets."""
    return np.array([max(precision[recall >= r - 1e-9], default=0) for r in RECALLS])


def _draw_boxes(axes, labels: np.ndarray, detections: np.ndarray) -> None:
    box(axes, (-1.5, -3.5, 34.5, 13.5), GREY, linestyle=':', linewidth=1)  # the picture
    for row in labels:
        box(axes, row[1:], GREEN, fill=True, facecolor='#009e7330', linewidth=2)
    for row in detections:
        box(axes, row[:4], DARK, linewidth=1.3)
        below = row[4] == 0.8  # above there is its neighbour's
        place = {'va': 'top' if below else 'bottom', 'ha': 'right', 'color': DARK, 'fontsize': 10}
        axes.text(row[2], row[3] + 0.4 if below else row[1] - 0.4, f'{row[4]}', **place)
    axes.set(xlim=(-2, 35), ylim=(14, -4))
