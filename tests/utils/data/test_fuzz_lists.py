"""Lists of files, damaged in every way: what is there is found, all else is refused or counted, within a time."""

from __future__ import annotations

import codecs
import os
import re

import pytest
from hypothesis import strategies as st

from tests.fuzz import bounded, damaged, fuzzed, refusals
from utils.data.lists import Listed, glob_files, read_list
from utils.data.media import find_media
from utils.data.sources import open_source

NAMES = ('a.jpg', 'b c.png', 'in [1]/d.jpg', 'in [1]/e.mp4', 'in [1]/deep/f.jpg', '.g.jpg', '#h.jpg', 'x\udcb2.jpg')
LINES = (
    'a.jpg', './a.jpg', '"b c.png"', "'a.jpg'", 'in [1]', 'in [1]\\d.jpg', 'in [1]/*.jpg', '**/*.jpg', '*', '[a-b]*.*',
    '# a comment', '', ' ', 'gone.jpg', 'gone/*.jpg', 'l.txt', '..', '/', '~', 'round/round/a.jpg', 'C:\\x\\y.jpg', '0',
    'rtsp://host/1', 'https://host/a.jpg', 'x\udcb2.jpg', 'a' * 300, '*/' * 50 + '*', '**/' * 50, '[' * 200 + '*',
    '*a' * 200 + '*', '?' * 300, '[!]a-' * 50, '~nobody/a.jpg', '~\0', '\u2028.jpg', 'a.jpg\x1a', '.*', '../' * 20,
)  # fmt: skip
ENCODINGS = ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32', 'gbk', 'cp1252')
ENDS = ('\n', '\r\n', '\r')
PIECES = [b'\n', b'\r', b'\0', b'"', b"'", b'\\', b'/', b'*', b'**/', b'[', b']', b'..', b'~', b'#', b'\x1a', b'\xff',
          codecs.BOM_UTF8, codecs.BOM_UTF16_LE, '测'.encode(), 'é'.encode('cp1252'), b'a.jpg', b'A' * 5000]  # fmt: skip


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A small tree with links that lead round, as working directory. There is nothing to be found outside it."""
    folder = tmp_path_factory.mktemp('lists')
    for name in NAMES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name in ('round', 'in [1]/again', 'in [1]/deep/up'):
        (folder / name).symlink_to(folder)
    inside, listdir = os.path.realpath(folder), os.listdir
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(os, 'listdir', lambda path: listdir(path) if os.path.realpath(path).startswith(inside) else [])
        yield folder


def encoded(lines: list[str], encoding: str, end: str) -> bytes:
    return end.join(lines).encode(encoding, 'surrogateescape' if encoding.startswith('utf-8') else 'ignore')


TEXTS = st.builds(
    encoded,
    st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=6),
    st.sampled_from(ENCODINGS),
    st.sampled_from(ENDS),
)
ORIGINALS = [encoded(list(LINES[i : i + 2]), code, '\n') for i in range(0, 36, 2) for code in ('utf-8', 'utf-16')]


def check(listed: Listed) -> None:
    assert all(os.path.lexists(path) for path in listed.found)
    assert all(number > 0 and text.strip() for number, text in listed.missing)
    problem = listed.problem('l.txt')
    assert len(problem) < 1000
    assert not re.search('[\x00-\x1f\x7f-\x9f\ud800-\udfff]', problem)


@fuzzed(2000, data=TEXTS | damaged(ORIGINALS, edits=2, inserts=PIECES), beside_first=st.booleans())
def test_fuzz_lists(place, data, beside_first):
    (place / 'l.txt').write_bytes(data)
    with bounded(megabytes=64, seconds=5), refusals():
        check(read_list('l.txt', beside_first))
        source = open_source('l.txt')
        if source.mode != 'stream':
            assert source.files
            assert all(os.path.exists(path) for path in source.files)
            source.faults.summary(source.total).encode()


PATTERNS = st.lists(st.sampled_from([*'ab[]!-*?./\\~\0 ', '**', '..', 'in [1]', 'jpg', '\udcb2']), max_size=24)


@fuzzed(500, pattern=PATTERNS.map(''.join))
def test_fuzz_globs(place, pattern):
    with bounded(megabytes=64, seconds=5), refusals():
        assert all(map(os.path.isfile, glob_files(pattern)))
        media = find_media(f'./{pattern}')
        assert media.images + media.videos
