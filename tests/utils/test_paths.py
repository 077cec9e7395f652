"""Finding files, run folders, and writing without half-written files."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils.errors import ConfigError
from utils.paths import (
    HYP_DIRS,
    MODEL_DIRS,
    Distinct,
    atomic_write,
    find_file,
    folder_name,
    increment_path,
    locked,
    read_yaml,
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


@pytest.mark.parametrize(('name', 'folder'), [
    ('person', 'person'), ('a cat', 'a cat'), ('../x/dog', '__x_dog'), ('..', '_'), ('a\\b:c\0', 'a_b_c_'), ('', '_'),
])  # fmt: skip
def test_folder_names(name, folder):
    assert folder_name(name) == folder
