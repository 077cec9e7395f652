"""Rows of label files from boxes and outlines in pixels, and the writing of the files.

A reader of a format yields `Picture`s; `write_labels` makes a folder of label files of them, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data.image_header import open_with_pillow
from utils.data.parse import NO_SIDE
from utils.errors import DataError
from utils.log import LOGGER
from utils.paths import atomic_folder
from utils.terminal import counted, printable

Size = tuple[int, int]  # width, height in pixels


class Picture(NamedTuple):
    """A picture's labels: its name below the folder of pictures, without suffix, and the rows; '' for a void one."""

    name: str
    rows: list[str]


def box_row(label: int, corners: Sequence[float], size: Size) -> str:
    """`class x y w h` of a box cut to the picture, normalised; '' if nothing is left of it.

    Args:
        corners: left, top, right, bottom in pixels from the picture's corner.
    """
    if not (size[0] > 0 and size[1] > 0):
        raise ValueError(f'picture of {size[0]}x{size[1]} pixels')
    left, right = (min(max(float(x), 0), size[0]) / size[0] for x in corners[::2])
    top, bottom = (min(max(float(y), 0), size[1]) / size[1] for y in corners[1::2])
    if not (right - left >= NO_SIDE and bottom - top >= NO_SIDE):  # written as 0; NaN is not
        return ''
    return _row(label, [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def polygon_row(label: int, points: np.ndarray, size: Size) -> str:
    """`class x1 y1 x2 y2 ...` of an outline cut to the picture, normalised; '' if nothing is left of it.

    Args:
        points: (n, 2) x, y in pixels.
    """
    cut = np.clip(np.asarray(points, float), 0, size) / size
    has_area = len(cut) > 2 and (np.ptp(np.round(cut, 6), axis=0) >= NO_SIDE).all()  # NaN is not
    return _row(label, cut.ravel().tolist()) if has_area else ''


def _row(label: int, values: Iterable[float]) -> str:
    return ' '.join([str(label), *(f'{value:.6f}' for value in values)])


def join_parts(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One outline around several: each is hung into those before it by a bridge there and back, where they are nearest.

    Args:
        parts: (n, 2) each, x, y.
    """
    outline = parts[0]
    for part in parts[1:]:
        gaps = np.square(outline[:, None] - part[None]).sum(-1)
        here, there = np.unravel_index(gaps.argmin(), gaps.shape)
        ring = np.roll(part, -there, axis=0)
        outline = np.concatenate([outline[: here + 1], ring, ring[:1], outline[here:]])
    return outline


def write_labels(pictures: Iterable[Picture], folder: str | Path, replace: bool = False) -> Path:
    """Write a label file for each picture, an empty one where it shows nothing; rows that repeat are written once.

    Args:
        folder: of labels, made anew.
        replace: whether an existing folder may be replaced.

    Raises:
        DataError: the folder exists, a picture's name leads outside it, two pictures have one name.
    """
    folder = Path(folder)
    if folder.exists() and not replace:
        raise DataError(f'{folder}: exists already', 'remove it or choose another folder')
    files = objects = void = 0
    with atomic_folder(folder) as partial:
        for name, rows in tqdm(pictures, f'{folder}: writing', unit=' files', disable=None, leave=False):
            kept = list(dict.fromkeys(filter(None, rows)))
            _write_new(_inside(partial, name), ''.join(f'{row}\n' for row in kept))
            files, objects, void = files + 1, objects + len(kept), void + rows.count('')
    note = f', {void} empty or outside their picture and left out' if void else ''
    LOGGER.info(f'{folder}: {counted(files, "label file")}, {counted(objects, "object")}{note}')
    return folder


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or not path.name or '\0' in name:
        raise DataError(f'{name[:100]!r}: this picture would be outside its folder', 'correct the annotations')
    return folder / f'{path}.txt'


def _write_new(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(file, 'x', encoding='utf-8') as f:
            f.write(text)
    except FileExistsError:
        raise DataError(f'{file.stem}: two pictures of this name', 'rename one of them') from None


def visible(folder: str | Path, pattern: str) -> list[Path]:
    """The files of a folder that a glob matches, sorted, without hidden ones, such as a Mac's ._a.xml."""
    return sorted(file for file in Path(folder).glob(pattern) if not file.name.startswith('.'))


def picture_size(file: Path) -> Size:
    """Width and height as stored, without decoding the picture."""
    try:
        with open_with_pillow(file) as picture:
            return picture.size
    except FileNotFoundError:
        raise DataError(f'{file}: no such picture', 'the annotations are for it') from None
    except Exception:  # what Pillow raises on damaged files is of any kind
        raise DataError(f'{file}: not a picture', 'replace or remove the file') from None


@contextmanager
def reading(file: Path, kind: str) -> Iterator[None]:
    """Around the reading of a file: what goes wrong with its content becomes an error that names it.

    Raises:
        DataError: no such file, or not of this kind.
    """
    try:
        yield
    except FileNotFoundError as problem:
        raise DataError(f'{problem.filename or file}: no such file', 'check the path') from None
    except (
        LookupError,
        TypeError,
        ValueError,
        SyntaxError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as problem:
        what = f'no {problem}' if isinstance(problem, KeyError) else str(problem)
        raise DataError(f'{file}: not {kind} ({printable(what, 100)})', 'check that it is the right file') from problem
