"""The labels of a split: finding the files, checking them before anything is trained, reading them. Never writing."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.data import cache as label_cache
from utils.data.image_check import BadImage, check_image
from utils.data.images import is_image
from utils.data.labelset import BACKGROUND, LEFT_OUT, REMOVED, LabelSet, Problem
from utils.data.parse import parse_labels
from utils.data.report import problem_table, summary
from utils.errors import DataError
from utils.log import LOGGER

Split = str | Path | Sequence[str | Path]

FAULTS_A_FILE = 10  # bad rows listed of one file: enough to see a pattern
_FEW_FILES = 4000  # with no more files than these, starting worker processes costs more than they save


class Checked(NamedTuple):
    """A picture and its label file after checking.

    Attributes:
        shape: width, height in pixels as shown; None if the picture is left out.
        labels: (n, 5) float32: class, x, y, w, h normalised.
        polygons: one (points, 2) float32 for each label, or none.
        problems: what was noticed.
        counts: found, missing, empty, corrupt, duplicates: how many of each, where not 0.
    """

    shape: tuple[int, int] | None
    labels: np.ndarray
    polygons: list[np.ndarray]
    problems: list[Problem]
    counts: dict[str, int]


def read_labels(
    split: Split,
    nc: int | None = None,
    cache: bool = True,
    workers: int | None = None,
    name: str = '',
    need_labels: bool = False,
) -> LabelSet:
    """The labels of a split, checked; its problems go to the log as one table.

    Args:
        split: a folder, a list file with one path a line, or several of these.
        nc: number of classes; None where any class will do (--single-cls).
        cache: whether to use, and leave, a cache file: beside the labels, or in the user's cache folder where that
            can't be written.
        workers: processes for checking; None chooses.
        name: of the split, for the log.
        need_labels: whether pictures without a single label are an error, as they are for training.

    Raises:
        DataError: nothing there, no usable picture, none with labels, or classes that the YAML doesn't name.
    """
    start = time.perf_counter()
    images = list_images(split)
    files = img2label_paths(images)
    labels, places, key = None, [], ''
    if cache:
        places, key = label_cache.places(split, files, nc), label_cache.fingerprint(images, files, nc)
        labels = label_cache.load(places, key)
    if labels is None:
        labels = check_files(images, files, nc, workers, name)
        if cache:
            label_cache.save(places, key, labels)
    LOGGER.info(summary(labels, name, time.perf_counter() - start))
    if labels.problems:
        harmless = all(problem.action == BACKGROUND for problem in labels.problems)
        LOGGER.log(logging.INFO if harmless else logging.WARNING, problem_table(labels.problems))
    _refuse_unusable(labels, split, nc)
    if need_labels and not len(labels.labels.values):
        raise DataError(f'{split}: {len(labels)} pictures, no labels', f'put them where {files[0]} would be')
    return labels


def _refuse_unusable(labels: LabelSet, split: Split, nc: int | None) -> None:
    """Stop where leaving files out would only hide that the labels and the YAML don't belong together."""
    strangers = [problem for problem in labels.problems if problem.kind == 'class']
    if strangers:
        first, files = strangers[0], len({problem.file for problem in strangers})
        raise DataError(
            f'{first.file} line {first.line}: {first.detail} ({files} such file{"s" if files > 1 else ""})',
            f'mend the labels, or the names in the data set YAML ({nc} of them)' if nc else 'mend the labels',
        )
    if not len(labels):
        first = labels.problems[0]
        raise DataError(
            f'{split}: not one usable picture, for example {first.file}'
            f'{f" line {first.line}" if first.line else ""}: {first.detail}',
            'mend the files in the table above',
        )


# Finding --------------------------------------------------------------------------------------------------------------


def img2label_paths(img_paths: Iterable[str | Path]) -> list[str]:
    """The label file of each picture: the last /images/ becomes /labels/, the suffix .txt."""
    images, labels = f'{os.sep}images{os.sep}', f'{os.sep}labels{os.sep}'
    return [os.path.splitext(labels.join(os.fspath(path).rsplit(images, 1)))[0] + '.txt' for path in img_paths]


def list_images(split: Split) -> list[str]:
    """The pictures of a split as sorted absolute paths; one that a list names twice comes twice.

    Args:
        split: a folder with its subfolders (nothing hidden counts), a list file with one path a line, or several of
            these. Relative lines of a list are meant from the list's folder, else from the working directory.

    Raises:
        DataError: a folder or list file is missing, or there is no picture in any of them.
    """
    sources = [split] if isinstance(split, (str, Path)) else list(split)
    images = sorted(path for source in sources for path in _images_of(Path(source)))
    if not images:
        places = ', '.join(map(str, sources))
        raise DataError(f'{places}: no pictures found', 'check train and val in the data set YAML')
    return images


def _images_of(source: Path) -> Iterator[str]:
    if source.is_dir():
        return _images_under(os.path.abspath(source))
    if source.is_file():
        return _images_listed_in(source)
    raise DataError(f'{source}: no such folder or list file', 'check train and val in the data set YAML')


def _images_under(folder: str) -> Iterator[str]:
    seen = set()  # a linked folder may contain itself
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith('.')]
        yield from (os.path.join(parent, name) for name in files if is_image(name) and not name.startswith('.'))


def _images_listed_in(file: Path) -> Iterator[str]:
    folder = os.path.abspath(file.parent)
    for line in file.read_text(encoding='utf-8-sig', errors='replace').splitlines():
        name = line.strip()
        if is_image(name):
            beside = os.path.normpath(os.path.join(folder, name))
            explicit = name.startswith('.') or os.path.isabs(name)
            elsewhere = not explicit and not os.path.exists(beside) and os.path.exists(name)
            yield os.path.abspath(name) if elsewhere else beside


# Checking -------------------------------------------------------------------------------------------------------------


def check_files(
    images: Sequence[str], files: Sequence[str], nc: int | None = None, workers: int | None = None, name: str = ''
) -> LabelSet:
    """Check pictures with their label files and gather what is usable; a bad one is left out and named."""
    jobs = [(image, file, nc) for image, file in zip(images, files)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(jobs) > _FEW_FILES else 0
    progress = {'total': len(jobs), 'desc': f'{name or "labels"}: checking', 'unit': ' files', 'disable': None}
    if workers > 1:
        with multiprocessing.get_context('fork').Pool(workers) as pool:
            checked = list(tqdm(pool.imap(_verify, jobs, chunksize=200), **progress))
    else:
        checked = [_verify(job) for job in tqdm(jobs, **progress)]
    kept = [(image, item) for image, item in zip(images, checked) if item.shape]
    return LabelSet(
        images=[image for image, _ in kept],
        labels=[item.labels for _, item in kept],
        shapes=[item.shape for _, item in kept],
        segments=[item.polygons for _, item in kept],
        problems=[problem for item in checked for problem in item.problems],
        counts=sum((Counter(item.counts) for item in checked), Counter()),
    )


def _verify(job: tuple[str, str, int | None]) -> Checked:
    return verify_image_label(*job)


def verify_image_label(image: str, file: str, nc: int | None = None) -> Checked:
    """Check one picture and its label file; a picture without one, or with an empty one, is background."""
    try:
        shape = check_image(image).size
    except BadImage as bad:
        return _left_out([Problem(image, 0, 'picture', str(bad), LEFT_OUT)])
    try:
        text = Path(file).read_bytes().decode('utf-8-sig', errors='replace')
    except FileNotFoundError:
        problem = Problem(file, 0, 'missing', 'no label file', BACKGROUND)
        return Checked(shape, np.zeros((0, 5), np.float32), [], [problem], {'missing': 1})
    except OSError as error:
        return _left_out([Problem(file, 0, 'text', f'unreadable: {error.strerror}', LEFT_OUT)], found=1)
    labels, polygons, faults, duplicates = parse_labels(text, nc)
    if faults:
        return _left_out([Problem(file, *fault, LEFT_OUT) for fault in _first(faults)], found=1)
    problems = [Problem(file, line, 'duplicate', 'repeats an earlier row', REMOVED) for line in duplicates]
    if not len(labels):
        problems.append(Problem(file, 0, 'empty', 'empty label file', BACKGROUND))
    counts = {'found': 1, 'empty': int(not len(labels)), 'duplicates': len(duplicates)}
    return Checked(shape, labels, polygons, problems, counts)


def _first(faults: list) -> list:
    """The first faults of a file, the last of which tells how many more there are."""
    listed, more = faults[:FAULTS_A_FILE], len(faults) - FAULTS_A_FILE
    if more > 0:
        listed[-1] = listed[-1]._replace(detail=f'{listed[-1].detail} (and {more} more bad rows)')
    return listed


def _left_out(problems: list[Problem], found: int = 0) -> Checked:
    return Checked(None, np.zeros((0, 5), np.float32), [], problems, {'found': found, 'corrupt': 1})


# Weights --------------------------------------------------------------------------------------------------------------


def labels_to_class_weights(labels: Sequence[np.ndarray], nc: int = 80) -> np.ndarray:
    """Inverse frequency of each class, (nc,) summing to 1; a class without labels counts as having one.

    Args:
        labels: per picture (n, 5), the class first.
    """
    counts = sum((np.bincount(of[:, 0].astype(int), minlength=nc) for of in labels), np.zeros(nc, int))
    weights = 1 / np.maximum(counts, 1)
    return weights / weights.sum()


def labels_to_image_weights(
    labels: Sequence[np.ndarray], nc: int = 80, class_weights: np.ndarray | None = None
) -> np.ndarray:
    """How often to draw each picture (--image-weights): the sum of its labels' class weights, (pictures,).

    Args:
        labels: per picture (n, 5), the class first.
        class_weights: (nc,), all 1 by default; train.py gives class weights times (1 - mAP)².
    """
    weights = np.ones(nc) if class_weights is None else np.asarray(class_weights, float)
    return np.array([weights[of[:, 0].astype(int)].sum() for of in labels])
