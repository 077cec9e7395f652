from __future__ import annotations

import json
import math

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from utils.errors import UsageError, WeightsError
from utils.fused import flatten_gradients
from utils.optim import (
    accumulation,
    clipped_step,
    freeze,
    optimizer_from_numpy,
    optimizer_to_numpy,
    parameter_groups,
    scale_gains,
    scaled_weight_decay,
    smart_optimizer,
)


class Attention(nn.Module):
    """Parameters that are neither `weight` nor `bias`."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(6, 2))
        self.in_proj_bias = nn.Parameter(torch.zeros(6))
        self.w = nn.Parameter(torch.ones(3))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 2, bias=False), nn.LayerNorm(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


def filled_gradients(model: nn.Module, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.grad = torch.tensor(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))


def values(model: nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().copy().ravel() for p in model.parameters()])


def test_groups():
    biases, weights, scales = parameter_groups(nn.Sequential(Net(), Attention()))
    assert list(biases) == ['0.model.0.bias', '0.model.1.bias', '0.model.3.bias', '1.in_proj_bias']
    assert list(weights) == ['0.model.0.weight', '0.model.2.weight', '1.in_proj_weight']
    assert list(scales) == ['0.model.1.weight', '0.model.3.weight', '1.w']


def test_every_parameter_is_in_one_group():
    model = nn.Sequential(Net(), Attention())
    grouped = [id(p) for group in parameter_groups(model) for p in group.values()]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_unknown_optimizer():
    with pytest.raises(UsageError, match='--optimizer Lion'):
        smart_optimizer(Net(), 'Lion')


def expected_updates(name: str, w: np.ndarray, gradients: list, rates: list, decay: float) -> np.ndarray:
    """The update rules of PyTorch's SGD with Nesterov momentum 0.9, Adam and AdamW, in float64."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, lr) in enumerate(zip(gradients, rates), 1):
        if name == 'AdamW':
            w = w - lr * decay * w
        else:
            g = g + decay * w
        if name == 'SGD':
            m = 0.9 * m + g
            w = w - lr * (g + 0.9 * m)
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w = w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.parametrize('name', ['SGD', 'Adam', 'AdamW'])
def test_steps_follow_the_formulas_while_the_rate_changes(name):
    model = nn.Linear(4, 3, bias=False)
    start = model.weight.detach().numpy().astype(np.float64)
    optimizer = smart_optimizer(model, name, lr=0.1, momentum=0.9, weight_decay=0.01)
    rng = np.random.default_rng(0)
    gradients, rates = rng.standard_normal((5, 3, 4)), [0.1, 0.01, 0.05, 0.2, 0.001]
    for gradient, rate in zip(gradients, rates):
        for group in optimizer.param_groups:
            group['lr'] = rate
        model.weight.grad = torch.tensor(gradient.astype(np.float32))
        optimizer.step()
    expected = expected_updates(name, start, list(gradients), rates, 0.01)
    np.testing.assert_allclose(model.weight.detach().numpy(), expected, atol=1e-5)


def test_only_weights_decay():
    model = Net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.ones_like(parameter))
    optimizer = smart_optimizer(model, 'SGD', lr=0.5, momentum=0.9, weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if (p.detach().numpy() != 1).any()}
    assert moved == {'model.0.weight', 'model.2.weight'}


def test_clipped_step():
    model = nn.Linear(3, 1, bias=False)
    before = values(model)
    optimizer = smart_optimizer(model, 'SGD', lr=1.0, momentum=0.0, weight_decay=0.0)
    model.weight.grad = torch.tensor([[30.0, 40.0, 0.0]])
    norm = clipped_step(optimizer, model, max_norm=10.0)
    assert norm.item() == pytest.approx(50)
    np.testing.assert_allclose(before - values(model), [6, 8, 0], rtol=1e-5)
    np.testing.assert_array_equal(model.weight.grad.numpy(), 0)


@pytest.mark.parametrize('buckets', [1, 2])
def test_a_clipped_step_over_buffers(buckets):
    """What clipping each gradient by itself does, in launches that don't grow with the number of parameters."""
    models = [nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    (flat,) = flatten_gradients(models[1])
    buffers = [flat] if buckets == 1 else [flat.narrow(0, 0, 128), flat.narrow(0, 128, len(flat) - 128)]
    norms = []
    for model, own in zip(models, (None, buffers)):
        optimizer = smart_optimizer(model, 'SGD', lr=0.1, momentum=0.9, weight_decay=0.01)
        for step in range(3):
            ((model(torch.ones(4, 3)) - step - 30) * 30).square().sum().backward()
            norms.append(clipped_step(optimizer, model, 10.0, own).item())
    np.testing.assert_allclose(norms[3:], norms[:3], rtol=1e-5)
    assert min(norms) > 10
    for ours, plain in zip(*(model.parameters() for model in models)):
        np.testing.assert_allclose(ours.detach().numpy(), plain.detach().numpy(), rtol=1e-5, atol=1e-6)
        assert not ours.grad.numpy().any()


def test_scaling_to_the_batch():
    assert [accumulation(b) for b in (1, 16, 40, 64, 200)] == [64, 4, 2, 1, 1]
    assert scaled_weight_decay(0.0005, 16) == pytest.approx(0.0005)
    assert scaled_weight_decay(0.0005, 128) == pytest.approx(0.001)
    assert scaled_weight_decay(0.0005, 40) == pytest.approx(0.0005 * 80 / 64)


def test_gains_leave_the_callers_values_alone():
    hyp = {'box': 0.05, 'cls': 0.5, 'obj': 1.0, 'lr0': 0.01}
    scaled = scale_gains(hyp, nl=4, nc=20, imgsz=1280)
    assert scaled == pytest.approx({'box': 0.0375, 'cls': 0.5 * 20 / 80 * 0.75, 'obj': 4 * 0.75, 'lr0': 0.01})
    assert hyp == {'box': 0.05, 'cls': 0.5, 'obj': 1.0, 'lr0': 0.01}


@pytest.mark.parametrize(
    ('layers', 'frozen'),
    [
        ([0], []),
        ([2], ['model.0.weight', 'model.0.bias', 'model.1.weight', 'model.1.bias']),
        ([0, 3], ['model.0.weight', 'model.0.bias', 'model.3.weight', 'model.3.bias']),
    ],
)
def test_freeze(layers, frozen):
    model = Net()
    assert freeze(model, layers) == frozen
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == frozen
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    optimizer = smart_optimizer(model, 'SGD', lr=0.1)
    model.model[2](torch.ones(1, 2)).sum().backward()
    clipped_step(optimizer, model)
    changed = {name for name, p in model.named_parameters() if (p.detach().numpy() != before[name]).any()}
    assert 'model.2.weight' in changed
    assert not changed & set(frozen)


@pytest.mark.parametrize('layers', [[5], [-1], [0, 4], [1, -1]])
def test_freezing_layers_that_are_not_there(layers):
    with pytest.raises(UsageError, match='layers 0 to 3'):
        freeze(Net(), layers)


@pytest.mark.parametrize('name', ['SGD', 'AdamW'])
def test_saved_state_continues_bit_for_bit(name):
    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            filled_gradients(model, seed)
            optimizer.param_groups[1]['lr'] = 0.01 * (seed + 1)
            optimizer.step()

    model = Net()
    optimizer = smart_optimizer(model, name, lr=0.1)
    steps(model, optimizer, range(3))
    saved = optimizer_to_numpy(optimizer)
    copy = Net()
    copy.load_state_dict({k: torch.tensor(v.numpy().copy()) for k, v in model.state_dict().items()})
    steps(model, optimizer, range(3, 6))

    arrays = saved.pop('state')
    saved = json.loads(json.dumps(saved)) | {'state': arrays}  # all but the arrays travels as JSON
    resumed = smart_optimizer(copy, name, lr=7.0)
    optimizer_from_numpy(resumed, saved)
    steps(copy, resumed, range(3, 6))
    np.testing.assert_array_equal(values(copy), values(model))
    assert math.isfinite(values(copy).sum())


def test_whether_to_fuse_is_up_to_the_machine_that_resumes():
    saved = optimizer_to_numpy(smart_optimizer(Net(), 'SGD'))
    for group in saved['groups']:
        group['fused'] = True  # saved on a GPU
    optimizer = smart_optimizer(Net(), 'SGD')
    optimizer_from_numpy(optimizer, saved)
    assert [group['fused'] for group in optimizer.param_groups] == [False] * 3


def test_saved_state_is_a_copy():
    model = Net()
    optimizer = smart_optimizer(model, 'SGD', lr=0.1)
    filled_gradients(model, 0)
    optimizer.step()
    saved = optimizer_to_numpy(optimizer)
    kept = saved['state']['0']['momentum_buf'].copy()
    filled_gradients(model, 1)
    optimizer.step()
    np.testing.assert_array_equal(saved['state']['0']['momentum_buf'], kept)


def test_state_of_another_model_or_optimizer_is_refused():
    small, large = nn.Linear(2, 2), nn.Linear(3, 3)
    optimizer = smart_optimizer(large, 'SGD')
    filled_gradients(large, 0)
    optimizer.step()
    saved = optimizer_to_numpy(optimizer)
    for other in (smart_optimizer(small, 'SGD'), smart_optimizer(large, 'Adam')):
        with pytest.raises(WeightsError, match='does not fit'):
            optimizer_from_numpy(other, saved)
