"""Nested data <-> JSON plus arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from utils.trees import join_tree, split_tree


def test_a_tree_comes_back_with_its_types() -> None:
    tree = {
        'numbers': [1, -2.5, 1e300, float('inf'), True, None, 2**60],
        'tuple': (1, ('a', [2]), ()),
        'integer keys': {0: 'a', 1: {2: 'b'}},
        'mixed keys': {None: 1, 'x': 2, True: 3, 0.5: 4},
        'dollar': {'$tensor': 'not one', 'b': 1},
        'empty': [{}, [], ''],
        'umlaut': 'Zürich 東京',
    }
    text, arrays = split_tree(tree)
    assert arrays == {}
    back = join_tree(text, arrays)
    assert back == tree
    assert type(back['tuple'][1]) is tuple
    assert [type(k) for k in back['integer keys']] == [int, int]
    assert type(back['numbers'][4]) is bool


def test_arrays_are_named_by_their_paths_and_keep_their_order() -> None:
    tree = {'state': {'b.weight': np.ones(2), 'a.weight': np.zeros((1, 3))}, 'list': [np.array(5), 7]}
    text, arrays = split_tree(tree)
    assert list(arrays) == ['state/b.weight', 'state/a.weight', 'list/0']
    back = join_tree(text, arrays)
    assert list(back['state']) == ['b.weight', 'a.weight']
    assert back['state']['b.weight'] is arrays['state/b.weight']
    assert back['list'] == [5, 7]


def test_paths_that_read_the_same_stay_apart() -> None:
    tree = {'a/b': np.array(1), 'a': {'b': np.array(2)}}
    text, arrays = split_tree(tree)
    assert len(arrays) == 2
    back = join_tree(text, arrays)
    assert (back['a/b'], back['a']['b']) == (1, 2)


def test_paths_become_text() -> None:
    assert join_tree(*split_tree([Path('runs/exp')])) == ['runs/exp']


def test_numpy_scalars_become_plain_numbers() -> None:
    back = join_tree(*split_tree({'x': np.float32(0.5), 'n': np.int64(3)}))
    assert (type(back['x']), type(back['n'])) == (float, int)


@pytest.mark.parametrize('value', [object(), {1, 2}, b'x', {(1, 2): 3}, 1j])
def test_what_cannot_be_stored_is_named(value: object) -> None:
    with pytest.raises(TypeError, match='optimizer/state/0: a '):
        split_tree({'optimizer': {'state': [value]}})


@pytest.mark.parametrize(
    'text',
    [
        '{', 'nonsense', '[' * 100_000, '{"a":' * 100_000, '{"$tensor":"x"}', '{"$tensor":1}', '{"$tensor":["a"]}',
        '{"$tuple":3}', '{"$dict":{}}', '{"$dict":[[1]]}', '{"$dict":[[[],1]]}', '{"$dict":[[{},1]]}', '{"$dict":[1]}',
        '[{"$tensor":"a"},{"$tensor":"a"}]', '{"$dict":[[2305843009213693951,1]]}', '[' * 60 + ']' * 60,
        '[' + '0,' * 1_000_001 + '0]', '{"$eval":"1"}', '{"$tuple":[],"$dict":[]}', '{"a":1,"$tuple":[]}',
    ],
)  # fmt: skip
def test_hostile_text(text: str) -> None:
    with pytest.raises(ValueError):
        join_tree(text, {'a': np.zeros(1)})


def test_the_text_is_plain_json() -> None:
    text, _ = split_tree({'a': (1, np.zeros(2))})
    assert json.loads(text) == {'a': {'$tuple': [1, {'$tensor': 'a/1'}]}}
