"""Lists of files and globs: every way of writing a line, and which lines name nothing."""

import codecs
import os

import pytest

from utils.data.lists import glob_files, list_lines, read_list
from utils.errors import DataError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with files, and a folder `lists` beside them with its own."""
    for name in (
        'a.jpg', 'with blank.jpg', 'photos [1]/b.jpg', 'photos [1]/c.png', '#1.jpg', 'lists/a.jpg', 'lists/own/d.jpg',
        'lists/own/.e.jpg',
    ):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(text, **options):
    data = text if isinstance(text, bytes) else text.encode('utf-8', 'surrogateescape')
    with open('lists/l.txt', 'wb') as file:
        file.write(data)
    return read_list('lists/l.txt', **options)


@pytest.mark.parametrize(('line', 'found'), [
    ('a.jpg', ['a.jpg']),
    ('  a.jpg \t', ['a.jpg']),
    ('"a.jpg"', ['a.jpg']),
    ("'with blank.jpg'", ['with blank.jpg']),
    (r'photos [1]\b.jpg', ['photos [1]/b.jpg']),
    (r'.\a.jpg', ['./a.jpg']),
    (r'"lists\own\d.jpg"', ['lists/own/d.jpg']),
    ('photos [1]', ['photos [1]']),
    ('photos [1]/*', ['photos [1]/b.jpg', 'photos [1]/c.png']),
    (r'photos [1]\*.png', ['photos [1]/c.png']),
    ('own/d.jpg', ['lists/own/d.jpg']),
    ('./own/*.jpg', ['lists/own/d.jpg']),
    (r'own\*.jpg', ['lists/own/d.jpg']),
    ('**/d.jpg', ['lists/own/d.jpg']),
    ('#1.jpg', ['#1.jpg']),
    ('# a comment', []),
    ('', []),
    ('   ', []),
])  # fmt: skip
def test_ways_of_writing_a_line(place, line, found):
    assert listed(line) == (found, [])


def test_relative_to_the_working_directory_or_to_the_list_first(place):
    assert listed('a.jpg\nown').found == ['a.jpg', 'lists/own']
    assert listed('a.jpg\nwith blank.jpg\n../a.jpg', beside_first=True).found == [
        'lists/a.jpg', 'with blank.jpg', 'lists/../a.jpg'
    ]  # fmt: skip
    assert listed('./with blank.jpg', beside_first=True).missing == [(1, './with blank.jpg')]


def test_a_home_folder_is_known(place, monkeypatch):
    monkeypatch.setenv('HOME', str(place))
    assert listed('~/a.jpg\n~nobody at all/a.jpg') == ([f'{place}/a.jpg'], [(2, '~nobody at all/a.jpg')])


def test_a_byte_order_mark_and_line_ends_of_other_systems_belong_to_no_name(place):
    assert listed(codecs.BOM_UTF8 + b'a.jpg\r\nwith blank.jpg\r\n').found == ['a.jpg', 'with blank.jpg']
    assert listed(b'a.jpg\rwith blank.jpg\r\x1a').found == ['a.jpg', 'with blank.jpg']


def test_names_may_hold_any_byte(place):
    for name in (b'\xb2\xe2.jpg', b'a\x0bb.jpg', 'a\u2028b.jpg'.encode()):
        (place / os.fsdecode(name)).touch()
        assert listed(name + b'\n').found == [os.fsdecode(name)]


def test_a_list_in_another_encoding_is_named(place):
    for encoding in ('utf-16', 'utf-16-le'):
        with pytest.raises(DataError, match=r'lists/l.txt: not UTF-8 text but, as it seems, UTF-16\. Save it as UTF-8'):
            listed('a.jpg\n'.encode(encoding))


def test_lines_that_name_nothing_are_counted(place):
    wrong = ['gone.jpg', 'none/*.jpg', 'C:\\data\\a.jpg', 'a.jpg 0', '\0' * 3 + 'x', 'long' * 2000]
    found = listed('\n'.join(['a.jpg', *['# filling'] * 300, *wrong]))
    assert found.found == ['a.jpg']
    assert found.missing == [(302 + i, line) for i, line in enumerate(wrong)]
    assert found.problem('l.txt') == (
        'l.txt: 6 lines name nothing that is there (line 302: gone.jpg; line 303: none/*.jpg; '
        'line 304: C:\\data\\a.jpg; and 3 more)'
    )
    assert listed('a.jpg').problem('l.txt') == ''
    assert listed('x\x1b[2J.jpg').problem('l.txt') == (
        'l.txt: 1 line names nothing that is there (line 1: x\\x1b[2J.jpg)'
    )


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match='gone.txt: no such file'):
        read_list(tmp_path / 'gone.txt')


def test_plain_lines(tmp_path):
    (tmp_path / 'l.streams').write_bytes(codecs.BOM_UTF8 + b'0\n# cameras\n\n "rtsp://host/1" \r\n')
    assert list_lines(tmp_path / 'l.streams') == ['0', 'rtsp://host/1']


# Globs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ('a.png', 'x/b.png', 'x/y/c.png', 'x/d[1].jpg', 'x/d1.jpg', '[z-a]/e.png', '.h/f.png', 'x/.g.png'):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(('pattern', 'files'), [
    ('*.png', ['a.png']),
    ('./*.png', ['./a.png']),
    ('*', ['a.png']),
    ('x/*', ['x/b.png', 'x/d1.jpg', 'x/d[1].jpg']),
    ('x//[bd]*', ['x/b.png', 'x/d1.jpg', 'x/d[1].jpg']),
    ('x/?.png', ['x/b.png']),
    ('**/*.png', ['[z-a]/e.png', 'a.png', 'x/b.png', 'x/y/c.png']),
    ('x/**', ['x/b.png', 'x/d1.jpg', 'x/d[1].jpg', 'x/y/c.png']),
    ('**/**/**/c.png', ['x/y/c.png']),
    ('**/y/*', ['x/y/c.png']),
    ('*/../a.png', ['[z-a]/../a.png']),
    ('x/d[1].jpg', ['x/d[1].jpg']),  # is there, so that it is no pattern
    ('x/d[1]*', ['x/d1.jpg']),
    ('[z-a]/*.png', ['[z-a]/e.png']),
    ('[z-a]*/*.png', ['[z-a]/e.png']),
    ('.h/*', ['.h/f.png']),
    ('x/.*', ['x/.g.png']),
    ('x/', []),
    ('a.png/*', []),
    ('none/*', []),
])  # fmt: skip
def test_globs(tree, pattern, files):
    assert glob_files(pattern) == files
    absolute = [f'{tree}/{file.removeprefix("./")}' for file in files]
    assert glob_files(f'{tree}/{pattern.removeprefix("./")}') == absolute


def test_brackets_in_a_folders_name_are_no_pattern(tree):
    folder = tree / 'photos [2024]'
    folder.mkdir()
    (folder / 'a [1].jpg').touch()
    assert glob_files(f'{folder}/*.jpg') == glob_files(f'{tree}/photos [2024]*/a [[]*') == [f'{folder}/a [1].jpg']


def test_links_that_lead_round_come_to_an_end(tree):
    for name in ('round', 'again', 'x/up'):
        (tree / name).symlink_to(tree)
    (tree / 'broken.png').symlink_to('nothing')
    (tree / 'self').symlink_to('self')
    assert glob_files('**/*.png') == ['[z-a]/e.png', 'a.png', 'x/b.png', 'x/y/c.png']
    assert len(glob_files('*/' * 30 + '*.png')) <= 4


def test_a_folder_that_can_not_be_read_is_named(tree, monkeypatch, messages):
    names = os.listdir

    def listdir(folder):
        if folder == 'x':
            raise PermissionError(13, 'Permission denied', folder)
        return names(folder)

    monkeypatch.setattr(os, 'listdir', listdir)
    assert glob_files('**/*.png') == ['[z-a]/e.png', 'a.png']
    assert messages() == 'WARNING: x: Permission denied, so nothing in it is found'
