"""Every layer that a model file may name, on its own: the graph's numbers against the layer's own."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import onnx
import pytest
from oneflow import nn
from onnx import helper

from models import common, ops
from models.graph import layers
from models.graph.writer import Value, Writer
from models.head import Detect
from models.parse import LAYERS
from tests.models.graph.graphs import pictures, randomize, run_all
from utils.errors import ConfigError

A, B = (2, 8, 6, 10), (2, 8, 12, 20)  # shapes that tell every axis from the others

# name: the layer and the shapes of its inputs
CASES = {
    'Conv': (common.Conv(8, 12, 3, 2), [A]),
    'Conv of two sides': (common.Conv(8, 12, (1, 3), (1, 2), act=False), [A]),
    'Conv of other activations': (
        nn.Sequential(*(common.Conv(8, 8, act=a) for a in (nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardswish(), nn.Mish()))),
        [A],
    ),
    'DWConv': (common.DWConv(8, 16, 3), [A]),
    'DWConvTranspose2d': (common.DWConvTranspose2d(8, 16, 4, 2, 1), [A]),
    'Bottleneck': (common.Bottleneck(8, 8), [A]),
    'Bottleneck without shortcut': (common.Bottleneck(8, 12, g=2), [A]),
    'BottleneckCSP': (common.BottleneckCSP(8, 8, 2), [A]),
    'CrossConv': (common.CrossConv(8, 8, 3, 1, shortcut=True), [A]),
    'C3': (common.C3(8, 8, 2), [A]),
    'C3x': (common.C3x(8, 8, 1), [A]),
    'C3TR': (common.C3TR(8, 16, 2), [A]),
    'C3SPP': (common.C3SPP(8, 8, (3, 5)), [A]),
    'C3Ghost': (common.C3Ghost(8, 8, 1), [A]),
    'SPP': (common.SPP(8, 8), [A]),
    'SPPF': (common.SPPF(8, 8, 5), [A]),
    'Focus': (common.Focus(8, 8, 3), [A]),
    'GhostConv': (common.GhostConv(8, 8, 3), [A]),
    'GhostBottleneck': (common.GhostBottleneck(8, 8), [A]),
    'GhostBottleneck of stride 2': (common.GhostBottleneck(8, 16, 3, 2), [A]),
    'MixConv2d': (common.MixConv2d(8, 12, (1, 3, 5)), [A]),
    'TransformerBlock': (common.TransformerBlock(8, 16, 4, 2), [A]),
    'Concat': (common.Concat(1), [A, A]),
    'Sum': (common.Sum(3), [A, A, A]),
    'Sum with weights': (common.Sum(3, True), [A, A, A]),
    'Contract': (common.Contract(2), [A]),
    'Expand': (common.Expand(2), [A]),
    'Classify': (common.Classify(16, 5), [A, B]),
    'Classify of one map': (common.Classify(8, 5), [A]),
    'Detect': (Detect(3, [[10, 13, 16, 30], [30, 61, 62, 45]], (8, 8)), [B, A]),
    'nn.Upsample': (ops.Upsample(None, 2, 'nearest'), [A]),
    'nn.Upsample to a size': (nn.Upsample((9, 14), mode='nearest'), [A]),
    'nn.Upsample bilinear': (nn.Upsample(scale_factor=2, mode='bilinear'), [A]),
    'nn.Upsample bilinear by corners': (nn.Upsample(scale_factor=2, mode='bilinear', align_corners=True), [A]),
    'nn.Upsample bicubic': (nn.Upsample(scale_factor=2, mode='bicubic'), [A]),
    'nn.MaxPool2d': (ops.MaxPool2d(2, 2, 0), [A]),
    'nn.MaxPool2d with ceil_mode': (nn.MaxPool2d(3, 2, 1, ceil_mode=True), [A]),
    'nn.AvgPool2d': (nn.AvgPool2d(3, 2, 1), [A]),
    'nn.ZeroPad2d': (nn.ZeroPad2d((0, 1, 2, 3)), [A]),
    'nn.ZeroPad2d before a maximum': (nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1, 0)), [A]),
    'nn.ConvTranspose2d': (nn.ConvTranspose2d(8, 6, 3, 2, 1, 1), [A]),
    'nn.BatchNorm2d': (ops.BatchNorm2d(8), [A]),
    'nn.Identity': (nn.Identity(), [A]),
    'nn.Dropout': (nn.Dropout(0.5), [A]),
    'nn.SiLU': (ops.SiLU(), [A]),
    'nn.ReLU': (nn.ReLU(), [A]),
    'nn.LeakyReLU': (nn.LeakyReLU(0.2), [A]),
}  # fmt: skip


def graph_of(
    layer: nn.Module, shapes: list[tuple[int, ...]], dynamic: bool, opset: int
) -> tuple[Value, onnx.ModelProto]:
    """A graph of one layer, and what it says of its result's shape."""
    g = Writer(opset)
    known = [(None, shape[1], None, None) if dynamic else shape for shape in shapes]
    inputs = [g.input(f'x{i}', shape, (f'b{i}', 'c', f'h{i}', f'w{i}')) for i, shape in enumerate(known)]
    y = layers.emit(g, layer, inputs if len(inputs) > 1 else inputs[0])
    g.output(y, 'y', ('b', 'c', 'h', 'w'))
    version = helper.make_opsetid('', opset)
    graph = helper.make_model(g.graph('layer'), opset_imports=[version], ir_version=8)
    onnx.checker.check_model(graph, full_check=True)
    return y, graph


@pytest.mark.parametrize('dynamic', [False, True], ids=['fixed', 'dynamic'])
@pytest.mark.parametrize('name', CASES)
def test_same_numbers(name, dynamic):
    layer, shapes = CASES[name]
    randomize(layer, gain=0.7)  # attention over large numbers makes a lot of small differences
    images = [pictures(*shape, seed=i) * 2 - 1 for i, shape in enumerate(shapes)]
    with torch.no_grad():
        tensors = [torch.tensor(x) for x in images]
        expected = layer(tensors if len(tensors) > 1 else tensors[0])
    expected = (expected[0] if isinstance(layer, Detect) else expected).numpy()
    value, graph = graph_of(layer, shapes, dynamic, opset=13 if 'nn.Upsample' in name else 12)
    found = run_all(graph, {f'x{i}': x for i, x in enumerate(images)})['y']
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert [e for e, size in zip(expected.shape, value.shape) if size not in (e, None)] == []
    assert dynamic or None not in value.shape


def test_every_layer_of_model_files_has_an_emitter():
    assert {case.split(' ')[0] for case in CASES} == set(LAYERS)


def test_older_operators_of_resizing_want_their_inputs():
    layer, shapes = CASES['nn.Upsample to a size']
    images = pictures(*A)
    _, graph = graph_of(layer, shapes, True, opset=12)
    np.testing.assert_array_equal(run_all(graph, {'x0': images})['y'], layer(torch.tensor(images)).numpy())


def test_a_layer_without_an_emitter_is_named():
    class Special(common.C3):
        """Computes something else, maybe."""

    with pytest.raises(ConfigError, match='Special: this layer has no ONNX form here'):
        graph_of(Special(8, 8), [A], False, 12)


def test_a_layer_set_up_in_a_way_without_an_emitter_is_named():
    with pytest.raises(ConfigError, match='MaxPool2d with indices'):
        graph_of(nn.MaxPool2d(2, return_indices=True), [A], False, 12)
