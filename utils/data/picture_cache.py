"""Decoded pictures kept in memory (--cache ram) or as .npy files (--cache disk)."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.cpu import cores
from utils.data.images import read_image
from utils.distributed import is_main
from utils.log import LOGGER
from utils.paths import LONGEST_NAME, atomic_write, fit_name

SPARE = 0.2  # of the free memory or disk is left to others
THREADS = 8  # at most
CHUNK = 64  # pictures decoded ahead
DECODING = 2  # to be raised when an image file gives other pixels than before


def fits(needed: int, free: int, what: str, place: str) -> bool:
    """Whether `needed` bytes fit, with some to spare; says on one line that they don't."""
    if needed <= free * (1 - SPARE):
        return True
    LOGGER.warning(
        f'--cache {what}: the pictures take {needed / 2**30:.1f} GiB and {place} has {free / 2**30:.1f} GiB free '
        f'({SPARE:.0%} to be left over), so they are not cached'
    )
    return False


def load_all(load: Callable[[int], np.ndarray], numbers: Sequence[int], title: str) -> Iterator[np.ndarray]:
    """Call `load` for each number in several threads, in order, never far ahead of the consumer."""
    bar = tqdm(total=len(numbers), desc=title, unit=' pictures', disable=None if is_main() else True)
    with bar, ThreadPoolExecutor(min(THREADS, cores())) as pool:
        for start in range(0, len(numbers), CHUNK):
            for result in pool.map(load, numbers[start : start + CHUNK]):
                bar.update()
                yield result


class DiskCache:
    """Decoded pictures of full size as .npy files, in a folder beside the pictures' own (`train` gets `train.npy`).

    Where that may not be written they go to the user's cache folder. A file's name holds a digest of the picture's
    path, size and modification time, so that a changed picture is decoded anew. Damaged files are replaced.
    """

    def __init__(self, images: Sequence[str]) -> None:
        self.images = list(images)
        folders = {os.path.dirname(image) for image in self.images}
        self.folders = {folder: _cache_folder(Path(folder)) for folder in folders}

    def fill(self, needed: int, title: str) -> bool:
        """Decode what is not there yet; False, and a line to the log, where `needed` bytes don't fit.

        Raises:
            DataError: a picture can't be decoded.
        """
        missing = [i for i, image in enumerate(self.images) if not self.file(image).is_file()]
        place = next(iter(self.folders.values()))
        place.mkdir(parents=True, exist_ok=True)
        needed = needed * len(missing) // max(len(self.images), 1)
        if not fits(needed, shutil.disk_usage(place).free, 'disk', str(place)):
            return False
        decoded = load_all(lambda i: read_image(self.images[i]), missing, title)
        for i, picture in zip(missing, decoded):
            self._write(self.file(self.images[i]), picture)
        return True

    def read(self, index: int) -> np.ndarray:
        """The picture, (h, w, 3) uint8 BGR."""
        image = self.images[index]
        file = self.file(image)
        try:
            picture = np.load(file, allow_pickle=False)
            if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
                return picture
        except (OSError, ValueError, EOFError):
            pass  # not there or damaged
        picture = read_image(image)
        self._write(file, picture)
        return picture

    def file(self, image: str) -> Path:
        try:
            found = os.stat(image)
            state = f'{found.st_size} {found.st_mtime_ns}'
        except OSError:
            state = ''  # the picture is gone: reading it will say so
        folder, name = os.path.split(image)
        text = f'{DECODING}\0{image}\0{state}'
        digest = hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:16]
        return self.folders[folder] / f'{fit_name(name, LONGEST_NAME - 21)}.{digest}.npy'

    @staticmethod
    def _write(file: Path, picture: np.ndarray) -> None:
        with atomic_write(file) as f:
            np.save(f, picture, allow_pickle=False)


def _cache_folder(folder: Path) -> Path:
    parent = folder.parent
    beside = folder.with_name(fit_name(f'{folder.name}.npy'))
    may_write = [p for p in (beside, parent) if p.is_dir()][:1]
    # Root may write everywhere, but a folder closed to its owner is not meant to be written.
    if may_write and os.access(may_write[0], os.W_OK) and may_write[0].stat().st_mode & stat.S_IWUSR:
        return beside
    user = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'yolov5-oneflow'
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]
    return user / f'{fit_name(folder.name, LONGEST_NAME - 15)}.{digest}.npy'
