"""Labels in memory: views of shared arrays that nobody can change by accident."""

from __future__ import annotations

import numpy as np
import pytest

from utils.data.labelset import LabelSet, Polygons, Ragged

ROWS = [np.arange(10).reshape(2, 5) / 10, np.zeros((0, 5)), np.ones((1, 5))]


def label_set() -> LabelSet:
    triangle = np.array([[0, 0], [1, 0], [0, 1]])
    return LabelSet(['a', 'b', 'c'], ROWS, [[4, 3], [2, 2], [1, 5]], [[], [], [triangle]], counts={'found': 3})


def test_items_are_what_was_packed():
    ragged = Ragged.pack(ROWS, 5)
    assert len(ragged) == 3
    for item, want in zip(ragged, ROWS):
        np.testing.assert_array_equal(item, want.astype(np.float32))
    np.testing.assert_array_equal(ragged[-1], ROWS[2])
    np.testing.assert_array_equal(ragged.counts(), [2, 0, 1])
    assert np.concatenate(ragged, 0).shape == (3, 5)
    with pytest.raises(IndexError):
        ragged[3]


def test_items_share_one_array_and_are_read_only():
    ragged = Ragged.pack(ROWS, 5)
    assert np.shares_memory(ragged[0], ragged.values)
    with pytest.raises(ValueError, match='read-only'):
        ragged[0][0, 0] = 7


def test_polygons_of_a_picture():
    polygons = Polygons.pack([[np.ones((3, 2))], [], [np.zeros((4, 2)), np.ones((5, 2))]])
    assert [[len(polygon) for polygon in item] for item in polygons] == [[3], [], [4, 5]]
    assert polygons[0][0].dtype == np.float32


def test_select_takes_everything_in_the_order_asked_for():
    chosen = label_set().select([2, 0])
    assert chosen.images == ['c', 'a']
    np.testing.assert_array_equal(chosen.labels[1], ROWS[0].astype(np.float32))
    np.testing.assert_array_equal(chosen.shapes, [[1, 5], [4, 3]])
    assert [len(item) for item in chosen.segments] == [1, 0]
    assert len(label_set().select([])) == 0


def test_single_class_leaves_the_original_alone():
    labels = label_set()
    single = labels.as_single_class()
    assert not single.labels.values[:, 0].any()
    np.testing.assert_array_equal(single.labels.values[:, 1:], labels.labels.values[:, 1:])
    assert labels.labels[2][0, 0] == 1


def test_lengths_must_agree():
    with pytest.raises(ValueError, match='2 images, 3 labels'):
        LabelSet(['a', 'b'], ROWS, [[1, 1]] * 2)


def test_an_empty_set():
    empty = LabelSet([], [], [])
    assert len(empty) == 0
    assert empty.labels.values.shape == (0, 5)
