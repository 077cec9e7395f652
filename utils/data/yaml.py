"""Data set files: which splits there are, where they lie, what the classes are called."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from utils.archives import unpack_command
from utils.class_names import same_name
from utils.data.fetch import FETCHERS
from utils.data.lists import glob_below
from utils.errors import DataError, UserError
from utils.log import LOGGER
from utils.paths import DATA_DIRS, ROOT, find_file, read_yaml
from utils.terminal import counted, printable, shortened
from utils.text import read_text
from utils.yaml_text import quoted

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class DataConfig:
    """A data set YAML, understood.

    Attributes:
        file: the YAML; None if a dict was given.
        path: the data set's folder, under which the splits were found.
        train, val, test: folders, list files and globs of each split; empty if the YAML has none, or they don't exist
            and weren't needed.
        names: of the classes, by number.
        nc: how many they are.
        download: the YAML's `download`, None if it has none.
        raw: everything in the YAML.
    """

    file: Path | None
    path: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]
    names: tuple[str, ...]
    nc: int
    download: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getitem__(self, key: str) -> Any:
        """data['names'] and the like, as scripts written for the reference have it."""
        return getattr(self, key) if key in self.__dataclass_fields__ else self.raw[key]


def load_data(
    data: str | Path | Mapping[str, Any], autodownload: bool = True, need: tuple[str, ...] = ('train', 'val')
) -> DataConfig:
    """Read a data set YAML and find its splits.

    A relative path is looked for beside the YAML, then from the working directory, then from the project's root. The
    first of these under which a split exists, whole, wins. What exists nowhere is looked for as some programs mean it,
    see `_readings`, and that is logged.

    Args:
        data: a YAML file (bare names are found in data/), a folder with one, or its content as a dict.
        autodownload: whether to make or fetch a missing data set whose YAML names one of our functions.
        need: the splits that must be there; () to read just the names.

    Raises:
        DataError: no such YAML, no names, names that don't fit nc, a needed split that is nowhere.
    """
    file = None if isinstance(data, Mapping) else find_file(_yaml_in(data), DATA_DIRS, DataError, 'data set YAML')
    content = dict(data) if file is None else read_yaml(file, DataError)
    where = str(file or 'data set')
    if not isinstance(content, dict):
        raise DataError(f'{where}: not a data set YAML', 'it needs at least train, val and names')
    _check_types(content, where)
    names, bases = _names(content, where), _bases(content, file)
    for split in need:
        if not content.get(split):
            raise DataError(f'{where}: has no "{split}"', f'add {split}: a folder or list file of pictures')
    found = {split: _find(content.get(split), bases, file) for split in SPLITS}
    fetcher = FETCHERS.get(content.get('download') or '')
    if autodownload and fetcher and not all(found[split] for split in need):
        LOGGER.info(f'{where}: making {bases[0]}')
        fetcher(bases[0])
        found = {split: _find(content.get(split), bases, file) for split in SPLITS}
    for split in need:
        if not found[split]:
            raise _nowhere(split, content, bases, where)
    _log_readings(found, where)
    path = next((split.base for split in found.values() if split), bases[0])
    splits = {name: split.paths if split else () for name, split in found.items()}
    _compare_classes_txt(names, [path for paths in splits.values() for path in paths], where)
    return DataConfig(file, path, **splits, names=names, nc=len(names), download=content.get('download'), raw=content)


check_dataset = load_data  # the reference's name for it


def _yaml_in(data: str | Path) -> str | Path:
    """The one YAML of a folder; anything but a folder as it is.

    Raises:
        DataError: the folder has none or several, or it is an archive.
    """
    if not os.path.isdir(data):
        if unpack_command(data):
            raise DataError(f'{data}: an archive', f'unpack it, and give the YAML in it: {unpack_command(data)}')
        return data
    found = sorted(p for p in Path(data).iterdir() if p.suffix in ('.yaml', '.yml') and not p.name.startswith('.'))
    if len(found) != 1:
        names = printable(', '.join(path.name for path in found), 200)
        what = f'{len(found)} YAMLs ({names})' if found else 'no YAML'
        raise DataError(f'{data}: a folder with {what}', 'give the YAML that names the splits and classes')
    LOGGER.info(f'{data}: a folder, taken for {found[0]}')
    return found[0]


# What is in it --------------------------------------------------------------------------------------------------------


def _check_types(content: Mapping[str, Any], where: str) -> None:
    for split in SPLITS:
        value = content.get(split) or []
        entries = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(entry, (str, Path)) and str(entry).strip() for entry in entries):
            what = f'{where}: {split} is {quoted(value)}'
            raise DataError(what, 'it has to be a folder, a list file or a list')
    for key in ('path', 'download'):
        value = content.get(key)
        if not isinstance(value, (str, Path, type(None))) and value is not False:
            raise DataError(f'{where}: {key} is {quoted(value)}', 'it has to be text')


def _names(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = content.get('names')
    if not names or not isinstance(names, (list, tuple, dict)):
        raise DataError(f'{where}: has no "names"', 'add a list of class names')
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            numbers = printable(', '.join(map(str, islice(names, 50))), 100)
            raise DataError(f'{where}: names are numbered {numbers}', 'number them 0, 1, 2, ...')
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, (str, int, float, date)):
            raise DataError(f'{where}: name {number} reads as {quoted(name)} in YAML', 'put quotes around it')
        if str(name) != str(name).encode(errors='replace').decode():  # half a character of UTF-16
            raise DataError(f'{where}: name {number} is {quoted(name)}, which is no text', 'write it anew')
    if content.get('nc', len(names)) != len(names):
        known = counted(len(names), 'class', 'classes')
        raise DataError(
            f'{where}: nc is {quoted(content["nc"])}, but names lists {known}', 'correct nc or leave it out'
        )
    names = tuple(map(str, names))
    _warn_of_twins(names, where)
    return names


def _warn_of_twins(names: Sequence[str], where: str) -> None:
    first: dict[str, int] = {}
    twins = [(number, first[name]) for number, name in enumerate(names) if first.setdefault(name, number) != number]
    if twins:
        number, before = twins[0]
        more = f', and {len(twins) - 1} more' if len(twins) > 1 else ''
        name = printable(names[number], 40)
        LOGGER.warning(f'WARNING: {where}: classes {before} and {number} are both called "{name}"{more}')


def _compare_classes_txt(names: Sequence[str], paths: Iterable[Path], where: str) -> None:
    """Warn where a labelling tool's classes.txt, beside the labels, has other names than the YAML."""
    from utils.data.find import img2label_paths  # loads OpenCV

    folders = {Path(img2label_paths([path / 'x.jpg'])[0]).parent for path in paths if path.is_dir()}
    for file in sorted({place / 'classes.txt' for folder in folders for place in (folder, folder.parent)}):
        if not file.is_file():
            continue
        try:
            theirs = [line.strip() for line in read_text(file).strip().splitlines()]
        except UserError as error:
            LOGGER.warning(f'WARNING: {error}')
            continue
        pairs = zip_longest(names, theirs, fillvalue='')
        other = next(((i, a, b) for i, (a, b) in enumerate(pairs) if not same_name(a, b)), None)
        if other:
            a, b = (f'"{printable(name, 40)}"' if name else 'missing' for name in other[1:])
            LOGGER.warning(f'WARNING: {file} and {where}: class {other[0]} is {b} in the one and {a} in the other')


# Where it lies --------------------------------------------------------------------------------------------------------


class _Split(NamedTuple):
    """Where a split was found: under which base; its folders, list files and globs; entries by what they were taken as.

    The last only where they are not as written.
    """

    base: Path
    paths: tuple[Path, ...]
    readings: dict[str, str]


def _bases(content: Mapping[str, Any], file: Path | None) -> list[Path]:
    """The folders under which the splits may lie, first choice first."""
    path = _path(content.get('path') or '.')
    # normpath takes out the '..'; with an absolute path all of these are one.
    return list(dict.fromkeys(Path(os.path.normpath(start / path)) for start in [*_beside(file), Path.cwd(), ROOT]))


def _beside(file: Path | None) -> list[Path]:
    # A linked YAML is in two places; its data may be beside either.
    return [] if file is None else [file.absolute().parent, file.resolve().parent]


def _path(text: str | Path) -> Path:
    return Path(os.path.expanduser(text))  # Path.expanduser fails for a user that isn't there


def _entries(value: Any) -> list[str]:
    return [str(entry) for entry in ([value] if isinstance(value, (str, Path)) else value or ())]


def _find(value: Any, bases: list[Path], file: Path | None) -> _Split | None:
    """The first base under which all of a split's entries exist, in the first of their readings that is there."""
    entries = _entries(value)
    for reading, places in _readings(entries, bases, file):
        for base in places:
            paths = tuple(Path(os.path.normpath(base / _path(entry))) for entry in reading)
            if paths and all(map(_exists, paths)):
                return _Split(base, paths, {} if reading is entries else dict(zip(entries, map(str, paths))))
    return None


def _readings(entries: list[str], bases: list[Path], file: Path | None) -> Iterator[tuple[list[str], list[Path]]]:
    """What a split's entries may mean, and under which bases: as they are; tidied up; beside the YAML.

    Tidied up are blanks around an entry and Windows backslashes in it. Roboflow's YAMLs say ../train/images, or
    NAME/train/images where the YAML is in the folder NAME, for the folder train/images beside themselves.
    """
    yield entries, bases
    tidy = [entry.strip().replace('\\', '/') for entry in entries]
    if tidy != entries:
        yield tidy, bases
    if file is not None:
        yield [_without_first(entry, file.absolute().parent.name) for entry in tidy], _beside(file)


def _without_first(entry: str, name: str) -> str:
    """A relative path without the '..' that it begins with, or without the folder `name`."""
    parts = Path(entry).parts
    if parts[:1] == ('..',):
        return '/'.join(part for part in parts if part != '..') or entry
    return '/'.join(parts[1:]) if len(parts) > 1 and parts[0] == name else entry


def _exists(path: Path) -> bool:
    try:
        return path.exists() or (glob.has_magic(str(path)) and bool(glob_below(str(path))))
    except (OSError, ValueError):  # too long a name, a NUL in it
        return False


def _log_readings(found: Mapping[str, _Split | None], where: str) -> None:
    readings = {a: b for split in found.values() if split for a, b in split.readings.items()}
    if readings:
        shown = printable(', '.join(f'{a!r} as {b!r}' for a, b in readings.items()), 300)
        LOGGER.info(f'{where}: not there as written, so taken as what is there: {shown}')


def _nowhere(split: str, content: Mapping[str, Any], bases: list[Path], where: str) -> DataError:
    """The error of a split that is under none of the bases."""
    tried = [Path(os.path.normpath(base / _path(entry))) for entry in _entries(content[split]) for base in bases]
    absent = [str(path) for path in dict.fromkeys(tried) if not _exists(path)]
    message = f'{where}: its {split} pictures are missing; looked for {shortened(", ".join(absent), 1000)}'
    download, urls = content.get('download'), content.get('urls')
    if download in FETCHERS:
        return DataError(message, f'let train.py or val.py make it, or put the data set into {bases[0]}')
    if urls and isinstance(urls, list):
        return DataError(message, f'get the data set from {printable(urls[0], 200)} and put it into {bases[0]}')
    if isinstance(download, str) and download.startswith(('http://', 'https://')):
        return DataError(message, f'get {printable(download, 200)} and unpack it into {bases[0]}')
    if download:
        return DataError(message, f'its download script is not run: do that by hand, or put the data into {bases[0]}')
    return DataError(message, 'correct path and the splits in the YAML')
