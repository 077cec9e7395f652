"""The detection head in the graph: feature maps to boxes, as models/head.py decodes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.graph import ops
from models.graph.writer import Value, Writer

if TYPE_CHECKING:
    from models.head import Detect


def rows(g: Writer, m: Detect, x: list[Value]) -> Value:
    """Feature maps (b, c, ny, nx), finest first -> boxes (b, rows, 5 + nc), float32 whatever the graph's type.

    Half precision can't tell pixels apart above 1024, and not their halves above 512. The raw maps are noted in `g`.
    """
    g.maps = [ops.convolution(g, level, conv) for conv, level in zip(m.m, x)]
    return ops.concat(g, [_level(g, m, i, raw) for i, raw in enumerate(g.maps)])


def _level(g: Writer, m: Detect, level: int, raw: Value) -> Value:
    """One level. The planes of x, y, w, h are worked on before all is turned to rows: there they lie in one piece."""
    b, _, ny, nx = raw.shape
    cells = None if ny is None or nx is None else ny * nx
    if g.dtype != np.float32:
        raw = g.op('Cast', raw, shape=raw.shape, to=1)
    planes = g.op('Reshape', raw, np.array([0, m.na, m.no, -1], np.int64), shape=(b, m.na, m.no, cells))
    y = g.op('Sigmoid', planes, shape=planes.shape)
    stride = m.stride.tolist()[level]
    centre, size, scores = ops.cut(g, y, 2, 0, 2), ops.cut(g, y, 2, 2, 4), ops.cut(g, y, 2, 4)
    centre = g.op('Mul', centre, np.float32(2 * stride), shape=centre.shape)
    centre = g.op('Add', centre, _offset(g, raw, stride), shape=centre.shape)
    anchors = (4 * stride * ops.array(m.anchors)[level]).astype(np.float32).reshape(1, m.na, 2, 1)
    size = g.op('Mul', g.op('Mul', size, size, shape=size.shape), anchors, shape=size.shape)
    boxes = ops.concat(g, [centre, size, scores], 2)
    boxes = g.op('Transpose', boxes, shape=(b, m.na, cells, m.no), perm=[0, 1, 3, 2])
    count = None if cells is None else m.na * cells
    return g.op('Reshape', boxes, np.array([0, -1, m.no], np.int64), shape=(b, count, m.no))


def _offset(g: Writer, raw: Value, stride: float) -> Value | np.ndarray:
    """(cell - 0.5) * stride as (2, ny * nx), x before y; from the map's own size if only a run knows it."""
    ny, nx = raw.shape[2:]
    if ny is not None and nx is not None:
        cells = np.stack(np.meshgrid(np.arange(nx), np.arange(ny))).reshape(2, -1)
        return ((cells - 0.5) * stride).astype(np.float32)
    shape = g.op('Shape', raw, shape=(4,))
    height, width = (g.op('Gather', shape, np.array(axis, np.int64), axis=0) for axis in (2, 3))
    grid = ops.cut(g, shape, 0, 2)
    planes = []
    for count, layout in ((width, [1, -1]), (height, [-1, 1])):
        numbers = g.op('Range', np.array(0, np.int64), count, np.array(1, np.int64), shape=(None,))
        numbers = g.op('Cast', numbers, shape=(None,), to=1)
        numbers = g.op('Mul', g.op('Add', numbers, np.float32(-0.5), shape=(None,)), np.float32(stride), shape=(None,))
        line = g.op('Reshape', numbers, np.array(layout, np.int64), shape=(None, None))
        plane = g.op('Expand', line, grid, shape=(None, None))
        planes.append(g.op('Reshape', plane, np.array([1, -1], np.int64), shape=(1, None)))
    return ops.concat(g, planes, 0)
