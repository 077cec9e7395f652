"""The text of a label file: rows to arrays, and what is wrong with them.

A row is an object: `class x y w h` (a box) or `class x1 y1 x2 y2 x3 y3 ...` (a polygon), all but the class normalised
to the picture's width and height.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from utils.boxes import segments2boxes

_SLIGHTLY_OVER_ONE = 1 + 2**-24  # rounds to 1 in float32


class Fault(NamedTuple):
    """What is wrong with a row: its line counted from 1, a kind (see `Problem`), and words."""

    line: int
    kind: str
    detail: str


class Parsed(NamedTuple):
    """The content of a label file.

    Attributes:
        labels: (n, 5) float32: class, x, y, w, h; in the file's order, but sorted where duplicates were removed.
        polygons: one (points, 2) float32 for each label if the file has any polygon, else none.
        faults: the rows that can't be used.
        duplicates: lines that repeat an earlier row.
    """

    labels: np.ndarray
    polygons: list[np.ndarray]
    faults: list[Fault]
    duplicates: list[int]


def parse_labels(text: str, nc: int | None = None) -> Parsed:
    """Read and check a label file's text; `nc` is the number of classes, None where any class will do."""
    lines, rows, faults = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            rows.append(_read_row(words, nc))
            lines.append(number)
        except _BadRow as bad:
            faults.append(Fault(number, *bad.args))
    labels, polygons = _boxes_and_polygons(rows)
    labels, polygons, repeated = _without_duplicates(labels, polygons)
    return Parsed(labels, polygons, faults, [lines[i] for i in repeated])


class _BadRow(Exception):
    """Arguments: kind, detail."""


def _read_row(words: list[str], nc: int | None) -> list[float]:
    try:
        row = list(map(float, words))
    except ValueError as error:
        raise _BadRow('number', f'{str(error).rpartition(": ")[2][:40]} is not a number') from None
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        raise _BadRow('columns', f'{len(row)} columns, not 5 (class x y w h) or 7, 9, 11, ... (class and a polygon)')
    if not all(map(math.isfinite, row)):
        raise _BadRow('finite', 'a value is NaN or infinite')
    label, *coordinates = row
    if label != int(label):
        raise _BadRow('number', f'class {label:g} is not a whole number')
    if label < 0 or (nc is not None and label >= nc):
        raise _BadRow('class', f'class {label:.0f} is outside 0..{"" if nc is None else nc - 1}')
    if min(coordinates) < 0:
        raise _BadRow('range', f'coordinate {min(coordinates):g} is negative')
    if max(coordinates) > _SLIGHTLY_OVER_ONE:
        raise _BadRow('range', f'coordinate {max(coordinates):.9g} is above 1, so not normalised')
    return row


def _boxes_and_polygons(rows: list[list[float]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels (n, 5) of box and polygon rows. Polygons only if there is one: then a box row gives its corners."""
    if all(len(row) == 5 for row in rows):
        return np.array(rows, np.float32).reshape(-1, 5), []
    points = [_corners(*row[1:]) if len(row) == 5 else row[1:] for row in rows]
    polygons = [np.array(polygon, np.float32).reshape(-1, 2) for polygon in points]
    labels = np.column_stack([[row[0] for row in rows], segments2boxes(polygons)]).astype(np.float32)
    for label, row in zip(labels, rows):
        if len(row) == 5:
            label[:] = row  # as written: the way over the corners rounds
    return labels, polygons


def _corners(x: float, y: float, w: float, h: float) -> list[float]:
    left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    return [left, top, right, top, right, bottom, left, bottom]


def _without_duplicates(
    labels: np.ndarray, polygons: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], list[int]]:
    """Drop labels equal to an earlier one; then, as in the reference, the rest is sorted. Also which were dropped."""
    if len(set(map(tuple, labels.tolist()))) == len(labels):
        return labels, polygons, []
    unique, first = np.unique(labels, axis=0, return_index=True)
    dropped = sorted(set(range(len(labels))) - set(first.tolist()))
    return unique, [polygons[i] for i in first] if polygons else [], dropped
