"""What Python callers give, brought to the types that options have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest

from utils.errors import UsageError
from utils.values import items, number, switch, text, whole_number

NOT_WHOLE = [True, np.True_, None, 1.5, float('nan'), float('inf'), 'a', '', '1.0', [1], np.arange(2), {}, b'1']


@pytest.mark.parametrize('value', [7, np.int64(7), 7.0, np.float32(7), '7', np.array([7]), torch.tensor(7)])
def test_whole_numbers(value):
    assert (whole_number('n', value), type(whole_number('n', value))) == (7, int)


@pytest.mark.parametrize(('value', 'kind'), [
    (1, int), (np.int64(1), int), (1.0, float), (np.float16(1), float), ('1', float), ('1e0', float),
    (torch.tensor(1.0), float),
])  # fmt: skip
def test_numbers(value, kind):
    assert (number('n', value), type(number('n', value))) == (1, kind)


@pytest.mark.parametrize(('value', 'wanted'), [
    ('a', 'a'), (np.str_('a'), 'a'), (Path('a/b'), 'a/b'), (b'\xb2\xe2', '\udcb2\udce2'), (None, ''), (0, '0'),
    (np.int64(3), '3'), (torch.device('cpu'), 'cpu'), (SimpleNamespace(type='cuda', index=1), 'cuda:1'),
    (SimpleNamespace(type='cuda', index=None), 'cuda'),
])  # fmt: skip
def test_texts(value, wanted):
    assert (text('t', value), type(text('t', value))) == (wanted, str)


@pytest.mark.parametrize(('value', 'wanted'), [
    (True, True), (np.False_, False), (1, True), (0, False), (None, False), (np.array(True), True),
])  # fmt: skip
def test_switches(value, wanted):
    assert switch('s', value) is wanted


@pytest.mark.parametrize(('value', 'wanted'), [
    ([1, 2], [1, 2]), ((1, 2), [1, 2]), ({1}, [1]), (range(2), [0, 1]), (np.array([1, 2]), [1, 2]), (1, [1]),
    (torch.tensor([1, 2]), [1, 2]), (np.array(1), [1]), (np.int64(1), [1]), ('ab', ['ab']), (b'ab', [b'ab']),
    (Path('a'), [Path('a')]), ((i for i in (1, 2)), [1, 2]), ([], []), (None, [None]),
])  # fmt: skip
def test_items(value, wanted):
    assert items('i', value) == wanted


@pytest.mark.parametrize(('convert', 'values', 'why'), [
    (whole_number, NOT_WHOLE, 'not a whole number'),
    (number, [True, None, 'a', '', [1.0], np.zeros(2), {}, b'1'], 'not a number'),
    (switch, ['False', 'yes', '', 2, 0.5, [True], np.zeros(2)], 'neither True nor False'),
    (text, [True, ['a'], {'a': 1}, object, np.zeros(2)], 'not text'),
    (items, [{'a': 1}], 'not a list'),
])  # fmt: skip
def test_what_can_not_be_meant(convert, values, why):
    for value in values:
        with pytest.raises(UsageError, match=f'^--x .*: {why}$') as error:
            convert('--x', value)
        assert '\n' not in str(error.value)


def test_a_long_value_is_quoted_shortly():
    with pytest.raises(UsageError) as error:
        whole_number('--x', list(range(10_000)))
    assert len(str(error.value)) < 100
