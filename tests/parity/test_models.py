"""Every model file against the reference: content, layers, parameters, state, strides, operations, folding."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from oneflow import nn

from models.summary import count_flops, model_info
from models.yolo import Model
from tests.golden import golden_json, needs_golden
from utils.paths import MODEL_DIRS, ROOT, read_yaml

pytestmark = needs_golden


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'key' in metafunc.fixturenames:
        metafunc.parametrize('key', list(golden_json('models.json')) if not needs_golden.args[0] else [])


@lru_cache(maxsize=1)  # the tests of one model follow each other
def build(key: str) -> Model:
    """The model, its convolutions not drawn but left as the memory was: a thousand million numbers nobody reads."""
    golden = golden_json('models.json')[key]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, 'kaiming_uniform_', lambda tensor, **_: tensor)
        return Model(golden['file'].rsplit('/', 1)[-1], nc=golden['nc'])


def test_model_file_says_the_same(key: str) -> None:
    golden = golden_json('models.json')[key]
    if 'yaml' in golden:  # an entry with another number of classes has none of its own
        assert read_yaml(ROOT / 'models' / golden['file']) == golden['yaml']


def test_structure(key: str) -> None:
    golden, model = golden_json('models.json')[key], build(key)
    detect = model.detect
    assert [[m.i, m.f, m.type.rsplit('.', 1)[-1], m.np] for m in model.model] == [
        [i, f, name.rsplit('.', 1)[-1], count] for i, f, name, count in golden['rows']
    ]
    assert model.save == golden['save']
    assert (detect.nc, detect.no, detect.na, detect.nl) == tuple(golden[k] for k in ('nc', 'no', 'na', 'nl'))
    assert model.stride.tolist() == golden['stride']
    pixels = detect.anchors.numpy() * detect.stride.numpy().reshape(-1, 1, 1)
    np.testing.assert_allclose(pixels, golden['anchors_pixels'], rtol=1e-6)
    assert len(model.names) == golden['names']
    assert [model.names[0], model.names[-1]] == golden['names_first_last']
    state = [[name, list(tensor.shape)] for name, tensor in model.state_dict().items()]
    assert len(state) == golden['state_dict_entries']
    assert state == golden.get('state_dict', state)
    assert len(list(model.parameters())) == golden['parameter_tensors']


def test_counts_and_summary(key: str) -> None:
    golden, model = golden_json('models.json')[key], build(key)
    assert model_info(model) == golden['summary']
    assert count_flops(model) == pytest.approx(golden['gflops_640'], rel=1e-6)


def test_bias_start(key: str) -> None:
    golden, detect = golden_json('models.json')[key], build(key).detect
    for conv in detect.m:
        nn.init.zeros_(conv.bias)
    detect.initialize_biases()
    for conv, (box, objectness, classes) in zip(detect.m, golden['bias_init_added_box_obj_cls']):
        bias = conv.bias.detach().numpy().reshape(detect.na, detect.no)
        np.testing.assert_allclose(bias[:, :4], box, atol=1e-6)
        np.testing.assert_allclose(bias[:, 4], objectness, atol=1e-5)
        np.testing.assert_allclose(bias[:, 5:], classes, atol=1e-5)


def test_folded(key: str) -> None:
    """Last: it changes the model."""
    golden, model = golden_json('models.json')[key]['fused'], build(key).fuse()
    assert len(list(model.modules())) == golden['layers']
    assert sum(p.numel() for p in model.parameters()) == golden['parameters']
    assert len(model.state_dict()) == golden['state_dict_entries']
    gflops = count_flops(model)
    assert gflops == pytest.approx(golden['gflops_640'], rel=1e-6)
    assert f'{gflops:.1f}' == str(golden['gflops_printed'])


def test_no_file_is_left_out() -> None:
    files = {path.relative_to(ROOT / 'models').as_posix() for folder in MODEL_DIRS for path in folder.glob('*.yaml')}
    assert files == {golden['file'] for golden in golden_json('models.json').values()} | {'hub/anchors.yaml'}


def test_anchor_sets() -> None:
    assert read_yaml(ROOT / 'models' / 'hub' / 'anchors.yaml') == golden_json('anchors.json')
