"""A small drawn data set for tests: flat rectangles on a flat ground, so that pixels tell which object they are of."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.data.labelset import LabelSet

GROUND = (90, 90, 90)
COLORS = ((250, 20, 20), (20, 250, 20), (20, 20, 250))  # BGR by class
SIZES = ((160, 120), (120, 160), (160, 160), (200, 100), (96, 64))  # width, height


def draw_set(folder: Path, n: int = 6, seed: int = 0, suffix: str = '.png', with_segments: bool = False) -> LabelSet:
    """n pictures of `SIZES` in turn, each with one rectangle in every quarter."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels, shapes, segments = [], [], [], []
    for i in range(n):
        width, height = SIZES[i % len(SIZES)]
        picture = np.full((height, width, 3), GROUND, np.uint8)
        rows, polygons = [], []
        for quarter in range(4):
            x1 = quarter % 2 * width // 2 + int(rng.integers(2, width // 8))
            y1 = quarter // 2 * height // 2 + int(rng.integers(2, height // 8))
            x2, y2 = x1 + int(rng.integers(width // 5, width // 3)), y1 + int(rng.integers(height // 5, height // 3))
            cls = int(rng.integers(3))
            picture[y1:y2, x1:x2] = COLORS[cls]
            rows.append([cls, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height])
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
            polygons.append(corners / np.array([width, height], np.float32))
        images.append(str(folder / f'{i:02d}{suffix}'))
        cv2.imwrite(images[-1], picture)
        labels.append(np.array(rows, np.float32))
        shapes.append((width, height))
        segments.append(polygons)
    return LabelSet(images, labels, np.array(shapes), segments if with_segments else None)


def colors_at_centres(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class that the pixel in the middle of each box shows, -1 for none: image (3, h, w) RGB, labels (n, 6)."""
    height, width = image.shape[1:]
    x = (labels[:, 2] * width).astype(int).clip(0, width - 1)
    y = (labels[:, 3] * height).astype(int).clip(0, height - 1)
    bgr = image[::-1, y, x].T.astype(int)
    distance = np.abs(bgr[:, None] - np.array(COLORS)).max(-1)
    return np.where(distance.min(1) < 40, distance.argmin(1), -1)
