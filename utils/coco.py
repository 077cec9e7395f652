"""Detections in COCO's JSON format (https://cocodataset.org/#format-results) and their score by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.boxes import xyxy2xywh
from utils.errors import DataError
from utils.log import LOGGER

if TYPE_CHECKING:
    from utils.data.yaml import DataConfig

# The numbers 1 to 90 that COCO's 2014 and later annotations do not use.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
STATS = ('AP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large')
STATS += ('AR_1', 'AR_10', 'AR_100', 'AR_small', 'AR_medium', 'AR_large')


def coco80_to_coco91_class() -> list[int]:
    """COCO's own category number (1 to 90) of each of its 80 classes."""
    return [number for number in range(1, 91) if number not in _UNUSED]


def image_id(path: str | Path) -> int | str:
    """The name of a picture without its suffix, as a number where it is one: 000000000139.jpg is 139."""
    stem = Path(path).stem
    return int(stem) if stem.isdecimal() else stem


def save_one_json(predn: np.ndarray, jdict: list[dict[str, Any]], path: str | Path, class_map: Sequence[int]) -> None:
    """Append a picture's detections to `jdict`.

    Args:
        predn: (n, 6) x1, y1, x2, y2 in pixels of the original picture, confidence, class.
        jdict: the list of all detections.
        path: of the picture.
        class_map: category number of each class.
    """
    number = image_id(path)
    boxes = xyxy2xywh(predn[:, :4])
    boxes[:, :2] -= boxes[:, 2:] / 2  # COCO counts from the top left corner
    for box, (confidence, label) in zip(boxes.tolist(), predn[:, 4:6].tolist()):
        jdict.append(
            {
                'image_id': number,
                'category_id': class_map[int(label)],
                'bbox': [round(side, 3) for side in box],
                'score': round(confidence, 5),
            }
        )


def is_coco(data: DataConfig) -> bool:
    """Whether the data set is COCO itself, whose categories have numbers of their own."""
    return data.nc == 80 and [path.name for path in data.val] == ['val2017.txt']


def find_annotations(data: DataConfig, split: str) -> Path | None:
    """The split's annotations in COCO's format, if the data set has them.

    For a split val2017.txt or images/val2017 they are annotations/instances_val2017.json under the data set's folder.
    """
    paths = getattr(data, split)
    if len(paths) != 1:
        return None
    file = data.path / 'annotations' / f'instances_{paths[0].stem}.json'
    return file if file.is_file() else None


def evaluate_json(
    pred_json: str | Path, anno_json: str | Path, image_ids: Iterable[int | str] | None = None
) -> np.ndarray:
    """Score detections with pycocotools; its table goes to stdout.

    Args:
        pred_json: file of detections, as `save_one_json` makes them.
        anno_json: file of annotations.
        image_ids: pictures to count; None counts all of the annotations'.

    Returns:
        (12,) float64, named by STATS; -1 where the annotations have nothing of a size.

    Raises:
        DataError: the two files do not belong together, or one is not what it should be.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not json.loads(Path(pred_json).read_text()):
        LOGGER.warning(f'{pred_json}: no detections to score')
        return np.zeros(len(STATS))
    try:
        annotations = COCO(str(anno_json))
        evaluation = COCOeval(annotations, annotations.loadRes(str(pred_json)), 'bbox')
    except (AssertionError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(
            f'{anno_json}: does not fit the detections of {pred_json} ({error})',
            'image ids have to be the file names without suffix',
        ) from None
    if image_ids is not None:
        evaluation.params.imgIds = list(image_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats
