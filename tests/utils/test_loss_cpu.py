"""The loss in NumPy against the plain code on OneFlow's autograd."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from tests.utils.test_loss import TARGETS, fake_model, random_maps
from utils import loss as loss_module
from utils.boxes import bbox_iou
from utils.fused import ciou
from utils.loss import ComputeLoss
from utils.loss_cpu import bce, ciou_of_logits


def run(engine: str, monkeypatch, compute_loss: ComputeLoss, maps: list[torch.Tensor], targets=TARGETS, scale=1):
    """The loss, its parts, and the gradients of the maps."""
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
    loss, parts = compute_loss(maps, targets)
    (loss * scale).backward()
    return loss.item(), parts.numpy(), [m.grad.numpy() for m in maps]


def assert_same(monkeypatch, make, nc: int = 2, **more) -> None:
    plain, ours = (run(engine, monkeypatch, make(), random_maps(3, nc, 2.0), **more) for engine in '01')
    assert ours[0] == pytest.approx(plain[0], rel=1e-6)
    np.testing.assert_allclose(ours[1], plain[1], rtol=2e-6)
    for a, b in zip(ours[2], plain[2]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('hyp', [
    {}, {'label_smoothing': 0.1}, {'obj_pw': 0.6, 'cls_pw': 1.7}, {'box': 0.2, 'obj': 0.3, 'cls': 2.0},
])  # fmt: skip
def test_options(hyp, monkeypatch):
    assert_same(monkeypatch, lambda: ComputeLoss(fake_model(**hyp)))


def test_one_class(monkeypatch):
    assert_same(
        monkeypatch, lambda: ComputeLoss(fake_model(nc=1)), nc=1, targets=TARGETS * np.float32([1, 0, 1, 1, 1, 1])
    )


@pytest.mark.parametrize('targets', [TARGETS[:0], TARGETS[:1], np.repeat(TARGETS, 3, 0)])
def test_number_of_matches(targets, monkeypatch):
    assert_same(monkeypatch, lambda: ComputeLoss(fake_model()), targets=targets)


def test_a_scaled_loss(monkeypatch):
    assert_same(monkeypatch, lambda: ComputeLoss(fake_model()), scale=3)


def test_counts_of_several_ranks(monkeypatch):
    def make() -> ComputeLoss:
        compute_loss = ComputeLoss(fake_model(), ranks=2)
        compute_loss._mean_counts = lambda matches: torch.tensor([4.5, 0.5, 3.0])
        return compute_loss

    assert_same(monkeypatch, make)


def test_autobalance(monkeypatch):
    both = []
    for engine in '01':
        compute_loss = ComputeLoss(fake_model(), autobalance=True)
        for seed in range(3):
            last = run(engine, monkeypatch, compute_loss, random_maps(seed))
        both.append((compute_loss.balance.numpy(), last[0]))
    np.testing.assert_allclose(both[1][0], both[0][0], rtol=1e-6)
    assert both[1][1] == pytest.approx(both[0][1], rel=1e-6)


def test_which_path_is_taken(monkeypatch):
    calls = []
    monkeypatch.setattr(loss_module, 'numpy_loss', lambda *_: calls.append(1) or [torch.zeros(1)] * 3)
    cases = ('1', {}, ciou), ('0', {}, ciou), ('1', {'fl_gamma': 1.5}, ciou), ('1', {}, lambda *boxes: ciou(*boxes))
    for engine, hyp, overlap in cases:
        monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
        ComputeLoss(fake_model(**hyp), ciou=overlap)(random_maps(0), TARGETS)
        calls.append(0)
    assert calls == [1, 0, 0, 0, 0], 'only where nothing asks for another'


def test_without_gradients(monkeypatch):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '1')
    with torch.no_grad():
        loss, parts = ComputeLoss(fake_model())(random_maps(0), TARGETS)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(2 * parts.numpy().sum())


def test_gradients_of_several_batches_add_up(monkeypatch):
    compute_loss, maps = ComputeLoss(fake_model()), random_maps(0)
    once = [g.copy() for g in run('1', monkeypatch, compute_loss, maps)[2]]
    twice = run('1', monkeypatch, compute_loss, maps)[2]
    for a, b in zip(once, twice):
        np.testing.assert_array_equal(b, 2 * a)


def test_bce():
    x, y = np.float32([-200, -20, -1, 0, 3, 25, 300]), np.float32([0.3, 0, 1, 0.5, 0.9, 1, 0])
    loss, slope = bce(x, y, 2.0)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(loss, 2 * y * np.logaddexp(0, -exact) + (1 - y) * np.logaddexp(0, exact), rtol=1e-6)
    p, q = 1 / (1 + np.exp(-exact)), 1 / (1 + np.exp(exact))
    np.testing.assert_allclose(slope, (1 - y) * p - 2 * y * q, rtol=1e-6)


def test_ciou():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (200, 4)).astype(np.float32)
    logits[0], logits[1] = -300, 300
    anchor_wh = rng.uniform(1, 9, (200, 2)).astype(np.float32)
    target = np.hstack([rng.uniform(-0.5, 1.5, (200, 2)), rng.uniform(0.5, 9, (200, 2))]).astype(np.float32)
    value, gradient = ciou_of_logits(logits, target, anchor_wh)

    x = torch.tensor(logits, requires_grad=True)
    doubled = torch.sigmoid(x) * 2
    box = torch.cat([doubled[:, :2] - 0.5, doubled[:, 2:] ** 2 * torch.tensor(anchor_wh)], 1)
    expected = bbox_iou(box, torch.tensor(target), CIoU=True)
    expected.sum().backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), atol=2e-6)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=2e-6)
