"""Counts by hand on small models; the golden numbers cover the real ones."""

from __future__ import annotations

import oneflow as torch
import pytest
from oneflow import nn

from models.summary import count_flops, layer_flops, layer_table, model_info
from models.yolo import Model
from tests.models.tiny import TINY


@pytest.mark.parametrize(
    ('layer', 'operations'),
    [
        (nn.Conv2d(3, 8, 3, 2, 1), 2 * 8 * 16 * 16 * 3 * 9),
        (nn.Conv2d(3, 6, 1, groups=3, bias=False), 2 * 6 * 32 * 32),
        (nn.BatchNorm2d(3), 2 * 4 * 3 * 32 * 32),
        (nn.Linear(32, 5), 2 * 32 * 5 * 3 * 32),
        (nn.Upsample(None, 2, 'nearest'), 2 * 3 * 64 * 64),
        (nn.MaxPool2d(2), 0),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)), 2 * 2 * 3 * 32 * 32 * 3),
    ],
)
def test_operations(layer, operations):
    assert layer_flops(layer, torch.zeros(1, 3, 32, 32)) == pytest.approx(operations / 1e9)


def test_counting_leaves_no_trace():
    model = Model(TINY)
    model.model[0].eval()
    first = count_flops(model)
    assert count_flops(model) == first
    assert model.training
    assert not model.model[0].training
    assert model.model[1].training
    assert not any(len(part._forward_hooks) for part in model.modules())
    assert model.model[1].bn.num_batches_tracked.item() == 0


def test_picture_sizes():
    model = Model(TINY)
    assert count_flops(model, 64) == pytest.approx(4 * count_flops(model, 32))
    assert count_flops(model, [32, 64]) == pytest.approx(2 * count_flops(model, 32))


def test_line_and_gradients():
    model = Model(TINY)
    total = sum(p.numel() for p in model.parameters())
    for p in model.model[0].parameters():
        p.requires_grad = False
    frozen = model.model[0].np
    line = model_info(model)
    assert line.startswith('Model summary: ')
    assert f' {total} parameters, {total - frozen} gradients, ' in line
    assert line.endswith(f' {count_flops(model):.1f} GFLOPs')
    model.yaml_file = 'yolov5q.yaml'
    assert model_info(model).startswith('YOLOv5q summary: ')


def test_verbose_lists_every_parameter():
    model = Model(TINY)
    lines = model.info(verbose=True).splitlines()
    assert lines[0].split() == ['layer', 'name', 'gradient', 'parameters', 'shape', 'mu', 'sigma']
    names = [name for name, _ in model.named_parameters()]
    assert [line.split()[1] for line in lines[1:-1]] == names
    assert lines[1].split()[2:4] == ['True', str(8 * 3 * 36)]


def test_table():
    lines = layer_table(Model(TINY)).splitlines()
    assert len(lines) == 1 + 9
    assert lines[1].split() == ['0', '-1', '1', '880', 'models.common.Conv', '[3,', '8,', '6,', '2,', '2]']
    assert lines[7].split()[:4] == ['6', '[-1,', '2]', '1']
