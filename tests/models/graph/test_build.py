"""Whole models as graphs: the same numbers as the model's own, in a valid file with its metadata."""

from __future__ import annotations

import json

import numpy as np
import oneflow as torch
import onnx
import pytest

from models.graph.build import OPSETS, build_onnx
from models.yolo import Model
from tests.models.graph.graphs import ours, pictures, randomize, run
from tests.models.tiny import TINY
from utils.errors import UsageError


@pytest.fixture(scope='module')
def model():
    return randomize(Model(TINY))


@pytest.mark.parametrize('opset', [OPSETS.start, 13, OPSETS.stop - 1])
def test_fixed_size(model, opset):
    graph = build_onnx(model, (64, 96), 2, opset=opset)
    onnx.checker.check_model(graph, full_check=True)
    images = pictures(2, 3, 64, 96)
    (found,) = run(graph, images).values()
    np.testing.assert_allclose(found, ours(model, images), atol=1e-4)
    assert graph.opset_import[0].version == opset


def test_dynamic_size(model):
    graph = build_onnx(model, dynamic=True)
    onnx.checker.check_model(graph, full_check=True)
    for shape in ((1, 3, 64, 64), (3, 3, 32, 128)):
        images = pictures(*shape)
        np.testing.assert_allclose(run(graph, images)['output0'], ours(model, images), atol=1e-4)


@pytest.mark.parametrize('dynamic', [False, True])
def test_raw_maps_on_demand(model, dynamic):
    graph = build_onnx(model, (64, 96), 2, dynamic=dynamic, maps=True)
    onnx.checker.check_model(graph, full_check=True)
    images = pictures(2, 3, 64, 96)
    found = run(graph, images)
    with torch.no_grad():
        wanted = [m.numpy() for m in model.eval()(torch.tensor(images))[1]]
    assert list(found) == ['output0', *(f'map{i}' for i in range(len(wanted)))]
    for level, raw in enumerate(wanted):
        b, na, ny, nx, no = raw.shape
        ours = found[f'map{level}'].reshape(b, na, no, ny, nx).transpose(0, 1, 3, 4, 2)
        np.testing.assert_allclose(ours, raw, atol=1e-4)


def test_the_model_may_be_fused_and_stays_as_it_is():
    model = randomize(Model(TINY))
    images = pictures(1, 3, 64, 64)
    before = ours(model, images)
    graph = build_onnx(model, (64, 64))
    np.testing.assert_array_equal(ours(model, images), before)
    fused = build_onnx(model.fuse(), (64, 64))
    np.testing.assert_allclose(run(fused, images)['output0'], run(graph, images)['output0'], atol=1e-4)


def test_metadata_are_json(model):
    graph = build_onnx(model, (64, 96), 2, metadata={'epoch': 3})
    found = {p.key: json.loads(p.value) for p in graph.metadata_props}
    assert found['stride'] == found['yolov5']['stride'] == 8
    assert found['names'] == found['yolov5']['names'] == ['0', '1', '2', '3']
    assert found['yolov5']['imgsz'] == [64, 96]
    assert found['yolov5']['batch'] == 2
    assert found['yolov5']['epoch'] == 3


def test_an_unknown_operator_set_is_refused(model):
    with pytest.raises(UsageError, match='--opset 11'):
        build_onnx(model, opset=11)
