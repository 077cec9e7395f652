"""What the golden numbers do not reach: defaults, shortcuts, splits, gradients."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models import common


@pytest.fixture
def x() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).standard_normal((2, 8, 6, 10)).astype(np.float32))


def test_autopad():
    assert [common.autopad(k) for k in (1, 3, 6, (1, 5))] == [0, 1, 3, [0, 2]]
    assert common.autopad(3, 0) == 0


def test_conv_is_convolution_norm_activation(x):
    conv = common.Conv(8, 4, 3, 2).eval()
    expected = conv.bn(conv.conv(x))
    np.testing.assert_allclose(conv(x).detach().numpy(), (expected * expected.sigmoid()).detach().numpy(), atol=1e-6)
    assert tuple(conv(x).shape) == (2, 4, 3, 5)
    assert isinstance(common.Conv(8, 4, act=False).act, nn.Identity)
    assert isinstance(common.Conv(8, 4, act=nn.ReLU()).act, nn.ReLU)


@pytest.mark.parametrize(
    ('layer', 'args', 'out'),
    [
        (common.DWConv, (8, 4, 3, 2), (4, 3, 5)),
        (common.Bottleneck, (8, 8), (8, 6, 10)),
        (common.BottleneckCSP, (8, 4, 2), (4, 6, 10)),
        (common.CrossConv, (8, 4, 3, 2), (4, 3, 5)),
        (common.C3, (8, 4, 2), (4, 6, 10)),
        (common.C3x, (8, 4), (4, 6, 10)),
        (common.C3TR, (8, 8), (8, 6, 10)),
        (common.C3SPP, (8, 4), (4, 6, 10)),
        (common.C3Ghost, (8, 8), (8, 6, 10)),
        (common.SPP, (8, 4), (4, 6, 10)),
        (common.SPPF, (8, 4), (4, 6, 10)),
        (common.Focus, (8, 4, 3), (4, 3, 5)),
        (common.GhostConv, (8, 4), (4, 6, 10)),
        (common.GhostBottleneck, (8, 8, 3, 2), (8, 3, 5)),
        (common.MixConv2d, (8, 4), (4, 6, 10)),
        (common.TransformerBlock, (8, 4, 2, 1), (4, 6, 10)),
        (common.DWConvTranspose2d, (8, 4, 2, 2), (4, 12, 20)),
        (common.Contract, (2,), (32, 3, 5)),
        (common.Expand, (2,), (2, 12, 20)),
        (common.Classify, (8, 4), (4,)),
    ],
)
def test_shape_and_gradients(layer, args, out, x):
    """Every parameter, and the input, gets a finite gradient."""
    module = layer(*args)
    given = x.clone().requires_grad_(True)
    y = module(given)
    assert tuple(y.shape) == (2, *out)
    (y * y).sum().backward()
    for gradient in [given.grad, *(p.grad for p in module.parameters())]:
        assert gradient is not None
        assert np.isfinite(gradient.numpy()).all()


def test_shortcut_only_where_channels_agree(x):
    assert common.Bottleneck(8, 8).add
    assert not common.Bottleneck(8, 4).add
    assert not common.Bottleneck(8, 8, shortcut=False).add
    block = common.Bottleneck(8, 8).eval()
    y = block(x)
    block.add = False
    np.testing.assert_allclose((y - block(x)).detach().numpy(), x.numpy(), atol=1e-5)


def test_sppf_equals_spp_of_wider_windows(x):
    """Pooling over 5 two and three times is pooling over 9 and 13."""
    sppf, spp = common.SPPF(8, 4, 5).eval(), common.SPP(8, 4, (5, 9, 13)).eval()
    spp.load_state_dict(sppf.state_dict())
    np.testing.assert_allclose(sppf(x).detach().numpy(), spp(x).detach().numpy(), atol=1e-6)


def test_expand_undoes_contract(x):
    back = common.Expand(2)(common.Contract(2)(x))
    np.testing.assert_array_equal(back.numpy(), x.numpy())


@pytest.mark.parametrize('k', [(1, 3), (3, 5, 7)])
def test_mixconv_of_equal_weights(k):
    """Without equal_ch each kernel size has about as many weights, and the channels add up."""
    layer = common.MixConv2d(8, 40, k, equal_ch=False)
    channels = [conv.out_channels for conv in layer.m]
    assert sum(channels) == 40
    weights = [c * size**2 for c, size in zip(channels, k)]
    assert max(weights) - min(weights) <= max(k) ** 2
    assert channels == sorted(channels, reverse=True)


def test_sum_weights_start_falling():
    maps = [torch.ones(1, 1, 2, 2) * value for value in (1.0, 10.0, 100.0)]
    assert common.Sum(3)(maps).numpy().tolist() == [[[[111.0, 111.0], [111.0, 111.0]]]]
    layer = common.Sum(3, weight=True)
    gates = 2 / (1 + np.exp([0.5, 1.0]))
    np.testing.assert_allclose(layer(maps).detach().numpy(), 1 + 10 * gates[0] + 100 * gates[1], rtol=1e-5)


def test_concat_along_a_dimension():
    a, b = torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3)
    assert common.Concat(1)([a, b]).numpy().sum((0, 2, 3)).tolist() == [0, 0, 9]
