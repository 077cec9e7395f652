"""Mosaics of a batch with its boxes: train_batch0.jpg, val_batch0_labels.jpg, val_batch0_pred.jpg."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.annotate import Annotator, colors
from utils.boxes import xywh2xyxy, xyxy2xywh
from utils.data.images import write_image

CONF_SHOWN = 0.25  # predictions must exceed it to be drawn


def output_to_target(output: Sequence) -> np.ndarray:
    """NMS output as rows for `plot_images`.

    Args:
        output: per picture (n, 6) boxes x1, y1, x2, y2 in pixels, confidence, class; tensors or arrays.

    Returns:
        (total, 7) float32: picture, class, x, y, w, h in pixels, confidence.
    """
    rows = [np.empty((0, 7), np.float32)]
    for i, detections in enumerate(output):
        d = _to_numpy(detections).astype(np.float32)
        rows.append(np.column_stack([np.full(len(d), i, np.float32), d[:, 5], xyxy2xywh(d[:, :4]), d[:, 4]]))
    return np.concatenate(rows).astype(np.float32)


def plot_images(
    images,
    targets,
    paths: Sequence[str] | None = None,
    fname: str | Path = 'images.jpg',
    names: dict[int, str] | Sequence[str] | None = None,
    max_size: int = 1920,
    max_subplots: int = 16,
) -> None:
    """Write a square mosaic of the batch's first pictures with boxes, class names and file names.

    Args:
        images: (b, 3, h, w) RGB, uint8 or float in 0..1; tensor or array.
        targets: (n, 6) picture, class, x, y, w, h, or (n, 7) with a confidence behind; normalised, or pixels of h, w.
        paths: of the pictures.
        fname: the file to write.
        names: class names by class number; numbers are shown without.
        max_size: longest side of the mosaic, pixels.
        max_subplots: most tiles.
    """
    images, targets = _to_numpy(images)[:max_subplots], _to_numpy(targets)
    if images.dtype != np.uint8:
        images = (images.astype(np.float32) * 255).round().clip(0, 255).astype(np.uint8)
    columns = math.ceil(math.sqrt(len(images)))
    scale = min(1.0, max_size / columns / max(images.shape[2:]))
    h, w = (math.ceil(scale * side) for side in images.shape[2:])
    name_of = names if isinstance(names, dict) else dict(enumerate(names or ()))

    titles = [Path(p).name[:40] for p in paths[: len(images)]] if paths is not None else [''] * len(images)
    font_size = max(int((h + w) * columns * 0.007), 10)
    canvas = np.full((columns * h, columns * w, 3), 255, np.uint8)
    for i, image in enumerate(images):
        tile = cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), (w, h), interpolation=cv2.INTER_AREA)
        rows = targets[targets[:, 0] == i] if len(targets) else targets
        pen = Annotator(tile, max(font_size // 10, 1), font_size, pil=True, example=[*name_of.values(), *titles])
        _draw_boxes(pen, rows, scale, name_of)
        pen.rectangle((0, 0, w - 1, h - 1), outline=(255, 255, 255))
        pen.text((5, 5), titles[i])
        y, x = h * (i // columns), w * (i % columns)
        canvas[y : y + h, x : x + w] = pen.result()
    Path(fname).parent.mkdir(parents=True, exist_ok=True)
    write_image(fname, np.ascontiguousarray(canvas[..., ::-1]))


def _draw_boxes(pen: Annotator, rows: np.ndarray, scale: float, names: dict[int, str]) -> None:
    """Draw one tile's rows: picture, class, x, y, w, h (normalised, or pixels before scaling), maybe confidence."""
    if not len(rows):
        return
    height, width = pen.result().shape[:2]
    boxes = xywh2xyxy(rows[:, 2:6].astype(np.float64))
    # Normalised boxes may reach over 1 by rounding; boxes in pixels of the network's input shrink with the tile.
    boxes *= (width, height, width, height) if rows[:, 2:6].max() <= 1.01 else scale
    for row, box in zip(rows, boxes):
        c = int(row[1])
        name = str(names.get(c, c))
        if rows.shape[1] == 6:
            pen.box_label(box, name, color=colors(c))
        elif row[6] > CONF_SHOWN:
            pen.box_label(box, f'{name} {row[6]:.1f}', color=colors(c))


def _to_numpy(x) -> np.ndarray:
    """A tensor (of any device) or array as an array, without importing oneflow."""
    return x.detach().cpu().numpy() if hasattr(x, 'detach') else np.asarray(x)
