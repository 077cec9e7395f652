"""The binding to oneDNN, and the placing of buffers."""

from __future__ import annotations

import itertools
import random
from importlib import metadata

import numpy as np
import pytest

from models.cpu import dnnl as d
from models.cpu.dnnl import Arg, DnnlError, Memory, dims
from models.cpu.plan import ALIGNMENT, Buffer, External, _place, aligned

needs_dnnl = pytest.mark.skipif(d.load() is None, reason='oneDNN is not installed')


def nhwc(n, c, h, w, pixel=None):
    pixel = pixel or c
    return d.load().descriptor((n, c, h, w), (h * w * pixel, 1, w * pixel, pixel))


def memory(descriptor, array):
    found = Memory(d.load(), descriptor)
    found.point_to(array.ctypes.data)
    return found


@needs_dnnl
def test_reorder_between_layouts_and_into_a_part():
    library = d.load()
    source = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    target = np.ones((2, 4, 5, 8), np.float32)
    plain = library.descriptor(source.shape, (60, 20, 5, 1))
    part = nhwc(2, 8, 4, 5).part((2, 3, 4, 5), (0, 2, 0, 0))
    for add, expected in ((False, source), (True, 2 * source)):
        reorder = library.primitive('reorder', plain, library.engine, part, library.engine, add=add)
        reorder.bind({Arg.SRC: memory(plain, source), Arg.DST: memory(part, target)})
        reorder.run()
        assert np.array_equal(target[..., 2:5].transpose(0, 3, 1, 2), expected)
    assert (target[..., [0, 1, 5, 6, 7]] == 1).all()


@needs_dnnl
def test_reference_kernels_are_refused():
    """A convolution from a slice of the channels has no fast kernel, and takes hundreds of times as long."""
    window = dims((1, 1)), dims((0, 0)), dims((0, 0)), dims((0, 0))
    weights, target = d.load().descriptor((16, 16, 1, 1)), nhwc(1, 16, 8, 8)
    dense, sliced = nhwc(1, 16, 8, 8), nhwc(1, 16, 8, 8, pixel=32)
    how = 'convolution_forward', d.FORWARD_TRAINING, d.CONVOLUTION_DIRECT
    assert not d.load().primitive(*how, dense, weights, None, target, *window).implementation.startswith('ref')
    with pytest.raises(DnnlError, match='reference kernel for a convolution_forward'):
        d.load().primitive(*how, sliced, weights, None, target, *window)


@needs_dnnl
def test_wrong_arguments_are_an_error():
    with pytest.raises(DnnlError, match='status'):
        d.load().primitive('binary', d.ADD, nhwc(1, 8, 4, 4), nhwc(1, 9, 4, 4), nhwc(1, 8, 4, 4))


def test_a_missing_library_is_none(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'files', missing)
    assert d.load.__wrapped__() is None


def test_buffers_that_live_together_do_not_overlap():
    rng = random.Random(0)
    buffers = []
    for _ in range(200):
        first = rng.randrange(100)
        buffers.append(Buffer(rng.randrange(1, 5000), first, first + rng.randrange(20)))
    size = _place(buffers)
    for one, other in itertools.combinations(buffers, 2):
        if one.first <= other.last and other.first <= one.last:
            assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    assert all(b.offset % ALIGNMENT == 0 and b.offset + b.size <= size for b in buffers)
    peak = max(sum(b.size for b in buffers if b.first <= step <= b.last) for step in range(120))
    assert peak <= size < 1.3 * peak


def test_an_arena_is_aligned():
    assert aligned(1000).ctypes.data % ALIGNMENT == 0
    assert aligned(1000).nbytes == 1000


def test_externals_check_what_they_are_given():
    place = External((2, 3))
    for wrong in (np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.zeros((3, 2), np.float32).T):
        with pytest.raises(ValueError, match='contiguous float32'):
            place.give(wrong)
    array = np.zeros((2, 3), np.float32)
    place.give(array)
    assert place.array is array
