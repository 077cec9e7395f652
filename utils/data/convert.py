"""Annotations of other formats as a folder of YOLO label files.

    python -m utils.data.convert coco instances_train2017.json labels/train2017 --segments
    python -m utils.data.convert voc Annotations labels/train --names mydata.yaml
    python -m utils.data.convert visdrone VisDrone2019-DET-val VisDrone2019-DET-val/labels

The sources are only read; the folder of labels appears whole or not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from utils.data.converters.coco import coco_pictures, read_argoverse, read_coco
from utils.data.converters.rows import visible, write_labels
from utils.data.converters.sku110k import sku110k_pictures
from utils.data.converters.visdrone import visdrone_pictures
from utils.data.converters.voc import voc_names, voc_pictures
from utils.data.converters.xview import xview_pictures
from utils.errors import DataError, run_main
from utils.log import set_logging


def convert_coco(
    source: str | Path, target: str | Path, segments: bool = False, cls91to80: bool = False, crowds: bool = False
) -> list[str]:
    """Convert a JSON file of annotations in COCO's format; a label file for each of its pictures.

    Args:
        segments: write outlines where there are any, in place of boxes.
        cls91to80: number the classes as COCO's 80, whichever of them the file has.
        crowds: take the boxes of whole crowds (iscrowd) too.

    Returns:
        The names of the classes.
    """
    coco = read_coco(source, cls91to80)
    write_labels(coco_pictures(coco, segments, crowds), target)
    return coco.names


def convert_voc(source: str | Path, target: str | Path, names: Sequence[str] | None = None) -> list[str]:
    """Convert a folder of VOC's XML files; objects marked difficult, and those of other classes, are left out.

    Args:
        names: of the classes in order; all that occur, in alphabetical order, where not given.

    Returns:
        The names of the classes.
    """
    files = _files(source, '*.xml')
    names = list(names or voc_names(files))
    write_labels(voc_pictures(files, names), target)
    return names


def convert_visdrone(source: str | Path, target: str | Path) -> None:
    """Convert the folder of a VisDrone split, which has annotations/ and images/."""
    _files(Path(source) / 'annotations', '*.txt')
    write_labels(visdrone_pictures(source), target)


def convert_xview(source: str | Path, target: str | Path) -> None:
    """Convert xView's training set: a folder with xView_train.geojson and train_images/."""
    _files(Path(source) / 'train_images', '*.tif')
    write_labels(xview_pictures(Path(source) / 'xView_train.geojson', Path(source) / 'train_images'), target)


def convert_sku110k(source: str | Path, target: str | Path) -> None:
    """Convert a CSV file of SKU-110K."""
    write_labels(sku110k_pictures(source), target)


def convert_argoverse(source: str | Path, target: str | Path) -> None:
    """Convert a JSON file of Argoverse-HD."""
    write_labels(coco_pictures(read_argoverse(source), crowds=True), target)


def _files(folder: str | Path, pattern: str) -> list[Path]:
    files = visible(folder, pattern)
    if not files:
        raise DataError(f'{folder}: no {pattern} files there', 'check the path')
    return files


CONVERTERS = {
    'coco': convert_coco,
    'voc': convert_voc,
    'visdrone': convert_visdrone,
    'xview': convert_xview,
    'sku110k': convert_sku110k,
    'argoverse': convert_argoverse,
}


def _names(text: str) -> list[str]:
    """Class names as given on the command line: a data set YAML that has them, or themselves, by commas."""
    if not text.endswith(('.yaml', '.yml')):
        return text.split(',')
    from utils.data.yaml import load_data

    return list(load_data(text, need=()).names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m utils.data.convert', description='Write YOLO label files from annotations of another format.'
    )
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')
    for name, function in CONVERTERS.items():
        about = function.__doc__.splitlines()[0]
        one = formats.add_parser(name, help=about, description=about)
        one.add_argument('source', metavar='SRC', help='annotations, see above')
        one.add_argument('target', metavar='DST', help='folder of label files to make')
        one.add_argument('--debug', action='store_true', default=argparse.SUPPRESS, help='show the traceback of errors')
        if name == 'coco':
            one.add_argument('--segments', action='store_true', help='write outlines where there are any')
            one.add_argument('--cls91to80', action='store_true', help="number the classes as COCO's 80")
            one.add_argument('--crowds', action='store_true', help='take the boxes of whole crowds too')
        if name == 'voc':
            one.add_argument('--names', type=_names, help='classes in order: a data set YAML, or a,b,c')
    return parser


def main(argv: list[str] | None = None) -> None:
    options = vars(_parser().parse_args(argv))
    options.pop('debug', None)
    set_logging()
    names = CONVERTERS[options.pop('format')](**options)
    if names:
        print(yaml.safe_dump({'names': dict(enumerate(names))}, allow_unicode=True), end='')  # for the data set YAML


if __name__ == '__main__':
    sys.exit(run_main(main))
