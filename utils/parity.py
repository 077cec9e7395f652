"""Whether an exported file gives what the checkpoint gives: on a picture, box by box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.errors import DataError

if TYPE_CHECKING:
    from models.graph.nms import NMSOptions


@dataclass(frozen=True)
class Difference:
    """The largest differences between two results: of box coordinates in pixels, and of scores.

    `relative` is the first for each 100 pixels of the picture's longer side: a coordinate is a number between 0 and 1
    times a stride or an anchor, which grow with the pictures, and its rounding grows alike.
    """

    pixels: float = 0.0
    relative: float = 0.0
    scores: float = 0.0

    def within(self, limit: Difference) -> bool:
        """Whether neither boxes nor scores differ by more (nor are NaN)."""
        return self.relative <= limit.relative and self.scores <= limit.scores

    def __str__(self) -> str:
        return f'{self.pixels:.2g} px, {self.scores:.2g} in scores'


EXACT = Difference(relative=1e-3, scores=1e-3)
HALF = Difference(relative=1.0, scores=3e-2)  # eleven bits of weights and maps through dozens of layers
OTHER = Difference(np.inf, np.inf, np.inf)


def compare_rows(found: np.ndarray, expected: np.ndarray, side: float) -> Difference:
    """Rows (b, n, 5 + classes) of two networks: xywh in pixels, objectness, class scores; `side` of the picture."""
    if found.shape != expected.shape:
        return OTHER
    apart = np.abs(found.astype(np.float64) - expected)
    pixels = float(apart[..., :4].max())
    return Difference(pixels, pixels * 100 / side, float(apart[..., 4:].max()))


def compare_detections(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], side: float) -> Difference:
    """Detections (n, 6) of each picture, xyxy, score, class: each against the other's most alike of its class.

    Their order does not count: nearly equal scores may change places.
    """
    pixels = scores = 0.0
    for one, other in zip(found, expected, strict=True):
        if len(one) != len(other) or (np.sort(one[:, 5]) != np.sort(other[:, 5])).any():
            return OTHER
        for c in np.unique(one[:, 5]):
            mine, theirs = (rows[rows[:, 5] == c].astype(np.float64) for rows in (one, other))
            apart = np.abs(mine[:, None] - theirs)
            pair = apart.max(2).argmin(1)
            apart = apart[np.arange(len(pair)), pair]
            pixels, scores = max(pixels, float(apart[:, :4].max())), max(scores, float(apart[:, 4].max()))
    return Difference(pixels, pixels * 100 / side, scores)


def sample_picture(data: str | Path) -> tuple[str, np.ndarray]:
    """A picture to compare on, (h, w, 3) uint8 BGR, and what it is.

    The first of the data set's validation pictures that is on the disk; else one that is drawn, the same every time.

    Raises:
        DataError: no such data set YAML, or its picture can't be read.
    """
    from utils.data.image_check import load_image
    from utils.data.labels import list_images
    from utils.data.shapes import draw_picture
    from utils.data.yaml import load_data

    places = load_data(data, autodownload=False, need=()).val
    try:
        files = list_images(places) if places else []
    except DataError:  # an empty folder: then there is none
        files = []
    if files:
        return str(files[0]), load_image(files[0])
    return 'a drawn picture', draw_picture(np.random.default_rng(0), 640)[0]


def fit(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A picture (h, w, 3) BGR letterboxed to (height, width) as detect.py and val.py do it: (1, 3, h, w) uint8 RGB."""
    from utils.data.letterbox import letterbox

    im = letterbox(picture, size, auto=False)[0]
    return np.ascontiguousarray(im[..., ::-1].transpose(2, 0, 1))[None]


def rows_of(model: Any, images: np.ndarray) -> np.ndarray:
    """What plain OneFlow makes of pictures (b, 3, h, w) uint8 on the CPU: (b, rows, 5 + nc).

    On a GPU from Ampere on, convolutions round to TF32's eleven bits: pixels are off by more than an export may be.
    """
    import oneflow as torch

    from utils.device import to_input

    with torch.no_grad():
        return model(to_input(images, torch.device('cpu')))[0].numpy()


def suppressed(rows: np.ndarray, nms: NMSOptions) -> list[np.ndarray]:
    """What `models.graph.nms.suppress` should make of rows, by utils/nms.py."""
    from utils.nms import non_max_suppression

    every = non_max_suppression(rows, nms.conf_thres, nms.iou_thres, agnostic=nms.agnostic, max_det=rows.shape[1])
    if nms.agnostic:
        return [found[: nms.topk_all] for found in every]
    kept = []
    for found in every:  # best first
        before = (found[:, None, 5] == found[None, :, 5]) & np.tri(len(found), k=-1, dtype=bool)
        kept.append(found[before.sum(1) < nms.topk_per_class][: nms.topk_all])
    return kept
