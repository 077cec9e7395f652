"""The scores of a split and the files of its detections, gathered picture by picture. NumPy throughout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.boxes import scale_coords, xywh2xyxy, xyxy2xywh
from utils.coco import (
    Annotations,
    coco80_to_coco91_class,
    evaluate_json,
    find_annotations,
    image_id,
    is_coco,
    read_annotations,
    save_one_json,
)
from utils.errors import DataError
from utils.log import LOGGER
from utils.metrics import IOU_THRESHOLDS, ConfusionMatrix, ap_per_class, match_detections
from utils.paths import Distinct, atomic_write, fit_name, write_file
from utils.terminal import counted, shown_name

if TYPE_CHECKING:
    from utils.data.yaml import DataConfig

HEADER = ('%20s' + '%11s' * 6) % ('Class', 'Images', 'Instances', 'P', 'R', 'mAP50', 'mAP50-95')
ROW = '%20s' + '%11i' * 2 + '%11.3g' * 4

# ((h0, w0) of the picture, ((ratio_h, ratio_w), (pad_w, pad_h)) of its letterbox)
Shapes = tuple[Sequence[int], tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Scores:
    """What a split scored.

    Attributes:
        seen: pictures.
        labels: (nc,) labels of each class.
        tp, fp, p, r, f1: (k,) at the working point, of the k classes that have labels.
        ap: (k, thresholds) average precision, IoU 0.5 first.
        classes: (k,) the numbers of these classes.
    """

    seen: int
    labels: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    p: np.ndarray
    r: np.ndarray
    f1: np.ndarray
    ap: np.ndarray
    classes: np.ndarray

    def means(self) -> tuple[float, float, float, float]:
        """P, R, mAP50, mAP50-95: means over the classes that have labels, 0 if none has."""
        if not len(self.classes):
            return 0.0, 0.0, 0.0, 0.0
        return tuple(float(x.mean()) for x in (self.p, self.r, self.ap[:, 0], self.ap))

    def maps(self) -> np.ndarray:
        """mAP50-95 of each class (nc,); a class without labels has the mean."""
        maps = np.full(len(self.labels), self.means()[3])
        maps[self.classes] = self.ap.mean(1)
        return maps

    def total_line(self) -> str:
        """The table's line for all classes."""
        return ROW % ('all', self.seen, self.labels.sum(), *self.means())

    def class_lines(self, names: Sequence[str]) -> list[str]:
        """The table's line for each class that has labels."""
        shown = [shown_name(names[c]) for c in self.classes]
        return [
            ROW % (shown[i], self.seen, self.labels[c], self.p[i], self.r[i], self.ap[i, 0], self.ap[i].mean())
            for i, c in enumerate(self.classes)
        ]


class Tally:
    """Collects what is right in each picture until `scores` sums it up.

    Args:
        nc: number of classes.

    Attributes:
        confusion: the confusion matrix so far.
    """

    def __init__(self, nc: int) -> None:
        self.nc, self.seen = nc, 0
        self.confusion = ConfusionMatrix(nc)
        self._correct, self._confidence = [np.zeros((0, len(IOU_THRESHOLDS)), bool)], [np.zeros(0, np.float32)]
        self._predicted, self._true = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]

    def add(self, detections: np.ndarray, labels: np.ndarray) -> None:
        """Add a picture.

        Args:
            detections: (n, 6) x1, y1, x2, y2, confidence, class, best first.
            labels: (m, 5) class, x1, y1, x2, y2 in the same pixels.
        """
        self.seen += 1
        self.confusion.process_batch(detections, labels)
        self._correct.append(match_detections(detections, labels))
        self._confidence.append(detections[:, 4])
        self._predicted.append(detections[:, 5])
        self._true.append(labels[:, 0])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of all pictures: correct (n, thresholds), confidence (n,), predicted class (n,), true class (m,)."""
        parts = (self._correct, self._confidence, self._predicted, self._true)
        return tuple(np.concatenate(part) for part in parts)

    def scores(self, plot: bool = False, save_dir: str | Path = '.', names: Sequence[str] = ()) -> Scores:
        """The scores so far; with `plot` their curves are drawn into `save_dir`."""
        arrays = self.arrays()
        tp, fp, p, r, f1, ap, classes = ap_per_class(*arrays, plot=plot, save_dir=save_dir, names=names)
        labels = np.bincount(arrays[3].astype(int), minlength=self.nc)
        return Scores(self.seen, labels, tp, fp, p, r, f1, ap, classes)


def in_picture(detections: np.ndarray, network_shape: Sequence[int], shapes: Shapes) -> np.ndarray:
    """Detections (n, 6) in pixels of the network's input, (height, width), to pixels of the picture; a copy."""
    moved = detections.copy()
    scale_coords(network_shape, moved[:, :4], *shapes)
    return moved


def labels_in_picture(targets: np.ndarray, network_shape: Sequence[int], shapes: Shapes) -> np.ndarray:
    """Targets (m, 5) class, xywh normalised to the network's input, to class, xyxy in pixels of the picture."""
    height, width = network_shape
    boxes = xywh2xyxy(targets[:, 1:] * np.array([width, height, width, height], np.float32))
    return np.hstack((targets[:, :1], scale_coords(network_shape, boxes, *shapes)))


def known_boxes(targets: np.ndarray, pictures: int, shape: Sequence[int]) -> list[np.ndarray]:
    """The labels of each picture for --save-hybrid, (m, 5): class, xywh in pixels of the network's input."""
    height, width = shape
    scaled = targets * np.array([1, 1, width, height, width, height], np.float32)
    return [scaled[scaled[:, 0] == i, 1:] for i in range(pictures)]


class DetectionFiles:
    """What --save-txt, --save-conf and --save-json write.

    Args:
        folder: of the results; it is made.
        data, split: which pictures these are.
        txt: write a label file for each picture with detections, into `folder`/labels.
        conf: with confidences.
        json_name: write all detections in COCO's format into this file of `folder`; None writes none.
    """

    def __init__(
        self, folder: Path, data: DataConfig, split: str, txt: bool = False, conf: bool = False,
        json_name: str | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.txt, self.conf, self.json_name = folder, txt, conf, json_name
        self.annotations = _annotations(data, split) if json_name else None
        numbers = self.annotations.categories if self.annotations else range(data.nc)
        self.class_map = coco80_to_coco91_class() if is_coco(data) else numbers
        self.paths: list[str] = []
        self.distinct = Distinct()  # pictures of different folders may have one name
        self.rows: list[dict[str, Any]] = []
        (folder / 'labels' if txt else folder).mkdir(parents=True, exist_ok=True)

    def add(self, path: str, detections: np.ndarray, shape: Sequence[int]) -> None:
        """Add a picture of `shape` (height, width) with its detections (n, 6) in its pixels."""
        self.paths.append(path)
        if self.txt and len(detections):
            name = fit_name(self.distinct(f'{Path(path).stem}.txt'))
            save_one_txt(detections, self.conf, shape, self.folder / 'labels' / name)
        if self.json_name:
            save_one_json(detections, self.rows, path, self.class_map, self._known())

    def finish(self, means: tuple[float, ...]) -> tuple[float, ...]:
        """Write the JSON and score it with pycocotools where the data set has annotations.

        Annotations that don't fit cost that score, which is said, and not the evaluation.

        Returns:
            P, R, mAP50, mAP50-95 as given in `means`, the last two from pycocotools if it scored.
        """
        if self.txt:
            count = len(list((self.folder / 'labels').glob('*.txt')))
            LOGGER.info(f'{counted(count, "label file")} saved to {self.folder / "labels"}')
        if not self.json_name:
            return means
        file = self.folder / self.json_name
        with atomic_write(file, 'w') as f:
            json.dump(self.rows, f)
        LOGGER.info(f'{counted(len(self.rows), "detection")} saved to {file}')
        if self.annotations is None:
            return means
        try:
            stats = evaluate_json(file, self.annotations.file, [image_id(p, self._known()) for p in self.paths])
        except DataError as error:
            LOGGER.warning(f'WARNING: not scored by pycocotools: {error}')
            return means
        return (*means[:2], float(stats[1]), float(stats[0]))

    def _known(self) -> dict[str, Any]:
        return self.annotations.images if self.annotations else {}


def _annotations(data: DataConfig, split: str) -> Annotations | None:
    """The split's annotations; None, which is said, where they can't be used."""
    try:
        file = find_annotations(data, split)
        return read_annotations(file, data.names) if file else None
    except DataError as error:
        LOGGER.warning(f'WARNING: the detections will not be scored by pycocotools: {error}')
        return None


def save_one_txt(predn: np.ndarray, save_conf: bool, shape: Sequence[int], file: str | Path) -> None:
    """Write a picture's detections as label lines: class, x, y, w, h normalised, and with `save_conf` the confidence.

    Args:
        predn: (n, 6) x1, y1, x2, y2 in pixels of the picture, confidence, class.
        shape: (height, width) of the picture.
        file: the file to write.
    """
    height, width = shape[:2]
    boxes = xyxy2xywh(predn[:, :4]) / np.array([width, height, width, height], np.float32)
    rows = np.hstack((predn[:, 5:6], boxes, predn[:, 4:5] if save_conf else predn[:, :0]))
    write_file(file, ''.join(' '.join(f'{value:g}' for value in row) + '\n' for row in rows.tolist()))
