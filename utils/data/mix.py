"""Augmentations that put one picture's pixels into another place: mixup, copy-paste, cutout, replicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.boxes import bbox_ioa, xywhn2xyxy

PASTE_MAX_COVER = 0.30  # of any label, by a pasted object
CUTOUT_MAX_COVER = 0.60  # of a label that is to stay
CUTOUT_SCALES = (0.5,) + (0.25,) * 2 + (0.125,) * 4 + (0.0625,) * 8 + (0.03125,) * 16  # of the picture's sides
CUTOUT_SMALL = 0.03  # holes up to this scale hide no object


def _generator(rng: np.random.Generator | None) -> np.random.Generator:
    return np.random.default_rng() if rng is None else rng


def draw_mixup(rng: np.random.Generator) -> float:
    """The first picture's share, mostly between 0.4 and 0.6."""
    return float(rng.beta(32.0, 32.0))


def mixup(
    im: np.ndarray,
    labels: np.ndarray,
    im2: np.ndarray,
    labels2: np.ndarray,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Blend two pictures (h, w, 3) and keep the labels (n, 5) of both (https://arxiv.org/abs/1710.09412)."""
    return apply_mixup(im, labels, im2, labels2, draw_mixup(_generator(rng)))


def apply_mixup(
    im: np.ndarray, labels: np.ndarray, im2: np.ndarray, labels2: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """`mixup` with the first picture's share given."""
    return (im * ratio + im2 * (1 - ratio)).astype(np.uint8), np.concatenate((labels, labels2), 0)


def draw_copy_paste(rng: np.random.Generator, segments: Sequence[np.ndarray], p: float) -> list[int]:
    """Which objects to copy, in this order: the share `p` of those that have a polygon."""
    with_polygon = [i for i, polygon in enumerate(segments) if len(polygon)]
    return rng.permutation(with_polygon)[: round(p * len(with_polygon))].astype(int).tolist()


def copy_paste(
    im: np.ndarray,
    labels: np.ndarray,
    segments: Sequence[np.ndarray],
    p: float = 0.5,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Paste mirrored copies of objects where they hide no other (https://arxiv.org/abs/2012.07177).

    Args:
        im: (h, w, 3) uint8.
        labels: (n, 5) [class, x1, y1, x2, y2] in pixels.
        segments: n polygons (points, 2) in pixels; (0, 2) for an object that has none and is not copied.
        p: share of the objects to try.

    Returns:
        The picture, labels and polygons, those of the copies at the end.
    """
    return apply_copy_paste(im, labels, segments, draw_copy_paste(_generator(rng), segments, p))


def apply_copy_paste(
    im: np.ndarray, labels: np.ndarray, segments: Sequence[np.ndarray], order: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """`copy_paste` with the objects to copy given."""
    if not len(order):
        return im, labels, list(segments)
    segments, width = list(segments), im.shape[1]
    mask = np.zeros(im.shape[:2], np.uint8)
    for j in order:
        cls, x1, y1, x2, y2 = labels[j]
        box = np.array([width - x2, y1, width - x1, y2], labels.dtype)
        if (bbox_ioa(box, labels[:, 1:5]) < PASTE_MAX_COVER).all():
            labels = np.concatenate((labels, [[cls, *box]]), 0, dtype=labels.dtype)
            segments.append(np.stack((width - segments[j][:, 0], segments[j][:, 1]), 1))
            cv2.drawContours(mask, [segments[j].astype(np.int32)], -1, 255, cv2.FILLED)
    if mask.any():
        copies = cv2.flip(cv2.bitwise_and(im, im, mask=mask), 1)
        im = im.copy()
        np.copyto(im, copies, where=copies > 0)  # a channel of 0 keeps the background, as in the reference
    return im, labels, segments


@dataclass(frozen=True)
class Hole:
    """A rectangle to paint over: corners in pixels, its scale, a colour."""

    x1: int
    y1: int
    x2: int
    y2: int
    scale: float
    color: tuple[int, int, int]


def draw_cutout(rng: np.random.Generator, width: int, height: int) -> list[Hole]:
    """31 holes: one of up to half the sides, two of a quarter, and so on down to sixteen of a thirty-second."""
    holes = []
    for scale in CUTOUT_SCALES:
        hole_w = int(rng.integers(1, max(int(width * scale), 1) + 1))
        hole_h = int(rng.integers(1, max(int(height * scale), 1) + 1))
        x1 = max(0, int(rng.integers(0, width + 1)) - hole_w // 2)
        y1 = max(0, int(rng.integers(0, height + 1)) - hole_h // 2)
        color = tuple(rng.integers(64, 192, 3).tolist())
        holes.append(Hole(x1, y1, min(width, x1 + hole_w), min(height, y1 + hole_h), scale, color))
    return holes


def cutout(im: np.ndarray, labels: np.ndarray, p: float = 0.5, rng: np.random.Generator | None = None) -> np.ndarray:
    """With probability `p` paint holes into `im` (h, w, 3), in place (https://arxiv.org/abs/1708.04552).

    Args:
        labels: (n, 5) [class, x, y, w, h], normalised.

    Returns:
        The labels of which no larger hole hides 60% or more.
    """
    rng = _generator(rng)
    if rng.random() >= p:
        return labels
    return apply_cutout(im, labels, draw_cutout(rng, im.shape[1], im.shape[0]))


def apply_cutout(im: np.ndarray, labels: np.ndarray, holes: Sequence[Hole]) -> np.ndarray:
    """`cutout` with the holes given."""
    for hole in holes:
        im[hole.y1 : hole.y2, hole.x1 : hole.x2] = hole.color
        if len(labels) and hole.scale > CUTOUT_SMALL:
            box = np.array([hole.x1, hole.y1, hole.x2, hole.y2], np.float32)
            covered = bbox_ioa(box, xywhn2xyxy(labels[:, 1:5], im.shape[1], im.shape[0]))
            labels = labels[covered < CUTOUT_MAX_COVER]
    return labels


def draw_replicate(rng: np.random.Generator, labels: np.ndarray, width: int, height: int) -> list[tuple[int, int, int]]:
    """(row, left, top) of a copy of each object of the smaller half."""
    boxes = labels[:, 1:].astype(int)
    side = (boxes[:, 2] - boxes[:, 0] + boxes[:, 3] - boxes[:, 1]) / 2
    copies = []
    for i in side.argsort(kind='stable')[: round(len(side) * 0.5)]:
        free_w, free_h = width - (boxes[i, 2] - boxes[i, 0]), height - (boxes[i, 3] - boxes[i, 1])
        copies.append((int(i), int(rng.uniform(0, free_w)), int(rng.uniform(0, free_h))))
    return copies


def replicate(
    im: np.ndarray, labels: np.ndarray, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Copy the smaller half of the objects to random places, in place.

    Args:
        im: (h, w, 3) uint8.
        labels: (n, 5) [class, x1, y1, x2, y2] in pixels, inside the picture.

    Returns:
        The picture and the labels, those of the copies at the end.
    """
    return apply_replicate(im, labels, draw_replicate(_generator(rng), labels, im.shape[1], im.shape[0]))


def apply_replicate(
    im: np.ndarray, labels: np.ndarray, copies: Sequence[tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """`replicate` with the copies (row, left, top) given."""
    for row, left, top in copies:
        x1, y1, x2, y2 = labels[row, 1:].astype(int)
        box = left, top, left + x2 - x1, top + y2 - y1
        im[box[1] : box[3], box[0] : box[2]] = im[y1:y2, x1:x2].copy()
        labels = np.concatenate((labels, [[labels[row, 0], *box]]), 0, dtype=labels.dtype)
    return im, labels
