"""Timing: what is printed and returned; the times themselves are the machine's."""

from __future__ import annotations

import math

import oneflow as torch
from oneflow import nn

from models.profiling import profile


def test_modules_and_functions(capsys):
    conv, pictures = nn.Conv2d(3, 4, 1, bias=False), torch.rand(1, 3, 8, 8)
    results = profile([pictures], [conv, lambda x: x * 2], n=2)
    parameters, gflops, memory, forward, backward, shape_in, shape_out = results[0]
    assert (parameters, memory, shape_in, shape_out) == (12, 0.0, (1, 3, 8, 8), (1, 4, 8, 8))
    assert gflops == 2 * 12 * 64 / 1e9
    assert forward > 0
    assert backward > 0
    assert results[1][:2] == [0, 0.0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ['Params', 'GFLOPs']
    assert len(lines) == 3


def test_without_gradients_and_with_lists():
    results = profile(torch.rand(1, 2, 4, 4), [lambda x: x > 0.5, lambda x: [x, x * 2]], n=1)
    assert math.isnan(results[0][4])
    assert results[1][6] == 'list'
    assert results[1][4] > 0


def test_an_op_that_fails_is_named_and_the_rest_goes_on(capsys):
    def broken(x):
        raise ValueError('no such thing')

    results = profile(torch.rand(1, 2), [broken, lambda x: x + 1], n=1)
    assert results[0] is None
    assert results[1] is not None
    assert 'no such thing' in capsys.readouterr().out
