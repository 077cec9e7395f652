"""Training through oneDNN against plain OneFlow, the oracle: outputs, batch statistics, gradients, and good manners."""

from __future__ import annotations

import copy
import gc
import logging
import os
import pickle
import weakref

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models import ops as layers
from models.cpu import dnnl, engine
from models.yolo import Model

pytestmark = pytest.mark.skipif(dnnl.load() is None, reason='oneDNN is not installed')

ANCHORS = [[10, 13, 16, 30], [30, 61, 62, 45]]


def small(*rows: list, nc: int = 3, seed: int = 0) -> Model:
    """A network of stride 8 and 16 around the given rows, which see 16 channels."""
    n = len(rows)
    backbone = [[-1, 1, 'Conv', [16, 3, 2]], [-1, 1, 'Conv', [16, 3, 2]], *rows]
    head = [[-1, 1, 'Conv', [24, 3, 2]], [[n + 1, n + 2], 1, 'Detect', ['nc', 'anchors']]]
    torch.manual_seed(seed)
    cfg = {
        'nc': nc,
        'depth_multiple': 1.0,
        'width_multiple': 1.0,
        'anchors': ANCHORS,
        'backbone': backbone,
        'head': head,
    }
    return Model(cfg).train()


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


def loss(maps: list[torch.Tensor]) -> torch.Tensor:
    """Sums the maps with weights that are drawn by shape, so two models get the same."""
    rng = np.random.default_rng(1)
    weights = [torch.from_numpy(rng.standard_normal(tuple(m.shape), np.float32)) for m in maps]
    return sum((m * w).sum() for m, w in zip(maps, weights))


@pytest.fixture
def plain(monkeypatch):
    """Calls a model without the engine."""

    def forward(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        with monkeypatch.context() as off:
            off.setenv('YOLOV5_CPU_ENGINE', '0')
            return model(x)

    return forward


def through_engine(model: Model, x: torch.Tensor) -> list[torch.Tensor]:
    maps = engine.forward(model, x)
    assert maps is not None, 'the engine declined'
    return maps


def assert_close(actual, expected, tolerance: float, what: str, floor: float = 0.0) -> None:
    actual, expected = actual.numpy(), expected.numpy()
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), floor), what


def assert_same_training(model: Model, oracle: Model) -> None:
    """The gradients and the buffers of two models agree. A gradient that is zero but for rounding counts as zero."""
    expected = dict(oracle.named_parameters())
    floor = 1e-3 * max(np.abs(p.grad.numpy()).max() for p in expected.values() if p.grad is not None)
    for name, p in model.named_parameters():
        if expected[name].grad is None:
            assert p.grad is None, name
        else:
            assert_close(p.grad, expected[name].grad, 5e-4, name, floor)
    for (name, buffer), other in zip(model.named_buffers(), oracle.buffers()):
        assert_close(buffer.double(), other.double(), 1e-4, name)


ROWS = {
    'C3': [[-1, 2, 'C3', [16]]],
    'C3 without shortcut': [[-1, 1, 'C3', [16, False]]],
    'SPPF': [[-1, 1, 'SPPF', [16, 5]]],
    'SPP': [[-1, 1, 'SPP', [16, [5, 9, 13]]]],
    'BottleneckCSP': [[-1, 1, 'BottleneckCSP', [16]]],
    'Bottleneck twice': [[-1, 2, 'Bottleneck', [16]]],
    'CrossConv': [[-1, 1, 'CrossConv', [16, 3, 1, 1, 1.0, True]]],
    'DWConv': [[-1, 1, 'DWConv', [16, 3]]],
    'GhostConv': [[-1, 1, 'GhostConv', [16, 3]]],
    'C3Ghost': [[-1, 1, 'C3Ghost', [16]]],
    'GhostBottleneck': [[-1, 1, 'GhostBottleneck', [16, 3, 1]]],
    'MixConv2d': [[-1, 1, 'MixConv2d', [16, [1, 3]]]],
    'Focus, upsample': [[-1, 1, 'Focus', [16, 3]], [-1, 1, 'nn.Upsample', ['None', 2, 'nearest']]],
    'concat of a map with itself': [[[-1, -1], 1, 'Concat', [1]], [-1, 1, 'Conv', [16]]],
    'a map joined before it is used again': [[-1, 1, 'Conv', [16]], [[-1, 1], 1, 'Concat', [1]], [2, 1, 'Conv', [16]]],
    'padded max-pool': [[-1, 1, 'nn.ZeroPad2d', [[0, 1, 0, 1]]], [-1, 1, 'nn.MaxPool2d', [2, 1, 0]]],
}


@pytest.mark.parametrize('rows', ROWS.values(), ids=ROWS)
def test_layers(rows, plain):
    model, x = small(*rows), pictures(2, 3, 64, 96)
    oracle = copy.deepcopy(model)
    maps, expected = through_engine(model, x), plain(oracle, x)
    for level, other in zip(maps, expected):
        assert level.shape == other.shape
        assert_close(level, other, 1e-4, 'map')
    loss(maps).backward()
    loss(expected).backward()
    assert_same_training(model, oracle)


def test_yolov5n_over_shapes(plain):
    torch.manual_seed(0)
    model = Model('yolov5n.yaml', nc=3).train()
    oracle = copy.deepcopy(model)
    for seed, shape in enumerate([(4, 3, 96, 96), (3, 3, 128, 96), (4, 3, 96, 96)]):
        x = pictures(*shape, seed=seed)
        model.zero_grad()
        oracle.zero_grad()
        loss(through_engine(model, x)).backward()
        loss(plain(oracle, x)).backward()
    assert_same_training(model, oracle)
    assert int(model.model[0].bn.num_batches_tracked) == 3


def test_as_exact_as_plain_oneflow_by_float64(plain, monkeypatch):
    monkeypatch.setattr(layers.BatchNorm2d, 'forward', nn.BatchNorm2d.forward)  # ours knows float32 alone
    model, x = small([-1, 1, 'C3', [16]]), pictures(4, 3, 64, 64)
    single, double = copy.deepcopy(model), copy.deepcopy(model).double()
    for one, forward, data in ((model, through_engine, x), (single, plain, x), (double, plain, x.double())):
        sum((m.float() * m.float()).sum() for m in forward(one, data)).backward()
    exact = [p.grad.numpy() for p in double.parameters()]

    def error(one: Model) -> float:
        parts = zip((p.grad.numpy() for p in one.parameters()), exact)
        return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in parts)

    assert error(model) < max(3 * error(single), 1e-5)


def test_statistics_of_large_maps_are_exact():
    """Float32 sums over 131,072 numbers, one after another, are off by 1e-5 and more."""
    model, x = small(), pictures(8, 3, 256, 256)
    with torch.no_grad():
        y = model.model[0].conv(x).numpy().astype(np.float64)
    through_engine(model, x)
    norm = model.model[0].bn
    momentum, count = norm.momentum, y[:, 0].size
    variance = 1 - momentum + momentum * y.var((0, 2, 3)) * count / (count - 1)
    np.testing.assert_allclose(norm.running_mean.numpy(), momentum * y.mean((0, 2, 3)), rtol=2e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=3e-7)


def test_gradients_accumulate_and_weights_are_read_anew(plain):
    model = small()
    oracle = copy.deepcopy(model)
    for one, forward in ((model, through_engine), (oracle, plain)):
        optimizer = torch.optim.SGD(one.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
        for step in range(3):
            for part in range(2):
                loss(forward(one, pictures(2, 3, 32, 32, seed=2 * step + part))).backward()
            optimizer.step()
            if step < 2:
                optimizer.zero_grad()
    assert_same_training(model, oracle)
    for p, other in zip(model.parameters(), oracle.parameters()):
        assert_close(p.detach(), other.detach(), 1e-4, 'weights')


def test_tensors_that_move_are_found(plain):
    model, x = small([-1, 1, 'C3', [16]]), pictures(2, 3, 32, 32)
    through_engine(model, x)
    model.double().float()  # new memory for all
    model.load_state_dict(small([-1, 1, 'C3', [16]], seed=3).state_dict())
    model.model[1].bn.running_mean = torch.ones(16)
    oracle = copy.deepcopy(model)
    loss(through_engine(model, x)).backward()
    loss(plain(oracle, x)).backward()
    assert_same_training(model, oracle)


@pytest.mark.parametrize('frozen', [('model.0.', 'model.1.'), ('model.2.m', 'model.4.m.0.bias'), ('conv.weight',)])
def test_frozen_parameters_cost_no_gradient(frozen, plain):
    model, x = small([-1, 1, 'C3', [16]]), pictures(2, 3, 64, 64)
    through_engine(model, x)  # a plan with nothing frozen stays apart
    oracle = copy.deepcopy(model)
    for one in (model, oracle):
        for name, p in one.named_parameters():
            p.requires_grad_(not any(part in name for part in frozen))
    loss(through_engine(model, x)).backward()
    loss(plain(oracle, x)).backward()
    assert_same_training(model, oracle)


def test_a_gradient_that_is_gone_is_an_error():
    model, x = small(), pictures(1, 3, 32, 32)
    first = through_engine(model, x)
    second = through_engine(model, x)
    with pytest.raises(RuntimeError, match='backward through a forward that is gone'):
        loss(first).backward()
    loss(second).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())


def test_twice_backward_is_an_error():
    total = loss(through_engine(small(), pictures(1, 3, 32, 32)))  # the model is gone, its graph lives
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='backward through a forward that is gone'):
        total.backward()


def test_memory_is_given_back_when_it_grows():
    model = small()
    arenas = []
    for size in (32, 64, 96):
        through_engine(model, pictures(1, 3, size, size))
        arenas.append(weakref.ref(engine._engines[model].arena))
    assert [arena() is None for arena in arenas] == [True, True, False]


def test_two_models_do_not_disturb_each_other(plain):
    model, x = small(), pictures(2, 3, 32, 32)
    other = copy.deepcopy(model)
    oracle = copy.deepcopy(model)
    maps = through_engine(model, x)
    through_engine(other, pictures(4, 3, 64, 64))
    loss(maps).backward()
    loss(plain(oracle, x)).backward()
    assert_same_training(model, oracle)


def test_outputs_outlive_the_next_forward():
    model = small()
    maps = through_engine(model, pictures(1, 3, 32, 32))
    kept = maps[0].numpy().copy()
    through_engine(model, pictures(1, 3, 32, 32, seed=5))
    assert np.array_equal(maps[0].numpy(), kept)


def test_without_gradients():
    model, x = small(), pictures(2, 3, 32, 32)
    with torch.no_grad():
        maps = through_engine(model, x)
    assert not maps[0].requires_grad
    assert int(model.model[0].bn.num_batches_tracked) == 1


def test_a_model_stays_free_of_its_engine():
    model, x = small(), pictures(2, 3, 32, 32)
    loss(through_engine(model, x)).backward()
    assert not any('cpu' in type(value).__module__ for value in vars(model).values())
    pickle.dumps({name: p.numpy() for name, p in model.state_dict().items()})
    before = len(engine._engines)
    twin = copy.deepcopy(model)
    assert twin not in engine._engines
    del model
    gc.collect()
    assert len(engine._engines) == before - 1


def test_evaluation_is_not_its_business(monkeypatch):
    model, x = small(), pictures(1, 3, 32, 32)
    monkeypatch.setattr(engine, 'forward', lambda *_: pytest.fail('asked in evaluation'))
    boxes, maps = model.eval()(x)
    assert boxes.shape == (1, 2 * (64 + 16), 8)
    assert len(maps) == 2


def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr(engine, 'PLANS', 2)
    model = small()
    for size in (32, 64, 96, 64, 128):
        through_engine(model, pictures(1, 3, size, size))
    kept = [key[0] for key in engine._engines[model].networks]
    assert kept == [(1, 3, 64, 64), (1, 3, 128, 128)]


class Stranger(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.mark.parametrize('change', ['layer', 'hook', 'frozen norm'])
def test_unknown_layers_train_on_plain_oneflow(change, caplog):
    model, x = small(), pictures(1, 3, 32, 32)
    if change == 'layer':
        model.model[1].act = Stranger()
    elif change == 'hook':
        model.model[1].register_forward_hook(lambda *_: None)
    else:
        model.model[1].bn.eval()
    with caplog.at_level(logging.INFO, 'yolov5'):
        assert engine.forward(model, x) is None
        assert engine.forward(model, pictures(2, 3, 32, 32)) is None
    assert len(caplog.records) == 1
    assert 'Training on plain OneFlow' in caplog.text
    assert {'layer': 'Stranger', 'hook': 'Conv with a hook', 'frozen norm': 'BatchNorm2d'}[change] in caplog.text
    loss(model(x)).backward()
    assert model.model[0].conv.weight.grad is not None


def test_later_changes_are_noticed(plain):
    model, x = small(), pictures(1, 3, 32, 32)
    through_engine(model, x)
    model.model[1].act = nn.Hardswish()
    oracle = copy.deepcopy(model)
    assert_close(through_engine(model, x)[0], plain(oracle, x)[0], 1e-4, 'map')
    model.model[1].bn.eval()
    assert engine.forward(model, x) is None
    model.model[1].bn.train()
    through_engine(model, x)
    model.model[1].register_forward_hook(lambda *_: None)
    assert engine.forward(model, x) is None


def test_a_network_without_detect_is_left_alone():
    model = small()
    model.model = model.model[:2]
    assert engine.forward(model, pictures(1, 3, 32, 32)) is None


def test_it_declines(monkeypatch):
    model, x = small(), pictures(1, 3, 32, 32)
    assert engine.forward(model, x.double()) is None
    assert engine.forward(model, pictures(1, 3, 32, 32).requires_grad_(True)) is None
    with monkeypatch.context() as m:
        m.setenv('YOLOV5_CPU_ENGINE', '0')
        assert engine.forward(model, x) is None
    with monkeypatch.context() as m:
        m.setattr(os, 'getpid', lambda: -1)
        assert engine.forward(model, x) is None
    with monkeypatch.context() as m:
        m.setattr(engine, 'load', lambda: None)
        assert engine.forward(model, x) is None
    through_engine(model, x)
