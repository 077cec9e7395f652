"""Class names of weights against those of a data set."""

from __future__ import annotations

import pytest

from utils.class_names import are_named, difference, reordered, same_name

NAMES = ['car', 'traffic light', 'dog']


def test_the_first_difference_is_named_with_both_names():
    assert difference(NAMES, ['car', 'cat', 'dog']) == (
        '1 of 3 classes has another name: class 1 is "traffic light" in the data set and "cat" in the weights'
    )
    assert difference(NAMES, NAMES[::-1]).startswith('2 of 3 classes have other names, the same ones in another order:')
    assert len(difference(['\x1b' * 9999], ['x' * 9999])) < 250


@pytest.mark.parametrize(
    'other',
    [
        NAMES,
        ['Car', 'Traffic_Light', 'DOG'],
        ['car', 'traffic-light', 'dog '],
        ['0', '1', '2'],
        ['class0', 'class1', 'class2'],
        ['class_0', 'Class 1', ''],
    ],
)
def test_spelling_is_no_difference_and_numbers_are_no_names(other):
    assert difference(NAMES, other) == ''
    assert difference(other, NAMES) == ''
    assert not reordered(NAMES, other)


def test_what_counts_as_a_name():
    assert not are_named(['item'])
    assert are_named(['item', 'car'])
    assert are_named(['class A'])
    assert same_name('TV monitor', 'tvmonitor')
    assert not same_name('tv', 'tvmonitor')
    assert reordered(['a', 'b'], ['B', 'A'])
    assert not reordered(['a', 'b'], ['a', 'c'])
