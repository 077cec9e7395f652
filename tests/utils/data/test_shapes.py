"""The built-in data set: the same every time, honest labels, whole or not there."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.data import shapes
from utils.data.labels import read_labels
from utils.data.shapes import NAMES, draw_picture, draw_unseen, make_shapes
from utils.data.yaml import load_data
from utils.errors import DataError


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob('*') if file.is_file()}


def test_it_is_a_data_set_without_problems(tmp_path):
    folder = make_shapes(tmp_path / 'shapes', train=12, val=4, size=160)
    data = load_data(folder / 'shapes.yaml')
    assert data.names == NAMES
    for split, count in ((data.train, 12), (data.val, 4)):
        labels = read_labels(split, data.nc, cache=False)
        assert len(labels) == count
        assert labels.problems == []
        assert (labels.shapes == 160).all()
        assert (labels.labels.counts() > 0).all()


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    one = files(make_shapes(tmp_path / 'one', train=3, val=2, size=96))
    assert one == files(make_shapes(tmp_path / 'two', train=3, val=2, size=96))
    longer = files(make_shapes(tmp_path / 'three', train=5, val=2, size=96))
    other = files(make_shapes(tmp_path / 'four', train=3, val=2, size=96, seed=1))
    pictures = [name for name in one if name.endswith('.jpg')]
    assert len({one[name] for name in pictures}) == 5
    assert all(longer[name] == one[name] and other[name] != one[name] for name in pictures)


def test_labels_fit_what_is_painted():
    rng = np.random.default_rng(0)
    size = 200
    for kind in [*range(len(NAMES))] * 5:
        image = np.full((size, size, 3), 128, np.uint8)
        outline = shapes._outline(rng, kind, size, rng.uniform(0, size, 2))
        mask = shapes._mask(outline, size)
        shapes._paint(rng, image, outline, mask)
        y, x = np.nonzero((image != 128).any(-1))
        ((label, *xywh),) = shapes._labels(np.where(mask > 127, 0, -1), [kind]) * [1, size, size, size, size]
        corners = [xywh[0] - xywh[2] / 2, xywh[1] - xywh[3] / 2, xywh[0] + xywh[2] / 2, xywh[1] + xywh[3] / 2]
        assert label == kind
        # Painted edges are soft, or drawn up to 2 pixels wide.
        np.testing.assert_allclose(corners, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=3.5)
        if outline.min() >= 0 and outline.max() <= size:
            np.testing.assert_allclose(corners, [*outline.min(0), *outline.max(0)], atol=2)


def test_pictures_are_varied():
    drawn = [draw_picture(np.random.default_rng(i)) for i in range(25)]
    rows = np.concatenate([labels for _, labels in drawn])
    sides = rows[:, 3:] * 320
    assert sides.min() >= 16
    assert (rows[:, 1:3] - rows[:, 3:] / 2 >= -1e-6).all()
    assert (rows[:, 1:3] + rows[:, 3:] / 2 <= 1 + 1e-6).all()
    assert np.percentile(sides, 95) / np.percentile(sides, 5) > 2.5  # scale changes
    assert np.bincount(rows[:, 0].astype(int), minlength=len(NAMES)).min() > 15
    assert np.mean([len(labels) for _, labels in drawn]) > 3
    assert all(image.shape == (320, 320, 3) and image.std() > 10 for image, _ in drawn)


def test_some_shapes_are_covered_but_none_too_far(monkeypatch):
    """A shape counts as covered by what of it later ones hide."""
    whole, shares = [], []
    fits, labels_of = shapes._fits, shapes._labels

    def watch_fits(inside, *more):
        return fits(inside, *more) and (whole.append(inside.sum()) or True)

    def watch_labels(owner, kinds):
        shares.extend(np.bincount(owner[owner >= 0], minlength=len(kinds)) / whole)
        whole.clear()
        return labels_of(owner, kinds)

    monkeypatch.setattr(shapes, '_fits', watch_fits)
    monkeypatch.setattr(shapes, '_labels', watch_labels)
    for i in range(25):
        draw_picture(np.random.default_rng(i))
    assert min(shares) > 0.35
    assert np.mean(np.array(shares) < 0.9) > 0.1


def test_a_second_call_does_nothing(tmp_path, monkeypatch):
    folder = make_shapes(tmp_path / 'shapes', train=2, val=1, size=64)
    monkeypatch.setattr(shapes, 'draw_picture', None)
    assert make_shapes(tmp_path / 'shapes', train=2, val=1, size=64) == folder


def test_other_arguments_make_it_again(tmp_path):
    folder = make_shapes(tmp_path / 'shapes', train=2, val=1, size=64)
    make_shapes(folder, train=1, val=1, size=64)
    assert len(list((folder / 'images/train').iterdir())) == 1


def test_an_interruption_leaves_nothing_and_a_repetition_is_clean(tmp_path, monkeypatch):
    draw, drawn = shapes.draw_picture, []

    def interrupted(rng, size):
        drawn.append(size)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(rng, size)

    monkeypatch.setattr(shapes, 'draw_picture', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / 'shapes', train=4, val=1, size=64)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / '.shapes.partial/images/train').mkdir(parents=True)  # as a killed run leaves it
    (tmp_path / '.shapes.partial/images/train/99999.jpg').touch()
    made = files(make_shapes(tmp_path / 'shapes', train=4, val=1, size=64))
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']
    assert len(made) == 11


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / 'shapes').mkdir()
    (tmp_path / 'shapes/mine.txt').write_text('precious')
    with pytest.raises(DataError, match='something else'):
        make_shapes(tmp_path / 'shapes', train=1, val=1, size=64)
    assert files(tmp_path / 'shapes') == {'mine.txt': b'precious'}


def _make(folder: str) -> None:
    make_shapes(folder, train=6, val=2, size=64)


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=_make, args=(str(tmp_path / 'shapes'),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(files(tmp_path / 'shapes')) == 2 * 8 + 1
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


def test_unseen_pictures_are_in_no_split(tmp_path):
    unseen = draw_unseen(tmp_path / 'unseen', n=3, size=64)
    made = files(make_shapes(tmp_path / 'shapes', train=3, val=3, size=64))
    assert [cv2.imread(str(path)).shape for path in unseen] == [(64, 64, 3)] * 3
    assert not {path.read_bytes() for path in unseen} & set(made.values())


def test_the_shipped_yaml_draws_it(tmp_path, monkeypatch):
    calls = []

    def small(folder: Path) -> Path:
        calls.append(folder)
        return make_shapes(folder, train=2, val=1, size=64)

    (tmp_path / 'data').mkdir()
    shutil.copy('data/shapes.yaml', tmp_path / 'data')
    monkeypatch.setattr('utils.data.shapes.make_shapes', small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('utils.data.yaml.ROOT', tmp_path)
    data = load_data(tmp_path / 'data/shapes.yaml')
    assert calls == [tmp_path / 'datasets/shapes']
    assert data.names == NAMES
