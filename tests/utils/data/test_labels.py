"""Reading a split: finding pictures and labels, one table of problems, what stops a run."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.utils.data.conftest import BOX, picture
from utils.data import labels as labels_module
from utils.data.labels import (
    check_files,
    img2label_paths,
    labels_to_class_weights,
    labels_to_image_weights,
    list_images,
    read_labels,
    verify_image_label,
)
from utils.data.report import problem_table, summary
from utils.errors import DataError, run_main


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(f): (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.rglob('*') if f.is_file()}


# Finding --------------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_with_its_subfolders_and_sorted(tmp_path):
    names = ['b.jpg', 'sub/a.PNG', 'a.jpeg', '.hidden.jpg', '.thumbs/x.jpg', 'notes.txt']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [str(tmp_path / name) for name in ('a.jpeg', 'b.jpg', 'sub/a.PNG')]


def test_a_folder_linked_into_itself_ends(tmp_path):
    (tmp_path / 'a.jpg').touch()
    (tmp_path / 'loop').symlink_to(tmp_path)
    assert list_images(tmp_path) == [str(tmp_path / 'a.jpg')]


def test_a_list_file_means_its_own_folder_then_the_working_directory(tmp_path, monkeypatch):
    for name in ('set/images/a.jpg', 'set/b.jpg', 'here/c.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = tmp_path / 'set' / 'train.txt'
    listed.write_text(f'./images/a.jpg\r\nb.jpg\n\nc.jpg\n{tmp_path}/here/c.jpg\nREADME.md\n', encoding='utf-8-sig')
    monkeypatch.chdir(tmp_path / 'here')
    c = str(tmp_path / 'here/c.jpg')
    assert list_images(listed) == [c, c, str(tmp_path / 'set/b.jpg'), str(tmp_path / 'set/images/a.jpg')]


def test_several_sources_are_joined(tmp_path):
    for name in ('x/b.jpg', 'y/a.jpg'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert list_images([tmp_path / 'y', str(tmp_path / 'x')]) == [str(tmp_path / 'x/b.jpg'), str(tmp_path / 'y/a.jpg')]


def test_no_such_folder_and_no_pictures(tmp_path):
    with pytest.raises(DataError, match=r'nowhere: no such folder or list file'):
        list_images(tmp_path / 'nowhere')
    with pytest.raises(DataError, match='no pictures found'):
        list_images(tmp_path)


def test_only_the_last_images_folder_is_replaced():
    assert img2label_paths([Path('/images/images/a.b.jpg'), 'd.jpg']) == ['/images/labels/a.b.txt', 'd.txt']


# Checking -------------------------------------------------------------------------------------------------------------


def test_every_kind_of_problem_in_one_pass(data_set):
    root = data_set(
        good=BOX,
        twice=BOX + BOX,
        none=None,
        empty='',
        columns='0 .5 .5 .2\n',
        number=BOX + 'x .5 .5 .2 .2\n',
        finite='0 nan .5 .2 .2',
        high='0 .5 .5 .2 2',
        low='0 -.5 .5 .2 .2',
        flat='0 .5 .5 .2 0',
        some=BOX + '0 .5 .5 0 0\n0 0 0 .2 .2\n0 2 .5 .2 .2\n1 1.0001 .5 .5 .5',
    )
    (root / 'images/train/broken.jpg').write_bytes(b'no picture')
    picture(root / 'images/train/tiny.jpg', (60, 9))
    labels = read_labels(root / 'images/train', nc=2, cache=False)
    assert [Path(image).stem for image in labels.images] == ['empty', 'flat', 'good', 'none', 'some', 'twice']
    assert [len(rows) for rows in labels.labels] == [0, 0, 1, 0, 3, 1]
    assert labels.counts == {
        'found': 10, 'missing': 1, 'empty': 1, 'corrupt': 7, 'duplicates': 1, 'bad_rows': 3, 'clipped': 1, 'outside': 1
    }  # fmt: skip
    found = {(Path(p.file).name, p.line, p.kind, p.action) for p in labels.problems}
    assert found == {
        ('broken.jpg', 0, 'picture', 'left out'),
        ('tiny.jpg', 0, 'picture', 'left out'),
        ('columns.txt', 1, 'columns', 'left out'),
        ('number.txt', 2, 'number', 'left out'),
        ('finite.txt', 1, 'finite', 'left out'),
        ('high.txt', 1, 'range', 'left out'),
        ('low.txt', 1, 'range', 'left out'),
        ('flat.txt', 1, 'area', 'row left out'),
        ('some.txt', 2, 'area', 'row left out'),
        ('some.txt', 3, 'outside', 'kept'),
        ('some.txt', 4, 'range', 'row left out'),
        ('twice.txt', 2, 'duplicate', 'removed'),
        ('none.txt', 0, 'missing', 'background'),
        ('empty.txt', 0, 'empty', 'background'),
    }


def test_nothing_of_the_users_is_touched(data_set):
    root = data_set(a=BOX + BOX, b='broken', c=None)
    cut = root / 'images/train/a.jpg'
    cut.write_bytes(cut.read_bytes()[:-2])
    before = contents(root)
    read_labels(root / 'images/train', nc=1)
    after = contents(root)
    assert {name: after[name] for name in before} == before
    assert [Path(name).suffix for name in set(after) - set(before)] == ['.cache']


def test_processes_find_the_same(data_set):
    root = data_set(**{f'p{i}': f'{i % 3} 0.{i + 1} .5 .1 .1\n' * (1 + i % 2) for i in range(9)}, bad='x')
    images = list_images(root / 'images/train')
    files = img2label_paths(images)
    alone, together = check_files(images, files, 3, workers=0), check_files(images, files, 3, workers=2)
    assert alone.images == together.images
    np.testing.assert_array_equal(alone.labels.values, together.labels.values)
    assert alone.problems == together.problems
    assert alone.counts == together.counts
    assert len(alone) == 9


def test_a_killed_process_ends_the_check_with_one_line(data_set, monkeypatch, capsys):
    root = data_set(**{f'p{i}': BOX for i in range(6)})
    images = list_images(root / 'images/train')
    check, parent = labels_module.check_image, os.getpid()

    def killed(image: str) -> object:
        if os.getpid() != parent and image.endswith('p3.jpg'):
            os.kill(os.getpid(), signal.SIGKILL)
        return check(image)

    monkeypatch.setattr(labels_module, 'check_image', killed)
    monkeypatch.setattr(labels_module, '_CHUNK', 1)
    code = run_main(lambda argv: check_files(images, img2label_paths(images), 1, workers=2, name='train'), [])
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert line == (
        'Error: train: checking: one of its processes was killed. See whether the machine ran out of memory'
    )
    assert multiprocessing.active_children() == []


def test_how_pictures_are_converted_is_said_once(data_set):
    root = data_set(a=BOX, b=BOX, c=BOX)
    for name, top in {'a': 4000, 'b': 3000, 'c': 60000}.items():
        (root / f'images/train/{name}.jpg').unlink()
        Image.fromarray(np.linspace(0, top, 2400).reshape(40, 60).astype(np.uint16)).save(
            root / f'images/train/{name}.png'
        )
    for _ in range(2):  # the second time from the cache
        labels = read_labels(root / 'images/train', 1)
        assert [(Path(p.file).name, p.kind, p.detail, p.action) for p in labels.problems] == [
            ('a.png', 'note', '2 images: 16-bit pixels with values of 12 bits, divided by 16', 'kept'),
            ('c.png', 'note', '1 image: 16-bit pixels with values of 16 bits, divided by 256', 'kept'),
        ]


def test_a_grave_fault_behind_many_others_is_still_seen(data_set):
    root = data_set(a=BOX + '0 .5 .5 .2 7\n' * 50 + '5 .5 .5 .2 .2\n', b=BOX)
    with pytest.raises(DataError, match=r'a\.txt line 52: class 5 is outside 0\.\.1'):
        read_labels(root / 'images/train', nc=2, cache=False)


def test_the_rest_of_a_file_is_kept_where_a_row_is_out_of_range(data_set):
    root = data_set(a=BOX + '0 .5 .5 .2 1.4\n' * 20 + '0 .2 .2 .1 .1\n')
    labels = read_labels(root / 'images/train', nc=1, cache=False)
    np.testing.assert_allclose(labels.labels[0], [[0, 0.5, 0.5, 0.25, 0.25], [0, 0.2, 0.2, 0.1, 0.1]])
    assert labels.problems[0].line == 2
    assert labels.problems[0].action == 'row left out'
    assert labels.problems[-1].detail.endswith('(and 10 more bad rows)')


@pytest.mark.parametrize(
    ('data', 'detail'),
    [
        (BOX.encode('utf-16'), 'not UTF-8 text but, as it seems, UTF-16'),
        ('0 .5 .5 .1 .1 # 猫车'.encode('gbk'), 'not UTF-8 text but, as it seems, GBK'),
        (b'PK\x03\x04' + bytes(99) + b'\x07', 'not text but binary data'),
    ],
)
def test_label_files_in_another_encoding_are_named(data_set, data, detail):
    root = data_set(a=None, b=BOX)
    (root / 'labels/train/a.txt').write_bytes(data)
    labels = read_labels(root / 'images/train', cache=False)
    assert len(labels) == 1
    assert labels.problems[0][2:] == ('text', detail, 'left out')


def test_what_dos_leaves_behind_the_rows_is_ignored(data_set):
    root = data_set(a=BOX + '\x1a', b=BOX + '\0' * 400)
    labels = read_labels(root / 'images/train', nc=1, cache=False)
    assert [len(rows) for rows in labels.labels] == [1, 1]
    assert labels.problems == []


def test_a_pipe_and_a_huge_file_are_no_label_files(data_set):
    root = data_set(a=None, b=None, c=BOX)
    os.mkfifo(root / 'labels/train/a.txt')
    with open(root / 'labels/train/b.txt', 'wb') as file:
        file.truncate(labels_module.MAX_BYTES + 1)
    labels = read_labels(root / 'images/train', nc=1, cache=False)
    assert [problem.detail for problem in labels.problems] == [
        'not a regular file',
        '32 MB, too large for a label file',
    ]


def test_a_file_full_of_faults_is_cut_short(data_set):
    root = data_set(a='x\n' * 500, b='x\n' * 11)
    one = verify_image_label(str(root / 'images/train/b.jpg'), str(root / 'labels/train/b.txt')).problems
    assert one[-1].detail.endswith('(and 1 more bad row)')
    problems = verify_image_label(str(root / 'images/train/a.jpg'), str(root / 'labels/train/a.txt')).problems
    assert len(problems) == 10
    assert problems[-1].detail.endswith('(and 490 more bad rows)')


def test_a_byte_order_mark_and_binary_rubbish(data_set):
    root = data_set(a='', b='')
    (root / 'labels/train/a.txt').write_bytes(b'\xef\xbb\xbf' + BOX.encode())
    (root / 'labels/train/b.txt').write_bytes(bytes(range(256)))
    labels = read_labels(root / 'images/train', cache=False)
    assert [len(rows) for rows in labels.labels] == [1]
    assert labels.problems[0][2:] == ('text', 'not text but binary data', 'left out')


def test_a_label_file_that_is_a_folder_is_named(data_set):
    root = data_set(a=None, b=BOX)
    (root / 'labels/train/a.txt').mkdir()
    labels = read_labels(root / 'images/train', cache=False)
    assert labels.problems[0].file.endswith('a.txt')
    assert 'directory' in labels.problems[0].detail


def test_polygons_are_kept(data_set):
    root = data_set(a='0 .1 .1 .4 .2 .3 .6\n', b=BOX)
    labels = read_labels(root / 'images/train', nc=1, cache=False)
    assert [len(item) for item in labels.segments] == [1, 0]
    np.testing.assert_allclose(labels.segments[0][0], [[0.1, 0.1], [0.4, 0.2], [0.3, 0.6]], rtol=1e-6)
    np.testing.assert_array_equal(labels.shapes, [[60, 40]] * 2)


# Stopping -------------------------------------------------------------------------------------------------------------


def test_a_class_the_yaml_does_not_name_stops_the_run(data_set):
    root = data_set(a=BOX, b=BOX + '7 .5 .5 .1 .1\n', c='3 .5 .5 .1 .1')
    with pytest.raises(DataError, match=r'b\.txt line 2: class 7 is outside 0\.\.2 \(2 such files\)') as error:
        read_labels(root / 'images/train', nc=3)
    assert '(3 of them)' in error.value.mend
    assert len(read_labels(root / 'images/train', nc=None)) == 3  # as with --single-cls


def test_classes_counted_from_1_are_recognised(data_set):
    root = data_set(a='1 .5 .5 .1 .1\n', b='2 .5 .5 .1 .1\n3 .5 .5 .2 .2', c='3 .5 .5 .1 .1\n')
    for _ in range(2):  # the second time from the cache
        with pytest.raises(DataError, match='class 3 is outside') as error:
            read_labels(root / 'images/train', nc=3)
        assert error.value.mend.startswith('all classes are from 1 to 3: counted from 1?')
    (root / 'labels/train/a.txt').write_text('0 .5 .5 .1 .1\n')
    with pytest.raises(DataError, match='class 3 is outside') as error:
        read_labels(root / 'images/train', nc=3)
    assert error.value.mend.startswith('mend the labels, or the names')


def test_a_wrong_class_is_one_line_and_exit_code_1(data_set, capsys):
    root = data_set(a='5 .5 .5 .1 .1')
    assert run_main(lambda argv: read_labels(root / 'images/train', nc=2), []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f'Error: {root}/labels/train/a.txt line 1: class 5 is outside 0..1 (1 such file). '
        'Mend the labels, or the names in the data set YAML (2 of them)'
    )


def test_not_one_usable_picture(data_set):
    root = data_set(a=BOX + 'x')
    with pytest.raises(DataError, match=r'not one usable picture, for example .*a\.txt line 2: '):
        read_labels(root / 'images/train', nc=1)


def test_errors_name_the_folders_of_a_split(data_set):
    root = data_set(a=BOX + 'x')
    folder = root / 'images/train'
    with pytest.raises(DataError) as error:
        read_labels((folder,), nc=1)
    assert str(error.value).startswith(f'{folder}: not one usable picture')
    (root / 'labels/train/a.txt').write_text('')
    with pytest.raises(DataError) as error:
        read_labels((folder, folder / 'a.jpg'), nc=1, need_labels=True)
    assert str(error.value).startswith(f'{folder}, {folder}/a.jpg: 2 pictures, no labels')
    with pytest.raises(DataError, match='1 picture, no labels'):
        read_labels(folder, nc=1, need_labels=True)


def test_no_labels_at_all_stop_training_only(data_set):
    root = data_set(a=None, b=None)
    assert len(read_labels(root / 'images/train', nc=1)) == 2
    with pytest.raises(DataError, match='2 pictures, no labels') as error:
        read_labels(root / 'images/train', nc=1, need_labels=True)
    assert str(root / 'labels/train/a.txt') in error.value.mend
    (root / 'labels/train/a.txt').write_text('0 .5 .5 0 0')
    with pytest.raises(DataError, match='2 pictures, no labels. Mend the rows in the table above'):
        read_labels(root / 'images/train', nc=1, need_labels=True)


# Reporting ------------------------------------------------------------------------------------------------------------


def test_the_log_has_a_line_and_a_table(data_set, caplog):
    root = data_set(a=BOX + BOX, b=None, c='0 .5 .5 .1')
    with caplog.at_level(logging.INFO, 'yolov5'):
        read_labels(root / 'images/train', nc=1, name='train')
    line, table = caplog.messages
    assert line.startswith('train: 2 pictures, 1 label, 1 without labels, 1 left out, 1 repeated row removed')
    rows = table.splitlines()
    assert rows[0].split() == ['file', 'line', 'problem', 'so']
    assert [row.rsplit('  ')[-1] for row in rows[1:]] == ['left out', 'removed', 'background']  # gravest first
    assert 'labels/train/c.txt  1 ' in rows[1]


def test_the_table_has_some_of_each_kind(data_set):
    root = data_set(
        **{f'p{i:02d}': '0 .5 .5 .2 7' for i in range(30)}, none=None, few=BOX * 2 + '0 .5 .5 0 0\n0 0 0 .2 .2\n'
    )
    labels = read_labels(root / 'images/train', nc=1, cache=False)
    table = problem_table(labels.problems).splitlines()
    assert len(table) == 1 + 20 + 1
    assert [line.split('  ')[-1].strip() for line in table[1:-1]] == [
        *['left out'] * 16, 'row left out', 'removed', 'kept', 'background'
    ]  # fmt: skip
    assert table[-1] == 'and 14 more: 14 range'
    assert '30 left out, 1 row left out, 1 repeated row removed, 1 box mostly outside' in summary(labels)


def test_control_characters_of_file_names_stay_out_of_the_table(data_set):
    root = data_set(**{'a\x1b[2J': None})
    (line,) = problem_table(read_labels(root / 'images/train', cache=False).problems).splitlines()[1:]
    assert 'a\\x1b[2J.txt' in line


def test_a_long_table_is_cut_and_the_rest_counted(data_set):
    root = data_set(**{f'p{i:02d}': None for i in range(30)}, bad='x')
    table = problem_table(read_labels(root / 'images/train', cache=False).problems, rows=5).splitlines()
    assert len(table) == 1 + 5 + 1
    assert 'bad.txt' in table[1]
    assert table[-1] == 'and 26 more: 26 missing'


# Weights --------------------------------------------------------------------------------------------------------------


def test_weights_against_a_plain_count():
    rng = np.random.default_rng(0)
    labels = [np.column_stack([rng.integers(0, 4, n), rng.random((n, 4))]) for n in (3, 0, 5, 1)]
    counts = [sum((rows[:, 0] == c).sum() for rows in labels) for c in range(5)]
    inverse = np.array([1 / max(count, 1) for count in counts])
    weights = labels_to_class_weights(labels, 5)
    np.testing.assert_allclose(weights, inverse / inverse.sum())
    want = [sum(weights[int(row[0])] for row in rows) for rows in labels]
    np.testing.assert_allclose(labels_to_image_weights(labels, 5, weights), want)
    np.testing.assert_array_equal(labels_to_image_weights(labels, 5), [3, 0, 5, 1])


@pytest.mark.skipif(os.name != 'posix', reason='needs permissions')
def test_a_data_set_that_may_not_be_written(data_set, user_cache):
    root = data_set(a=BOX)
    before = contents(root)
    for folder in (root, root / 'labels'):
        folder.chmod(0o555)
    try:
        assert len(read_labels(root / 'images/train', nc=1)) == 1
        assert contents(root) == before
        assert len(list(user_cache.rglob('*.cache'))) == 1
    finally:
        for folder in (root, root / 'labels'):
            folder.chmod(0o755)
