"""Whole networks against the reference: raw maps, decoded boxes, batch statistics, folding, test-time augmentation."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from models.yolo import Model
from tests.golden import golden_json, golden_npz, needs_golden, recipes
from tests.parity.network import check, fill, running

pytestmark = needs_golden


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize('key', list(golden_json('forward.json')) if not needs_golden.args[0] else [])


def results(model: Model, case: dict, x: torch.Tensor) -> dict[str, np.ndarray]:
    """What the golden file holds of a model in evaluation mode, by its names."""
    if case['augment']:
        return {'tta': model(x, augment=True)[0].numpy()}
    maps = {}
    if case['batch_stats']:
        model.train()
        maps = {f'raw{i}': m.numpy() for i, m in enumerate(model(x))}
        maps |= {name: running(model, name) for name in ('running_mean', 'running_var')}
        batches = running(model, 'num_batches_tracked')
        assert (batches == batches[0]).all()
        maps['batches'] = batches[:1]
        model.eval()
    decoded, raw = model(x)
    return {'decoded': decoded.numpy()} | {f'raw{i}': m.numpy() for i, m in enumerate(raw)} | maps


def test_forward(key: str) -> None:
    case, arrays = golden_json('forward.json')[key], golden_npz('forward.npz')
    model = Model(case.get('yaml') or case['file'].split('/')[-1], nc=case['nc'])
    assert model.stride.tolist() == case['stride']
    fill(model, case['weight_base'])
    model.eval()
    if case['fused']:
        model.fuse()
    x = torch.tensor(recipes().uniform_input(case['input_shape'], case['input_seed']))
    with torch.no_grad():
        ours = results(model, case, x)
    assert ours.keys() == case['arrays'].keys()
    for name, about in case['arrays'].items():
        check(ours[name], arrays[f'{key}/{name}'], about, f'{key}/{name}')
