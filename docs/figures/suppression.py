"""Suppression at work: boxes before and after, and what its IoU threshold does to the scores of a trained detector."""

from __future__ import annotations

import cv2
import numpy as np

from docs.figures.style import BLUE, DARK, GREY, ORANGE, PURPLE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from docs.tools.pages import DOCS
from models.backend import load_backend
from utils.boxes import xywh2xyxy
from utils.data.shapes import draw_picture
from utils.evaluate import Scores, Tally
from utils.nms import non_max_suppression

PICTURES, SIZE, SEED = 128, 128, 6
THRESHOLDS = (0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TABLE = (0.45, 0.6, 0.65, 0.8)
SHOWN = 5  # which of the pictures the first figure shows
CONF, MAX_DET = 0.25, 300


def pictures() -> tuple[np.ndarray, list[np.ndarray]]:
    """(n, 3, h, w) uint8 RGB that the detector has not seen, and labels (m, 5): class, xyxy in pixels."""
    images, labels = [], []
    for i in range(PICTURES):
        picture, rows = draw_picture(np.random.default_rng([SEED, i]), 320)
        small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        images.append(small[..., ::-1].transpose(2, 0, 1))
        labels.append(np.hstack((rows[:, :1], xywh2xyxy(rows[:, 1:] * SIZE))))
    return np.stack(images), labels


def make() -> None:
    images, labels = pictures()
    backend = load_backend(DOCS / 'weights/shapes.safetensors', 'cpu')
    raw = backend(backend.prepare(images))
    _draw_picture(images[SHOWN], raw[SHOWN : SHOWN + 1])
    sweep = {limit: _scores(raw, labels, limit) for limit in THRESHOLDS}
    _draw_sweep(sweep)
    candidates = (raw[..., 5:].max(-1) * raw[..., 4] > CONF).sum(1)
    write_numbers('suppression', {
        'pictures': PICTURES, 'max_det': MAX_DET, 'most': f'{PICTURES * MAX_DET:,}',
        'labels': int(sum(map(len, labels))), 'rows': raw.shape[1],
        'candidates': f'{candidates.mean():.0f}', 'shown': int(candidates[SHOWN]),
        'shown_kept': len(non_max_suppression(raw[SHOWN : SHOWN + 1], CONF)[0]),
        'table': [[f'{limit:.2f}', sweep[limit][0], *_cells(sweep[limit][1])] for limit in TABLE],
        'map_060': f'{sweep[0.6][1].means()[3]:.4f}', 'map_065': f'{sweep[0.65][1].means()[3]:.4f}',
    })  # fmt: skip


def _scores(raw: np.ndarray, labels: list[np.ndarray], limit: float) -> tuple[int, Scores]:
    """Detections in all, and their scores, as val.py has them."""
    tally, count = Tally(raw.shape[2] - 5), 0
    for found, known in zip(non_max_suppression(raw, 0.001, limit, multi_label=True, max_det=MAX_DET), labels):
        tally.add(found, known)
        count += len(found)
    return count, tally.scores()


def _cells(scores: Scores) -> list[str]:
    return [f'{value:.3f}' for value in (scores.ap[:, 0].mean(), scores.ap[:, 5].mean(), scores.means()[3])]


def _draw_picture(image: np.ndarray, raw: np.ndarray) -> None:
    """All boxes above the confidence, then what suppression leaves."""
    rows = raw[0][raw[0][:, 4] * raw[0][:, 5:].max(1) > CONF]
    kept = non_max_suppression(raw, CONF)[0]
    figure, axes = canvas(1, 2, height=4.3)
    for axis, boxes in zip(axes[0], (xywh2xyxy(rows[:, :4]), kept[:, :4])):
        picture_axes(axis).imshow(image.transpose(1, 2, 0), extent=(0, SIZE, SIZE, 0), interpolation='bilinear')
        for row in boxes:
            box(axis, row, '#ffffff', linewidth=2.6, alpha=0.5)
            box(axis, row, RED, linewidth=1.2)
        axis.set_title(f'{len(boxes)} boxes', fontsize=13)
    axes[0, 0].set(xlim=(0, SIZE), ylim=(SIZE, 0))
    axes[0, 1].set(xlim=(0, SIZE), ylim=(SIZE, 0))
    save(figure, 'suppression.png')


def _draw_sweep(sweep: dict[float, tuple[int, Scores]]) -> None:
    figure, axes = canvas(1, 2, height=3.2)
    limits = list(sweep)
    aps = np.array([scores.ap.mean(0) for _, scores in sweep.values()])
    lines = (('mAP50', aps[:, 0], BLUE), ('mAP75', aps[:, 5], ORANGE), ('mAP50-95', aps.mean(1), PURPLE))
    for label, values, color in lines:
        axes[0, 0].plot(limits, values, 'o-', color=color, markersize=3, label=label)
    axes[0, 1].plot(limits, [count for count, _ in sweep.values()], 'o-', color=RED, markersize=3)
    axes[0, 1].axhline(PICTURES * MAX_DET, color=DARK, linestyle='--', linewidth=1.2)
    for axis in axes[0]:
        for limit in (0.6, 0.65):
            axis.axvline(limit, color=GREY, linestyle=':', linewidth=1.2)
        axis.set(xlabel='iou_thres', xlim=(0.18, 0.97))
    axes[0, 0].set(ylabel='mAP')
    axes[0, 0].legend(loc='lower left')
    axes[0, 1].set(ylabel='detections', ylim=(0, 1.1 * PICTURES * MAX_DET))
    save(figure, 'iou_thres.svg')
