"""Random rotation, scale, shear, translation and perspective of a picture and its boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from utils.boxes import resample_segments, segment2box
from utils.data.letterbox import GREY

BOX_AREA_THRESHOLD, POLYGON_AREA_THRESHOLD = 0.10, 0.01  # a polygon's box hugs what is left, a warped box does not


@dataclass(frozen=True)
class Warp:
    """What was drawn for one picture.

    Attributes:
        perspective: x and y terms of the homography's last row, per pixel.
        angle: rotation in degrees, counter-clockwise on the screen.
        scale: enlargement.
        shear: x and y shear in degrees.
        translate: where the input's centre comes to lie in the output, x and y in pixels.
    """

    perspective: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    scale: float = 1.0
    shear: tuple[float, float] = (0.0, 0.0)
    translate: tuple[float, float] = (0.0, 0.0)

    def matrix(self, width: int, height: int) -> np.ndarray:
        """The homography (3, 3) float64 from pixels of a width x height input to pixels of the output."""
        centre, lean, shear, move = (np.eye(3) for _ in range(4))
        centre[:2, 2] = -width / 2, -height / 2
        lean[2, :2] = self.perspective
        turn = np.vstack([cv2.getRotationMatrix2D((0, 0), self.angle, self.scale), (0, 0, 1)])
        shear[0, 1], shear[1, 0] = (math.tan(math.radians(degrees)) for degrees in self.shear)
        move[:2, 2] = self.translate
        return move @ shear @ turn @ lean @ centre

    def window(self, side: int, size: int) -> tuple[int, int, int, int]:
        """What part of a square input an output of size x size shows: x1, y1, x2, y2 in whole pixels."""
        if any(self.perspective):
            return 0, 0, side, side
        back = cv2.invertAffineTransform(self.matrix(side, side)[:2])
        last = size - 1
        corners = np.array([(0, 0), (last, 0), (0, last), (last, last)]) @ back[:, :2].T + back[:, 2]
        margin = 2  # pixels: interpolation takes the next one, and OpenCV rounds places to 1/32
        (x1, y1), (x2, y2) = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin + 1
        return tuple(int(min(max(edge, 0), side)) for edge in (x1, y1, x2, y2))


def draw_warp(
    rng: np.random.Generator,
    width: int,
    height: int,
    degrees: float = 10,
    translate: float = 0.1,
    scale: float = 0.1,
    shear: float = 10,
    perspective: float = 0.0,
) -> Warp:
    """Draw a warp into an output of width x height pixels, every term uniformly between minus and plus its limit."""

    def around(centre: float, spread: float) -> float:
        return float(rng.uniform(centre - spread, centre + spread))

    return Warp(
        perspective=(around(0, perspective), around(0, perspective)),
        angle=around(0, degrees),
        scale=around(1, scale),
        shear=(around(0, shear), around(0, shear)),
        translate=(around(0.5, translate) * width, around(0.5, translate) * height),
    )


def random_perspective(
    im: np.ndarray,
    targets: np.ndarray = (),
    segments: Sequence[np.ndarray] = (),
    degrees: float = 10,
    translate: float = 0.1,
    scale: float = 0.1,
    shear: float = 10,
    perspective: float = 0.0,
    border: tuple[int, int] = (0, 0),
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a warp and apply it; see `apply_warp` for shapes and `Warp` for units.

    `border` (y, x) pixels are added on each side; a mosaic of twice the size takes minus half the size.
    """
    rng = np.random.default_rng() if rng is None else rng
    width, height = im.shape[1] + border[1] * 2, im.shape[0] + border[0] * 2
    warp = draw_warp(rng, width, height, degrees, translate, scale, shear, perspective)
    return apply_warp(im, targets, segments, warp, border)


def apply_warp(
    im: np.ndarray,
    targets: np.ndarray,
    segments: Sequence[np.ndarray],
    warp: Warp,
    border: tuple[int, int] = (0, 0),
) -> tuple[np.ndarray, np.ndarray]:
    """Warp a picture and its boxes, and drop the boxes of which too little is left.

    Args:
        im: (h, w, 3) uint8.
        targets: (n, 5) [class, x1, y1, x2, y2] in pixels.
        segments: none, or one polygon (points, 2) in pixels for each target, those without one being (0, 2).

    Returns:
        The picture (h + 2 border, w + 2 border, 3) and the targets left, (m, 5).
    """
    width, height = im.shape[1] + border[1] * 2, im.shape[0] + border[0] * 2
    matrix = warp.matrix(im.shape[1], im.shape[0])
    if border != (0, 0) or (matrix != np.eye(3)).any():
        if any(warp.perspective):
            im = cv2.warpPerspective(im, matrix, dsize=(width, height), borderValue=GREY)
        else:
            im = cv2.warpAffine(im, matrix[:2], dsize=(width, height), borderValue=GREY)
    if len(targets) == 0:
        return im, targets
    boxes, from_polygon = warp_boxes(targets[:, 1:5], segments, matrix, width, height)
    threshold = np.where(from_polygon, POLYGON_AREA_THRESHOLD, BOX_AREA_THRESHOLD)
    keep = box_candidates(targets[:, 1:5].T * warp.scale, boxes.T, area_thr=threshold)
    return im, np.concatenate([targets[keep, :1], boxes[keep].astype(targets.dtype)], axis=1)


def warp_boxes(
    boxes: np.ndarray, segments: Sequence[np.ndarray], matrix: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes around the warped boxes, or around the warped polygons where there are any.

    Args:
        boxes: (n, 4) xyxy in pixels of the input.
        segments: none, or n polygons as in `apply_warp`.

    Returns:
        (n, 4) float64 xyxy inside width x height (zeros where no point of a polygon is), and (n,) bool: from a polygon.
    """
    corners = transform(boxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 2), matrix).reshape(-1, 4, 2)
    around = np.concatenate([corners.min(1), corners.max(1)], axis=1).clip(0, (width, height, width, height))
    from_polygon = np.zeros(len(boxes), bool)
    rows = [i for i, polygon in enumerate(segments) if len(polygon)]
    if rows:
        polygons = resample_segments([segments[i] for i in rows])
        for i, polygon in zip(rows, polygons):
            around[i] = np.asarray(segment2box(transform(polygon, matrix), width, height)).reshape(4)
        from_polygon[rows] = True
    return around, from_polygon


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (n, 2) through a homography (3, 3)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def box_candidates(
    box1: np.ndarray,
    box2: np.ndarray,
    wh_thr: float = 2,
    ar_thr: float = 100,
    area_thr: float | np.ndarray = 0.1,
    eps: float = 1e-16,
) -> np.ndarray:
    """Which boxes are worth keeping after augmentation, (n,) bool.

    Args:
        box1: (4, n) xyxy before, in pixels.
        box2: (4, n) xyxy after.
        wh_thr: width and height must exceed this many pixels.
        ar_thr: the longer over the shorter side must stay below this.
        area_thr: area after over area before must exceed this, one number or (n,).
    """
    w1, h1 = box1[2] - box1[0], box1[3] - box1[1]
    w2, h2 = box2[2] - box2[0], box2[3] - box2[1]
    aspect = np.maximum(w2 / (h2 + eps), h2 / (w2 + eps))
    return (w2 > wh_thr) & (h2 > wh_thr) & (w2 * h2 / (w1 * h1 + eps) > area_thr) & (aspect < ar_thr)
