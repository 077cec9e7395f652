"""Finding images and labels: what is there besides them is counted and said."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from tests.utils.data.conftest import BOX, picture
from utils.archives import unpack_command
from utils.data.find import find_images, list_images
from utils.data.labels import read_labels
from utils.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def said(split: object) -> dict[str, tuple[str, str, str]]:
    """Example, kind and action of each note, by its words."""
    return {p.detail: (os.path.basename(p.file), p.kind, p.action) for p in find_images(split).problems}


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path):
    names = ['a.jpg', 'b.PSD', 'c.psd', 'sub/d.mp4', 'sub/e.xml', 'LICENSE', 'Thumbs.db', 'x.npy', '.DS_Store']
    touch(tmp_path / 'images', *names, '._a.jpg', 'sub/._d.jpg', '.thumbs/y.psd')
    assert list_images(tmp_path / 'images') == [str(tmp_path / 'images/a.jpg')]
    assert said(tmp_path / 'images') == {
        '1 suffixless file, not read as images': ('LICENSE', 'suffix', 'ignored'),
        '2 .psd files, not read as images': ('b.PSD', 'suffix', 'ignored'),
        '1 .mp4 file, not read as images': ('d.mp4', 'suffix', 'ignored'),
        '1 .xml file, not read as images': ('e.xml', 'suffix', 'ignored'),
        '2 hidden files with the suffix of an image': ('._a.jpg', 'hidden', 'ignored'),
    }


def test_a_folder_that_can_not_be_read_is_said(tmp_path, monkeypatch):
    touch(tmp_path, 'a.jpg', 'closed/b.jpg')
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith('closed'):
            raise PermissionError(13, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert said(tmp_path) == {'1 folder that can not be read': ('closed', 'folder', 'left out')}


def test_many_suffixes_do_not_flood(tmp_path):
    touch(tmp_path, 'a.jpg', *(f'a.{i:03d}' for i in range(200)), 'b.{n}')
    notes = find_images(tmp_path).problems
    assert len(notes) == 21
    assert notes[-1].detail == '181 other files'


def test_label_files_that_belong_to_no_image(tmp_path):
    touch(tmp_path, *(f'images/train/{name}.jpg' for name in 'abc'), 'images/val/v.jpg', 'labels/val/v.txt')
    touch(tmp_path / 'labels/train', 'a.txt', 'b.jpg.txt', 'c.TXT', 'gone.txt', 'classes.txt', '._a.txt', 'sub/x.txt')
    assert said(tmp_path / 'images/train') == {
        "1 label file named with the image's suffix: a.txt is read for a.jpg": ('b.jpg.txt', 'orphan', 'ignored'),
        '1 label file with the suffix in capitals: .txt is read': ('c.TXT', 'orphan', 'ignored'),
        '2 label files without an image': ('gone.txt', 'orphan', 'ignored'),
    }
    assert said(tmp_path / 'images/val') == {}
    touch(tmp_path / 'flat', 'a.jpg', 'a.txt', 'b.txt', 'train.txt', 'README.txt')  # labels beside the images
    assert list(said(tmp_path / 'flat')) == ['1 label file without an image']


def test_a_list_names_a_part_so_other_labels_are_no_strays(tmp_path):
    touch(tmp_path, 'images/a.jpg', 'images/b.jpg', 'labels/a.txt', 'labels/b.txt')
    (tmp_path / 'train.txt').write_text('images/a.jpg\n')
    assert said(tmp_path / 'train.txt') == {}


def test_images_that_share_a_label_file(tmp_path):
    touch(tmp_path, 'a.jpg', 'a.png', 'b.jpg')
    assert said(tmp_path) == {'1 image with the labels of another, here those of a.jpg': ('a.png', 'shared', 'kept')}


def test_images_that_a_split_names_again_are_counted(tmp_path):
    touch(tmp_path, 'a.jpg', 'a.png', 'sub/b.jpg')
    assert len(list_images([tmp_path, tmp_path, tmp_path / 'sub'])) == 7
    assert said([tmp_path, tmp_path, tmp_path / 'sub']) == {
        '4 images named again': ('b.jpg', 'again', 'kept'),
        '1 image with the labels of another, here those of a.jpg': ('a.png', 'shared', 'kept'),
    }


def test_lines_of_a_list_that_name_nothing_are_counted(tmp_path):
    touch(tmp_path, 'a.jpg', 'notes.md', 'sub/b.jpg', '._a.jpg')
    lines = ['a.jpg', '"a.jpg"', '# mine', 'gone.jpg', 'notes.md', 'sub', '._a.jpg', '', 'other/*.jpg']
    (tmp_path / 'train.txt').write_bytes('\r\n'.join(lines).encode('utf-8-sig'))
    assert list_images(tmp_path / 'train.txt') == [str(tmp_path / name) for name in ('a.jpg', 'a.jpg', 'sub/b.jpg')]
    assert said(tmp_path / 'train.txt') == {
        f'2 lines of {tmp_path}/train.txt naming no image': ('notes.md', 'list', 'ignored'),
        '2 lines name nothing that is there (line 4: gone.jpg; line 9: other/*.jpg)': ('train.txt', 'list', 'left out'),
        '1 image named again': ('a.jpg', 'again', 'kept'),
    }
    (tmp_path / 'train.txt').write_text('gone.jpg\n')
    with pytest.raises(DataError, match=r'no pictures found; 1 line names nothing that is there \(line 1: gone\.jpg\)'):
        list_images(tmp_path / 'train.txt')


def test_lists_in_another_encoding_and_archives_are_named(tmp_path):
    (tmp_path / 'train.txt').write_bytes('a.jpg\n'.encode('utf-16'))
    with pytest.raises(DataError, match=r'train\.txt: not UTF-8 text but, as it seems, UTF-16'):
        list_images(tmp_path / 'train.txt')
    touch(tmp_path, 'set.zip', 'my set.tar.gz')
    with pytest.raises(DataError, match=r'set\.zip: an archive\. Unpack it: unzip .*set\.zip -d .*/set$'):
        list_images(tmp_path / 'set.zip')
    assert unpack_command('my set.tar.gz') == "mkdir 'my set' && tar -xf 'my set.tar.gz' -C 'my set'"


def test_globs_brackets_and_single_images(tmp_path):
    touch(tmp_path / 'a[1] set/images', 'x1.jpg', 'x2.png', 'y.jpg', 'x.md', 'sub1/z.jpg', 'sub2/z.jpg')
    folder = str(tmp_path / 'a[1] set/images')
    assert [os.path.relpath(path, folder) for path in list_images(f'{folder}/x*')] == ['x1.jpg', 'x2.png']
    assert list(said(f'{folder}/x*')) == ['1 .md file, not read as images']
    assert [os.path.relpath(path, folder) for path in list_images(f'{folder}/sub*')] == ['sub1/z.jpg', 'sub2/z.jpg']
    assert list_images(f'{folder}/y.jpg') == [f'{folder}/y.jpg']
    assert len(list_images(folder)) == 5
    with pytest.raises(DataError, match='no pictures found'):
        list_images(f'{folder}/q*')


def test_names_of_any_bytes(tmp_path):
    image = picture(tmp_path / 'images/a.jpg')
    odd = os.fsdecode(b'\xb2\xe2.jpg')
    image.rename(image.with_name(odd))
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / os.fsdecode(b'\xb2\xe2.txt')).write_text(BOX)
    for _ in range(2):  # the second time from the cache
        labels = read_labels(tmp_path / 'images', 1)
        assert [os.path.basename(path) for path in labels.images] == [odd]
        assert labels.problems == []


def test_notes_are_in_the_table_with_and_without_a_cache(tmp_path, caplog):
    picture(tmp_path / 'images/a.jpg')
    touch(tmp_path, 'images/b.psd', 'labels/orphan.txt')
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, 'yolov5'):
            read_labels(tmp_path / 'images', 1)
        assert '1 .psd file, not read as images  ignored' in ' '.join(caplog.messages[1].split(' ')).replace('   ', '')
        assert '1 label file without an image' in caplog.messages[1]
    touch(tmp_path, 'images/c.psd')  # no image and no label: the cache stands, the note does not
    assert '2 .psd files, not read as images' in [p.detail for p in read_labels(tmp_path / 'images', 1).problems]
