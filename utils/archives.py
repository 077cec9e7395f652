"""Unpack zip and tar archives: every file inside the chosen folder, all of them or none."""

from __future__ import annotations

import bz2
import copy
import lzma
import os
import shlex
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

from utils.errors import DataError, ResourceError, UserError

MAX_INFLATION = 200  # contents to archive; label files reach about 10
_UNTAR = 'mkdir {folder} && tar -xf {file} -C {folder}'
_UNPACK = dict.fromkeys(('.tar', '.tgz', '.gz', '.bz2', '.xz'), _UNTAR)
_UNPACK |= {'.zip': 'unzip {file} -d {folder}', '.rar': 'unrar x {file} {folder}/', '.7z': '7z x {file} -o{folder}'}
MAX_ATTRIBUTES = 1 << 20  # bytes of a tar entry that says something about another one, such as a long name
MAX_PADDING = 64 << 20  # bytes behind the last file of a tar archive
_ABOUT_OTHERS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
JUNK = ('.DS_Store', '__MACOSX')

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


class _TarInfo(tarfile.TarInfo):
    """An entry; the module reads those that hold a long name or other attributes whole, whatever size they claim."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _ABOUT_OTHERS and self.size > MAX_ATTRIBUTES:
            raise tarfile.ReadError(f'an entry of {self.size} bytes about another')
        return super()._proc_member(archive)


class _Member(NamedTuple):
    name: str
    size: int  # bytes
    kind: str  # 'file', 'folder' or what else it is
    open: Callable[[], IO[bytes]]
    step: int = 1 << 20  # bytes to read at a time


def unzip(file: str | Path, path: str | Path | None = None, exclude: Iterable[str] = JUNK) -> Path:
    """Unpack a zip archive into a folder (its own one when not given), without entries whose path has an excluded name.

    Existing files of the same names are replaced; entries are checked before anything is written, and appear in the
    folder only when all are unpacked.

    Returns:
        The folder.

    Raises:
        DataError: missing, damaged, or with entries that lead outside the folder, links, or absurd sizes.
        ResourceError: the disk has no room for it.
    """
    with _named_errors(file), zipfile.ZipFile(file) as archive:
        return _unpack(Path(file), path, exclude, _zip_members(archive))


def untar(file: str | Path, path: str | Path | None = None, exclude: Iterable[str] = JUNK) -> Path:
    """Unpack a tar archive, compressed or not; otherwise like `unzip`."""
    with _named_errors(file), tarfile.open(file, tarinfo=_TarInfo) as archive:
        return _unpack(Path(file), path, exclude, _tar_members(archive))


def unpack_command(file: str | Path) -> str:
    """The command that unpacks an archive, judged by its name, into a folder of its own; '' for anything else."""
    stem, suffix = os.path.splitext(file)
    folder = shlex.quote(stem.removesuffix('.tar'))
    return _UNPACK.get(suffix.lower(), '').format(file=shlex.quote(os.fspath(file)), folder=folder)


def is_archive(file: str | Path) -> bool:
    """Whether a file is a zip or tar archive, judged by its content."""
    if not Path(file).is_file():
        return False
    if zipfile.is_zipfile(file):
        return True
    try:
        with tarfile.open(file, tarinfo=_TarInfo):
            return True
    except tarfile.TarError:
        return False


def unpack(file: str | Path, path: str | Path | None = None, exclude: Iterable[str] = JUNK) -> Path:
    """`unzip` or `untar`, whichever fits the file's content."""
    return (unzip if zipfile.is_zipfile(file) else untar)(file, path, exclude)


@contextmanager
def _named_errors(file: str | Path) -> Iterator[None]:
    """Turn what the archive modules raise into one error that names the archive."""
    if not Path(file).is_file():
        raise DataError(f'{file}: no such archive', 'check the path')
    try:
        yield
    except UserError:
        raise
    except (*_DAMAGED, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno:  # a full disk, or entries that want one name for two things
            raise ResourceError(f'{file}: could not be unpacked ({problem.strerror})') from problem
        what = str(problem) or type(problem).__name__
        raise DataError(f'{file}: damaged or no archive ({what[:100]})', 'download it again') from problem


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        kind = 'link' if stat.S_ISLNK(mode) else 'folder' if info.is_dir() else 'file'
        source = _open_bzip2 if info.compress_type == zipfile.ZIP_BZIP2 else zipfile.ZipFile.open
        # zipfile unpacks all of a step of an LZMA stream at once, 7,000 times as much at the worst.
        step = 1 << 12 if info.compress_type == zipfile.ZIP_LZMA else 1 << 20
        yield _Member(info.filename, info.file_size, kind, partial(source, archive, info), step)


def _open_bzip2(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A file of a zip archive; zipfile would unpack all of a step at once, a million times as much at the worst.

    Whether it has the size that it claims is left to the reader; blocks of bzip2 have checksums of their own.
    """
    packed = copy.copy(info)
    packed.compress_type, packed.file_size, packed.CRC = zipfile.ZIP_STORED, info.compress_size, None
    return bz2.BZ2File(archive.open(packed))


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        kind = 'file' if info.isfile() else 'folder' if info.isdir() else 'link or device'
        yield _Member(info.name, info.size, kind, partial(archive.extractfile, info))
    size = 0
    while piece := archive.fileobj.read(1 << 20):  # to the very end, where the compressed stream's checksum is
        size += len(piece)
        if size > MAX_PADDING:
            raise tarfile.ReadError(f'over {MAX_PADDING >> 20} MB behind its last file')


def _unpack(file: Path, path: str | Path | None, exclude: Iterable[str], members: Iterable[_Member]) -> Path:
    folder = Path(path) if path else file.parent
    folder.mkdir(parents=True, exist_ok=True)
    wanted = _checked(file, folder, set(exclude), members)
    staging = Path(tempfile.mkdtemp(prefix='.unpack-', dir=folder))
    try:
        for parts, member in tqdm(wanted, f'{file.name}: unpacking', unit=' files', disable=None, leave=False):
            target = staging.joinpath(*parts)
            (target if member.kind == 'folder' else target.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == 'file':
                with member.open() as source, open(target, 'wb') as f:
                    _copy(source, f, member)
        _move_contents(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _copy(source: IO[bytes], target: IO[bytes], member: _Member) -> None:
    left = member.size
    while left >= 0 and (piece := source.read(min(member.step, left + 1))):
        left -= len(piece)
        target.write(piece)
    if left:
        raise ValueError(f'{member.name[:40]} is not of the size it claims')


def _checked(
    file: Path, folder: Path, exclude: set[str], members: Iterable[_Member]
) -> list[tuple[tuple[str, ...], _Member]]:
    """The members to unpack with the parts of their paths; raises before anything is written."""
    wanted, total = [], 0
    limit, free = MAX_INFLATION * file.stat().st_size + (1 << 20), shutil.disk_usage(folder).free
    trust = 'get the archive from a source you trust'
    for member in members:
        parts = PurePosixPath(member.name.replace('\\', '/')).parts
        if member.name[:1] in '/\\' or '..' in parts or '\0' in member.name or ':' in ''.join(parts[:1]):
            raise DataError(f'{file}: refused, {member.name[:100]!r} would be written outside {folder}', trust)
        if member.kind not in ('file', 'folder'):
            raise DataError(f'{file}: refused, {member.name[:100]!r} is a {member.kind}', trust)
        total += member.size
        if total > limit:
            raise DataError(f'{file}: refused, claims contents {MAX_INFLATION} times larger than itself', trust)
        if total > free:
            raise ResourceError(f'{folder}: no room to unpack {file} ({free / 1e9:.1f} GB free)', 'free some space')
        if parts and not exclude.intersection(parts):
            wanted.append((parts, member))
    return wanted


def _move_contents(source: Path, target: Path) -> None:
    """Move all files below `source` to the same places below `target`, a rename each."""
    for folder, _, names in os.walk(source):
        to = target / os.path.relpath(folder, source)
        to.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.replace(os.path.join(folder, name), to / name)
