"""Which files a source names, what it names in vain, and what is left out, counted and said."""

import os

import pytest

from utils.data.media import find_media
from utils.errors import DataError, UsageError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with files of many kinds."""
    for name in ('in/a.jpg', 'in/b.PNG', 'in/v.mp4', 'in/._a.jpg', 'in/.DS_Store', 'in/notes.txt', 'in/x.pdf',
                 'in/y.PDF', 'in/none', 'in/sub.jpg/c.jpg', 'other/d.jpg'):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_folder_has_besides_is_counted_and_said(place, messages):
    media = find_media('in')
    assert (media.images, media.videos, media.faults) == (['in/a.jpg', 'in/b.PNG'], ['in/v.mp4'], [])
    assert messages().splitlines() == [
        'WARNING: in: left out 1 hidden file, for example in/._a.jpg',
        'WARNING: in: left out 4 files, neither image nor video by suffix: 2 .pdf, 1 without suffix, 1 .txt',
    ]


def test_a_glob_says_what_it_matches_besides(place, messages):
    assert find_media('in/*').images == ['in/a.jpg', 'in/b.PNG']
    assert messages() == (
        'WARNING: in/*: left out 4 files, neither image nor video by suffix: 2 .pdf, 1 without suffix, 1 .txt'
    )
    assert find_media('in/.*.jpg').images == ['in/._a.jpg']  # asked for


def test_lists_say_what_they_name_in_vain(place, messages):
    (place / 'l.txt').write_text('in/a.jpg\ngone.jpg\nother\nin/x.pdf\nin/._a.jpg\nin/*\n')
    media = find_media('l.txt')
    assert media.images == ['in/a.jpg', 'other/d.jpg', 'in/b.PNG']
    assert media.faults == [('line 2 of l.txt', 'gone.jpg: nothing of that name')]
    assert messages().splitlines() == [
        'WARNING: l.txt: 1 line names nothing that is there (line 2: gone.jpg)',
        'WARNING: l.txt: left out 1 hidden file, for example in/._a.jpg',
        'WARNING: l.txt: left out 5 files, neither image nor video by suffix: 3 .pdf, 1 without suffix, 1 .txt',
        'WARNING: 1 of 5 files named again, such as in/a.jpg',
    ]


def test_one_of_several_sources_may_be_missing(place, messages):
    (place / 'l.txt').write_bytes('in/a.jpg'.encode('utf-16'))
    media = find_media(['in/a.jpg', 'gone.jpg', b'other', 'in/x.pdf', 'l.txt'])
    assert media.images == ['in/a.jpg', 'other/d.jpg']
    assert [fault.name for fault in media.faults] == ['gone.jpg', 'in/x.pdf', 'l.txt']
    assert media.faults.summary(5).startswith(
        '3 of 5 inputs failed: gone.jpg (no such file or folder. Check the path, and quote a glob), in/x.pdf (no image '
    )
    assert messages().splitlines()[0] == 'gone.jpg: no such file or folder. Check the path, and quote a glob'
    with pytest.raises(UsageError, match='0: a webcam or a stream among files'):
        find_media(['in/a.jpg', '0'])


ODD = {
    'a link to nothing': lambda path: os.symlink('nothing', path),
    'a link to itself': lambda path: os.symlink(path, path),
    'a pipe': os.mkfifo,
    'a device': lambda path: os.symlink('/dev/zero', path),
}
SAID = {'a pipe': 'not a regular file', 'a device': 'not a regular file'}


@pytest.mark.parametrize('kind', ODD)
@pytest.mark.parametrize('name', ['x.jpg', 'x.mp4', 'x.txt', 'x'])
def test_what_is_no_file_is_named(place, kind, name):
    path = str(place / name)
    ODD[kind](path)
    with pytest.raises(DataError, match=f'{path}: {SAID.get(kind, "a link to nothing")}'):
        find_media(path)


def test_a_folder_without_permission_is_named(place, monkeypatch):
    def listdir(path):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(os, 'listdir', listdir)
    with pytest.raises(PermissionError, match='in'):
        find_media('in')
    media = find_media(['in', 'other/d.jpg'])
    assert media.images == ['other/d.jpg']
    assert media.faults == [('in', 'Permission denied')]


def test_home_folders(place, monkeypatch):
    monkeypatch.setenv('HOME', str(place))
    assert find_media('~/other').images == [f'{place}/other/d.jpg']
    with pytest.raises(DataError, match='~nobody at all/a.jpg: no such file'):
        find_media('~nobody at all/a.jpg')
