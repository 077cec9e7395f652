"""VisDrone's annotations: a text file a picture, `left,top,width,height,score,category,truncation,occlusion` a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from utils.data.converters.rows import Picture, Size, box_row, picture_size, reading, visible
from utils.text import read_text

CATEGORIES = range(1, 11)  # pedestrian to motor; 0 are ignored regions, 11 is anything else


def visdrone_pictures(folder: str | Path) -> Iterator[Picture]:
    """The labels of a folder with annotations/*.txt and images/*.jpg.

    Rows with score 0, which evaluation is to ignore, and those of no category are left out.
    """
    folder = Path(folder)
    for file in visible(folder / 'annotations', '*.txt'):
        with reading(file, 'a VisDrone annotation'):
            size = picture_size(folder / 'images' / f'{file.stem}.jpg')
            rows = [_row(line, size) for line in read_text(file).splitlines() if _counts(line)]
        yield Picture(file.stem, rows)


def _counts(line: str) -> bool:
    return bool(line.strip()) and int(line.split(',')[4]) != 0 and int(line.split(',')[5]) in CATEGORIES


def _row(line: str, size: Size) -> str:
    left, top, width, height, _, category = map(int, line.split(',')[:6])
    return box_row(category - 1, (left, top, left + width, top + height), size)
