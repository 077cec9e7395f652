from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from utils.loss import BCEBlurWithLogitsLoss, ComputeLoss, FocalLoss, QFocalLoss, smooth_BCE

HYP = {'box': 0.05, 'obj': 1.0, 'cls': 0.5, 'obj_pw': 1.0, 'cls_pw': 1.0, 'anchor_t': 4.0, 'fl_gamma': 0.0}
ANCHORS = np.float32([[[1.25, 1.625], [2, 3.75]], [[1.875, 3.8125], [3.875, 2.8125]], [[3.6, 2.8], [4.9, 6.2]]])


@pytest.fixture(params=['1', '0'], ids=['numpy', 'plain'], autouse=True)
def _path(request, monkeypatch):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', request.param)


def fake_model(nc: int = 2, **hyp: float) -> nn.Module:
    model = nn.Linear(1, 1)
    model.hyp = HYP | hyp
    model.detect = SimpleNamespace(nc=nc, nl=3, anchors=torch.tensor(ANCHORS), stride=torch.tensor([8.0, 16.0, 32.0]))
    return model


def random_maps(seed: int, nc: int = 2, scale: float = 1.0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    shapes = [(2, 2, side, side, 5 + nc) for side in (8, 4, 2)]
    return [torch.tensor((rng.standard_normal(s) * scale).astype(np.float32), requires_grad=True) for s in shapes]


TARGETS = np.float32([[0, 1, 0.3, 0.4, 0.3, 0.3], [1, 0, 0.7, 0.2, 0.4, 0.5], [1, 1, 0.71, 0.21, 0.4, 0.5]])


def test_smooth_bce():
    assert smooth_BCE(0.1) == (0.95, 0.05)
    assert smooth_BCE(0.0) == (1.0, 0.0)


def test_gradient_is_that_of_finite_differences():
    compute_loss = ComputeLoss(fake_model(label_smoothing=0.1))
    maps = random_maps(0)
    compute_loss(maps, TARGETS)[0].backward()
    rng = np.random.default_rng(1)
    checked = 0
    for level, part in enumerate(maps):
        gradient = part.grad.numpy()
        # The largest entries, where float32 differences mean something, leaving out boxes: their objectness target
        # moves with them although no gradient flows that way.
        flat = np.argsort(-np.abs(gradient[..., 4:]).ravel())[:20]
        for where in rng.choice(flat, 4, replace=False):
            place = np.unravel_index(where, gradient[..., 4:].shape)
            place = (*place[:-1], place[-1] + 4)
            values = []
            for step in (+0.05, -0.05):
                moved = [m.detach().numpy().copy() for m in maps]
                moved[level][place] += step
                values.append(compute_loss([torch.tensor(m) for m in moved], TARGETS)[0].item())
            assert (values[0] - values[1]) / 0.1 == pytest.approx(gradient[place], rel=2e-2)
            checked += 1
    assert checked == 12


def test_loss_is_the_parts_times_the_batch_size():
    loss, parts = ComputeLoss(fake_model())(random_maps(0), TARGETS)
    assert loss.item() == pytest.approx(2 * parts.numpy().sum(), rel=1e-6)
    assert not parts.requires_grad


def test_gains_scale_the_parts():
    plain = ComputeLoss(fake_model())(random_maps(0), TARGETS)[1].numpy()
    scaled = ComputeLoss(fake_model(box=0.1, obj=3.0, cls=0.25))(random_maps(0), TARGETS)[1].numpy()
    np.testing.assert_allclose(scaled / plain, [2, 3, 0.5], rtol=1e-5)


def test_targets_may_be_a_tensor():
    compute_loss = ComputeLoss(fake_model())
    from_array = compute_loss(random_maps(0), TARGETS)[0].item()
    assert compute_loss(random_maps(0), torch.tensor(TARGETS))[0].item() == from_array


@pytest.mark.parametrize('targets', [np.zeros((0, 6), np.float32), np.float32([[0, 0, 0.5, 0.5, 0.001, 0.001]])])
def test_no_match_leaves_objectness_alone(targets):
    maps = random_maps(0)
    loss, (box, obj, cls) = ComputeLoss(fake_model())(maps, targets)
    loss.backward()
    assert (box.item(), cls.item()) == (0, 0)
    assert obj.item() > 0
    for part in maps:
        gradient = part.grad.numpy()
        assert (gradient[..., 4] > 0).all(), 'everything is background'
        assert not gradient[..., :4].any()
        assert not gradient[..., 5:].any()


def test_one_class_has_no_class_loss():
    targets = TARGETS.copy()
    targets[:, 1] = 0
    box, obj, cls = ComputeLoss(fake_model(nc=1))(random_maps(0, nc=1), targets)[1].numpy()
    assert cls == 0
    assert min(box, obj) > 0


def test_huge_logits_stay_finite():
    maps = random_maps(0, scale=300.0)
    loss, _ = ComputeLoss(fake_model())(maps, TARGETS)
    loss.backward()
    assert np.isfinite(loss.item())
    assert all(np.isfinite(part.grad.numpy()).all() for part in maps)


def test_class_out_of_range_is_refused():
    targets = TARGETS.copy()
    targets[0, 1] = 2
    with pytest.raises(ValueError, match=r'outside 0\.\.1'):
        ComputeLoss(fake_model())(random_maps(0), targets)


def test_autobalance_follows_the_levels():
    compute_loss = ComputeLoss(fake_model(), autobalance=True)
    for _ in range(3):
        compute_loss(random_maps(0), TARGETS)
    fine, middle, coarse = compute_loss.balance.numpy()
    assert middle == 1
    assert fine != 4.0
    assert coarse != pytest.approx(0.4, rel=1e-6)
    fixed = ComputeLoss(fake_model())
    fixed(random_maps(0), TARGETS)
    np.testing.assert_array_equal(fixed.balance.numpy(), np.float32([4, 1, 0.4]))


# The elementwise losses against their formulas ------------------------------------------------------------------------

LOGITS = np.float32([[-3.0, -0.5, 0.0, 0.7, 4.0, 2.0]])
TRUE = np.float32([[0.0, 1.0, 0.3, 1.0, 0.0, 0.9]])


def formulas() -> tuple[np.ndarray, np.ndarray]:
    logits, true = LOGITS.astype(np.float64), TRUE.astype(np.float64)
    p = 1 / (1 + np.exp(-logits))
    return p, -(true * np.log(p) + (1 - true) * np.log(1 - p))


def run(loss: nn.Module) -> np.ndarray:
    return loss(torch.tensor(LOGITS), torch.tensor(TRUE)).numpy()


def test_focal_loss():
    p, bce = formulas()
    right = TRUE * p + (1 - TRUE) * (1 - p)
    expected = bce * (TRUE * 0.25 + (1 - TRUE) * 0.75) * (1 - right) ** 1.5
    np.testing.assert_allclose(run(FocalLoss(nn.BCEWithLogitsLoss(reduction='none'))), expected, rtol=1e-5)
    assert run(FocalLoss(nn.BCEWithLogitsLoss())) == pytest.approx(expected.mean(), rel=1e-5)
    assert run(FocalLoss(nn.BCEWithLogitsLoss(reduction='sum'))) == pytest.approx(expected.sum(), rel=1e-5)


def test_quality_focal_loss():
    p, bce = formulas()
    expected = bce * (TRUE * 0.25 + (1 - TRUE) * 0.75) * np.abs(TRUE - p) ** 1.5
    np.testing.assert_allclose(run(QFocalLoss(nn.BCEWithLogitsLoss(reduction='none'))), expected, rtol=1e-5)


def test_blurred_bce_forgives_confident_surprises():
    p, bce = formulas()
    factor = 1 - np.exp((p - TRUE - 1) / (0.05 + 1e-4))
    assert run(BCEBlurWithLogitsLoss()) == pytest.approx((bce * factor).mean(), rel=1e-5)
    assert factor[0, 4] < 0.5 < factor[0, 0], 'a confident answer where the label says no weighs least'


def test_classes_go_to_the_device_as_numbers(monkeypatch):
    """And not as rows of zeros with a one: with 80 classes 320 bytes for each match."""
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    compute_loss = ComputeLoss(fake_model(nc=3, label_smoothing=0.1))
    sent, upload = [], compute_loss._upload
    monkeypatch.setattr(compute_loss, '_upload', lambda array: sent.append(array) or upload(array))
    numbers = np.array([2, 0, 1])
    matches = [SimpleNamespace(cls=numbers[:2]), SimpleNamespace(cls=numbers[2:])]
    seen = []
    monkeypatch.setattr(compute_loss, 'bce_cls', lambda logits, target: seen.append(target))
    compute_loss._class_loss(None, matches)
    (array,) = sent
    assert (array.shape, array.dtype.kind) == ((3,), 'i')
    expected = np.full((3, compute_loss.nc), 0.05, np.float32)
    expected[range(3), numbers] = 0.95
    np.testing.assert_array_equal(seen[0].numpy(), expected)
