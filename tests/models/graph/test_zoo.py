"""The model files as graphs: real networks give the numbers of ours, and every file can be exported."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import onnx
import pytest

from models.graph.build import build_onnx
from models.yolo import Model
from tests.golden import needs_golden, shared
from tests.models.graph.graphs import ours, pictures, randomize, run
from utils.checkpoint import attempt_load
from utils.paths import MODEL_DIRS, read_yaml

FILES = sorted(path for folder in MODEL_DIRS for path in folder.glob('yolo*.yaml'))
REAL = (
    'yolov5n',
    'yolov5s',
    'yolov5n6',
    'yolov5s-ghost',
    'yolov5s-transformer',
    'yolov5-bifpn',
    'yolov3-tiny',
)


def agree(graph: onnx.ModelProto, model: Model, images: np.ndarray) -> None:
    """Boxes within a thousandth of a pixel, scores within a thousandth."""
    found, expected = run(graph, images)['output0'], ours(model, images)
    assert expected[..., 4:].std() > 0.01  # the weights matter
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize('name', REAL)
def test_networks_at_two_sizes_and_batches(name):
    model = randomize(Model(f'{name}.yaml'), gain=1.3)
    graph = build_onnx(model, dynamic=True)
    onnx.checker.check_model(graph, full_check=True)
    for batch, height, width in ((1, 64, 128), (2, 64, 64)):
        agree(graph, model, pictures(batch, 3, height, width))


@pytest.mark.parametrize('path', FILES, ids=[path.stem for path in FILES])
def test_every_model_file(path):
    """With few channels: what can go wrong are rows and layers."""
    model = randomize(Model(read_yaml(path) | {'width_multiple': 0.05, 'depth_multiple': 0.33}), gain=1.3)
    size = (128, 128) if int(model.stride.max()) > 64 else (64, 64)
    graph = build_onnx(model, size)
    onnx.checker.check_model(graph, full_check=True)
    agree(graph, model, pictures(1, 3, *size))


@needs_golden
def test_official_weights():
    model = attempt_load(shared('weights/yolov5n.pt'))
    graph = build_onnx(model, dynamic=True)
    agree(graph, model, pictures(1, 3, 160, 224))
    assert [p.value[:19] for p in graph.metadata_props if p.key == 'names'] == ['["person", "bicycle']


def test_half_precision():
    """Half the bytes; boxes and scores as near as eleven bits of weights and maps allow."""
    model = randomize(Model('yolov5n.yaml'), gain=1.3)
    whole, half = (build_onnx(model, (64, 96), half=half) for half in (False, True))
    onnx.checker.check_model(half, full_check=True)
    assert half.ByteSize() < 0.52 * whole.ByteSize()
    images = pictures(1, 3, 64, 96)
    found, expected = run(half, images.astype(np.float16))['output0'], ours(model, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], atol=5e-3)
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=0.02, atol=0.2)


def test_weights_on_their_way_stay_as_they_are():
    """The graph holds copies: training on changes no graph."""
    model = randomize(Model('yolov5n.yaml'))
    graph = build_onnx(model, (64, 64))
    before = run(graph, pictures(1, 3, 64, 64))['output0']
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(run(graph, pictures(1, 3, 64, 64))['output0'], before)
