"""Data set files: which splits there are, where they lie, what the classes are called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.data.fetch import FETCHERS
from utils.errors import DataError
from utils.log import LOGGER
from utils.paths import DATA_DIRS, ROOT, find_file, read_yaml

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class DataConfig:
    """A data set YAML, understood.

    Attributes:
        file: the YAML; None if a dict was given.
        path: the data set's folder, under which the splits were found.
        train, val, test: folders and list files of each split; empty if the YAML has none, or they don't exist and
            weren't needed.
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
    first of these under which a split exists, whole, wins.

    Args:
        data: a YAML file (bare names are found in data/), or its content as a dict.
        autodownload: whether to make or fetch a missing data set whose YAML names one of our functions.
        need: the splits that must be there; () to read just the names.

    Raises:
        DataError: no such YAML, no names, names that don't fit nc, a needed split that is nowhere.
    """
    file = None if isinstance(data, Mapping) else find_file(data, DATA_DIRS, DataError, 'data set YAML')
    content = dict(data) if file is None else read_yaml(file, DataError)
    where = str(file or 'data set')
    if not isinstance(content, dict):
        raise DataError(f'{where}: not a data set YAML', 'it needs at least train, val and names')
    for split in SPLITS:
        if not isinstance(content.get(split) or [], (str, Path, list, tuple)):
            raise DataError(f'{where}: {split} is {content[split]!r}', 'it has to be a folder, a list file or a list')
    names, bases = _names(content, where), _bases(content, file)
    for split in need:
        if not content.get(split):
            raise DataError(f'{where}: has no "{split}"', f'add {split}: a folder or list file of pictures')
    found = {split: _find(content.get(split), bases) for split in SPLITS}
    fetcher = FETCHERS.get(str(content.get('download')))
    if autodownload and fetcher and not all(found[split] for split in need):
        LOGGER.info(f'{where}: making {bases[0]}')
        fetcher(bases[0])
        found = {split: _find(content.get(split), bases) for split in SPLITS}
    for split in need:
        if not found[split]:
            raise _nowhere(split, content, bases, where)
    path = next((base for base, _ in filter(None, found.values())), bases[0])
    splits = {split: found[split][1] if found[split] else () for split in SPLITS}
    return DataConfig(file, path, **splits, names=names, nc=len(names), download=content.get('download'), raw=content)


check_dataset = load_data  # the reference's name for it


def _names(content: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = content.get('names')
    if not names or not isinstance(names, (list, tuple, dict)):
        raise DataError(f'{where}: has no "names"', 'add a list of class names')
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise DataError(f'{where}: names are numbered {", ".join(map(str, names))}', 'number them 0, 1, 2, ...')
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    for number, name in enumerate(names):
        if isinstance(name, (bool, list, dict)) or name is None:
            raise DataError(f'{where}: name {number} reads as {name!r} in YAML', 'put quotes around it')
    if content.get('nc', len(names)) != len(names):
        raise DataError(
            f'{where}: nc is {content["nc"]}, but there are {len(names)} names', 'correct nc or leave it out'
        )
    return tuple(map(str, names))


def _bases(content: Mapping[str, Any], file: Path | None) -> list[Path]:
    """The folders under which the splits may lie, first choice first."""
    path = Path(str(content.get('path') or '.')).expanduser()
    # A linked YAML is in two places; its data may be beside either.
    starts = [] if file is None else [file.absolute().parent, file.resolve().parent]
    starts += [Path.cwd(), ROOT]
    # normpath takes out the '..'; with an absolute path all of these are one.
    return list(dict.fromkeys(Path(os.path.normpath(start / path)) for start in starts))


def _entries(value: Any) -> list[Path]:
    entries = [value] if isinstance(value, (str, Path)) else list(value or ())
    return [Path(str(entry)).expanduser() for entry in entries]


def _find(value: Any, bases: list[Path]) -> tuple[Path, tuple[Path, ...]] | None:
    """The first base under which all of a split's entries exist, and their paths."""
    entries = _entries(value)
    for base in bases:
        paths = tuple(Path(os.path.normpath(base / entry)) for entry in entries)
        if paths and all(path.exists() for path in paths):
            return base, paths
    return None


def _nowhere(split: str, content: Mapping[str, Any], bases: list[Path], where: str) -> DataError:
    """The error of a split that is under none of the bases."""
    tried = [Path(os.path.normpath(base / entry)) for entry in _entries(content[split]) for base in bases]
    absent = [str(path) for path in dict.fromkeys(tried) if not path.exists()]
    message = f'{where}: its {split} pictures are missing; looked for {", ".join(absent)}'
    download, urls = content.get('download'), content.get('urls')
    if str(download) in FETCHERS:
        return DataError(message, f'let train.py or val.py make it, or put the data set into {bases[0]}')
    if urls:
        return DataError(message, f'get the data set from {urls[0]} and put it into {bases[0]}')
    if isinstance(download, str) and download.startswith(('http://', 'https://')):
        return DataError(message, f'get {download} and unpack it into {bases[0]}')
    if download:
        return DataError(message, f'its download script is not run: do that by hand, or put the data into {bases[0]}')
    return DataError(message, 'correct path and the splits in the YAML')
