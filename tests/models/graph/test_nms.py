"""Suppression in the graph against our own, utils/nms.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from models.graph.build import build_onnx
from models.graph.nms import NMSOptions, suppress
from models.graph.writer import Writer
from models.yolo import Model
from tests.models.graph.graphs import ours, pictures, randomize, run, run_all
from tests.models.tiny import TINY
from utils.errors import UsageError
from utils.nms import non_max_suppression


def rows(pictures: int, count: int, classes: int, seed: int = 0) -> np.ndarray:
    """Boxes that overlap a lot, of all scores; the last picture is empty of anything."""
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(20, 80, (pictures, count, 2)), rng.uniform(10, 40, (pictures, count, 2))
    scores = rng.uniform(0, 1, (pictures, count, 1 + classes))
    scores[-1] *= 0.4
    return np.concatenate([centre, size, scores], 2).astype(np.float32)


def graph_of(shape: tuple, nms: NMSOptions, opset: int = 12) -> onnx.ModelProto:
    g = Writer(opset)
    suppress(g, g.input('rows', shape, ('b', 'n', 'v')), nms)
    graph = helper.make_model(g.graph('nms'), opset_imports=[helper.make_opsetid('', opset)], ir_version=7)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def detections(found: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The graph's outputs as `non_max_suppression` gives them; what lies behind the last detection is checked."""
    result = []
    for n, boxes, scores, classes in zip(found['num_dets'][:, 0], found['boxes'], found['scores'], found['classes']):
        assert not boxes[n:].any()
        assert not scores[n:].any()
        assert (classes[n:] == -1).all()
        result.append(np.concatenate([boxes[:n], scores[:n, None], classes[:n, None]], 1))
    return result


@pytest.mark.parametrize('dynamic', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize(('classes', 'options'), [
    (5, {}),
    (5, {'agnostic': True}),
    (1, {}),
    (5, {'topk_all': 7}),
    (3, {'topk_all': 900, 'topk_per_class': 900, 'conf_thres': 0.0, 'iou_thres': 0.9}),
])  # fmt: skip
def test_same_detections(classes, options, dynamic):
    """More may be wanted than there are rows; the last picture has nothing."""
    nms, x = NMSOptions(**options), rows(3, 400, classes)
    shape = (None, None, 5 + classes) if dynamic else x.shape
    found = run_all(graph_of(shape, nms), {'rows': x})
    k = nms.topk_all
    assert {name: (v.dtype.name, v.shape) for name, v in found.items()} == {
        'num_dets': ('int32', (3, 1)), 'boxes': ('float32', (3, k, 4)),
        'scores': ('float32', (3, k)), 'classes': ('int32', (3, k)),
    }  # fmt: skip
    expected = non_max_suppression(x, nms.conf_thres, nms.iou_thres, agnostic=nms.agnostic, max_det=nms.topk_all)
    for mine, wanted in zip(detections(found), expected, strict=True):
        assert len(mine) == len(wanted)
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
    assert len(expected[0]) > 6


def test_a_class_has_its_limit():
    x = rows(2, 400, 3)
    found = detections(run_all(graph_of(x.shape, NMSOptions(topk_per_class=4)), {'rows': x}))[0]
    every = non_max_suppression(x, 0.25, 0.45)[0]
    best = np.concatenate([every[every[:, 5] == c][:4] for c in range(3)])
    np.testing.assert_allclose(found, best[np.argsort(-best[:, 4], kind='stable')], atol=1e-5)
    assert len(found) == 12


@pytest.mark.parametrize('half', [False, True], ids=['float32', 'float16'])
def test_behind_a_model(half):
    model, images = randomize(Model(TINY)), pictures(2, 3, 64, 64)
    graph = build_onnx(model, dynamic=True, nms=NMSOptions(conf_thres=0.2), half=half, opset=17)
    onnx.checker.check_model(graph, full_check=True)
    found = detections(run(graph, images.astype(np.float16 if half else np.float32)))
    expected = non_max_suppression(ours(model, images), 0.2, 0.45, max_det=100)
    assert min(len(e) for e in expected) > 5
    for mine, wanted in zip(found, expected, strict=True):
        if half:  # near a limit a box may fall to either side: the best must be the same
            np.testing.assert_allclose(mine[:3], wanted[:3], atol=0.5)
        else:
            np.testing.assert_allclose(mine[:, 4], wanted[:, 4], atol=1e-5)
            apart = np.abs(mine[:, None] - wanted[None]).max(2)  # two of nearly the same score may change places
            assert apart.min(0).max() < 1e-4
            assert apart.min(1).max() < 1e-4


@pytest.mark.parametrize(('options', 'said'), [
    ({'topk_all': 0}, '--topk-all 0: out of range'),
    ({'topk_per_class': -1}, '--topk-per-class -1: out of range'),
    ({'iou_thres': 45}, '--iou-thres 45: out of range'),
    ({'conf_thres': -0.1}, '--conf-thres -0.1: out of range'),
])  # fmt: skip
def test_impossible_options_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        NMSOptions(**options)


def test_a_model_without_boxes_has_nothing_to_suppress():
    classifier = {**TINY, 'head': [[-1, 1, 'Classify', ['nc']]]}
    with pytest.raises(UsageError, match='--nms: this model does not end in Detect'):
        build_onnx(Model(classifier), (64, 64), nms=NMSOptions())
