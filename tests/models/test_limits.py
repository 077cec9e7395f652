"""Descriptions that ask for too much are refused before anything is allocated."""

from __future__ import annotations

import copy
from typing import Any

import oneflow as torch
import pytest
from oneflow import nn

from models import common, limits, ops
from models.limits import TooLarge, check_maps, parameters_within, reserve
from models.yolo import Model
from tests.fuzz import bounded
from tests.models.tiny import TINY
from utils.errors import ConfigError


def changed(row: list | None = None, **values: Any) -> dict[str, Any]:
    config = copy.deepcopy(TINY) | values
    if row:
        config['backbone'][1] = row
    return config


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (changed(nc=10**9), 'nc is 1000000000. It must be a positive number, 100,000 at most'),
        (changed([-1, 1, 'Conv', [1000]], width_multiple=300), 'has 300,000 output channels'),
        (changed(width_multiple=600), r'row \d .*makes more parameters than fit into the 8.6 GB of memory'),
        (changed(width_multiple=2000), 'width_multiple is 2000'),
        (changed(width_multiple=float('inf')), 'width_multiple is inf'),
        (changed(width_multiple=float('nan')), 'width_multiple is nan'),
        (changed(depth_multiple=1e6), 'depth_multiple is 1000000.0'),
        (changed(depth_multiple=10**400), 'depth_multiple is 1000'),
        (changed([-1, 100, 'Conv', [64]], depth_multiple=100), 'row 1 .*makes more than 5,000 layers'),
        (changed([-1, 10**9, 'Conv', [64]]), 'repeats are 1000000000'),
        (changed(ch=10**6), 'ch is 1000000'),
        (changed(ch='3'), "ch is '3'"),
        (changed(anchors=10**9), 'anchors are 1000000000'),
        (changed(anchors=[[1, 'x'], [1, 2]]), 'anchors are'),
        (changed(anchors=[[1, 2]] * 1000), 'anchors are'),
        (changed(head=5), 'head is 5. It must be a list of rows'),
        (changed(backbone=[], head=[]), 'has 0 rows'),
        (changed(backbone=[[-1, 1, 'nn.Identity', []]] * 2000), 'has 200. rows'),
        (changed([-1, 1, 'Conv', [64, 100_000]]), 'makes more parameters'),
        (changed([-1, 1, 'Conv', [64, 10**9]]), 'arguments are'),
        (changed([-1, 1, 'Conv', [10**400]]), 'arguments are'),
        (changed([-1, 1, 'Conv', [64, 0]]), 'a window of 0'),
        (changed([-1, 1, 'Conv', [64, 3, 0]]), 'with stride 0'),
        (changed([-1, 1, 'Conv', [-64]]), 'has -8 output channels'),
        (changed([-1, 1, 'Conv', [64, 101]]), 'works on too much for an image of 256 x 256'),
        (changed([-1, 1, 'Conv', [64, 3, 1, 50_000]]), 'works on too much'),
        (changed([-1, 1, 'nn.Upsample', ['None', 1000, 'nearest']]), 'works on too much'),
        (changed([-1, 30, 'nn.Upsample', ['None', 2, 'nearest']], depth_multiple=1), 'works on too much'),
        (changed([-1, 1, 'nn.ZeroPad2d', [50_000]]), 'works on too much'),
        (changed([-1, 1, 'nn.ConvTranspose2d', [64, 3, 1000]]), 'works on too much'),
        (changed([-1, 1, 'nn.MaxPool2d', [0]]), 'a window of 0'),
        (changed([-1, 1, 'nn.MaxPool2d', [2, 0]]), 'with stride 0'),
        (changed([-1, 1, 'nn.AvgPool2d', [2, 1, 9]]), 'padding 9 is more than half'),
        (changed([[], 1, 'Sum', [1]]), 'row 1 .Sum.: has no input. Write -1'),
        (changed([-1, 1, 'Expand', [0]]), 'a window of 0'),
        (changed([-1, 1, 'Contract', ['nearest']]), 'a window of nearest'),
        (changed([-1, 1, 'Expand', [1000]]), 'weights of 4 x 0 x 1 x 1'),
    ],
)  # fmt: skip
def test_descriptions_that_ask_for_too_much(config, message, monkeypatch):
    monkeypatch.setattr(limits, 'available_memory', lambda: 8 << 30)  # there are machines that have room for some
    with bounded(megabytes=200), pytest.raises(ConfigError, match=message):
        Model(config)


def test_parameters_are_counted_as_they_are_made():
    def make() -> nn.Module:
        block = common.TransformerBlock(8, 8, 4, 1)
        return nn.Sequential(common.C3(8, 8), block, ops.ConvTranspose2d(8, 4, 3), ops.Linear(4, 4))

    model = make()
    needed = sum(value.numel() for name, value in model.state_dict().items() if 'bias' not in name or 'bn' in name)
    needed += 24  # the bias that a MultiheadAttention has of its own
    needed -= sum('num_batches' in name for name in model.state_dict())
    with parameters_within(needed, 'the test'):
        make()
    with (
        parameters_within(needed - 1, 'the test'),
        pytest.raises(TooLarge, match='than the test$'),
    ):
        make()


def test_an_inner_block_without_a_number_keeps_the_outer_one():
    with parameters_within(10, 'it'), parameters_within():
        reserve(2, 5)
        with pytest.raises(TooLarge):
            reserve(1)
    reserve(10**9)  # no limit outside


@pytest.mark.parametrize('shape', [(0,), (-1, -1), (2.0,), ('2',)])
def test_weights_have_whole_sides(shape):
    with pytest.raises(ValueError, match='weights of'):
        reserve(*shape)


@pytest.mark.parametrize(
    'layer',
    [
        common.Conv(8, 16, 3, 1), common.Conv(8, 16, 5, 1, 9), common.Focus(8, 16, 3), common.SPP(8, 8),
        common.C3(8, 8), ops.ConvTranspose2d(8, 4, 4, 3, 0, 2), nn.ZeroPad2d((1, 2, 30, 4)),
        ops.Upsample(None, 3, 'nearest'),
        common.Expand(2), ops.MaxPool2d(3, 1, 1), nn.Sequential(*(ops.Upsample(None, 2, 'nearest') for _ in range(3))),
    ],
)  # fmt: skip
def test_estimates_are_no_less_than_the_truth(layer, monkeypatch):
    x = torch.zeros(1, 8, 12, 12)
    layer.eval()
    true = layer(x).numel()
    monkeypatch.setattr(limits, 'MAX_MAP', true - 1)
    with pytest.raises(TooLarge):
        check_maps(layer, [tuple(x.shape)])
