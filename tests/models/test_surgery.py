"""Folding, padding, pruning, searching and copying, by numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models import common
from models.surgery import (
    copy_attr,
    find_modules,
    fold_norms,
    fuse_conv_and_bn,
    initialize_weights,
    prune,
    scale_img,
    sparsity,
)
from models.yolo import Model
from tests.models.tiny import TINY


@pytest.mark.parametrize('args', [(4, 6, 3, 2, 1, 1, 2), (4, 6, 1)])
@pytest.mark.parametrize('bias', [True, False])
def test_folding(args, bias):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(*args, bias=bias), nn.BatchNorm2d(6, eps=1e-3).eval()
    for tensor in norm.state_dict().values():
        if tensor.ndim:
            tensor.copy_(torch.rand(6) + 0.5)
    x = torch.randn(2, 4, 7, 5)
    fused = fuse_conv_and_bn(conv, norm)
    np.testing.assert_allclose(fused(x).numpy(), norm(conv(x)).detach().numpy(), rtol=1e-5, atol=1e-5)
    assert not any(p.requires_grad for p in fused.parameters())
    assert (fused.kernel_size, fused.stride, fused.groups) == (conv.kernel_size, conv.stride, conv.groups)


@pytest.mark.parametrize(
    'layer',
    [common.BottleneckCSP(4, 6, 2), common.MixConv2d(4, 7, (1, 3, 5)), common.Conv(4, 5)],
    ids=lambda m: type(m).__name__,
)
def test_no_norm_is_left_behind_a_convolution(layer):
    """Also where one norm goes over the maps of several convolutions: OneFlow's takes no float16."""
    torch.manual_seed(0)
    for name, buffer in layer.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.copy_(torch.rand(*buffer.shape) + 0.5)
    layer.eval()
    x = torch.randn(2, 4, 6, 5)
    expected = layer(x).detach().numpy()
    fold_norms(layer)
    assert not find_norms(layer)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    fold_norms(layer)  # a second time changes nothing
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def find_norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


def test_settings_of_batch_norms():
    block = common.C3(4, 4)
    initialize_weights(block)
    assert {(m.eps, m.momentum) for m in block.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.03)}


def test_scaled_pictures():
    picture = torch.ones(1, 3, 64, 96)
    assert scale_img(picture, 1.0) is picture
    small = scale_img(picture, 0.67, gs=32).numpy()
    assert small.shape == (1, 3, 64, 96)  # 42 x 64 of picture; up from 42.88 x 64.32
    np.testing.assert_allclose(small[:, :, :42, :64], 1, rtol=1e-6)
    np.testing.assert_allclose(small[:, :, 42:], 0.447, rtol=1e-6)
    np.testing.assert_allclose(small[:, :, :, 64:], 0.447, rtol=1e-6)
    assert scale_img(picture, 0.5, gs=32).shape == (1, 3, 32, 64)
    same = scale_img(picture, 0.5, same_shape=True).numpy()
    assert same.shape == (1, 3, 64, 96)
    assert same.sum() == pytest.approx(3 * (32 * 48 + 0.447 * (64 * 96 - 32 * 48)), rel=1e-5)


@pytest.mark.parametrize('ratio', [0.83, 0.67, 1.5])
def test_scaled_arrays_are_the_scaled_tensors(ratio):
    pictures = np.random.default_rng(0).random((2, 3, 96, 128), np.float32)
    for same_shape in (False, True)[: 1 + (ratio < 1)]:
        wanted = scale_img(torch.tensor(pictures), ratio, same_shape, gs=32).numpy()
        np.testing.assert_allclose(scale_img(pictures, ratio, same_shape, gs=32), wanted, atol=1e-5)


def test_rows_of_a_class():
    model = Model(TINY)
    assert find_modules(model, common.C3) == [2, 7]
    assert find_modules(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1))) == [1]


def test_pruning_takes_the_smallest():
    conv = nn.Conv2d(1, 2, 2)
    weight = np.array([[0.1, -0.8, 0.3, 0.4], [-0.2, 0.5, 0.6, -0.7]], np.float32)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(weight.reshape(2, 1, 2, 2)))
        conv.bias.fill_(1)
    assert sparsity(conv) == 0
    prune(conv, 0.3)  # 2.4 of 8: two
    expected = np.where(np.abs(weight) < 0.25, 0, weight)
    np.testing.assert_array_equal(conv.weight.detach().numpy().reshape(2, 4), expected)
    assert sparsity(conv) == pytest.approx(2 / 10)
    assert conv.weight.requires_grad


def test_copied_attributes():
    a, b = SimpleNamespace(kept=0), SimpleNamespace(names=['x'], hyp={}, _private=1)
    copy_attr(a, b, exclude=('hyp',))
    assert vars(a) == {'kept': 0, 'names': ['x']}
    copy_attr(a, b, include=('hyp',))
    assert vars(a) == {'kept': 0, 'names': ['x'], 'hyp': {}}
