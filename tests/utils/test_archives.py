"""Unpacking: nothing outside the folder, all or nothing."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from tests.fuzz import bounded
from utils.archives import is_archive, unpack, untar, unzip
from utils.errors import DataError, ResourceError

FILES = {'set/images/a.jpg': b'picture', 'set/labels/a.txt': b'0 .5 .5 .1 .1', 'readme': b''}


def make_zip(path: Path, files: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = ((stat.S_IFLNK if name in links else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], kinds: dict[str, bytes] | None = None, mode: str = 'w:gz') -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), (kinds or {}).get(name, tarfile.REGTYPE)
            info.linkname = '/etc/passwd'
            archive.addfile(info, io.BytesIO(data))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / 'sub' / 'out'


def test_zip_and_tar(tmp_path: Path, out: Path) -> None:
    assert unzip(make_zip(tmp_path / 'x', FILES), out / 'zip') == out / 'zip'
    assert contents(out / 'zip') == FILES
    for mode in ('w', 'w:gz', 'w:bz2', 'w:xz'):
        untar(make_tar(tmp_path / 'x', FILES, mode=mode), out / mode)
        assert contents(out / mode) == FILES
        unpack(tmp_path / 'x', out / 'any')
        assert contents(out / 'any') == FILES


def test_the_folder_is_the_archives_own_by_default(out: Path) -> None:
    out.mkdir(parents=True)
    assert unpack(make_zip(out / 'x.zip', FILES)) == out
    assert contents(out).keys() == {*FILES, 'x.zip'}


def test_files_that_are_there_are_replaced_and_others_kept(tmp_path: Path, out: Path) -> None:
    (out / 'set' / 'images').mkdir(parents=True)
    (out / 'set' / 'images' / 'a.jpg').write_bytes(b'old')
    (out / 'set' / 'images' / 'b.jpg').write_bytes(b'mine')
    unpack(make_zip(tmp_path / 'x.zip', FILES), out)
    assert contents(out) == FILES | {'set/images/b.jpg': b'mine'}


def test_folders_and_junk(tmp_path: Path, out: Path) -> None:
    files = {'empty/': b'', './a': b'1', '__MACOSX/a': b'', 'b/.DS_Store': b'', 'c.skip': b''}
    unzip(make_zip(tmp_path / 'x.zip', files), out)
    assert contents(out) == {'a': b'1', 'c.skip': b''}
    assert (out / 'empty').is_dir()
    unzip(make_zip(tmp_path / 'x.zip', files), out / 'again', exclude=['c.skip', '__MACOSX', 'empty'])
    assert contents(out / 'again') == {'a': b'1', 'b/.DS_Store': b''}


def test_permissions_do_not_travel(tmp_path: Path, out: Path) -> None:
    with tarfile.open(tmp_path / 'x.tar', 'w') as archive:
        info = tarfile.TarInfo('tool')
        info.mode = 0o4777
        archive.addfile(info)
    untar(tmp_path / 'x.tar', out)
    assert not stat.S_IMODE((out / 'tool').stat().st_mode) & (stat.S_ISUID | stat.S_IXUSR)


ESCAPES = ['../evil', 'a/../../evil', '/tmp/evil', '..\\evil', 'C:\\evil', 'C:evil', '\\evil', 'a/..']


@pytest.mark.parametrize('name', ESCAPES)
@pytest.mark.parametrize('make', [make_zip, make_tar])
def test_names_that_lead_outside(tmp_path: Path, out: Path, make, name: str) -> None:
    with pytest.raises(DataError, match='outside') as refused:
        unpack(make(tmp_path / 'x', {'fine': b'', name: b'evil'}), out)
    assert str(tmp_path / 'x') in str(refused.value)
    assert contents(tmp_path).keys() == {'x'}


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, out: Path, kind: bytes) -> None:
    with pytest.raises(DataError, match='link or device'):
        unpack(make_tar(tmp_path / 'x', {'fine': b'', 'trap': b''}, {'trap': kind}), out)
    assert contents(out) == {}


def test_links_in_a_zip(tmp_path: Path, out: Path) -> None:
    with pytest.raises(DataError, match='is a link'):
        unpack(make_zip(tmp_path / 'x', {'trap': b'/etc', 'trap/passwd': b''}, links=('trap',)), out)
    assert contents(out) == {}


@pytest.mark.parametrize('make', [make_zip, make_tar])
def test_bombs(tmp_path: Path, out: Path, make) -> None:
    with pytest.raises(DataError, match='200 times larger'):
        unpack(make(tmp_path / 'x', {'zeros': bytes(20_000_000)}), out)
    assert contents(out) == {}


def test_no_room(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_zip(tmp_path / 'x', FILES)
    monkeypatch.setattr('utils.archives.shutil.disk_usage', lambda _: namedtuple('Usage', 'free')(5))
    with pytest.raises(ResourceError, match='no room'):
        unpack(tmp_path / 'x', out)
    assert contents(out) == {}


@pytest.mark.parametrize('make', [make_zip, make_tar])
@pytest.mark.parametrize('keep', [0, 3, 60, 200, -200])
def test_damage_leaves_nothing_behind(tmp_path: Path, out: Path, make, keep: int) -> None:
    path = make(tmp_path / 'x', {f'{i}': os.urandom(100) for i in range(5)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match='damaged'):
        unpack(path, out)
    assert not out.exists() or list(out.iterdir()) == []


def test_a_wrong_checksum(tmp_path: Path, out: Path) -> None:
    with zipfile.ZipFile(tmp_path / 'x', 'w') as archive:
        archive.writestr('a', b'fine')
        archive.writestr('b', b'MARKER')
    (tmp_path / 'x').write_bytes((tmp_path / 'x').read_bytes().replace(b'MARKER', b'MARKET'))
    with pytest.raises(DataError, match='damaged'):
        unpack(tmp_path / 'x', out)
    assert list(out.iterdir()) == []


def test_one_name_for_a_file_and_a_folder(tmp_path: Path, out: Path) -> None:
    with pytest.raises(ResourceError, match='could not be unpacked'):
        unpack(make_zip(tmp_path / 'x', {'a': b'', 'a/b': b''}), out)
    assert list(out.iterdir()) == []


def test_what_is_an_archive(tmp_path: Path) -> None:
    (tmp_path / 'x').write_bytes(b'no archive' * 100)
    assert not is_archive(tmp_path / 'x')
    assert not is_archive(tmp_path / 'nothing')
    assert is_archive(make_zip(tmp_path / 'x', FILES))
    assert is_archive(make_tar(tmp_path / 'x', FILES))
    with pytest.raises(DataError, match='no such archive'):
        unpack(tmp_path / 'nothing')


@pytest.mark.parametrize('suffix', ['zip', 'tar.gz', 'tar.bz2', 'tar.xz'])
def test_one_wrong_byte_in_what_is_packed_is_noticed(tmp_path: Path, out: Path, suffix: str) -> None:
    data = os.urandom(50_000)  # does not shrink, so a wrong byte is no wrong code: only a checksum tells
    path = tmp_path / f'x.{suffix}'
    if suffix == 'zip':
        make_zip(path, {'a.jpg': data})
    else:
        make_tar(path, {'a.jpg': data}, mode=f'w:{suffix[4:]}')
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 4
    path.write_bytes(packed)
    with pytest.raises(DataError, match='damaged'):
        unpack(path, out)
    assert contents(out) == {}


# Small archives that want much memory or time ---------------------------------------------------------


@pytest.mark.parametrize('kind', [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize('first', [True, False])
def test_a_tar_with_a_name_of_gigabytes(tmp_path, kind, first):
    """xz makes a name of 200 MB some 30 kB; the module would read it whole, even to tell whether this is an archive."""
    path, size = tmp_path / 'a.tar.xz', 200 << 20
    with lzma.open(path, 'wb', preset=0) as f:
        info = tarfile.TarInfo('a')
        if not first:
            f.write(info.tobuf())
        info.size, info.type = size, kind
        f.write(info.tobuf())
        for _ in range(size >> 20):
            f.write(bytes(1 << 20))
        f.write(bytes(1024))
    with bounded(megabytes=60):
        assert is_archive(path) != first
        with pytest.raises(DataError, match='a.tar.xz: damaged or no archive'):
            untar(path, tmp_path / 'out')
    assert not list((tmp_path / 'out').glob('*'))


def test_a_tar_with_much_behind_its_end(tmp_path):
    path = make_tar(tmp_path / 'a.tar', FILES, mode='w')
    with gzip.open(tmp_path / 'a.tar.gz', 'wb', 1) as f:
        f.write(path.read_bytes())
        for _ in range(70):
            f.write(bytes(1 << 20))
    with pytest.raises(DataError, match='over 64 MB behind its last file'):
        untar(tmp_path / 'a.tar.gz', tmp_path / 'out')


@pytest.mark.parametrize('compression', [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_streams_longer_than_they_claim(tmp_path, compression):
    """bzip2 makes 60 MB of 50 bytes: it must not be unpacked in one step, nor further than the size that is claimed."""
    path, size = tmp_path / 'a.zip', 60 << 20
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('a.txt', bytes(size))
    path.write_bytes(path.read_bytes().replace(struct.pack('<I', size), struct.pack('<I', 100)))
    with bounded(megabytes=50), pytest.raises(DataError, match=r'a\.zip: damaged'):
        unzip(path, tmp_path / 'out')
    assert contents(tmp_path / 'out') == {}


@pytest.mark.parametrize('compression', [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions(tmp_path, compression):
    path, files = tmp_path / 'a.zip', {'a.txt': os.urandom(100_000), 'b.txt': b'', 'c.txt': bytes(100_000)}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert contents(unzip(path, tmp_path / 'out')) == files
    packed = bytearray(path.read_bytes())
    packed[1000] ^= 1
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r'a\.zip: damaged'):
        unzip(path, tmp_path / 'other')
