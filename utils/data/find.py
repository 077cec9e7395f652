"""Finding the images of a split and their label files, and what is there besides them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from utils.archives import unpack_command
from utils.data.images import is_image
from utils.data.labelset import IGNORED, KEPT, LEFT_OUT, Problem
from utils.data.lists import glob_below, read_list
from utils.errors import DataError
from utils.terminal import counted

Split = str | Path | Sequence[str | Path]

_CHECK_SPLITS = 'check train and val in the data set YAML'
_OF_OTHERS = ('.txt', '.npy', '.cache')  # labels, which are looked at for themselves, and our caches
_OF_SYSTEMS = ('thumbs.db', 'desktop.ini')
_MOST_KINDS = 20  # of notes, each of which is a line
_NOT_LABELS = ('classes.txt', 'train.txt', 'val.txt', 'valid.txt', 'test.txt', 'readme.txt', 'license.txt', 'notes.txt')


class Found(NamedTuple):
    """What is in a split.

    Attributes:
        images: absolute paths, sorted; one that a list names twice comes twice.
        problems: one for each kind of what was not taken, with a count and an example.
    """

    images: list[str]
    problems: list[Problem]


def img2label_paths(img_paths: Iterable[str | Path]) -> list[str]:
    """The label file of each image: the last /images/ becomes /labels/, the suffix .txt."""
    images, labels = f'{os.sep}images{os.sep}', f'{os.sep}labels{os.sep}'
    return [os.path.splitext(labels.join(os.fspath(path).rsplit(images, 1)))[0] + '.txt' for path in img_paths]


def list_images(split: Split) -> list[str]:
    """The images of a split, see `find_images`."""
    return find_images(split).images


def find_images(split: Split) -> Found:
    """The images of a split, and what lies beside them and their labels.

    Args:
        split: a folder with its subfolders (nothing hidden counts), a list file with one path a line, an image, a glob,
            or several of these. Relative lines of a list are meant from the list's folder, else from the working
            directory.

    Raises:
        DataError: a folder or list file is missing or no text, or there is no image in any of them.
    """
    images, notes = [], _Notes()
    for source in _sources(split):
        images += _images_of(os.fspath(source), notes)
    if not images:
        seen = [problem.detail for problem in notes.problems()]
        raise DataError(f'{split_name(split)}: no pictures found{f"; {seen[0]}" if seen else ""}', _CHECK_SPLITS)
    return Found(sorted(images), notes.problems() + _named_again(images) + _sharing(list(dict.fromkeys(images))))


def split_name(split: Split) -> str:
    """A split in a message: all that it consists of."""
    return ', '.join(map(str, _sources(split)))


def _sources(split: Split) -> list[str | Path]:
    return [split] if isinstance(split, (str, Path)) else list(split)


class _Notes:
    """Counts what is not taken, by the words that say so, and keeps the first example of each."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str, str, str], list] = {}  # kind, noun, words, action: [count, first path]
        self.others: list[Problem] = []

    def add(self, kind: str, noun: str, words: str, path: str, action: str = IGNORED) -> None:
        if (kind, noun, words, action) not in self.seen and len(self.seen) >= _MOST_KINDS:
            kind, noun, words, action = 'suffix', 'other file', '', IGNORED
        self.seen.setdefault((kind, noun, words, action), [0, path])[0] += 1

    def problems(self) -> list[Problem]:
        seen = (
            Problem(path, 0, kind, counted(n, noun) + words, action)
            for (kind, noun, words, action), (n, path) in self.seen.items()
        )
        return [*seen, *self.others]


def _images_of(source: str, notes: _Notes) -> Iterable[str]:
    if os.path.isdir(source):
        return _images_under(os.path.abspath(source), notes)
    if os.path.isfile(source):
        if is_image(source):
            return [os.path.abspath(source)]
        if unpack_command(source):
            raise DataError(f'{source}: an archive', f'unpack it: {unpack_command(source)}')
        return _images_listed_in(source, notes)
    if glob.has_magic(source):
        return _only_images(glob_below(source), notes)
    raise DataError(f'{source}: no such folder or list file', _CHECK_SPLITS)


def _images_under(folder: str, notes: _Notes) -> list[str]:
    images, seen = [], set()  # a linked folder may contain itself

    def closed(error: OSError) -> None:
        notes.add('folder', 'folder', ' that can not be read', error.filename, LEFT_OUT)

    for parent, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith('.')]
        images += _only_images((os.path.join(parent, name) for name in sorted(files)), notes)
    _note_stray_labels(folder, images, notes)
    return images


def _only_images(paths: Iterable[str], notes: _Notes) -> list[str]:
    images = []
    for path in paths:
        name = os.path.basename(path)
        suffix = os.path.splitext(name)[1].lower()
        if name.startswith('.'):
            if is_image(name):
                notes.add('hidden', 'hidden file', ' with the suffix of an image', path)
        elif is_image(name):
            images.append(path)
        elif suffix not in _OF_OTHERS and name.lower() not in _OF_SYSTEMS:
            notes.add('suffix', f'{suffix or "suffixless"} file', ', not read as images', path)
    return [os.path.abspath(image) for image in images]


def _images_listed_in(file: str, notes: _Notes) -> Iterator[str]:
    listed = read_list(file, beside_first=True)
    if listed.missing:
        words = listed.problem(file).removeprefix(f'{file}: ')
        notes.others.append(Problem(file, listed.missing[0][0], 'list', words, LEFT_OUT))
    for path in listed.found:
        if os.path.isdir(path):
            yield from _images_under(os.path.abspath(path), notes)
        elif is_image(path) and not os.path.basename(path).startswith('.'):
            yield os.path.abspath(path)
        else:
            notes.add('list', 'line', f' of {file} naming no image', path)


def _named_again(images: Sequence[str]) -> list[Problem]:
    """What is to be said of images that count more than once: a list may mean that, folders that overlap hardly do."""
    again = len(images) - len(set(images))
    if not again:
        return []
    [(image, _)] = Counter(images).most_common(1)
    return [Problem(image, 0, 'again', f'{counted(again, "image")} named again', KEPT)]


# Labels ---------------------------------------------------------------------------------------------------------------


def _note_stray_labels(folder: str, images: Sequence[str], notes: _Notes) -> None:
    """Label files that belong to no image of a folder, nearly always because of their names."""
    wanted = set(img2label_paths(images))
    places = {os.path.dirname(file) for file in wanted}
    root = os.path.dirname(img2label_paths([os.path.join(folder, 'x.jpg')])[0])
    if root != folder:  # labels have a folder of their own: all of it is meant
        places |= {parent for parent, _, _ in os.walk(root) if f'{os.sep}.' not in parent[len(root) :]}
    for place in sorted(places):
        for name in _names(place):
            path, (stem, suffix) = os.path.join(place, name), os.path.splitext(name)
            if suffix.lower() != '.txt' or path in wanted or name.startswith('.') or name.lower() in _NOT_LABELS:
                continue
            if suffix != '.txt':
                notes.add('orphan', 'label file', ' with the suffix in capitals: .txt is read', path)
            elif is_image(stem):
                notes.add('orphan', 'label file', " named with the image's suffix: a.txt is read for a.jpg", path)
            else:
                notes.add('orphan', 'label file', ' without an image', path)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _sharing(images: Sequence[str]) -> list[Problem]:
    """What is to be said of a.jpg and a.png, whose labels are both in a.txt."""
    first: dict[str, str] = {}
    others = [
        (image, first[file])
        for image, file in zip(images, img2label_paths(images))
        if first.setdefault(file, image) != image
    ]
    if not others:
        return []
    image, other = others[0]
    words = f'{counted(len(others), "image")} with the labels of another, here those of {os.path.basename(other)}'
    return [Problem(image, 0, 'shared', words, KEPT)]
