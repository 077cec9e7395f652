"""Detect: its decoder against a loop, strides and anchors, the start of its biases."""

from __future__ import annotations

import copy

import numpy as np
import oneflow as torch
import pytest

from models.head import Detect

ANCHORS = [[10, 13, 16, 30], [30, 61, 62, 45]]


@pytest.fixture
def detect() -> Detect:
    layer = Detect(nc=3, anchors=ANCHORS, ch=(4, 6))
    layer.set_strides([8, 16])
    return layer


def features(height: int = 4, width: int = 6) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    shapes = [(2, 4, height, width), (2, 6, height // 2, width // 2)]
    return [torch.tensor(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def naive_decode(raw: np.ndarray, anchors: list[float], stride: float) -> np.ndarray:
    """(b, na, ny, nx, no) -> (b, rows, no), one cell at a time."""
    rows = []
    for b in range(len(raw)):
        for a, y, x in np.ndindex(raw.shape[1:4]):
            p = 1 / (1 + np.exp(-raw[b, a, y, x].astype(np.float64)))
            centre = [(2 * p[0] - 0.5 + x) * stride, (2 * p[1] - 0.5 + y) * stride]
            size = [(2 * p[2]) ** 2 * anchors[2 * a], (2 * p[3]) ** 2 * anchors[2 * a + 1]]
            rows.append([*centre, *size, *p[4:]])
    return np.array(rows).reshape(len(raw), -1, raw.shape[-1])


def test_decoded_rows(detect):
    boxes, raw = detect.eval()(features())
    expected = [naive_decode(m.detach().numpy(), a, s) for m, a, s in zip(raw, ANCHORS, (8, 16))]
    np.testing.assert_allclose(boxes.detach().numpy(), np.concatenate(expected, 1), rtol=1e-5, atol=1e-4)


def test_training_gives_raw_maps(detect):
    maps = detect(features())
    assert [tuple(m.shape) for m in maps] == [(2, 2, 4, 6, 8), (2, 2, 2, 3, 8)]


def test_another_picture_size_has_its_own_cells(detect):
    detect.eval()
    detect(features())
    boxes, raw = detect(features(6, 2))
    expected = [naive_decode(m.detach().numpy(), a, s) for m, a, s in zip(raw, ANCHORS, (8, 16))]
    np.testing.assert_allclose(boxes.detach().numpy(), np.concatenate(expected, 1), rtol=1e-5, atol=1e-4)


def test_new_anchors_are_used_at_once(detect):
    """AutoAnchor and loaded checkpoints write into the buffer after the head has run."""
    detect.eval()
    before = detect(features())[0].detach().numpy().copy()
    detect.anchors.mul_(3.0)
    after = detect(features())[0].detach().numpy()
    np.testing.assert_allclose(after[..., 2:4], 3 * before[..., 2:4], rtol=1e-6)
    np.testing.assert_array_equal(np.delete(after, (2, 3), -1), np.delete(before, (2, 3), -1))


def test_decoding_has_the_right_gradient(detect):
    """Against central differences: OneFlow would not notice an in-place change."""
    raw = torch.tensor(np.random.default_rng(1).standard_normal((1, 2, 2, 2, 8)).astype(np.float32)).requires_grad_(
        True
    )
    scale = torch.linspace(-1, 1, 64).reshape(1, 8, 8) / 50
    (detect.decode(0, raw) * scale).sum().backward()
    values, gradient, step = raw.detach().numpy().astype(np.float64), raw.grad.numpy(), 1e-4

    def total(at: np.ndarray) -> float:
        return float((naive_decode(at, ANCHORS[0], 8) * scale.numpy()).sum())

    for index in np.random.default_rng(2).integers(0, values.size, 12):
        shift = np.zeros(values.size)
        shift[index] = step
        shift = shift.reshape(values.shape)
        difference = (total(values + shift) - total(values - shift)) / (2 * step)
        assert gradient.reshape(-1)[index] == pytest.approx(difference, rel=1e-3, abs=1e-5)


def test_anchors_become_grid_units(detect):
    assert detect.stride.tolist() == [8, 16]
    expected = np.array(ANCHORS, np.float32).reshape(2, 2, 2) / np.array([8, 16]).reshape(2, 1, 1)
    np.testing.assert_allclose(detect.anchors.numpy(), expected)


def test_anchors_in_the_wrong_order_are_turned_about():
    layer = Detect(nc=3, anchors=ANCHORS[::-1], ch=(4, 6))
    layer.set_strides([8, 16])
    np.testing.assert_allclose(layer.anchors.numpy()[0].reshape(-1) * 8, ANCHORS[0])
    coarse_first = Detect(nc=3, anchors=ANCHORS[::-1], ch=(6, 4))
    coarse_first.set_strides([16, 8])
    np.testing.assert_allclose(coarse_first.anchors.numpy()[0].reshape(-1) * 16, ANCHORS[1])


def test_biases_start_from_the_odds(detect):
    with torch.no_grad():
        for conv in detect.m:
            conv.bias.fill_(0)
    detect.initialize_biases(cf=[1, 1, 2])
    bias = detect.m[1].bias.detach().numpy().reshape(2, 8)
    np.testing.assert_allclose(bias[:, :4], 0)
    np.testing.assert_allclose(bias[:, 4], np.log(8 / 40**2), rtol=1e-5)
    np.testing.assert_allclose(bias[:, 5:], np.log([[0.25, 0.25, 0.5]] * 2), rtol=1e-5)


def test_a_copy_is_a_model_of_its_own(detect):
    detect.eval()(features())
    twin = copy.deepcopy(detect)
    np.testing.assert_array_equal(twin(features())[0].detach().numpy(), detect(features())[0].detach().numpy())
    twin.anchors.mul_(2.0)
    assert (twin.anchors.numpy() != detect.anchors.numpy()).all()


def test_decoding_in_several_threads_takes_each_its_own_grid(detect):
    class Overtaken(dict):
        """As if another thread, with pictures of another size, came between keeping a grid and taking it."""

        def __setitem__(self, level, kept):
            super().__setitem__(level, ('another size', torch.zeros(1)))

    raw = torch.zeros(1, 2, 3, 4, 8)
    expected = detect.decode(0, raw).numpy()
    detect._offsets = Overtaken()
    np.testing.assert_array_equal(detect.decode(0, raw).numpy(), expected)


def test_half_precision_maps_are_decoded_in_float32():
    """In float16 a step is one pixel from 1024 on, and two from 2048; anchors are off by up to 1 in 2048."""
    layer = Detect(nc=1, anchors=[[373.3, 326.7]], ch=(4,))
    layer.set_strides([32])
    values = np.random.default_rng(0).standard_normal((1, 1, 2, 80, 6)).astype(np.float16)
    expected = naive_decode(values, [373.3, 326.7], 32)
    boxes = layer.half().decode(0, torch.tensor(values))
    assert boxes.dtype == torch.float32
    assert expected[0, :, 0].max() > 2500
    np.testing.assert_allclose(boxes.numpy(), expected, rtol=1e-6, atol=1e-3)
    assert (layer.m[0].weight.dtype, layer.anchors.dtype) == (torch.float16, torch.float32)
