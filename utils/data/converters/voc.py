"""PASCAL VOC's XML annotations: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from utils.data.converters.rows import Picture, Size, box_row, reading


class Annotation(NamedTuple):
    """Of a picture: its size, and class name and corners (left, top, right, bottom) of each object not 'difficult'."""

    size: Size
    objects: list[tuple[str, list[float]]]


def read_voc(file: Path) -> Annotation:
    """Read one XML file. VOC counts pixels from 1, so corners have 1 taken off, as in the reference."""
    with reading(file, 'a VOC annotation'):
        root = ElementTree.parse(file).getroot()
        width, height = (int(float(root.findtext(f'size/{side}', '0'))) for side in ('width', 'height'))
        if width < 1 or height < 1:
            raise ValueError(f'size {width}x{height}')
        objects = []
        for item in root.iter('object'):
            if item.findtext('difficult', '0').strip() != '1':
                corners = [float(item.findtext(f'bndbox/{side}', '')) - 1 for side in ('xmin', 'ymin', 'xmax', 'ymax')]
                objects.append((item.findtext('name', '').strip(), corners))
        return Annotation((width, height), objects)


def voc_pictures(files: Iterable[Path], names: Sequence[str]) -> Iterator[Picture]:
    """The labels of the pictures of XML files; objects of other classes than `names` are left out."""
    number = {name: k for k, name in enumerate(names)}
    for file in files:
        size, objects = read_voc(file)
        yield Picture(file.stem, [box_row(number[name], box, size) for name, box in objects if name in number])


def voc_names(files: Iterable[Path]) -> list[str]:
    """All class names in XML files, in alphabetical order."""
    return sorted({name for file in files for name, _ in read_voc(file).objects})
