"""Fused operators: what is called and how, with stand-ins for the CUDA kernels; they are used only where they agree."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import oneflow as torch
import pytest

from tests.tiny import logged_lines
from utils import fused

CPU = torch.device('cpu')


class Cuda:
    """A device that says it is one, for tensors that stay on the CPU."""

    type = 'cuda'


@pytest.fixture
def kernels(monkeypatch):
    """The operators by their definitions, from plain operations."""

    def corners(x1, y1, w1, h1, x2, y2, w2, h2):
        b1 = (x1 - w1 / 2, x1 + w1 / 2, y1 - h1 / 2, y1 + h1 / 2)
        return (*b1, x2 - w2 / 2, x2 + w2 / 2, y2 - h2 / 2, y2 + h2 / 2)

    def intersection(b1_x1, b1_x2, b2_x1, b2_x2, b1_y1, b1_y2, b2_y1, b2_y2):
        width = torch.minimum(b1_x2, b2_x2) - torch.maximum(b1_x1, b2_x1)
        return width.clamp(min=0) * (torch.minimum(b1_y2, b2_y2) - torch.maximum(b1_y1, b2_y1)).clamp(min=0)

    def diagonal(b1_x1, b1_x2, b2_x1, b2_x2, b1_y1, b1_y2, b2_y1, b2_y2, eps):
        width = torch.maximum(b1_x2, b2_x2) - torch.minimum(b1_x1, b2_x1)
        return width**2 + (torch.maximum(b1_y2, b2_y2) - torch.minimum(b1_y1, b2_y1)) ** 2 + eps

    def distance(b1_x1, b1_x2, b2_x1, b2_x2, b1_y1, b1_y2, b2_y1, b2_y2):
        return ((b2_x1 + b2_x2 - b1_x1 - b1_x2) ** 2 + (b2_y1 + b2_y2 - b1_y1 - b1_y2) ** 2) / 4

    def angle(w1, h1, w2, h2, eps):
        return 4 / math.pi**2 * (torch.atan(w2 / (h2 + eps)) - torch.atan(w1 / (h1 + eps))) ** 2

    def result(v, iou, rho2, c2, eps):
        alpha = (v / (v - iou + (1 + eps))).detach()
        return iou - (rho2 / c2 + v * alpha), alpha

    def weight_update(model, model_update, d):
        fused.average(model, model_update, d)

    operators = {
        'fused_get_boundding_boxes_coord': corners,
        'fused_get_intersection_area': intersection,
        'fused_get_iou': lambda w1, h1, w2, h2, inter, eps: inter / (w1 * h1 + w2 * h2 - inter + eps),
        'fused_get_convex_diagonal_squared': diagonal,
        'fused_get_center_dist': distance,
        'fused_get_ciou_diagonal_angle': angle,
        'fused_get_ciou_result': result,
        'multi_tensor_yolov5_weight_update': weight_update,
    }
    for name, function in operators.items():
        assert hasattr(torch._C, name)
        monkeypatch.setattr(torch._C, name, function)
    monkeypatch.setattr(fused, '_numbers', stays_on_the_cpu(fused._numbers))


def stays_on_the_cpu(numbers):
    return lambda *shape, device, **options: numbers(*shape, device=CPU, **options)


def test_the_operators_are_used_where_they_agree(kernels):
    with logged_lines() as lines:
        assert fused.choose_ciou(Cuda()) is fused.fused_ciou
        assert fused.choose_average(Cuda()) is fused.fused_average
    assert lines == []


@pytest.mark.parametrize(
    ('name', 'wrong', 'choose', 'plain'),
    [
        ('fused_get_center_dist', lambda **corners: corners['b1_x1'] * 0, fused.choose_ciou, fused.ciou),
        ('fused_get_iou', lambda *args: args[4].detach() * math.nan, fused.choose_ciou, fused.ciou),
        ('multi_tensor_yolov5_weight_update', lambda **lists: None, fused.choose_average, fused.average),
    ],
)
def test_an_operator_that_differs_is_not_used(kernels, monkeypatch, name, wrong, choose, plain):
    monkeypatch.setattr(torch._C, name, wrong)
    with logged_lines() as lines:
        assert choose(Cuda()) is plain
    assert len(lines) == 1
    assert 'its results differ on this GPU' in lines[0]


def test_gradients_count_too(kernels, monkeypatch):
    """Right values without alpha's gradient cut are not enough."""

    def result(v, iou, rho2, c2, eps):
        return iou - (rho2 / c2 + v * (v / (v - iou + (1 + eps)))), v

    monkeypatch.setattr(torch._C, 'fused_get_ciou_result', result)
    assert fused.choose_ciou(Cuda()) is fused.ciou


def test_an_operator_without_a_kernel_is_not_used(monkeypatch):
    monkeypatch.setattr(fused, '_numbers', stays_on_the_cpu(fused._numbers))
    with logged_lines() as lines:
        assert fused.choose_ciou(Cuda()) is fused.ciou
    assert len(lines) == 1
    assert 'fused box loss: not used, it fails on this GPU' in lines[0]


def test_an_error_without_a_text():
    def fails():
        raise NotImplementedError

    with logged_lines() as lines:
        assert not fused.agree('a thing', Cuda(), fails, fails)
    assert lines == ['WARNING: a thing: not used, it fails on this GPU (NotImplementedError)']


def test_no_gpu_no_question():
    with logged_lines() as lines:
        assert fused.choose_ciou(CPU) is fused.ciou
        assert fused.choose_average(CPU) is fused.average
        assert not fused.may_fuse_optimizer(None, CPU)
        assert not fused.may_flatten_gradients(CPU)
    assert [line.split(':')[1].strip() for line in lines] == [
        'fused box loss', 'fused moving average', 'fused optimizer', 'flat gradients',
    ]  # fmt: skip


@pytest.mark.parametrize('ignored', ['nothing', 'lr', 'nesterov'])
def test_an_optimizer_is_compared_over_three_steps(monkeypatch, ignored):
    monkeypatch.setattr(fused, '_numbers', stays_on_the_cpu(fused._numbers))

    def make(groups, fused):
        sgd = partial(torch.optim.SGD, groups, lr=0.1, momentum=0.9)
        optimizer = sgd(nesterov=not (fused and ignored == 'nesterov'))
        if fused and ignored == 'lr':
            step = optimizer.step

            def with_the_first_rate():
                for group in optimizer.param_groups:
                    group['lr'] = 0.01
                step()

            optimizer.step = with_the_first_rate
        return optimizer

    assert fused.may_fuse_optimizer(make, Cuda()) == (ignored == 'nothing')


@pytest.mark.parametrize('adds_in_place', [True, False])
def test_gradients_are_flattened_where_they_are_added_to_in_their_place(monkeypatch, adds_in_place):
    monkeypatch.setattr(fused, '_numbers', stays_on_the_cpu(fused._numbers))
    monkeypatch.setattr(torch.nn.Linear, 'to', lambda self, device: self)
    if not adds_in_place:
        monkeypatch.setattr(fused, 'flatten_gradients', lambda layer: [torch.zeros(256)])
    with logged_lines() as lines:
        assert fused.may_flatten_gradients(Cuda()) == adds_in_place
    assert bool(lines) != adds_in_place


def test_flat_gradients_lie_in_one_buffer():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    model[1].bias.requires_grad = False
    (flat,) = fused.flatten_gradients(model)
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert flat.shape[0] == 128 * len(trained)
    parts = [flat.numpy()[128 * i :][: p.numel()] for i, p in enumerate(trained)]
    for parameter, part in zip(trained, parts):
        assert part.any()
        np.testing.assert_array_equal(parameter.grad.numpy().ravel(), part)
    flat.zero_()
    assert not any(p.grad.numpy().any() for p in trained)
    assert model[1].bias.grad is None


def test_buckets_of_several_processes_are_taken_as_they_are():
    model = torch.nn.Linear(3, 2)
    model._bucket_tensors = [torch.zeros(4), torch.zeros(5)]
    assert [len(buffer) for buffer in fused.flatten_gradients(model)] == [4, 5]
    assert model.weight.grad is None


def test_average():
    means, values = [torch.ones(2), torch.zeros(3)], [torch.zeros(2), torch.ones(3)]
    fused.average(means, values, 0.75)
    np.testing.assert_allclose([t.numpy()[0] for t in means], [0.75, 0.25])
