"""Non-maximum suppression in the graph: what utils/nms.py does, by ONNX's operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

from models.graph import ops
from models.graph.writer import Value, Writer
from utils.errors import check_range


@dataclass(frozen=True)
class NMSOptions:
    """How boxes are picked.

    Attributes:
        topk_all: detections of a picture at most.
        topk_per_class: of them of a class at most; without meaning if `agnostic`.
        iou_thres: a box that overlaps a better one (of its class, unless `agnostic`) by more is dropped.
        conf_thres: objectness times class probability must exceed it.
        agnostic: boxes suppress each other across classes.
    """

    topk_all: int = 100
    topk_per_class: int = 100
    iou_thres: float = 0.45
    conf_thres: float = 0.25
    agnostic: bool = False

    def __post_init__(self) -> None:
        for name in ('topk_all', 'topk_per_class'):
            check_range(name, getattr(self, name), 1)
        for name in ('iou_thres', 'conf_thres'):
            check_range(name, getattr(self, name), 0, 1)


def suppress(g: Writer, rows: Value, nms: NMSOptions) -> None:
    """Boxes (b, rows, 5 + nc) as Detect gives them -> the graph's outputs, a picture's best detections first.

    `num_dets` (b, 1) int32, `boxes` (b, topk_all, 4) x1, y1, x2, y2 in input pixels, `scores` (b, topk_all) and
    `classes` (b, topk_all) int32. Behind the last detection are boxes and scores of 0 and class -1.

    A row stands for its best class alone, as in `non_max_suppression(multi_label=False)`.
    """
    b, n, values = rows.shape
    classes, k = values - 5, nms.topk_all
    boxes = _corners(g, ops.cut(g, rows, 2, 0, 4))
    joint = g.op('Mul', ops.cut(g, rows, 2, 5), ops.cut(g, rows, 2, 4, 5), shape=(b, n, classes))
    one = np.array([1], np.int64)
    score, label = (_flat(g, v) for v in g.ops('TopK', joint, one, shapes=[(b, n, 1)] * 2, axis=2))
    kept = _kept(g, boxes, score, label, nms, classes)

    best, where = g.ops('TopK', kept, np.array([k], np.int64), shapes=[(b, k)] * 2, axis=1)
    found = g.op('Greater', best, np.float32(0), shape=(b, k))
    where = g.op('Where', found, where, np.array(0, np.int64), shape=(b, k))  # what is added below has no row
    index = g.op('Reshape', where, np.array([0, k, 1], np.int64), shape=(b, k, 1))
    label = g.op('GatherND', label, index, shape=(b, k), batch_dims=1)
    boxes = g.op('GatherND', boxes, index, shape=(b, k, 4), batch_dims=1)
    exists = g.op('Cast', found, shape=(b, k), to=1)

    count = g.op('MatMul', exists, np.ones((k, 1), np.float32), shape=(b, 1))
    g.output(g.op('Cast', count, shape=(b, 1), to=6), 'num_dets', ('batch', ''), np.int32)
    exists = g.op('Reshape', exists, np.array([0, k, 1], np.int64), shape=(b, k, 1))
    g.output(g.op('Mul', boxes, exists, shape=(b, k, 4)), 'boxes', ('batch', '', ''))
    g.output(best, 'scores', ('batch', ''))
    label = g.op('Where', found, label, np.array(-1, np.int64), shape=(b, k))
    g.output(g.op('Cast', label, shape=(b, k), to=6), 'classes', ('batch', ''), np.int32)


def _corners(g: Writer, xywh: Value) -> Value:
    """Boxes (b, n, 4) as x1, y1, x2, y2."""
    b, n, _ = xywh.shape
    centre, size = ops.cut(g, xywh, 2, 0, 2), ops.cut(g, xywh, 2, 2)
    half = g.op('Mul', size, np.float32(0.5), shape=(b, n, 2))
    return ops.concat(g, [g.op(kind, centre, half, shape=(b, n, 2)) for kind in ('Sub', 'Add')], 2)


def _flat(g: Writer, x: Value) -> Value:
    """(b, n, 1) -> (b, n)."""
    return g.op('Reshape', x, np.array([0, -1], np.int64), shape=x.shape[:2])


def _kept(g: Writer, boxes: Value, score: Value, label: Value, nms: NMSOptions, classes: int) -> Value:
    """(b, n + topk_all): the scores of the boxes that stay, 0 for all others and for the places added."""
    b, n = score.shape
    by_class = g.op('Reshape', score, np.array([0, 1, -1], np.int64), shape=(b, 1, n))
    limit = nms.topk_all
    if not nms.agnostic and classes > 1:
        numbers = np.arange(classes, dtype=np.int64).reshape(1, -1, 1)
        own = g.op('Reshape', label, np.array([0, 1, -1], np.int64), shape=(b, 1, n))
        own = g.op('Cast', g.op('Equal', own, numbers, shape=(b, classes, n)), shape=(b, classes, n), to=1)
        by_class, limit = g.op('Mul', own, by_class, shape=(b, classes, n)), min(nms.topk_per_class, limit)
    limits = [
        np.array([v], t) for v, t in ((limit, np.int64), (nms.iou_thres, np.float32), (nms.conf_thres, np.float32))
    ]
    chosen = g.op('NonMaxSuppression', boxes, by_class, *limits, shape=(None, 3))  # picture, class, row
    places = g.op('Gather', chosen, np.array([0, 2], np.int64), shape=(None, 2), axis=1)
    scores = g.op('GatherND', score, places, shape=(None,))
    room = None if n is None else n + nms.topk_all
    size = g.op('Add', g.shape_of(score), np.array([0, nms.topk_all], np.int64), shape=(2,))
    zeros = g.op('ConstantOfShape', size, shape=(b, room), value=numpy_helper.from_array(np.zeros(1, np.float32)))
    return g.op('ScatterND', zeros, places, scores, shape=(b, room))
