from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from utils import ema as ema_module
from utils.ema import ModelEMA
from utils.fused import average


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def arrays(ema: ModelEMA) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in ema.ema.state_dict().items()}


def shift(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(by if tensor.is_floating_point() else 1)


def test_average_of_every_float_and_no_counter():
    model = small()
    ema = ModelEMA(model, decay=0.8, tau=2.0)
    expected = {k: v.numpy().astype(np.float64) for k, v in model.state_dict().items()}
    for n in (1, 2, 3):
        shift(model, 0.5)
        ema.update(model)
        d = 0.8 * (1 - math.exp(-n / 2.0))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = d * expected[name] + (1 - d) * tensor.numpy()
    for name, array in arrays(ema).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6, err_msg=name)
    assert ema.updates == 3
    assert arrays(ema)['1.num_batches_tracked'] == 0
    assert model.state_dict()['1.num_batches_tracked'].item() == 3


def test_average_and_model_share_nothing():
    model = small()
    ema = ModelEMA(model)
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    shift(ema.ema, 1.0)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    saved = arrays(ema)
    kept = {name: array.copy() for name, array in saved.items()}
    shift(model, 3.0)
    ema.update(model)
    assert not np.array_equal(arrays(ema)['0.weight'], kept['0.weight'])
    for name, array in saved.items():
        np.testing.assert_array_equal(array, kept[name])


def test_average_is_for_evaluation_only():
    model = small().train()
    ema = ModelEMA(model)
    assert not ema.ema.training
    assert not any(p.requires_grad for p in ema.ema.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert not deepcopy(ema.ema).training


def test_goes_on_from_a_saved_average():
    model = small()
    ema = ModelEMA(model)
    shift(model, 0.25)
    ema.update(model)
    other = ModelEMA(small(), updates=ema.updates)
    other.ema.load_state_dict(deepcopy(ema.ema.state_dict()))
    shift(model, 0.25)
    ema.update(model)
    other.update(model)
    assert other.updates == 2
    for name, array in arrays(ema).items():
        np.testing.assert_array_equal(arrays(other)[name], array)


def test_update_attr_copies_public_attributes():
    model = small()
    ema = ModelEMA(model)
    model.names, model.hyp, model._private, model.reducer = ['a'], {'lr0': 1}, 1, 2
    ema.update_attr(model, include=['names'])
    assert ema.ema.names == ['a']
    assert not hasattr(ema.ema, 'hyp')
    ema.update_attr(model)
    assert ema.ema.hyp == {'lr0': 1}
    assert not hasattr(ema.ema, '_private')
    assert not hasattr(ema.ema, 'reducer')
    assert not ema.ema.training, 'the mode is not an attribute to copy'


@pytest.mark.parametrize('fused', [False, True])
def test_the_way_of_a_gpu_gives_the_same(monkeypatch, fused):
    """Run on CPU tensors; the fused operator is played."""
    called = []

    def operator(averages: list, values: list, decay: float) -> None:
        called.append(decay)
        average(averages, values, decay)

    monkeypatch.setattr(ema_module, 'choose_average', lambda device: operator)
    model = small()
    here, there = ModelEMA(model), ModelEMA(model, fused=fused)
    shift(model, 0.5)
    here.update(model)
    there._update_on_device(ema_module._places(there.ema), ema_module._places(model), here.decay_at(1))
    assert len(called) == fused
    for name, array in arrays(here).items():
        np.testing.assert_allclose(arrays(there)[name], array, rtol=1e-6, err_msg=name)
