"""Which images and videos a source names: files, folders, globs and lists."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.data.images import IMG_FORMATS
from utils.data.lists import glob_files, read_list
from utils.data.streams import is_stream
from utils.errors import DataError, UsageError
from utils.faults import Fault, Faults
from utils.log import LOGGER
from utils.terminal import counted, printable

VID_FORMATS = ('asf', 'avi', 'gif', 'm4v', 'mkv', 'mov', 'mp4', 'mpeg', 'mpg', 'ts', 'webm', 'wmv')
KNOWN = f'images are {" ".join(IMG_FORMATS)}; videos are {" ".join(VID_FORMATS)}'
KINDS = 5  # suffixes named of files that are left out

Source = str | bytes | os.PathLike | Sequence[str | bytes | os.PathLike]


@dataclass
class Media:
    """What a source names: paths of images and of videos, each once, and what it names in vain."""

    images: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)


def find_media(source: Source) -> Media:
    """The images and the videos of a source, in its order; those of a folder or glob by name.

    What of several sources, or lines of a list, names nothing is logged and among the faults.

    Raises:
        DataError: there is no image and no video, or a single source is not there.
        OSError: a single source can't be read.
        UsageError: it is a webcam or a stream.
    """
    sources = [os.fsdecode(one) for one in ([source] if isinstance(source, str | bytes | os.PathLike) else source)]
    media, files = Media(), []
    for one in sources:
        try:
            files += _expand(one, media.faults)
        except (DataError, OSError) as error:
            if len(sources) == 1:
                raise
            media.faults.add(one, error)
    once = dict.fromkeys(files)
    if len(once) < len(files):
        [(twice, _)] = Counter(files).most_common(1)
        LOGGER.warning(f'WARNING: {len(files) - len(once)} of {len(files)} files named again, such as {twice}')
    media.images = [file for file in once if _suffix(file) in IMG_FORMATS]
    media.videos = [file for file in once if _suffix(file) in VID_FORMATS]
    if not once:
        raise DataError(f'{", ".join(sources) or "source"}: no images or videos found', KNOWN)
    return media


def _expand(source: str, faults: Faults) -> list[str]:
    """The images and videos under one source."""
    path = str(Path(os.path.expanduser(source)))
    if os.path.isdir(path):
        paths = (os.path.join(path, name) for name in sorted(os.listdir(path)))
        return _media_of(path, _shown(path, [one for one in paths if not os.path.isdir(one)]))
    if os.path.isfile(path):
        if _suffix(path) == 'txt':
            return _listed(path, faults)
        if not is_media(path):
            raise DataError(f'{source}: no image or video by its suffix', KNOWN)
        return [path]
    if glob.has_magic(path):
        return _media_of(path, glob_files(path))
    if is_stream(source):
        raise UsageError(
            f'{source}: a webcam or a stream among files',
            'name streams alone, or in a .streams list',
        )
    if os.path.lexists(path):
        check_file_there(path)
    raise DataError(f'{source}: no such file or folder', 'check the path, and quote a glob')


def _listed(file: str, faults: Faults) -> list[str]:
    """The images and videos that a list names, those of its folders included."""
    listed = read_list(file)
    if listed.missing:
        LOGGER.warning(f'WARNING: {listed.problem(file)}')
        faults += [
            Fault(f'line {number} of {file}', f'{text}: nothing of that name') for number, text in listed.missing
        ]
    files = []
    for path in listed.found:
        files += _expand(path, faults) if os.path.isdir(path) else [path]
    return _media_of(file, _shown(file, files))


def _media_of(place: str, paths: Iterable[str]) -> list[str]:
    """The images and videos among what a folder, a glob or a list has; what it has besides is counted and said."""
    taken, others = [], []
    for path in paths:
        (taken if is_media(path) else others).append(path)
    if others:
        kinds = Counter(os.path.splitext(path)[1].lower() or 'without suffix' for path in others)
        named = ', '.join(f'{count} {printable(kind, 20)}' for kind, count in kinds.most_common(KINDS))
        more = ', ...' if len(kinds) > KINDS else ''
        count = counted(len(others), 'file')
        LOGGER.warning(f'WARNING: {place}: left out {count}, neither image nor video by suffix: {named}{more}')
    return taken


def _shown(place: str, paths: Sequence[str]) -> list[str]:
    """The paths without hidden files, such as a Mac's ._a.jpg; images and videos among those are counted and said."""
    hidden = [path for path in paths if os.path.basename(path).startswith('.')]
    if media := [path for path in hidden if is_media(path)]:
        count = counted(len(media), 'hidden file')
        LOGGER.warning(f'WARNING: {place}: left out {count}, for example {media[0]}')
    return [path for path in paths if not os.path.basename(path).startswith('.')]


def check_file_there(path: str) -> None:
    """See that there is a file to be read.

    Raises:
        DataError: there is nothing, or a folder, a device, a pipe.
    """
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise DataError(f'{path}: not a regular file', 'copy it to one')
        what = 'a link to nothing' if os.path.islink(path) else 'no such file'
        raise DataError(f'{path}: {what}', 'check the path')


def is_media(name: str) -> bool:
    """Whether a name's suffix is that of an image or a video."""
    return _suffix(name) in IMG_FORMATS + VID_FORMATS


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()
