"""xView's annotations: one GeoJSON file; each feature is an object with its picture, type and pixels."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from utils.data.converters.rows import Picture, box_row, picture_size, reading
from utils.log import LOGGER

# xView's own number of each of the 60 classes; a few more numbers occur in it and mean nothing.
TYPES = (11, 12, 13, 15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 32, 33, 34, 35, 36, 37, 38, 40, 41, 42, 44, 45)
TYPES += (47, 49, 50, 51, 52, 53, 54, 55, 56, 57, 59, 60, 61, 62, 63, 64, 65, 66, 71, 72, 73, 74, 76, 77, 79, 83, 84)
TYPES += (86, 89, 91, 93, 94)


def xview_pictures(file: str | Path, images: str | Path) -> Iterator[Picture]:
    """The labels of the pictures in a folder, some of which the annotations may not know, and the other way round."""
    file, images, number = Path(file), Path(images), {kind: k for k, kind in enumerate(TYPES)}
    objects = defaultdict(list)
    with reading(file, "xView's GeoJSON"):
        for feature in json.loads(file.read_bytes())['features']:
            about = feature['properties']
            if about['bounds_imcoords'] and about['type_id'] in number:
                corners = [int(side) for side in about['bounds_imcoords'].split(',')]
                objects[about['image_id']].append((number[about['type_id']], corners))
    names = sorted(path.name for path in images.iterdir() if path.suffix == '.tif')
    for name in names:
        size = picture_size(images / name)
        rows = [box_row(label, corners, size) if len(corners) == 4 else '' for label, corners in objects[name]]
        yield Picture(os.path.splitext(name)[0], rows)
    absent = set(objects).difference(names)
    if absent:
        LOGGER.warning(f'{images}: lacks {len(absent)} annotated pictures, for example {min(absent)}')
