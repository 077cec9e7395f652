"""The label cache: used when it fits, made again when stale or damaged, never half-written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.utils.data.conftest import BOX, picture
from utils.data import cache, labels
from utils.data.labels import read_labels


@pytest.fixture
def checks(monkeypatch) -> list[int]:
    """How many pictures each reading checked: nothing is appended when the cache was used."""
    counted, check = [], labels.check_files
    monkeypatch.setattr(
        labels, 'check_files', lambda images, *more: counted.append(len(images)) or check(images, *more)
    )
    return counted


@pytest.fixture
def root(data_set) -> Path:
    return data_set(a=BOX, b='1 .1 .1 .4 .2 .3 .6\n0 .2 .2 .1 .1\n', c=None, d='x', e=BOX + BOX)


def read(root: Path, nc: int = 2) -> labels.LabelSet:
    return read_labels(root / 'images' / 'train', nc)


def cache_file(root: Path) -> Path:
    (file,) = root.rglob('*.cache')
    return file


def test_the_second_reading_is_the_same_and_opens_no_file(root, checks, monkeypatch):
    first = read(root)
    monkeypatch.setattr(labels, 'verify_image_label', None)
    second = read(root)
    assert checks == [5]
    assert second.images == first.images
    assert second.problems == first.problems
    assert second.counts == first.counts
    np.testing.assert_array_equal(second.labels.values, first.labels.values)
    np.testing.assert_array_equal(second.labels.offsets, first.labels.offsets)
    np.testing.assert_array_equal(second.shapes, first.shapes)
    assert [[p.tolist() for p in item] for item in second.segments] == [
        [p.tolist() for p in item] for item in first.segments
    ]


def test_it_lies_beside_the_labels_folder_and_holds_no_pickle(root):
    read(root)
    assert cache_file(root).parent == root / 'labels'
    with np.load(cache_file(root), allow_pickle=False) as archive:
        assert all(array.dtype != object for array in archive.values())


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


CHANGES = {
    'label size': lambda root: rewrite(root / 'labels/train/a.txt', BOX + '1 .2 .2 .1 .1'),
    'label time': lambda root: os.utime(root / 'labels/train/a.txt', (1, 1)),
    'label added': lambda root: rewrite(root / 'labels/train/c.txt', BOX),
    'label gone': lambda root: (root / 'labels/train/a.txt').unlink(),
    'picture time': lambda root: os.utime(root / 'images/train/a.jpg', (1, 1)),
    'picture size': lambda root: picture(root / 'images/train/a.jpg', (90, 90)),
    'picture added': lambda root: picture(root / 'images/train/z.jpg'),
    'picture gone': lambda root: (root / 'images/train/a.jpg').unlink(),
}


@pytest.mark.parametrize('change', CHANGES)
def test_any_change_makes_it_stale(root, checks, change):
    read(root)
    CHANGES[change](root)
    read(root)
    read(root)
    assert len(checks) == 2  # stale once, then current again


def test_classes_and_format_belong_to_the_key(root, checks, monkeypatch):
    read(root)
    read(root, nc=3)
    assert len(checks) == 2
    monkeypatch.setattr(cache, 'FORMAT', cache.FORMAT + 1)
    read(root)
    assert len(checks) == 3


@pytest.mark.parametrize('share', [0.0, 0.3, 0.7, 0.99])
def test_a_cut_cache_is_made_again(root, checks, share):
    first = read(root)
    content = cache_file(root).read_bytes()
    cache_file(root).write_bytes(content[: int(len(content) * share)])
    second = read(root)
    assert len(checks) == 2
    np.testing.assert_array_equal(second.labels.values, first.labels.values)
    assert cache_file(root).read_bytes() == content


def test_a_flipped_bit_anywhere_never_changes_labels(root, checks):
    first = read(root)
    content = bytearray(cache_file(root).read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        damaged = content.copy()
        damaged[place] ^= 1 << int(rng.integers(8))
        cache_file(root).write_bytes(damaged)
        second = read(root)
        assert second.images == first.images
        assert second.problems == first.problems
        np.testing.assert_array_equal(second.labels.values, first.labels.values)
        np.testing.assert_array_equal(second.shapes, first.shapes)
    assert len(checks) > 30  # most flips were noticed; the others hit what nobody reads


def test_a_hostile_pickle_is_not_run(root, checks, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'trapped'),)

    first = read(root)
    with open(cache_file(root), 'wb') as file:
        np.savez(file, header=np.array([Trap()], object))
    np.testing.assert_array_equal(read(root).labels.values, first.labels.values)
    assert len(checks) == 2
    assert not (tmp_path / 'trapped').exists()


def test_an_interrupted_write_leaves_the_old_cache(root, monkeypatch):
    read(root)
    before = cache_file(root).read_bytes()
    rewrite(root / 'labels/train/a.txt', BOX * 3)

    def fail(file, **arrays):
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'savez', fail)
    with pytest.raises(KeyboardInterrupt):
        read(root)
    assert cache_file(root).read_bytes() == before
    assert sorted(path.name for path in (root / 'labels').iterdir()) == ['train', cache_file(root).name]


def test_a_full_disk_only_costs_the_cache(root, user_cache, monkeypatch):
    def full(file, **arrays):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez', full)
    assert len(read(root)) == 4
    assert list(root.rglob('*.cache')) == []
    assert [path for path in user_cache.rglob('*') if path.is_file()] == []


def test_no_cache_when_not_wanted(root):
    read_labels(root / 'images' / 'train', 2, cache=False)
    assert list(root.rglob('*.cache')) == []
