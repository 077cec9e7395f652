"""Tools for people's own data sets: split them, count them, cut the objects out. They add files and change none."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.boxes import clip_coords, xywh2xyxy
from utils.data.images import read_image, write_image
from utils.data.labels import img2label_paths, list_images, read_labels
from utils.data.labelset import LabelSet
from utils.data.yaml import SPLITS, load_data
from utils.errors import DataError
from utils.paths import atomic_folder, atomic_write


def autosplit(
    path: str | Path, weights: Sequence[float] = (0.9, 0.1, 0.0), annotated_only: bool = False, seed: int = 0
) -> dict[str, list[str]]:
    """Deal the pictures of a folder out to train, val and test at random.

    Writes autosplit_train.txt, autosplit_val.txt and autosplit_test.txt beside the folder (those that get pictures),
    with paths relative to themselves, for use as `train:` and `val:` in a data set YAML.

    Args:
        path: the folder, for example datasets/mine/images.
        weights: the three shares, in any unit.
        annotated_only: leave out pictures without a label file.
        seed: another one gives another split.

    Returns:
        The pictures of each split.

    Raises:
        DataError: no pictures there.
    """
    folder = Path(path).absolute()
    images = list_images(folder)
    if annotated_only:
        images = [image for image, label in zip(images, img2label_paths(images)) if Path(label).exists()]
    shares = np.asarray(weights, float) / np.sum(weights)
    dealt = np.random.default_rng(seed).choice(len(SPLITS), len(images), p=shares)
    splits = {name: [images[i] for i in np.flatnonzero(dealt == k)] for k, name in enumerate(SPLITS)}
    for name, members in splits.items():
        file = folder.parent / f'autosplit_{name}.txt'
        file.unlink(missing_ok=True)
        if members:
            with atomic_write(file) as f:  # names are bytes
                f.writelines(os.fsencode(f'./{Path(image).relative_to(folder.parent)}\n') for image in members)
    return splits


def dataset_stats(path: str | Path = 'coco128.yaml', autodownload: bool = False, verbose: bool = False) -> dict:
    """Counts and labels of a data set, ready for JSON.

    Args:
        path: its YAML; bare names are found in data/.
        autodownload: make or fetch the data set if it is missing and its YAML says how.
        verbose: print the result as JSON.

    Returns:
        nc, names, and for train, val and test (None where there is no such split):
        instance_stats: total, per_class;
        image_stats: total, unlabelled, per_class (pictures that show a class);
        labels: a list of {file name: [[class, x, y, w, h], ...]}, rounded to 4 places.
    """
    data = load_data(path, autodownload, need=('train',))
    stats: dict[str, Any] = {'nc': data.nc, 'names': list(data.names)}
    for split in SPLITS:
        places = getattr(data, split)
        stats[split] = _split_stats(read_labels(places, data.nc, name=split), data.nc) if places else None
    if verbose:
        print(json.dumps(stats, indent=2))
    return stats


def _split_stats(labels: LabelSet, nc: int) -> dict:
    counts = np.array([np.bincount(rows[:, 0].astype(int), minlength=nc) for rows in labels.labels]).reshape(-1, nc)
    return {
        'instance_stats': {'total': int(counts.sum()), 'per_class': counts.sum(0).tolist()},
        'image_stats': {
            'total': len(labels),
            'unlabelled': int((counts.sum(1) == 0).sum()),
            'per_class': (counts > 0).sum(0).tolist(),
        },
        'labels': [{Path(image).name: _rounded(rows)} for image, rows in labels],
    }


def _rounded(rows: np.ndarray) -> list[list]:
    return [[int(row[0]), *(round(value, 4) for value in row[1:])] for row in rows.tolist()]


def extract_boxes(path: str | Path = '../datasets/coco128', save_dir: str | Path | None = None) -> Path:
    """Cut every labelled object out of the pictures of a folder, as a data set for classification.

    Each object, with a fifth of its size and 3 pixels more around it, becomes `<class number>/<picture>_<row>.jpg`.

    Args:
        path: the data set's folder.
        save_dir: where to write; `classifier` in that folder by default.

    Returns:
        The folder written.

    Raises:
        DataError: it is there already, or there are no pictures, or none with labels.
    """
    folder = Path(path)
    save_dir = Path(save_dir or folder / 'classifier')
    if save_dir.exists():
        raise DataError(f'{save_dir}: exists already', 'remove it, or choose another save_dir')
    labels = read_labels(folder, name=folder.name, need_labels=True)
    with atomic_folder(save_dir) as partial:
        for image, rows in labels:
            if len(rows):
                _extract(image, rows, partial)
    return save_dir


def _extract(image: str, rows: np.ndarray, save_dir: Path) -> None:
    picture = read_image(image)
    height, width = picture.shape[:2]
    boxes = rows[:, 1:] * [width, height, width, height]
    boxes[:, 2:] = boxes[:, 2:] * 1.2 + 3
    corners = xywh2xyxy(boxes)
    clip_coords(corners, (height, width))
    for number, (label, (left, top, right, bottom)) in enumerate(zip(rows[:, 0], corners.astype(int))):
        file = save_dir / str(int(label)) / f'{Path(image).stem}_{number}.jpg'
        file.parent.mkdir(parents=True, exist_ok=True)
        write_image(file, picture[top:bottom, left:right])


def flatten_recursive(path: str | Path = '../datasets/coco128') -> Path:
    """Copy the files of a folder and its subfolders into one new folder `<path>_flat`; its path.

    Raises:
        DataError: that folder exists, or two files have the same name.
    """
    source = Path(path)
    target = source.with_name(f'{source.name}_flat')
    if target.exists():
        raise DataError(f'{target}: exists already', 'remove it')
    files = sorted(file for file in source.rglob('*') if file.is_file())
    first: dict[str, Path] = {}
    for file in files:
        if first.setdefault(file.name, file) != file:
            raise DataError(f'{first[file.name]} and {file} have the same name', 'rename one of them')
    with atomic_folder(target) as partial:
        for file in files:
            shutil.copyfile(file, partial / file.name)
    return target
