"""Lists of files, a line each, and globs: what they name, and which lines name nothing.

Lists come from many programs. A line may be quoted, have Windows backslashes or be a glob, and is meant relative to the
working directory or to the list. File names may hold any byte, see `utils.text`.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from utils.errors import DataError
from utils.log import LOGGER
from utils.terminal import printable
from utils.text import read_text

LONGEST = 4096  # bytes of a path on Linux: a longer line is none
EXAMPLES = 3  # lines shown of those that name nothing


class Listed(NamedTuple):
    """What a list names.

    Attributes:
        found: files and folders that are there, in the order of the lines; those of a glob are sorted.
        missing: number, from 1, and text of each line that names nothing that is there.
    """

    found: list[str]
    missing: list[tuple[int, str]]

    def problem(self, file: str | Path) -> str:
        """What to say about the lines that name nothing; '' where there are none."""
        if not self.missing:
            return ''
        shown = '; '.join(f'line {number}: {printable(text, 200)}' for number, text in self.missing[:EXAMPLES])
        more = len(self.missing) - EXAMPLES
        count = f'{len(self.missing)} line{"s name" if len(self.missing) > 1 else " names"} nothing that is there'
        return f'{file}: {count} ({shown}{f"; and {more} more" if more > 0 else ""})'


def read_list(file: str | Path, beside_first: bool = False) -> Listed:
    """The files and folders that a list names; empty lines and comments, which begin with #, are skipped.

    Args:
        file: the list.
        beside_first: whether relative paths are meant from the list's folder and only then from the working directory,
            and those that begin with ./ or ../ from the list's folder alone (as data sets have it). Otherwise the
            working directory comes first.

    Raises:
        DataError: there is no such file, or it is not UTF-8 text.
        OSError: it can't be read.
    """
    found, missing = [], []
    for number, line in enumerate(_lines(file), 1):
        paths = _named_by(line, os.path.dirname(file), beside_first)
        text = line.strip()
        found += paths
        if not paths and text and not text.startswith('#'):
            missing.append((number, text))
    return Listed(found, missing)


def list_lines(file: str | Path) -> list[str]:
    """The lines of a list without quotes around them; empty lines and comments, which begin with #, are skipped.

    Raises: as `read_list`.
    """
    texts = (_unquoted(line.strip()) for line in _lines(file))
    return [text for text in texts if text and not text.startswith('#')]


def _lines(file: str | Path) -> list[str]:
    try:
        return re.split('\r\n|\n|\r', read_text(file, names=True))  # not splitlines: names may hold what it splits at
    except FileNotFoundError:
        raise DataError(f'{file}: no such file', 'check the path') from None


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'' else text


def _named_by(line: str, folder: str, beside_first: bool) -> list[str]:
    """What one line of a list in `folder` names: the first reading of it under which something is there."""
    text = _unquoted(line.strip())
    if not text or len(line) > LONGEST or '\0' in line:
        return []
    forms = dict.fromkeys(form for name in (line, text) for form in (name, name.replace('\\', '/')))
    names = [path for form in forms for path in _places(os.path.expanduser(form), folder, beside_first)]
    for name in names:
        if os.path.exists(name):
            return [name]
    return next((files for name in names if glob.has_magic(name) and (files := glob_files(name))), [])


def _places(name: str, folder: str, beside_first: bool) -> list[str]:
    beside = str(Path(folder, name))
    if beside_first and name.startswith(('./', '../')):
        return [beside]
    return [beside, name] if beside_first else [name, beside]


# Globs ----------------------------------------------------------------------------------------------------------------


def glob_files(pattern: str) -> list[str]:
    """The files that a glob matches, sorted: * ? [abc] within a name, ** for folders of any depth.

    Unlike Python's `glob`, square brackets in the name of something that is there are no pattern, and links that lead
    round in a circle come to an end: every real folder is looked into once. Hidden names match only what begins
    with a dot.
    """
    *folders, last = pattern.split('/')
    found, unreadable = ['/' if pattern.startswith('/') else ''], {}
    for part in filter(None, folders):
        step = _below if part == '**' else _matches
        found = _folders_once(path for folder in found for path in step(folder, part, unreadable))
    if last == '**':
        below = (path for folder in found for path in _below(folder, last, unreadable))
        found, last = _folders_once(below), '*'
    matching = {path for folder in found for path in _matches(folder, last, unreadable)}
    for folder, why in unreadable.items():
        LOGGER.warning(f'WARNING: {folder or "."}: {why}, so nothing in it is found')
    return sorted(filter(os.path.isfile, matching))


def glob_below(pattern: str) -> list[str]:
    """The files that a glob matches; where it matches none, those below the folders that it matches."""
    return glob_files(pattern) or glob_files(f'{pattern}/**')


def _matches(folder: str, part: str, unreadable: dict[str, str]) -> Iterable[str]:
    """What in a folder matches a part of a glob: as it is written, else as a pattern, else but for its brackets."""
    there = os.path.join(folder, part)
    if not re.search(r'[*?]', part) and (os.path.lexists(there) or '[' not in part):
        return [there]
    names = [name for name in _names(folder, unreadable) if part.startswith('.') or not name.startswith('.')]
    try:
        matching = fnmatch.filter(names, part)
    except re.error:  # [z-a]
        matching = []
    matching = matching or fnmatch.filter(names, part.replace('[', '[[]'))
    return [os.path.join(folder, name) for name in matching]


def _below(folder: str, part: str, unreadable: dict[str, str]) -> Iterator[str]:
    """A folder and what folders are below it, none of them hidden, the upper ones first: what ** matches."""
    seen, folders = {_identity(folder)}, [folder]
    for folder in folders:
        yield folder
        for name in _names(folder, unreadable):
            path = os.path.join(folder, name)
            if not name.startswith('.') and (identity := _identity(path)) and identity not in seen:
                seen.add(identity)
                folders.append(path)


def _names(folder: str, unreadable: dict[str, str]) -> list[str]:
    try:
        return sorted(os.listdir(folder or '.'))
    except OSError as error:
        unreadable[folder] = error.strerror
        return []


def _folders_once(paths: Iterable[str]) -> list[str]:
    """Those of the paths that are folders, the first of each one's names."""
    once: dict[tuple[int, int], str] = {}
    for path in paths:
        if identity := _identity(path):
            once.setdefault(identity, path)
    return list(once.values())


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a folder from others, whatever the links that lead to it; None for anything else."""
    try:
        found = os.stat(path or '.')
    except (OSError, ValueError):  # a NUL in it
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None
