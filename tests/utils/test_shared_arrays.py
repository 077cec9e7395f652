"""Arrays over OneFlow's memory: the same numbers, also after a tensor has moved."""

from __future__ import annotations

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.shared_arrays import SharedArrays


def test_arrays_and_tensors_are_the_same_memory():
    layer, shared = nn.Conv2d(1, 2, 1), SharedArrays()
    places = [(layer, 'weight'), (layer, 'bias')]
    weight, bias = shared.fetch(places)
    weight += 1
    np.testing.assert_array_equal(layer.weight.numpy(), weight)
    with torch.no_grad():
        layer.bias.fill_(3.0)
    np.testing.assert_array_equal(shared.fetch(places)[1], [3, 3])
    assert shared.fetch(places)[1] is bias  # asked for once


def test_tensors_that_moved_are_found_again():
    layer, shared = nn.Conv2d(1, 2, 1), SharedArrays()
    places = [(layer, 'weight'), (layer, 'bias')]
    shared.fetch(places)
    layer.weight.data = torch.full((2, 1, 1, 1), 5.0)
    layer.bias = nn.Parameter(torch.full((2,), 7.0))
    weight, bias = shared.fetch(places)
    assert weight.ravel().tolist() == [5, 5]
    assert bias.tolist() == [7, 7]
