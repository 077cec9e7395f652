"""SKU-110K's annotations: CSV files without a header, `picture,left,top,right,bottom,class,width,height` a row."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from utils.data.converters.rows import Picture, box_row, reading


def sku110k_pictures(file: str | Path) -> Iterator[Picture]:
    """The labels of each picture of a CSV file, sorted by name; all objects are class 0."""
    file, rows = Path(file), defaultdict(list)
    with reading(file, 'a CSV file of SKU-110K'), open(file, newline='', encoding='utf-8-sig') as f:
        for name, left, top, right, bottom, _, width, height in csv.reader(f):
            corners = [float(side) for side in (left, top, right, bottom)]
            rows[name].append(box_row(0, corners, (int(width), int(height))))
    for name in sorted(rows):
        yield Picture(os.path.splitext(name)[0], rows[name])


def sku110k_names(file: str | Path) -> list[str]:
    """The names of the pictures of a CSV file, sorted, each once."""
    with reading(Path(file), 'a CSV file of SKU-110K'), open(file, newline='', encoding='utf-8-sig') as f:
        return sorted({row[0] for row in csv.reader(f)})
