"""Detections in COCO's JSON format (https://cocodataset.org/#format-results) and their score by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Annotations:
    """What an annotation file calls pictures and classes.

    Attributes:
        file: the file.
        images: id of each picture, by its file name and by that without suffix.
        categories: id of each of the data set's classes.
    """

    file: Path
    images: dict[str, Any]
    categories: list[int]


def image_id(path: str | Path, known: Mapping[str, Any] | None = None) -> Any:
    """What a picture is called in JSON: its id in `known`, an annotation file's `images`, if it is there.

    Otherwise its name without suffix, as a number where it is one: 000000000139.jpg is 139.
    """
    path, known = Path(path), known or {}
    if path.name in known or path.stem in known:
        return known.get(path.name, known.get(path.stem))
    return int(path.stem) if path.stem.isdecimal() else path.stem


def save_one_json(
    predn: np.ndarray,
    jdict: list[dict[str, Any]],
    path: str | Path,
    class_map: Sequence[int],
    known: Mapping[str, Any] | None = None,
) -> None:
    """Append a picture's detections to `jdict`.

    Args:
        predn: (n, 6) x1, y1, x2, y2 in pixels of the original picture, confidence, class.
        jdict: the list of all detections.
        path: of the picture.
        class_map: category number of each class.
        known: ids of pictures by name.
    """
    number = image_id(path, known)
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

    The data set's YAML may name them, as `annotations: file.json` for val or `annotations: {val: file.json}`. Otherwise
    they are annotations/instances_val2017.json under its folder for a split val2017.txt or images/val2017, or
    annotations/instances_val.json.

    Raises:
        DataError: the YAML names a file that isn't there.
    """
    named = data.raw.get('annotations')
    named = named.get(split) if isinstance(named, Mapping) else named if split == 'val' else None
    if named:
        file = data.path / Path(str(named)).expanduser()
        if not file.is_file():
            raise DataError(f'{file}: no such file', 'correct "annotations" in the data set YAML or leave it out')
        return file
    paths = getattr(data, split)
    names = [*(path.stem for path in paths[:1] if len(paths) == 1), split]
    files = [data.path / 'annotations' / f'instances_{name}.json' for name in names]
    return next((file for file in files if file.is_file()), None)


def read_annotations(file: Path, names: Sequence[str]) -> Annotations:
    """What an annotation file calls pictures and the classes of these names.

    A class that it does not know has a number of its own, which nothing matches.

    Raises:
        DataError: not an annotation file, or none of its categories is a class.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        rows = [(str(row.get('file_name', row['id'])), row['id']) for row in content['images']]
        categories = {str(row['name']): int(row['id']) for row in content['categories']}
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        kind, mend = type(problem).__name__, 'take annotations of the kind "instances"'
        raise DataError(f"{file}: not in COCO's format ({kind}: {problem})", mend) from None
    if not set(names) & set(categories):
        some = ', '.join(list(categories)[:3])
        raise DataError(f'{file}: has other classes ({some}) than the data set', 'the names have to be the same')
    images = {Path(name).stem: number for name, number in rows} | {Path(name).name: number for name, number in rows}
    free = max(categories.values(), default=0) + 1
    return Annotations(file, images, [categories.get(name, free + i) for i, name in enumerate(names)])


def evaluate_json(pred_json: str | Path, anno_json: str | Path, image_ids: Iterable[Any] | None = None) -> np.ndarray:
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
            'the pictures of both have to be the same',
        ) from None
    if image_ids is not None:
        evaluation.params.imgIds = list(image_ids)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats
