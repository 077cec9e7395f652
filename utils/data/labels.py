"""The labels of a split: finding the files, checking them before anything is trained, reading them. Never writing."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from utils.cpu import cores
from utils.data import cache as label_cache
from utils.data.find import Split, find_images, split_name
from utils.data.find import img2label_paths as img2label_paths  # where scripts look for them
from utils.data.find import list_images as list_images
from utils.data.image_check import BadImage, ImageInfo, check_image
from utils.data.labelset import BACKGROUND, KEPT, LEFT_OUT, REMOVED, ROW_LEFT_OUT, LabelSet, Problem
from utils.data.parse import Fault, Parsed, parse_labels
from utils.data.report import problem_table, summary
from utils.errors import DataError, ResourceError
from utils.log import LOGGER
from utils.terminal import counted
from utils.text import read_text

FAULTS_A_FILE = 10  # bad rows listed of one file: enough to see a pattern
MAX_BYTES = 32 << 20  # of a label file, which is some 600,000 boxes
_FEW_FILES = 4000  # with no more files than these, starting worker processes costs more than they save
_GRAVITY = {'class': 0, 'range': 2, 'area': 2}  # an unknown class stops the run, so that it has to be listed
_CHUNK = 200  # files that a process is given at once, at most
_PARENT_CHECK = 5.0  # seconds between looks at whether the parent still lives


class Checked(NamedTuple):
    """A picture and its label file after checking.

    Attributes:
        shape: width, height in pixels as shown; None if the picture is left out.
        labels: (n, 5) float32: class, x, y, w, h normalised.
        polygons: one (points, 2) float32 for each label, or none.
        problems: what was noticed.
        counts: as in `LabelSet`.
        classes: lowest and highest of all rows, unknown ones included; None where there are none.
        note: what is to be said about the picture's conversion to eight bits.
    """

    shape: tuple[int, int] | None
    labels: np.ndarray
    polygons: list[np.ndarray]
    problems: list[Problem]
    counts: dict[str, int]
    classes: tuple[float, float] | None = None
    note: str = ''


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
        split: a folder, a list file with one path a line, a glob, or several of these.
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
    images, besides = find_images(split)
    files = img2label_paths(images)
    labels, places, key = None, [], ''
    if cache:
        places, key = label_cache.places(split, files, nc), label_cache.fingerprint(images, files, nc)
        labels = label_cache.load(places, key)
    if labels is None:
        labels = check_files(images, files, nc, workers, name)
        if cache:
            label_cache.save(places, key, labels)
    labels.problems += besides  # not of the files that the cache is made from
    LOGGER.info(summary(labels, name, time.perf_counter() - start))
    if labels.problems:
        harmless = all(problem.action == BACKGROUND for problem in labels.problems)
        LOGGER.log(logging.INFO if harmless else logging.WARNING, problem_table(labels.problems))
    _refuse_unusable(labels, split, nc)
    if need_labels and not len(labels.labels.values):
        mend = (
            'mend the rows in the table above'
            if labels.counts.get('bad_rows')
            else f'put them where {files[0]} would be'
        )
        raise DataError(f'{split_name(split)}: {counted(len(labels), "picture")}, no labels', mend)
    return labels


def _refuse_unusable(labels: LabelSet, split: Split, nc: int | None) -> None:
    """Stop where leaving files out would only hide that the labels and the YAML don't belong together."""
    strangers = [problem for problem in labels.problems if problem.kind == 'class']
    if strangers:
        first, files = strangers[0], len({problem.file for problem in strangers})
        mend = f'mend the labels, or the names in the data set YAML ({nc} of them)' if nc else 'mend the labels'
        if labels.counts.get('from_one'):
            mend = f'all classes are from 1 to {nc}: counted from 1? Classes count from 0, as the names in the YAML do'
        raise DataError(f'{first.file} line {first.line}: {first.detail} ({counted(files, "such file")})', mend)
    if not len(labels):
        first = labels.problems[0]
        raise DataError(
            f'{split_name(split)}: not one usable picture, for example {first.file}'
            f'{f" line {first.line}" if first.line else ""}: {first.detail}',
            'mend the files in the table above',
        )


# Checking -------------------------------------------------------------------------------------------------------------


def check_files(
    images: Sequence[str], files: Sequence[str], nc: int | None = None, workers: int | None = None, name: str = ''
) -> LabelSet:
    """Check pictures with their label files and gather what is usable; what is not is left out and named.

    Raises:
        ResourceError: one of the processes was killed.
    """
    jobs = [(image, file, nc) for image, file in zip(images, files)]
    if workers is None:
        workers = cores() if len(jobs) > _FEW_FILES else 0
    progress = {'total': len(jobs), 'desc': f'{name or "labels"}: checking', 'unit': ' files', 'disable': None}
    if workers > 1:
        checked = _in_processes(jobs, workers, progress)
    else:
        checked = [_verify(job) for job in tqdm(jobs, **progress)]
    kept = [(image, item) for image, item in zip(images, checked) if item.shape]
    return LabelSet(
        images=[image for image, _ in kept],
        labels=[item.labels for _, item in kept],
        shapes=[item.shape for _, item in kept],
        segments=[item.polygons for _, item in kept],
        problems=[problem for item in checked for problem in item.problems] + _notes(kept),
        counts=sum((Counter(item.counts) for item in checked), Counter()) + _from_one(checked, nc),
    )


def _in_processes(jobs: Sequence[tuple], workers: int, progress: dict) -> list[Checked]:
    """Not by multiprocessing.Pool, which waits for ever for a process that was killed."""
    chunk = min(_CHUNK, math.ceil(len(jobs) / workers))
    context = multiprocessing.get_context('fork')
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(),))
    try:
        return list(tqdm(pool.map(_verify, jobs, chunksize=chunk), **progress))
    except BrokenProcessPool:
        raise ResourceError(
            f'{progress["desc"]}: one of its processes was killed', 'see whether the machine ran out of memory'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    """Of a process that checks: Ctrl-C is its parent's business, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(1)


def _notes(kept: Sequence[tuple[str, Checked]]) -> list[Problem]:
    """What is to be said about the conversion of pictures, each thing once, with the first picture as an example."""
    counts = Counter(item.note for _, item in kept if item.note)
    first = {item.note: image for image, item in reversed(kept)}
    return [Problem(first[note], 0, 'note', f'{counted(n, "image")}: {note}', KEPT) for note, n in counts.items()]


def _from_one(checked: Sequence[Checked], nc: int | None) -> Counter:
    """Whether the classes of all files together look as if they were counted from 1."""
    spans = [item.classes for item in checked if item.classes]
    looks_so = nc and spans and min(low for low, _ in spans) >= 1 and max(high for _, high in spans) == nc
    return Counter({'from_one': 1} if looks_so else {})


def _verify(job: tuple[str, str, int | None]) -> Checked:
    return verify_image_label(*job)


def verify_image_label(image: str, file: str, nc: int | None = None) -> Checked:
    """Check one picture and its label file; a picture without one, or with an empty one, is background.

    A row that can't be read, or whose class is unknown, leaves the picture out, for then nothing in the file can be
    trusted. One that can be read but is no box of the picture is left out alone. If then no row is left, a picture
    whose objects have no area is background, but one whose objects are somewhere outside is left out.
    """
    try:
        info = check_image(image)
    except BadImage as bad:
        return _left_out([Problem(image, 0, 'picture', str(bad), LEFT_OUT)])
    try:
        text = _read_text(file)
    except FileNotFoundError:
        problem = Problem(file, 0, 'missing', 'no label file', BACKGROUND)
        return Checked(info.size, np.zeros((0, 5), np.float32), [], [problem], {'missing': 1}, note=info.note)
    except OSError as error:
        return _left_out([Problem(file, 0, 'text', f'unreadable: {error.strerror}', LEFT_OUT)], found=1)
    except DataError as error:
        return _left_out([Problem(file, 0, 'text', error.message.removeprefix(f'{file}: '), LEFT_OUT)], found=1)
    parsed = parse_labels(text, nc)
    kinds = {fault.kind for fault in parsed.faults}
    if kinds - {'range', 'area'} or ('range' in kinds and not len(parsed.labels)):
        grave = sorted(parsed.faults, key=lambda fault: _GRAVITY.get(fault.kind, 1))  # by line within
        problems = [Problem(file, *fault, LEFT_OUT) for fault in _first(grave, 'bad')]
        return _left_out(problems, found=1, classes=parsed.classes)
    return _kept(file, info, parsed)


def _kept(file: str, info: ImageInfo, parsed: Parsed) -> Checked:
    repeated = [Fault(line, 'duplicate', 'repeats an earlier row') for line in parsed.duplicates]
    noted = ((parsed.faults, 'bad', ROW_LEFT_OUT), (repeated, 'such', REMOVED), (parsed.outside, 'such', KEPT))
    problems = [Problem(file, *fault, action) for faults, which, action in noted for fault in _first(faults, which)]
    empty = not len(parsed.labels) and not parsed.faults
    if empty:
        problems.append(Problem(file, 0, 'empty', 'empty label file', BACKGROUND))
    counts = {
        'found': 1,
        'empty': int(empty),
        'duplicates': len(parsed.duplicates),
        'bad_rows': len(parsed.faults),
        'clipped': parsed.clipped,
        'outside': len(parsed.outside),
    }
    return Checked(info.size, parsed.labels, parsed.polygons, problems, counts, parsed.classes, info.note)


def _read_text(file: str) -> str:
    found = os.stat(file)
    if found.st_size > MAX_BYTES:
        raise DataError(f'{file}: {found.st_size >> 20} MB, too large for a label file')
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # a pipe would be waited for
        raise DataError(f'{file}: not a regular file')
    return read_text(file)


def _first(faults: list[Fault], which: str) -> list[Fault]:
    """The first faults of a file, the last of which tells how many more bad, or such, rows there are."""
    listed, more = faults[:FAULTS_A_FILE], len(faults) - FAULTS_A_FILE
    if more > 0:
        listed[-1] = listed[-1]._replace(detail=f'{listed[-1].detail} (and {counted(more, f"more {which} row")})')
    return listed


def _left_out(problems: list[Problem], found: int = 0, classes: tuple[float, float] | None = None) -> Checked:
    return Checked(None, np.zeros((0, 5), np.float32), [], problems, {'found': found, 'corrupt': 1}, classes)


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
