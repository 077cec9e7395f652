"""The CPU's arithmetic against OneFlow's own layers, and batch norm against float64."""

from __future__ import annotations

import copy

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models import ops


def both(layer: nn.Module, plain: nn.Module, x: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of results, input gradients and parameter gradients of two layers with the same state."""
    plain.load_state_dict(layer.state_dict())
    results = []
    for module in (layer, plain):
        given = x.clone().requires_grad_(True)
        y = module(given)
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        results.append([y.detach().numpy(), given.grad.numpy(), *(p.grad.numpy() for p in module.parameters())])
    return list(zip(*results))


@pytest.fixture
def x() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).standard_normal((2, 6, 8, 10), np.float32))


@pytest.mark.parametrize(
    ('layer', 'plain', 'args'),
    [
        (ops.SiLU, nn.SiLU, []),
        (ops.Conv2d, nn.Conv2d, [6, 4, 1]),
        (ops.Conv2d, nn.Conv2d, [6, 4, 3, 2, 1]),
        (ops.Conv2d, nn.Conv2d, [6, 4, 1, 2]),
        (ops.Conv2d, nn.Conv2d, [6, 6, 3, 1, 1, 1, 3]),
        (ops.MaxPool2d, nn.MaxPool2d, [5, 1, 2]),
        (ops.MaxPool2d, nn.MaxPool2d, [(5, 7), (2, 1), (2, 3)]),
        (ops.MaxPool2d, nn.MaxPool2d, [2, 2]),
        (ops.Upsample, nn.Upsample, [None, 2, 'nearest']),
        (ops.Upsample, nn.Upsample, [None, 3, 'nearest']),
        (ops.Upsample, nn.Upsample, [(16, 20), None, 'bilinear']),
    ],
)
def test_equals_the_plain_layer(layer, plain, args, x):
    for ours, theirs in both(layer(*args), plain(*args), x):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_max_pool_gives_a_tie_to_the_same_pixel(x):
    """All values equal: the gradient goes to the first of each window in reading order."""
    for ours, theirs in both(ops.MaxPool2d(5, 1, 2), nn.MaxPool2d(5, 1, 2), torch.ones_like(x)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_anchor_convolution_puts_values_last(x):
    layer = ops.AnchorConv2d(6, 3, 7)
    plain = nn.Conv2d(6, 21, 1)
    plain.load_state_dict(layer.state_dict())
    expected = plain(x).view(2, 3, 7, 8, 10).permute(0, 1, 3, 4, 2)
    y = layer(x)
    assert tuple(y.shape) == (2, 3, 8, 10, 7)
    assert y.is_contiguous()
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def batch_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """y, dx, dweight and dbias in float64, straight from the definition."""
    axes, n = (0, 2, 3), x.size // x.shape[1]
    x, dy, weight, bias = (
        a.astype(np.float64) for a in (x, dy, weight.reshape(1, -1, 1, 1), bias.reshape(1, -1, 1, 1))
    )
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    unit = (x - x.mean(axes, keepdims=True)) * inverse
    dweight, dbias = (dy * unit).sum(axes, keepdims=True), dy.sum(axes, keepdims=True)
    dx = weight * inverse * (dy - dbias / n - unit * dweight / n)
    return [unit * weight + bias, dx, dweight.reshape(-1), dbias.reshape(-1)]


@pytest.mark.parametrize('mean', [0.0, 30.0])
def test_batch_norm_is_precise(mean):
    """Also far from zero, and over enough values for a plain float32 sum to drift."""
    rng = np.random.default_rng(1)
    x = (mean + rng.standard_normal((8, 3, 64, 64))).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    norm = ops.BatchNorm2d(3, eps=1e-3, momentum=0.25)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, -1.0, 1.0]))
    given = torch.tensor(x).requires_grad_(True)
    y = norm(given)
    y.backward(torch.tensor(dy))
    ours = [y.detach(), given.grad, norm.weight.grad, norm.bias.grad]
    for a, b, tolerance in zip(ours, batch_norm(x, norm.weight.detach().numpy(), norm.bias.detach().numpy(), dy),
                               (1e-5, 1e-5, 2e-3, 2e-3)):  # fmt: skip
        np.testing.assert_allclose(a.numpy(), b, atol=tolerance)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.25 * x.mean((0, 2, 3), np.float64), rtol=1e-5, atol=1e-7)
    expected = 0.75 + 0.25 * x.astype(np.float64).var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_var.numpy(), expected, rtol=1e-5)
    assert norm.num_batches_tracked.item() == 1


def test_batch_norm_in_evaluation_mode(x):
    norm = ops.BatchNorm2d(6, eps=1e-3)
    norm(x)
    plain = nn.BatchNorm2d(6, eps=1e-3)
    plain.load_state_dict(norm.state_dict())
    np.testing.assert_array_equal(norm.eval()(x).numpy(), plain.eval()(x).numpy())
    assert norm.num_batches_tracked.item() == 1


def test_batch_norm_of_one_value():
    """One value a channel: the result is the bias and the running variance stays finite."""
    norm = ops.BatchNorm2d(2)
    y = norm(torch.ones(1, 2, 1, 1))
    np.testing.assert_allclose(y.detach().numpy().reshape(-1), [0, 0], atol=1e-6)
    assert np.isfinite(norm.running_var.numpy()).all()


def test_copies_are_independent(x):
    norm = ops.BatchNorm2d(6)
    twin = copy.deepcopy(norm)
    norm(x)
    assert (twin.running_mean.numpy() == 0).all()
    assert twin.num_batches_tracked.item() == 0


def test_batch_norm_takes_float16_and_stays_in_float32():
    """OneFlow's has no kernel for float16 on any device; statistics may not fit into it, either."""
    torch.manual_seed(0)
    norm = ops.BatchNorm2d(3).eval()
    norm.running_var.copy_(torch.tensor([1e5, 1e-7, 1.0]))
    x = torch.randn(2, 3, 4, 5)
    expected = norm(x).detach().numpy()
    assert norm.half() is norm
    assert [t.dtype for t in norm.state_dict().values() if t.ndim] == [torch.float32] * 4
    y = norm(x.half())
    assert y.dtype == torch.float16
    np.testing.assert_allclose(y.numpy().astype(np.float32), expected, rtol=2e-3, atol=1e-4)
