"""Augmentations of training pictures: colours and flips here, the others from the modules named below.

Each random step is two functions: one that draws numbers from a generator, and one that applies them and is pure. The
function under the well-known name does both; without `rng` it draws from the system's entropy.
"""

from __future__ import annotations

import random

import cv2
import numpy as np

from utils.data.letterbox import letterbox
from utils.data.mix import copy_paste, cutout, mixup, replicate
from utils.data.perspective import box_candidates, random_perspective

__all__ = [
    'Albumentations',
    'augment_hsv',
    'box_candidates',
    'copy_paste',
    'cutout',
    'flip_left_right',
    'flip_up_down',
    'hist_equalize',
    'letterbox',
    'mixup',
    'random_perspective',
    'replicate',
]

TRUNCATE = 1e-4 - 0.5  # to add before rounding to the nearest: almost all of the fraction is cut off


def draw_hsv(rng: np.random.Generator, hgain: float, sgain: float, vgain: float) -> np.ndarray:
    """Factors (3,) for hue, saturation and value, each uniformly within 1 ± its gain."""
    return rng.uniform(-1, 1, 3) * (hgain, sgain, vgain) + 1


def augment_hsv(
    im: np.ndarray,
    hgain: float = 0.5,
    sgain: float = 0.5,
    vgain: float = 0.5,
    rng: np.random.Generator | None = None,
) -> None:
    """Change hue, saturation and value of `im` (h, w, 3) uint8 BGR by random factors, in place."""
    if hgain or sgain or vgain:
        apply_hsv(im, draw_hsv(np.random.default_rng() if rng is None else rng, hgain, sgain, vgain))


def apply_hsv(im: np.ndarray, factors: np.ndarray) -> None:
    """`augment_hsv` with the factors (3,) given."""
    planes = cv2.split(cv2.cvtColor(im, cv2.COLOR_BGR2HSV))
    for plane, table, factor, cyclic in zip(planes, hsv_tables(factors), factors, (True, False, False)):
        if not cyclic and _truncates_by_rounding(factor):  # five times as fast as the table
            cv2.convertScaleAbs(plane, dst=plane, alpha=factor, beta=TRUNCATE)
        else:
            cv2.LUT(plane, table, dst=plane)
    cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR, dst=im)


def _truncates_by_rounding(factor: float) -> bool:
    """Whether rounding x * factor + TRUNCATE gives a whole x * factor without its fraction, for all 256 x.

    Twice the distance from a half is asked for: OpenCV computes in float32, here and there with fused operations.
    """
    return factor >= 0 and bool((np.arange(256) * factor % 1 < 1 - 2 * (TRUNCATE + 0.5)).all())


def hsv_tables(factors: np.ndarray) -> np.ndarray:
    """New hue, saturation and value for each of 256 old ones: (3, 256) uint8; hue goes round at 180."""
    hue, saturation, value = np.arange(256) * np.asarray(factors, np.float64)[:, None]
    return np.stack((hue % 180, saturation.clip(0, 255), value.clip(0, 255))).astype(np.uint8)


def hist_equalize(im: np.ndarray, clahe: bool = True, bgr: bool = False) -> np.ndarray:
    """Equalise the brightness of `im` (h, w, 3) uint8, by tiles (CLAHE) or over the whole; returns a new picture."""
    yuv = cv2.cvtColor(im, cv2.COLOR_BGR2YUV if bgr else cv2.COLOR_RGB2YUV)
    if clahe:
        yuv[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(yuv[..., 0])
    else:
        yuv[..., 0] = cv2.equalizeHist(yuv[..., 0])
    return cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR if bgr else cv2.COLOR_YUV2RGB)


def flip_left_right(im: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a picture (h, w, 3) and its labels (n, 5) [class, x, y, w, h], normalised; returns new arrays."""
    return cv2.flip(im, 1), _mirror(labels, 1)


def flip_up_down(im: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like `flip_left_right`, upside down."""
    return cv2.flip(im, 0), _mirror(labels, 2)


def _mirror(labels: np.ndarray, column: int) -> np.ndarray:
    labels = labels.copy()
    labels[:, column] = 1 - labels[:, column]
    return labels


class Albumentations:
    """Rare blurs, greys and CLAHE from the albumentations package if it is installed; otherwise nothing.

    Attributes:
        transform: the package's transform, or None.
    """

    def __init__(self) -> None:
        try:
            import albumentations
        except ImportError:
            self.transform = None
            return
        steps = [
            albumentations.Blur(p=0.01),
            albumentations.MedianBlur(p=0.01),
            albumentations.ToGray(p=0.01),
            albumentations.CLAHE(p=0.01),
        ]
        boxes = albumentations.BboxParams(format='yolo', label_fields=['class_labels'])
        self.transform = albumentations.Compose(steps, bbox_params=boxes)

    def __call__(
        self, im: np.ndarray, labels: np.ndarray, p: float = 1.0, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """With probability `p` transform a picture (h, w, 3) and its labels (n, 5) [class, x, y, w, h], normalised."""
        rng = np.random.default_rng() if rng is None else rng
        if self.transform is None or rng.random() >= p:
            return im, labels
        self._seed(int(rng.integers(2**32)))
        new = self.transform(image=im, bboxes=labels[:, 1:], class_labels=labels[:, 0])
        rows = [[cls, *box] for cls, box in zip(new['class_labels'], new['bboxes'])]
        return new['image'], np.array(rows, np.float32).reshape(-1, 5)

    def _seed(self, seed: int) -> None:
        # Versions up to 1.4.14 draw from Python's own generator, later ones from one of their own.
        if hasattr(self.transform, 'set_random_seed'):
            self.transform.set_random_seed(seed)
        else:
            random.seed(seed)
