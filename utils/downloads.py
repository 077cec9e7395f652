"""Downloads that the user asked for: official weights, files given by their address, data set archives.

A file appears under its name only when it is complete; a broken transfer is resumed where it stopped.
"""

from __future__ import annotations

import http.client
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import IO

from tqdm import tqdm

from utils.archives import is_archive, unpack
from utils.errors import DataError, ResourceError, UsageError, UserError, WeightsError
from utils.log import LOGGER
from utils.paths import ROOT, atomic_write, find_file

OFFICIAL = tuple(f'yolov5{size}{six}.pt' for six in ('', '6') for size in 'nsmlx')
MIRRORS_VARIABLE = 'YOLOV5_DOWNLOADS'  # environment variable: what to ask in place of official addresses
_CHUNK = 1 << 17
_SLOWEST = 1000  # bytes a second over the time limit; a slower server counts as dead


def is_url(url: str | Path, check: bool = False) -> bool:
    """Whether this is an http(s) address; with `check` it must also answer."""
    parts = _split(url)
    if parts.scheme.lower() not in ('http', 'https') or not parts.netloc:
        return False
    if not check:
        return True
    try:
        with urllib.request.urlopen(_request(str(url)), timeout=10) as response:
            return response.status == 200
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _split(url: str | Path) -> urllib.parse.SplitResult:
    """The parts of an address; what only begins like one, such as http://[, is all path."""
    try:
        return urllib.parse.urlsplit(str(url))
    except ValueError:
        return urllib.parse.SplitResult('', '', str(url), '', '')


def url2file(url: str) -> str:
    """The file name in an address: https://host/a/b%20c.jpg?token=x -> 'b c.jpg'."""
    name = Path(urllib.parse.unquote(_split(url).path).replace('\0', '')).name
    return name if name not in ('', '.', '..') else 'download'


def mirrored(url: str) -> str:
    """Where to ask for what is officially at `url`: there, or at the mirror that YOLOV5_DOWNLOADS names for it.

    That environment variable is words of the form beginning=replacement, of which the first that fits counts; an
    address alone takes the place of https://github.com.
    """
    for word in os.environ.get(MIRRORS_VARIABLE, '').split():
        beginning, equals, replacement = word.partition('=')
        if not equals:
            beginning, replacement = 'https://github.com/', word.rstrip('/') + '/'
        if url.startswith(beginning):
            return replacement + url.removeprefix(beginning)
    return url


def attempt_download(file: str | Path, repo: str = 'ultralytics/yolov5', release: str = 'v6.2', host: str = '') -> Path:
    """The weights file that `file` means, downloaded first if it is an address or a missing official release.

    Args:
        file: a path, an http(s) address, or an official name in any folder (weights/yolov5s.pt). Where there is
            no best.pt or best, best.safetensors will do; a bare name is also looked for in the project's root.
        repo, release: where official weights are, on GitHub.
        host: another server with the same paths; by default GitHub or its mirror, see `mirrored`.

    Raises:
        WeightsError: neither there nor official.
        ResourceError: the download failed; the message has the address and where to put the file.
    """
    name = str(file).strip().strip('\'"')
    if is_url(name):
        return check_file(name, error=WeightsError)
    if not name:
        raise WeightsError('--weights: none given', f'give a checkpoint, or one of {", ".join(OFFICIAL)}')
    path = Path(name).expanduser()
    for candidate in _candidates(path):
        if candidate.is_file():
            if candidate.suffix != path.suffix:
                LOGGER.info(f'{name}: taking {candidate}')
            return candidate
    if path.is_dir():
        raise WeightsError(f'{name}: is a folder', 'give the weights file inside it')
    if path.name in OFFICIAL:
        page = f'{repo}/releases/download/{release}/{path.name}'
        url = f'{host.rstrip("/")}/{page}' if host else mirrored(f'https://github.com/{page}')
        LOGGER.info(f'{name} is not here: downloading {url}')
        return safe_download(path, url, min_bytes=1e5, check=_no_weights)
    known = ', '.join(OFFICIAL)
    raise WeightsError(f'{name}: no such weights file', f'give a checkpoint or one that can be downloaded: {known}')


def _candidates(path: Path) -> Iterator[Path]:
    """Where weights may be: as given or in the root; without a suffix, or with ours for .pt (best.pt is a habit)."""
    suffixes = {'': ('', '.safetensors', '.pt'), '.pt': ('.pt', '.safetensors')}.get(path.suffix, (path.suffix,))
    for folder in (Path(), ROOT):
        yield from (folder / f'{str(path).removesuffix(path.suffix)}{suffix}' for suffix in suffixes)


def check_file(file: str | Path, suffix: str = '', error: type[UserError] = DataError) -> Path:
    """The file that `file` means: a path, a bare name in the project's root, or an address.

    An address is downloaded into the working directory, once: a file of its name that is there is taken.

    Args:
        suffix: one that the name must have, such as '.yaml'.
    """
    address = is_url(file)
    name = url2file(str(file)) if address else str(file)
    if suffix and not name.lower().endswith(suffix):
        raise UsageError(f'{file}: not a {suffix} file')
    if not address:
        return find_file(file, (ROOT,), error)
    if Path(name).is_file():
        LOGGER.info(f'{file}: taking {name}, which is already here')
        return Path(name)
    return safe_download(name, str(file))


def safe_download(
    file: str | Path,
    url: str,
    url2: str | None = None,
    min_bytes: float = 1,
    error_msg: str = '',
    timeout: float = 30,
    retries: int = 3,
    check: Callable[[IO[bytes]], str] | None = None,
    resume: bool = False,
    max_bytes: float = math.inf,
) -> Path:
    """Download to `file`, whole or not at all, with a progress bar.

    Args:
        url, url2: the address, and another one to try after it.
        min_bytes: a smaller file is an error page, not the file.
        error_msg: what to do when it fails; by default to download it by hand.
        timeout: seconds without an answer, or with fewer than 1,000 bytes a second, after which the server is dead.
        retries: how often a broken transfer is taken up again.
        check: given the complete temporary file, says what is wrong with its content, or ''.
        resume: keep what came of a failed or killed transfer as <file>.part, and go on from there at the next call.
            One caller at a time.
        max_bytes: a larger file is not taken.

    Raises:
        ResourceError: no network, a server's error, a wrong or too large file, a full disk.
    """
    file, problems = Path(file), []
    for address in filter(None, (url, url2)):
        try:
            with _resumable(file, address) if resume else _fresh(file) as partial:
                _fetch(address, partial, timeout, retries, max_bytes, file.name)
                size = partial.file.seek(0, os.SEEK_END)
                fault = f'only {size} bytes' if size < min_bytes else check(partial.file) if check else ''
                if fault:
                    partial.file.truncate(0)  # not to be gone on with
                    raise _NetworkError(fault)
            return file
        except _NetworkError as problem:
            problems.append(f'{address} ({problem})')
        except OSError as problem:
            raise ResourceError(f'{file}: could not be written ({problem.strerror})', 'free some space') from problem
    mend = error_msg or f'check the network, or download it by hand and put it at {file.absolute()}'
    raise ResourceError(f'{file}: could not be downloaded from {" or ".join(problems)}', mend)


def download(
    url: str | Path | Iterable[str | Path],
    dir: str | Path = '.',
    unzip: bool = True,
    delete: bool = True,
    threads: int = 1,
    retry: int = 3,
) -> list[Path]:
    """Download one or several files into a folder and unpack the archives among them.

    Args:
        url: addresses; a path of a file that is there is taken as it is.
        unzip: unpack zip and tar archives into `dir`.
        delete: remove a downloaded archive once it is unpacked.
        threads: downloads at the same time.
        retry: how often a broken transfer is taken up again.

    Returns:
        The files, in order; those of deleted archives are gone.
    """
    folder = Path(dir)

    def get(address: str | Path) -> Path:
        if not is_url(address):
            file, fetched = check_file(address), False
        else:
            file, fetched = folder / url2file(str(address)), True
            if not file.exists():
                safe_download(file, str(address), retries=retry)
        if unzip and is_archive(file):
            LOGGER.info(f'Unpacking {file}')
            unpack(file, folder)
            if delete and fetched:
                file.unlink()
        return file

    urls = [url] if isinstance(url, (str, Path)) else list(url)
    with ThreadPool(max(1, min(threads, len(urls)))) as pool:
        return pool.map(get, urls)


class _NetworkError(Exception):
    """The transfer failed; `again` tells whether another try may help."""

    def __init__(self, message: str, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


@dataclass
class _Partial:
    """The beginning of a file.

    Attributes:
        file: open for reading and writing, at its end.
        validator: what names the version that it is the beginning of; '' if nothing does.
        note: where to write address and validator down, for other processes.
    """

    file: IO[bytes]
    validator: str = ''
    note: Path | None = None

    def belongs_to(self, url: str, validator: str) -> None:
        self.validator = validator
        if self.note:
            self.note.write_text(f'{url}\n{validator}')


@contextmanager
def _fresh(file: Path) -> Iterator[_Partial]:
    """An empty file that becomes `file` if the block ends well, and vanishes otherwise."""
    with atomic_write(file, 'w+b') as f:
        yield _Partial(f)


@contextmanager
def _resumable(file: Path, url: str) -> Iterator[_Partial]:
    """What an earlier call got of `file` from this address; becomes `file` if the block ends well, else is kept."""
    part, note = file.with_name(f'{file.name}.part'), file.with_name(f'{file.name}.part.from')
    file.parent.mkdir(parents=True, exist_ok=True)
    noted = note.read_text() if part.is_file() and note.is_file() else ''
    validator = noted.removeprefix(f'{url}\n') if noted.startswith(f'{url}\n') else ''
    try:
        with open(part, 'r+b' if validator else 'w+b') as f:
            # Less the last byte: of a whole file there must be something left to ask for.
            f.truncate(max(0, f.seek(0, os.SEEK_END) - 1))
            f.seek(0, os.SEEK_END)
            yield _Partial(f, validator, note)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, file)
    finally:
        if not part.is_file() or not part.stat().st_size:
            part.unlink(missing_ok=True)
            note.unlink(missing_ok=True)


def _no_weights(f: IO[bytes]) -> str:
    return '' if zipfile.is_zipfile(f) else 'what came is no weights file'


def _request(url: str, headers: dict[str, str] | None = None) -> urllib.request.Request:
    quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # addresses pasted with spaces in them
    return urllib.request.Request(quoted, headers={'User-Agent': 'yolov5-oneflow', **(headers or {})})


def _fetch(url: str, partial: _Partial, timeout: float, retries: int, max_bytes: float, name: str) -> None:
    """Transfer the rest of `url`, taking a broken transfer up again where it stopped."""
    with tqdm(desc=name, unit='B', unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:
        for left in range(retries, -1, -1):
            try:
                response = _open(url, partial, timeout)
                with response:
                    partial.belongs_to(url, _validator(response))
                    _receive(response, partial.file, timeout, max_bytes, bar)
                return
            except _NetworkError as problem:
                if not (left and problem.again):
                    raise
                time.sleep(0.2 * (retries - left + 1))


def _open(url: str, partial: _Partial, timeout: float) -> http.client.HTTPResponse:
    """Ask for the rest of the file, and put `partial.file` at the place that the answer starts from."""
    start = partial.file.tell() if partial.validator else 0
    headers = {'Range': f'bytes={start}-', 'If-Range': partial.validator} if start else {}
    try:
        response = urllib.request.urlopen(_request(url, headers), timeout=timeout)
    except urllib.error.HTTPError as problem:
        raise _NetworkError(
            f'HTTP {problem.code} {problem.reason}', problem.code in (408, 429, 500, 502, 503, 504)
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        reason = getattr(problem, 'reason', None) or problem
        raise _NetworkError(f'{reason}' or type(problem).__name__) from None
    resumed = response.status == 206 and response.headers.get('Content-Range', '').startswith(f'bytes {start}-')
    partial.file.seek(start if resumed else 0)
    partial.file.truncate()
    return response


def _validator(response: http.client.HTTPResponse) -> str:
    """What names this very version of the file, so that two versions are never joined; '' when nothing does."""
    tag = response.headers.get('ETag', '')
    return tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified', '')


def _receive(response: http.client.HTTPResponse, f: IO[bytes], timeout: float, max_bytes: float, bar: tqdm) -> None:
    """Append the body to `f` and check that all of it came."""
    length = response.headers.get('Content-Length', '')
    total = f.tell() + int(length) if length.isdecimal() else None
    too_large = _NetworkError(f'more than the {max_bytes / 1e6:.0f} MB allowed')
    if total is not None and total > max_bytes:
        raise too_large
    disk = os.fstatvfs(f.fileno())
    if total is not None and total - f.tell() > (free := disk.f_bavail * disk.f_frsize):
        raise ResourceError(f'{response.url}: {total / 1e6:.0f} MB, but the disk has {free / 1e6:.0f} MB free')
    bar.total, bar.n = total, f.tell()
    since, received = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise _NetworkError(f'the transfer broke off: {problem or type(problem).__name__}', again=True) from None
        if not chunk:
            break
        if f.tell() + len(chunk) > max_bytes:
            raise too_large
        f.write(chunk)
        bar.update(len(chunk))
        received += len(chunk)
        if (waited := time.monotonic() - since) > timeout:
            if received < _SLOWEST * waited:
                raise _NetworkError('the server sends next to nothing')
            since, received = time.monotonic(), 0
    if total is not None and f.tell() != total:
        raise _NetworkError(f'the transfer broke off after {f.tell()} of {total} bytes', again=True)
