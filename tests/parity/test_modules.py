"""Every layer type on its own against the reference: state, evaluation, one training pass, running statistics."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models import attention, common
from models.surgery import initialize_weights
from tests.golden import golden_json, golden_npz, needs_golden, recipes
from tests.parity.network import check, fill, running

pytestmark = needs_golden


def build(case: dict) -> nn.Module:
    layer = getattr(common, case['layer'], None) or getattr(attention, case['layer'])
    module = layer(*case['args'])
    initialize_weights(module)
    return module


def inputs(case: dict) -> torch.Tensor | list[torch.Tensor]:
    arrays = [
        np.float32(2) * recipes().uniform_input(shape, seed) - np.float32(1)
        for shape, seed in zip(case['inputs'], case['input_seeds'])
    ]
    tensors = [torch.tensor(a) for a in arrays]
    return tensors if len(tensors) > 1 else tensors[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize('key', list(golden_json('modules.json')) if not needs_golden.args[0] else [])


def test_state_and_module_count(key: str) -> None:
    case = golden_json('modules.json')[key]
    module = build(case)
    assert [[k, list(v.shape)] for k, v in module.state_dict().items()] == case['state_dict']
    assert len(list(module.modules())) == case['modules']
    for name, value in case['kept_as_built'].items():
        assert module.state_dict()[name].numpy().tolist() == value


def test_outputs(key: str) -> None:
    case, arrays = golden_json('modules.json')[key], golden_npz('modules.npz')
    module = build(case)
    fill(module, case['weight_base'])
    x = inputs(case)
    for mode in ('eval', 'train'):
        if mode in case['arrays']:
            module.train(mode == 'train')
            check(module(x).numpy(), arrays[f'{key}/{mode}'], case['arrays'][mode], mode)
    for name in ('running_mean', 'running_var'):
        if f'{name}_after' in case['arrays']:
            check(running(module, name), arrays[f'{key}/{name}_after'], case['arrays'][f'{name}_after'], name)
