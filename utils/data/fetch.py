"""Data sets that we can make or fetch: the names that a data set YAML may give as `download`.

A name, never code: nothing that is written in a YAML is run. To have a data set before training:

    python -m utils.data.fetch coco                   # into datasets/coco
    python -m utils.data.fetch VOC /data/VOC
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from utils.data.fetchers import official
from utils.errors import run_main
from utils.log import set_logging
from utils.paths import DATA_DIRS, read_yaml


def _shapes(folder: Path) -> None:
    from utils.data.shapes import make_shapes  # only who needs pictures drawn loads OpenCV

    make_shapes(folder)


# By the name of the YAML. Each function fills the data set's folder, or raises and leaves no folder.
FETCHERS: dict[str, Callable[[Path], None]] = {
    'shapes': _shapes,
    'coco128': official.coco128,
    'coco': official.coco,
    'VOC': official.voc,
    'VisDrone': official.visdrone,
    'xView': official.xview,
    'Objects365': official.objects365,
    'SKU-110K': official.sku110k,
    'GlobalWheat2020': official.global_wheat,
    'Argoverse': official.argoverse,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m utils.data.fetch', description='Make or download a data set.')
    parser.add_argument('name', choices=FETCHERS, help='of its YAML in data/')
    parser.add_argument('folder', nargs='?', type=Path, help="where to put it; by default where its YAML's path says")
    parser.add_argument('--debug', action='store_true', help='show the traceback of errors')
    options = parser.parse_args(argv)
    set_logging()
    path = read_yaml(DATA_DIRS[0] / f'{options.name}.yaml')['path']
    FETCHERS[options.name](options.folder or Path(os.path.normpath(DATA_DIRS[0] / path)))


if __name__ == '__main__':
    sys.exit(run_main(main))
