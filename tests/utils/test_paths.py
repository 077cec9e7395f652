"""Finding files, run folders, and writing without half-written files."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE

import pytest

from utils.errors import ConfigError, explain
from utils.paths import (
    HYP_DIRS,
    MODEL_DIRS,
    ROOT,
    Distinct,
    atomic_folder,
    atomic_write,
    find_file,
    fit_name,
    folder_name,
    increment_path,
    locked,
    read_yaml,
    run_folder,
    sync_folder,
    write_file,
    write_yaml,
)


def test_increment_path(tmp_path):
    exp = tmp_path / 'exp'
    assert increment_path(exp) == exp
    exp.mkdir()
    assert increment_path(exp) == tmp_path / 'exp2'
    assert increment_path(exp, exist_ok=True) == exp
    assert increment_path(exp, mkdir=True).is_dir()
    (tmp_path / 'exp4').mkdir()
    assert increment_path(exp) == tmp_path / 'exp3'
    (tmp_path / 'a.txt').touch()
    assert increment_path(tmp_path / 'a.txt', sep='_') == tmp_path / 'a_2.txt'


@pytest.mark.parametrize(
    'name', ['a' * 300 + '.jpg', '图' * 100 + '.jpg', os.fsdecode(b'\xb2' * 300) + '.jpg', 'a' * 255 + 'b' * 20]
)
def test_names_are_cut_to_what_a_file_may_have(tmp_path, name):
    fitted = fit_name(name)
    assert 250 < len(os.fsencode(fitted)) <= 255
    assert os.path.splitext(fitted)[1] == os.path.splitext(name)[1]
    assert fitted[:70] == name[:70]
    assert fit_name('x' + name) != fitted != fit_name(name.replace('.jpg', 'z.jpg') + 'z')
    assert fit_name(name, 60) != fitted
    assert len(os.fsencode(fit_name(name, 60))) <= 60
    (tmp_path / fitted).touch()
    assert fit_name('a' * 251 + '.jpg') == 'a' * 251 + '.jpg'


@pytest.mark.parametrize('name', ['a' * 255, '图' * 85, os.fsdecode(b'\xb2\xe2' * 127)], ids=ascii)
def test_files_and_folders_of_the_longest_names_are_written(tmp_path, name):
    with atomic_write(tmp_path / name, 'w') as file:
        file.write('x')
    assert (tmp_path / name).read_text() == 'x'
    with atomic_folder(tmp_path / 'f' / name) as folder:
        (folder / 'a').touch()
    assert (tmp_path / 'f' / name / 'a').is_file()
    assert len(list(tmp_path.iterdir())) == 2


def test_processes_that_start_at_once_have_a_folder_each(tmp_path):
    code = 'import sys; from utils.paths import increment_path; sys.stdin.read(1)\n'
    code += 'for _ in range(20): print(increment_path(sys.argv[1], mkdir=True))'
    words = [sys.executable, '-c', code, tmp_path / 'runs' / 'exp']
    processes = [subprocess.Popen(words, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) for _ in range(4)]
    for process in processes:
        process.stdin.write('.')
        process.stdin.flush()
    folders = [folder for process in processes for folder in process.communicate()[0].split()]
    assert len(folders) == 80
    assert {os.path.basename(folder) for folder in folders} == {'exp', *(f'exp{n}' for n in range(2, 81))}


def test_threads_have_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: increment_path(tmp_path / 'exp', mkdir=True), range(200)))
    assert len(set(folders)) == 200


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path):
    project = tmp_path / 'deep' / 'runs'
    for exist_ok in (False, True):
        with pytest.raises(ZeroDivisionError), run_folder(project / 'exp', exist_ok) as folder:
            assert folder.is_dir()
            1 / 0  # noqa: B018
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), run_folder(project / 'exp') as folder:
        (folder / 'a.txt').touch()
        raise KeyboardInterrupt
    (project / 'empty').mkdir()
    for exist_ok in (False, True):  # not ours to remove
        with pytest.raises(ZeroDivisionError), run_folder(project / 'empty', exist_ok):
            1 / 0  # noqa: B018
    assert sorted(os.listdir(project)) == ['empty', 'exp']


def test_a_run_folder_whose_parent_is_a_file_is_named(tmp_path):
    (tmp_path / 'runs').touch()
    with pytest.raises(OSError, match='runs') as caught, run_folder(tmp_path / 'runs' / 'exp'):
        pass
    assert explain(caught.value)[0].startswith(str(tmp_path / 'runs'))


def test_distinct():
    names = ['a.jpg', 'a.jpg', 'a_2.jpg', 'b', 'a.jpg', 'b', 'a.png']
    assert [*map(Distinct(), names)] == ['a.jpg', 'a_2.jpg', 'a_2_2.jpg', 'b', 'a_3.jpg', 'b_2', 'a.png']
    assert [*map(Distinct(sep=''), ['b', 'b', 'b2'])] == ['b', 'b2', 'b22']


def test_a_file_that_can_not_be_written_is_named_and_not_left(tmp_path):
    full = tmp_path / 'full.txt'
    full.symlink_to('/dev/full')
    for file, said in ((full, 'No space left'), (tmp_path / 'nowhere' / 'a.txt', 'No such file')):
        with pytest.raises(OSError, match=said) as caught:
            write_file(file, 'x')
        assert caught.value.filename == str(file)
    assert list(tmp_path.iterdir()) == []
    write_file(tmp_path / 'a.txt', 'é')
    assert (tmp_path / 'a.txt').read_text(encoding='utf-8') == 'é'


def test_find_file(tmp_path):
    (tmp_path / 'x.yaml').touch()
    assert find_file('x.yaml', [tmp_path]) == tmp_path / 'x.yaml'
    assert find_file(tmp_path / 'x.yaml', []) == tmp_path / 'x.yaml'
    with pytest.raises(ConfigError, match=rf'y.yaml: no such model\. Looked for .*{tmp_path}'):
        find_file('y.yaml', [tmp_path], kind='model')


def test_bare_names_of_the_reference_are_found():
    assert find_file('hyp.VOC.yaml', HYP_DIRS).parent.name == 'hyps'
    assert find_file('yolov5n6.yaml', MODEL_DIRS).parent.name == 'hub'


def test_yaml_round_trip_and_errors(tmp_path):
    file = tmp_path / 'a.yaml'
    write_yaml(file, {'b': [1, 2], 'a': 'é'})
    assert read_yaml(file) == {'b': [1, 2], 'a': 'é'}
    assert file.read_text().startswith('b:')
    file.write_text('a: 1\nb: [1\n')
    with pytest.raises(ConfigError, match=r'a.yaml line \d: not valid YAML'):
        read_yaml(file)
    file.write_text('!!python/object/apply:os.system ["true"]')
    with pytest.raises(ConfigError, match='not valid YAML'):
        read_yaml(file)
    with pytest.raises(ConfigError, match='no such file'):
        read_yaml(tmp_path / 'none.yaml')


def test_where_nothing_can_be_written_the_error_names_what_was_to_be(tmp_path, monkeypatch):
    def denied(path, *arguments, **options):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr('builtins.open', denied)
    with pytest.raises(PermissionError) as caught, atomic_write(tmp_path / 'a.onnx'):
        pass
    assert caught.value.filename == str(tmp_path / 'a.onnx')


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path):
    file = tmp_path / 'a.bin'
    with atomic_write(file) as f:
        f.write(b'old')
    (tmp_path / 'plain').touch()
    assert file.stat().st_mode == (tmp_path / 'plain').stat().st_mode
    with pytest.raises(RuntimeError), atomic_write(file) as f:
        f.write(b'half of the new')
        raise RuntimeError
    assert file.read_bytes() == b'old'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.bin', 'plain']


def test_a_new_name_is_brought_to_the_disk_with_its_folder(tmp_path, monkeypatch):
    done = []
    replace, rename, fsync = os.replace, Path.rename, os.fsync
    monkeypatch.setattr(os, 'replace', lambda *paths: done.append('rename') or replace(*paths))
    monkeypatch.setattr(Path, 'rename', lambda *paths: done.append('rename') or rename(*paths))
    monkeypatch.setattr(
        os, 'fsync', lambda handle: done.append(os.readlink(f'/proc/self/fd/{handle}')) or fsync(handle)
    )
    with atomic_write(tmp_path / 'a.bin') as f:
        f.write(b'x')
    assert done[-2:] == ['rename', str(tmp_path)]
    assert len(done) == 3
    with atomic_folder(tmp_path / 'folder'):
        pass
    assert done[3:] == ['rename', str(tmp_path)]


@pytest.mark.parametrize(('number', 'harmless'), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_without_fsync_of_folders(tmp_path, monkeypatch, number, harmless):
    def fsync(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'fsync', fsync)
    with contextlib.nullcontext() if harmless else pytest.raises(OSError, match='Input/output error'):
        sync_folder(tmp_path)


def test_a_folder_made_at_once_by_several_is_whole(tmp_path):
    (tmp_path / '.x.partial' / 'left').mkdir(parents=True)  # by a run that was killed

    def make(name: str) -> None:
        with atomic_folder(tmp_path / 'x') as folder:
            assert list(folder.iterdir()) == []
            for file in 'ab':
                (folder / file).write_text(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, map(str, range(40))))
    assert {file.name for file in (tmp_path / 'x').iterdir()} == {'a', 'b'}
    assert (tmp_path / 'x' / 'a').read_text() == (tmp_path / 'x' / 'b').read_text()
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / 'x') as folder:
        (folder / 'c').touch()
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ['x']


def test_a_locked_folder_is_one_callers_at_a_time(tmp_path):
    place, log = tmp_path / 'deep' / 'x', []

    def work(name: str) -> None:
        with locked(place):
            log.append(f'{name} has it')
            (place / name).mkdir()  # fails if it is not there any more
            (place / name).rmdir()
            log.append(f'{name} leaves')
            if name == 'first':
                place.rmdir()  # the others wait for a folder that is gone

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, ['first', 'b', 'c', 'd']))
    assert [line.split()[0] for line in log[::2]] == [line.split()[0] for line in log[1::2]]
    assert len(log) == 8
    with pytest.raises(ZeroDivisionError), locked(place):
        1 / 0  # noqa: B018
    work('again')
    assert len(log) == 10
    (tmp_path / 'link').symlink_to('nothing')
    with pytest.raises(FileExistsError), locked(tmp_path / 'link' / 'x'):  # which would never be there
        pass


@pytest.mark.parametrize(('name', 'folder'), [
    ('person', 'person'), ('a cat', 'a cat'), ('../x/dog', '__x_dog'), ('..', '_'), ('a\\b:c\0', 'a_b_c_'), ('', '_'),
    ('a\n\x1b[2J\u202eb', 'a__[2J_b'),
])  # fmt: skip
def test_folder_names(name, folder):
    assert folder_name(name) == folder
