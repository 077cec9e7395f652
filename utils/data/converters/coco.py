"""Annotations in COCO's JSON format (https://cocodataset.org/#format-data), and in Argoverse-HD's variant of it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.coco import coco80_to_coco91_class
from utils.data.converters.rows import Picture, Size, box_row, join_parts, polygon_row, reading
from utils.errors import ResourceError

_KIND = 'annotations in COCO format'


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file.

    Attributes:
        images, annotations: as in the file.
        classes: the class of each category number.
        names: of the classes.
    """

    file: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    classes: dict[int, int]
    names: list[str]


def read_coco(file: str | Path, cls91to80: bool = False) -> CocoFile:
    """Read an annotation file.

    Args:
        cls91to80: number the classes as COCO's 80 (category 1 is class 0, ..., 90 is 79) even if the file has only
            some of them; otherwise the file's categories are numbered through, by their own number.

    Raises:
        DataError: missing, or something else.
        ResourceError: too large.
    """
    file = Path(file)
    content = _load(file)
    with reading(file, _KIND):
        names = {category['id']: str(category['name']).strip() for category in content['categories']}
        numbers = coco80_to_coco91_class() if cls91to80 else sorted(names)
        for number in names.keys() - set(numbers):
            raise ValueError(f"category {number} is none of COCO's 80")
    classes = {number: k for k, number in enumerate(numbers)}
    titles = [names.get(number, f'category {number}') for number in numbers]
    return CocoFile(file, content['images'], content['annotations'], classes, titles)


def _load(file: Path) -> dict[str, Any]:
    try:
        with reading(file, _KIND):
            content = json.loads(file.read_bytes())
            for part in ('images', 'annotations'):
                if not isinstance(content[part], list):
                    raise TypeError(f'"{part}" is no list')
    except MemoryError:
        raise ResourceError(f'{file}: too large for the memory', 'convert it on a larger machine') from None
    return content


def coco_pictures(coco: CocoFile, segments: bool = False, crowds: bool = False) -> Iterator[Picture]:
    """The labels of each picture.

    Args:
        segments: outlines where there are any, in place of boxes; the parts of one object are joined.
        crowds: take annotations of whole crowds (iscrowd) too.
    """
    of_picture = defaultdict(list)
    with reading(coco.file, _KIND):
        for annotation in coco.annotations:
            if crowds or not annotation.get('iscrowd'):
                of_picture[annotation['image_id']].append(annotation)
        for number in of_picture.keys() - {image['id'] for image in coco.images}:
            raise ValueError(f'annotations of picture {number}, which is not among its images')
    for image in coco.images:
        with reading(coco.file, _KIND):
            size = image['width'], image['height']
            rows = [_row(annotation, coco.classes, size, segments) for annotation in of_picture[image['id']]]
            name = os.path.splitext(image['file_name'])[0]
        yield Picture(name, rows)


def _row(annotation: Mapping[str, Any], classes: Mapping[int, int], size: Size, segments: bool) -> str:
    label = classes[annotation['category_id']]
    outline = _outline(annotation.get('segmentation')) if segments else None
    if outline is not None:
        return polygon_row(label, outline, size)
    left, top, width, height = annotation['bbox']
    return box_row(label, (left, top, left + width, top + height), size)


def _outline(segmentation: Any) -> np.ndarray | None:
    """(n, 2) pixels; None where an object has no polygons (crowds have masks)."""
    if not isinstance(segmentation, list):
        return None
    parts = [np.array(part, float).reshape(-1, 2) for part in segmentation if len(part) >= 6]
    return join_parts(parts) if parts else None


def read_argoverse(file: str | Path) -> CocoFile:
    """Read a file of Argoverse-HD: a picture's folder is that of its sequence, the categories are the classes."""
    file = Path(file)
    content = _load(file)
    with reading(file, 'annotations of Argoverse-HD'):
        folders, size = content['seq_dirs'], {'width': 1920, 'height': 1200}
        images = [
            {**size, **image, 'file_name': f'{folders[image["sid"]]}/{image["name"]}'} for image in content['images']
        ]
        classes = {annotation['category_id']: int(annotation['category_id']) for annotation in content['annotations']}
    return CocoFile(file, images, content['annotations'], classes, names=[])
