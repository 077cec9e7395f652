"""The loss, its parts, its gradients and the target assignment against the reference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from tests.golden import SHARED, golden_json, golden_npz, needs_golden, recipes
from utils.assigner import build_targets, last_in_cell
from utils.loss import ComputeLoss

pytestmark = needs_golden

CASES = [name for name in golden_json('loss.json') if name != 'hyp'] if (SHARED / 'golden').is_dir() else ['missing']


class Stub(nn.Module):
    """What ComputeLoss reads of a model."""

    def __init__(self, about: dict, anchors: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.hyp = about['hyp']
        self.detect = SimpleNamespace(
            nc=about['nc'], nl=len(anchors), anchors=torch.tensor(anchors), stride=torch.tensor(about['stride'])
        )


@pytest.mark.parametrize('case', CASES)
def test_assignment(case):
    about, arrays = golden_json('loss.json')[case], golden_npz('loss.npz')
    shapes = [shape[2:4] for shape in about['map_shapes']]
    levels = build_targets(arrays[f'{case}/targets'], shapes, arrays[f'{case}/anchors_grid'], about['hyp']['anchor_t'])
    matched_twice = 0
    for i, (level, shape) in enumerate(zip(levels, about['map_shapes'])):
        index = np.stack([level.image, level.anchor, level.gj, level.gi, level.cls], axis=1)
        order = arrays[f'{case}/match{i}_order']
        np.testing.assert_array_equal(index[order], arrays[f'{case}/match{i}_index'])
        np.testing.assert_allclose(level.box[order], arrays[f'{case}/match{i}_box'], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(level.anchor_wh[order], arrays[f'{case}/match{i}_anchor'])

        cells, count = np.unique(level.cells(*shape[1:4]), return_counts=True)
        matched_twice += (count > 1).sum()
        assert len(last_in_cell(level.cells(*shape[1:4]))) == len(cells)
    assert matched_twice == about['cells_matched_twice']


@pytest.mark.parametrize('engine', ['1', '0'])
@pytest.mark.parametrize('case', CASES)
def test_loss_and_gradients(case, engine, monkeypatch):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
    about, arrays = golden_json('loss.json')[case], golden_npz('loss.npz')
    compute_loss = ComputeLoss(Stub(about, arrays[f'{case}/anchors_grid']), about['autobalance'])
    for call, seed in enumerate(about['map_seeds']):
        maps = [torch.tensor(m) for m in recipes().normal_maps(about['map_shapes'], seed, about['map_scale'])]
        maps = [m.requires_grad_() for m in maps]
        loss, items = compute_loss(maps, arrays[f'{case}/targets'])
        assert loss.item() == pytest.approx(about['loss'][call], rel=1e-5)
        np.testing.assert_allclose(items.numpy(), about['items_box_obj_cls'][call], rtol=1e-5)
        if about['autobalance']:
            np.testing.assert_allclose(compute_loss.balance.numpy(), about['balance_after_call'][call], rtol=1e-6)
    loss.backward()
    for i, m in enumerate(maps):
        np.testing.assert_allclose(m.grad.numpy(), arrays[f'{case}/grad{i}'], rtol=1e-4, atol=1e-6)
