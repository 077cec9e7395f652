"""Samples to batches."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from utils.data.letterbox import GREY

# Picture (3, h, w) uint8 RGB; labels (n, 6) float32 [0, class, x, y, w, h] normalised; path; ((h0, w0), ((ratio_h,
# ratio_w), (pad_w, pad_h))), or None where augmentation leaves no way back to the original picture.
Sample = tuple[np.ndarray, np.ndarray, str, tuple | None]
# Pictures (b, 3, h, w) uint8; targets (n, 6) float32 [picture of the batch, class, x, y, w, h]; paths; shapes.
Batch = tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple]


def collate_fn(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one shape; the first column of the targets tells their picture."""
    images, labels, paths, shapes = zip(*samples)
    return np.stack(images), _number(labels), paths, shapes


def collate_fn4(samples: Sequence[Sample], rng: np.random.Generator | None = None) -> Batch:
    """A quarter of the pictures at twice the size (--quad), with the effect of a larger batch on larger pictures.

    Of four samples, either the first is enlarged and the others are dropped, or all are put on one board: the second
    below the first, the third and fourth to the right of them. Where fewer than four are left the board stays grey.
    """
    rng = np.random.default_rng() if rng is None else rng
    groups = [samples[i : i + 4] for i in range(0, len(samples), 4)]
    images, labels = zip(*(_enlarge(group[0]) if rng.random() < 0.5 else _board(group) for group in groups))
    paths, shapes = zip(*(group[0][2:] for group in groups))
    return np.stack(images), _number(labels), paths, shapes


def _number(labels: Sequence[np.ndarray]) -> np.ndarray:
    targets = np.concatenate(labels)
    targets[:, 0] = np.repeat(np.arange(len(labels)), [len(of) for of in labels])
    return targets


def _enlarge(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    image, labels = sample[:2]
    height, width = image.shape[1:]
    return np.stack([cv2.resize(channel, (2 * width, 2 * height)) for channel in image]), labels


def _board(group: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    channels, height, width = group[0][0].shape
    board = np.full((channels, 2 * height, 2 * width), GREY[0], np.uint8)
    moved = []
    for i, (image, labels, *_) in enumerate(group):
        column, row = divmod(i, 2)
        board[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = image
        moved.append((labels + np.array([0, 0, column, row, 0, 0], np.float32)) * np.array([1, 1, 0.5, 0.5, 0.5, 0.5]))
    return board, np.concatenate(moved, dtype=np.float32)
