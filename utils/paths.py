"""Where files are: the project's root, bare names, run folders, and writing without half-written files."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from utils.errors import ConfigError, UserError
from utils.terminal import CONTROLS
from utils.text import read_text
from utils.yaml_text import MAX_CHARACTERS, parse_yaml

ROOT = Path(__file__).resolve().parents[1]  # the folder of train.py
DATA_DIRS = (ROOT / 'data',)
HYP_DIRS = (ROOT / 'data' / 'hyps',)
LONGEST_NAME = 255  # bytes that Linux's file systems take
MODEL_DIRS = (ROOT / 'models', ROOT / 'models' / 'hub')


def find_file(
    name: str | Path, folders: Iterable[Path] = (ROOT,), error: type[UserError] = ConfigError, kind: str = 'file'
) -> Path:
    """The file that `name` means: as given (from the working directory), else by its bare name in `folders`.

    Raises:
        error: no such file; the message lists the places tried.
    """
    tried = [Path(name).expanduser(), *(folder / name for folder in folders)]
    for path in tried:
        if path.is_file():
            return path
    places = ', '.join(str(p) for p in dict.fromkeys(tried))
    raise error(f'{name}: no such {kind}', f'looked for {places}')


def read_yaml(path: str | Path, error: type[UserError] = ConfigError) -> Any:
    """A YAML file as plain data, see `utils.yaml_text`.

    Raises:
        error: the file is missing, is not UTF-8 or not YAML; the message names the line.
    """
    try:
        if os.path.getsize(path) > 4 * MAX_CHARACTERS:  # UTF-8 has up to four bytes a character
            raise error(f'{path}: {os.path.getsize(path) >> 20} MB, too large for a YAML', 'check the path')
        text = read_text(path, error)
    except FileNotFoundError:
        raise error(f'{path}: no such file', 'check the path') from None
    return parse_yaml(text, path, error)


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain data as YAML, keys in the order given, whole or not at all."""
    with atomic_write(path, 'w') as f:
        yaml.safe_dump(data, f, sort_keys=False, allow_unicode=True)


@contextmanager
def atomic_write(path: str | Path, mode: str = 'wb') -> Iterator[IO]:
    """Write a file so that at any moment the old one or the new one is there, whole.

    Yields a temporary file of the same folder; it is flushed to disk and renamed over `path` when the block ends
    without an error, and removed otherwise.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(fit_name(f'.{path.name}.{uuid.uuid4().hex[:12]}.tmp'))
    try:
        with open(temporary, mode.replace('w', 'x'), **({} if 'b' in mode else {'encoding': 'utf-8'})) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # the system's error for a full disk names no file
        raise


def sync_folder(path: str | Path) -> None:
    """Bring a folder's names to the disk: what was renamed in it is found under its new name after a power cut."""
    with suppress(PermissionError):  # a folder that may be written but not read
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems can't
                raise
        finally:
            os.close(handle)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Around the writing of a small result, such as a picture: when that fails, nothing is left of it.

    The error names the file; the system's own for a full disk does not.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        with suppress(OSError):
            os.unlink(path)
        raise


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write a small result, see `writing`."""
    with writing(path):
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder, whole or not at all: yields an empty one beside it, renamed to `path` when the block ends.

    A folder that is already at `path` is removed only then. Of several callers each waits for the one before it.
    """
    path = Path(path)
    partial = path.with_name(fit_name(f'.{path.name}.partial'))
    with locked(partial):
        try:
            for left in partial.iterdir():  # by a run that was killed
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            yield partial
            if path.exists():
                shutil.rmtree(path)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(path.parent)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Have a folder, made if it is missing, for one process at a time; the others wait for their turn."""
    while True:
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, FileExistsError) as error:
            if _is_no_folder(error.filename):
                raise
            continue  # who had the folder before has just removed it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(path, handle):
                yield
                return
        finally:
            os.close(handle)


def _is_no_folder(path: str) -> bool:
    """Whether something else is there, such as a file or a link to nothing."""
    with suppress(FileNotFoundError):
        return not stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _is_at(path: str | Path, handle: int) -> bool:
    """Whether an open folder is still the one at `path`: who had it before may have removed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def fit_name(name: str, limit: int = LONGEST_NAME) -> str:
    """A file's name in at most `limit` bytes: a longer one is cut before its suffix and gets a digest of the whole.

    So two long names stay two. What is cut are whole characters; `os.fsdecode` names of any bytes will do.

    'aaa...aaa.jpg' (260 bytes) -> 'aaa...aa~0f3c5e7a.jpg' (255 bytes)
    """
    data = os.fsencode(name)
    if len(data) <= limit:
        return name
    stem, suffix = os.path.splitext(name)
    tail = f'~{hashlib.sha256(data).hexdigest()[:8]}{suffix if len(os.fsencode(suffix)) <= 16 else ""}'
    while len(os.fsencode(stem + tail)) > limit:
        stem = stem[:-1]
    return stem + tail


def folder_name(name: str) -> str:
    """A text, such as a class name, as the name of a folder: without separators and controls, not hidden, not .., not
    too long.

    '../x/dog' -> '__x_dog'
    """
    halves = r'\ud800-\udc7f\udd00-\udfff'  # of characters: they can't be written
    safe = re.sub(f'[/\\\\:{CONTROLS}{halves}]|^\\.+', '_', name)
    return fit_name(safe) or '_'


class Distinct:
    """Gives each name back as one that it has not given before: bus.jpg, then bus_2.jpg, bus_3.jpg.

    Args:
        sep: what goes before the number.
    """

    def __init__(self, sep: str = '_') -> None:
        self.sep, self.given = sep, set()
        self._next: dict[tuple[str, str], Iterator[str]] = {}

    def __call__(self, name: str) -> str:
        if name in self.given:
            stem, suffix = os.path.splitext(name)
            numbered = (f'{stem}{self.sep}{n}{suffix}' for n in itertools.count(2))
            numbered = self._next.setdefault((stem, suffix), numbered)  # goes on where it stopped: all before is given
            name = next(name for name in numbered if name not in self.given)
        self.given.add(name)
        return name


def increment_path(path: str | Path, exist_ok: bool = False, sep: str = '', mkdir: bool = False) -> Path:
    """The first free of runs/exp, runs/exp2, runs/exp3, ...; `path` itself when `exist_ok`.

    A suffix of a file is kept: exp.txt, exp2.txt. With `mkdir` the folder is made, and is the caller's alone (unless
    `exist_ok`): of several processes at once each gets another one.
    """
    path = Path(path)
    stem, suffix = (path.with_suffix(''), path.suffix) if path.is_file() else (path, '')
    candidates = itertools.chain([path], (Path(f'{stem}{sep}{n}{suffix}') for n in itertools.count(2)))
    if not mkdir:
        return path if exist_ok else next(p for p in candidates if not p.exists())
    path.parent.mkdir(parents=True, exist_ok=True)
    if exist_ok:
        path.mkdir(exist_ok=True)
        return path
    return next(filter(_made_by_us, candidates))


def _made_by_us(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True)  # another process may just have removed the empty parents, see `run_folder`
    except FileExistsError:
        return False
    return True


@contextmanager
def run_folder(path: str | Path, exist_ok: bool = False) -> Iterator[Path]:
    """A run's own folder, made at once, see `increment_path`. If the block fails with nothing in it, it is removed.

    So are the folders above it that were made for it.
    """
    path = Path(path)
    made = list(itertools.takewhile(lambda folder: not folder.exists(), path.parents))
    ours = not (exist_ok and path.exists())
    folder = increment_path(path, exist_ok, mkdir=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # something is in it
            for empty in [folder, *made] if ours else []:
                empty.rmdir()
        raise
