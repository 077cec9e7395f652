"""The text of a label file: rows to arrays, and what is wrong with them.

A row is an object: `class x y w h` (a box) or `class x1 y1 x2 y2 x3 y3 ...` (a polygon), all but the class normalised
to the image's width and height.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from utils.boxes import segments2boxes
from utils.terminal import printable

ROUNDING = 1e-3  # coordinates less than this outside 0..1 are clipped
NO_SIDE = 1e-6  # a side below a millionth of the image's is none: no image has a million pixels a side
MOST_INSIDE = 0.5  # share of a box inside the image below which that is said
MOST_CLASSES = 100_000  # where the data set does not tell how many there are
_SLIGHTLY_OVER_ONE = 1 + 2**-24  # rounds to 1 in float32
_LINE_END = re.compile('\r\n|\n|\r')  # as editors count lines; splitlines knows others


class Fault(NamedTuple):
    """What is to be said about a row: its line counted from 1, a kind (see `Problem`), and words."""

    line: int
    kind: str
    detail: str


class Parsed(NamedTuple):
    """The content of a label file. Each row is one of labels, faults and duplicates.

    Attributes:
        labels: (n, 5) float32: class, x, y, w, h; in the file's order, but sorted where duplicates were removed.
        polygons: one (points, 2) float32 for each label if the file has any polygon, else none.
        faults: the rows that can't be used.
        duplicates: lines that repeat an earlier row.
        outside: the boxes that lie mostly outside the image; they are among the labels.
        clipped: rows among the labels with a coordinate less than `ROUNDING` outside 0..1.
        classes: the lowest and the highest class of all rows that have one, known or not; None where none has.
    """

    labels: np.ndarray
    polygons: list[np.ndarray]
    faults: list[Fault]
    duplicates: list[int]
    outside: list[Fault]
    clipped: int
    classes: tuple[float, float] | None


def parse_labels(text: str, nc: int | None = None) -> Parsed:
    """Read and check a label file's text; `nc` is the number of classes, None where any class will do."""
    lines, rows, faults, outside, classes, clipped = [], [], [], [], [], 0
    for number, line in enumerate(_LINE_END.split(text), 1):
        if not line or line.isspace():
            continue
        try:
            row = _read_row(line)
            classes.append(row[0])
            _check_class(row[0], nc)
            in_range = _clip(row)
            _check_area(in_range)
        except _BadRow as bad:
            faults.append(Fault(number, *bad.args))
            continue
        rows.append(in_range)
        lines.append(number)
        clipped += in_range is not row
        share = _share_inside(in_range)
        if share < MOST_INSIDE:
            outside.append(Fault(number, 'outside', f'only {share:.0%} of the box is inside the image'))
    labels, polygons = _boxes_and_polygons(rows)
    labels, polygons, repeated = _without_duplicates(labels, polygons)
    again = {lines[i] for i in repeated}
    outside = [fault for fault in outside if fault.line not in again]
    span = (min(classes), max(classes)) if classes else None
    return Parsed(labels, polygons, faults, [lines[i] for i in repeated], outside, clipped, span)


class _BadRow(Exception):
    """Arguments: kind, detail."""


def _read_row(line: str) -> list[float]:
    """The numbers of a row, which are as many as a row has, finite, and the class a whole one."""
    words = line.split()
    if not line.isascii() or '_' in line:  # Python's float takes digits of all scripts, and 1_000 for 1000
        for word in words:
            if not word.isascii() or '_' in word:
                raise _BadRow('number', f'{printable(repr(word), 40)} is not a number')
    try:
        row = list(map(float, words))
    except ValueError as error:
        word = str(error).rpartition(': ')[2]
        raise _BadRow('number', f'{printable(word, 40)} is not a number') from None
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        raise _BadRow('columns', _wrong_columns(row))
    if not all(map(math.isfinite, row)):
        raise _BadRow('finite', 'a value is NaN or infinite')
    if row[0] != int(row[0]):
        raise _BadRow('number', f'class {row[0]:g} is not a whole number')
    return row


def _wrong_columns(row: list[float]) -> str:
    if len(row) == 6 and 0 <= row[5] <= 1:
        return '6 columns: a box and its confidence, as --save-conf writes them? Labels have 5 (class x y w h)'
    return f'{len(row)} columns, not 5 (class x y w h) or 7, 9, 11, ... (class and a polygon)'


def _check_class(label: float, nc: int | None) -> None:
    if not 0 <= label < (MOST_CLASSES if nc is None else nc):
        raise _BadRow('class', f'class {label:.10g} is outside 0..{MOST_CLASSES - 1 if nc is None else nc - 1}')


def _clip(row: list[float]) -> list[float]:
    """The row with its coordinates in 0..1: itself where they are, another where they miss it by rounding."""
    coordinates = row[1:]
    low, high = min(coordinates), max(coordinates)
    if low <= -ROUNDING:
        raise _BadRow('range', f'coordinate {low:g} is negative')
    if high >= 1 + ROUNDING:
        raise _BadRow('range', f'coordinate {high:.9g} is above 1, so not normalised')
    if low >= 0 and high <= _SLIGHTLY_OVER_ONE:
        return row
    return [row[0], *(min(max(value, 0.0), 1.0) for value in coordinates)]


def _check_area(row: list[float]) -> None:
    if len(row) == 5:
        kind, width, height = 'box', *row[3:]
    else:
        kind, width, height = 'polygon', *(max(side) - min(side) for side in (row[1::2], row[2::2]))
    if min(width, height) < NO_SIDE:
        raise _BadRow('area', f'a {kind} of {width:g} by {height:g} has no area')


def _share_inside(row: list[float]) -> float:
    """Of a box's area, that inside the image; polygons are inside."""
    if len(row) > 5:
        return 1.0
    _, x, y, w, h = row
    if w / 2 <= x <= 1 - w / 2 and h / 2 <= y <= 1 - h / 2:
        return 1.0
    inside = (min(x + w / 2, 1) - max(x - w / 2, 0)) * (min(y + h / 2, 1) - max(y - h / 2, 0))
    return inside / (w * h) + 1e-6  # half a box at the edge is half, whatever rounding says


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
