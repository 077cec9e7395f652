"""A data set from its archives: downloaded, unpacked and converted beside its place, then moved there, whole.

While datasets/coco is in the making, everything is in datasets/coco.download:

    <archive>            put there by hand; taken instead of a download, and left there
    fetched/<archive>    downloaded; deleted once it is unpacked
    tree/                the data set so far
    unpacked.txt         the archives that are in the tree

A run that fails or is stopped leaves this behind, and the next one goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from utils.archives import unpack
from utils.downloads import mirrored, safe_download, url2file
from utils.errors import DataError, ResourceError
from utils.log import LOGGER
from utils.paths import DATA_DIRS, locked, read_yaml
from utils.terminal import counted


@dataclass(frozen=True)
class Part:
    """A file to download: an archive, or a .json file to keep.

    Attributes:
        url: its official address.
        gigabytes: its size, about; unpacked it is no larger, as pictures are packed already.
        into: where its content belongs in the tree.
    """

    url: str
    gigabytes: float
    into: str = '.'

    @property
    def file(self) -> Path:
        """Its place among the archives; some of one data set have the same name."""
        return Path(self.into, url2file(self.url))


@dataclass(frozen=True)
class Recipe:
    """How a data set is made.

    Attributes:
        name: of its YAML in data/, without suffix.
        parts: the files it is made of.
        finish: brings the unpacked tree into the YAML's shape; it may be stopped at any point and is then run again.
        root: the folder in the tree that is the data set.
        site: where people find the files.
        login: whether only with an account there, so that we can't download them.
    """

    name: str
    parts: Sequence[Part]
    finish: Callable[[Path], None] | None = None
    root: str = '.'
    site: str = ''
    login: bool = False


def build(recipe: Recipe, folder: Path) -> None:
    """Make a data set's folder; nothing is done if it is there. Processes that ask at the same time wait for the first.

    Raises:
        DataError: something else is in the folder; an archive is damaged, or has not what it should have.
        ResourceError: a download failed, or the disk is too small.
    """
    folder = folder.resolve()  # a link to another disk: work there
    work = _Work(recipe, folder)
    if not folder.exists():
        work.require_what_needs_a_login()
    with locked(work.place):
        try:
            if not _is_there(recipe.name, folder):
                work.check_disk()
                for part in work.pending():
                    work.add(part)
                work.finish()
        finally:
            work.tidy()


class _Work:
    """The folder in which a data set is made."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.place = folder.with_name(f'{folder.name}.download')
        self.fetched, self.tree, self.unpacked = (self.place / name for name in ('fetched', 'tree', 'unpacked.txt'))

    def pending(self) -> list[Part]:
        """The parts that are not in the tree yet."""
        done = self.unpacked.read_text().splitlines() if self.unpacked.is_file() and self.tree.is_dir() else []
        return [part for part in self.recipe.parts if part.file.as_posix() not in done]

    def archive(self, part: Part) -> Path | None:
        """The part's file, if it is here."""
        return next((at / part.file for at in (self.place, self.fetched) if (at / part.file).is_file()), None)

    def require_what_needs_a_login(self) -> None:
        absent = [part for part in self.pending() if self.recipe.login and not self.archive(part)]
        if absent:
            files = ', '.join(f'{part.file} ({part.gigabytes:g} GB)' for part in absent)
            raise DataError(
                f'{self.recipe.name}: downloading it takes an account',
                f'get {files} from {self.recipe.site} and put them into {self.place}; the rest is done for you',
            )

    def check_disk(self) -> None:
        """Say what is going to happen, and refuse if the disk can't hold it."""
        name, pending = self.recipe.name, self.pending()
        sizes = [part.gigabytes for part in pending if not self.archive(part)]
        needed = sum(part.gigabytes for part in pending) + max(sizes, default=0)  # all unpacked, and one archive
        free = shutil.disk_usage(self.place).free / 1e9
        LOGGER.info(
            f'{name}: about {sum(sizes):.3g} GB to download in {counted(len(sizes), "file")}, and '
            f'{needed:.3g} GB of disk needed; {free:.3g} GB are free in {self.place.parent}'
        )
        if needed > free:
            raise ResourceError(
                f'{self.place.parent}: {name} needs {needed:.3g} GB, but only {free:.3g} GB are free',
                f'free some space, or use a copy of data/{name}.yaml with another path',
            )

    def add(self, part: Part) -> None:
        """Download and unpack a part."""
        number, target = self.recipe.parts.index(part) + 1, self.tree / part.into
        LOGGER.info(f'{self.recipe.name}: file {number} of {len(self.recipe.parts)}, {part.file.name}')
        archive = self.archive(part) or self._download(part)
        target.mkdir(parents=True, exist_ok=True)
        for leftover in target.glob('.unpack-*'):  # of a run that was killed
            shutil.rmtree(leftover)
        try:
            if archive.suffix == '.json':
                shutil.copyfile(archive, target / archive.name)
            else:
                unpack(archive, target)
        except DataError:
            self._remove(archive)  # no use to the next run
            raise
        with open(self.unpacked, 'a') as f:
            f.write(f'{part.file.as_posix()}\n')
        self._remove(archive)

    def _download(self, part: Part) -> Path:
        by_hand = f'get it by hand{f" from {self.recipe.site}" if self.recipe.site else ""}'
        mend = f'check the network and run this again, it goes on from there; or {by_hand} as {self.place / part.file}'
        return safe_download(self.fetched / part.file, mirrored(part.url), error_msg=mend, resume=True)

    def _remove(self, archive: Path) -> None:
        if archive.is_relative_to(self.fetched):
            archive.unlink()

    def finish(self) -> None:
        """Bring the tree into shape and move it to its place."""
        tree = self.tree / self.recipe.root
        if self.recipe.finish:
            self.recipe.finish(tree)
        missing = _missing(self.recipe.name, tree)
        if missing:
            raise DataError(
                f'{self.recipe.name}: there is no {missing} in what was unpacked',
                f'its archives have changed, put the data set into {self.folder} by hand; {self.place} can go',
            )
        tree.rename(self.folder)
        for path in (self.tree, self.fetched):
            shutil.rmtree(path, ignore_errors=True)
        self.unpacked.unlink()
        kept = f'; the archives in {self.place} are still there' if any(self.place.iterdir()) else ''
        LOGGER.info(f'{self.recipe.name}: complete in {self.folder}{kept}')

    def tidy(self) -> None:
        """Remove what holds no file."""
        folders = [self.place, self.fetched, *self.fetched.glob('**/*/')]
        for folder in reversed(folders):
            with suppress(OSError):  # there is something in it, or it isn't there
                folder.rmdir()


def move(source: Path, target: Path) -> None:
    """Rename a file or folder, unless a run before this one has done so."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


def _is_there(name: str, folder: Path) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    missing = _missing(name, folder)
    if missing:
        raise DataError(f'{folder}: is there, but without {missing}', 'complete it, or move it away to have it fetched')
    return True


def _missing(name: str, folder: Path) -> str:
    """The first split of the data set's YAML that has no pictures or no labels in a folder; '' if there is none."""
    from utils.data.find import img2label_paths, list_images  # loads OpenCV
    from utils.data.lists import read_list

    content = read_yaml(DATA_DIRS[0] / f'{name}.yaml')
    for split in ('train', 'val', 'test'):
        entries = content.get(split) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            source = folder / entry
            if not source.exists():
                return entry
            if source.is_file() and not (listed := read_list(source, beside_first=True)).found:
                return str(source.parent / listed.missing[0][1]) if listed.missing else entry
            images = list_images(source)
            labels = img2label_paths(images)
            if split != 'test' and not any(map(os.path.exists, labels)):
                return labels[0]
    return ''
