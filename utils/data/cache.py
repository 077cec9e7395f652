"""Checked labels kept in a file, so that the next run only asks for every file's size and time.

The file is a .npz without pickles: arrays and one JSON text. It counts only if it was made from exactly these files
(path, size, modification time), this number of classes and this format; whatever else is found there is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.data.labelset import LabelSet, Polygons, Ragged
from utils.log import LOGGER
from utils.paths import atomic_write

FORMAT = 2  # to be raised when the checks or this file's content change


def fingerprint(images: Sequence[str], files: Sequence[str], nc: int | None) -> str:
    """A digest of the path, size and modification time of every picture and label file, and of `nc`."""
    digest = hashlib.sha256(f'{FORMAT} {nc}\n'.encode())
    for path in (*images, *files):
        try:
            found = os.stat(path)
            digest.update(f'{path}\0{found.st_size} {found.st_mtime_ns}\n'.encode(errors='surrogateescape'))
        except OSError:
            digest.update(f'{path}\0missing\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()


def places(split: object, files: Sequence[str], nc: int | None) -> list[Path]:
    """Where the cache of a split may be: beside its labels folder, else in the user's cache folder."""
    folder = Path(files[0]).parent
    mark = hashlib.sha256(f'{nc} {split} {folder}'.encode(errors='surrogateescape')).hexdigest()[:10]
    user = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'yolov5-oneflow'
    name = f'{folder.name or "labels"}.{mark}.cache'
    return [folder.parent / name, user / name]


def load(places: Iterable[Path], key: str) -> LabelSet | None:
    """The labels of the first cache file made under this key; None if there is none, or it is damaged."""
    for path in places:
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as archive:
                    labels = _from_arrays(dict(archive), key)
            except Exception as error:  # a damaged file may fail anywhere in zip, npy or JSON
                LOGGER.warning(f'{path}: damaged label cache, made again ({type(error).__name__})')
                continue
            if labels is not None:
                return labels
    return None


def save(places: Iterable[Path], key: str, labels: LabelSet) -> Path | None:
    """Write the cache, whole or not at all, to the first place that takes it; None if none does."""
    arrays = _to_arrays(labels, key)
    for path in filter(_may_write, places):
        try:
            with atomic_write(path) as file:
                np.savez(file, **arrays)
            return path
        except OSError:
            continue
    LOGGER.info('The checked labels were not kept: no place for them could be written')
    return None


def _may_write(path: Path) -> bool:
    """False for a folder closed to its owner: root could write there all the same, but isn't meant to."""
    folder = path.parent
    return not folder.is_dir() or (os.access(folder, os.W_OK) and bool(folder.stat().st_mode & stat.S_IWUSR))


def _to_arrays(labels: LabelSet, key: str) -> dict[str, np.ndarray]:
    header = {'key': key, 'images': labels.images, 'problems': labels.problems, 'counts': labels.counts}
    return {
        'header': np.frombuffer(json.dumps(header).encode(), np.uint8),
        'shapes': labels.shapes,
        'labels': labels.labels.values,
        'label_offsets': labels.labels.offsets,
        'points': labels.segments.points.values,
        'point_offsets': labels.segments.points.offsets,
        'polygon_offsets': labels.segments.offsets,
    }


def _from_arrays(arrays: dict[str, np.ndarray], key: str) -> LabelSet | None:
    header = json.loads(arrays['header'].tobytes())
    if header['key'] != key:
        return None
    return LabelSet(
        header['images'],
        Ragged(arrays['labels'], arrays['label_offsets']),
        arrays['shapes'],
        Polygons(Ragged(arrays['points'], arrays['point_offsets']), arrays['polygon_offsets']),
        header['problems'],
        header['counts'],
    )
