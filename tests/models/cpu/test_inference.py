"""Inference through onnxruntime against plain OneFlow."""

from __future__ import annotations

import sys

import numpy as np
import oneflow as torch
import pytest

from models.cpu.inference import compile_model
from models.yolo import Model
from tests.models.exports import pictures, plain_rows, small_model


@pytest.mark.parametrize('shape', [(1, 3, 64, 64), (3, 3, 32, 96)])
def test_the_same_rows_at_any_batch_and_size(shape):
    model, images = small_model().fuse(), pictures(*shape)
    fast = compile_model(model)
    np.testing.assert_allclose(fast(images.astype(np.float32) / 255), plain_rows(model, images), atol=1e-3)


def test_a_model_of_the_zoo():
    model, images = Model('yolov5n.yaml').eval(), pictures(1, 3, 96, 128)
    rows, wanted = compile_model(model)(images.astype(np.float32) / 255), plain_rows(model, images)
    np.testing.assert_allclose(rows[..., :4], wanted[..., :4], atol=1e-3)
    np.testing.assert_allclose(rows[..., 4:], wanted[..., 4:], atol=1e-5)


def test_the_switch(monkeypatch):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    assert compile_model(small_model()) is None


def test_a_layer_without_onnx_form_is_named_and_left_to_oneflow(messages):
    class Strange(torch.nn.Identity):
        pass

    model = small_model()
    model.model[0].act = Strange()
    assert compile_model(model) is None
    assert 'Inference on plain OneFlow, which is slower on a CPU: Strange' in messages()


@pytest.mark.parametrize('package', ['onnx', 'onnxruntime'])
def test_without_the_packages_oneflow_does_it(monkeypatch, messages, package):
    for name in ('models.graph.build', 'models.runners'):
        monkeypatch.delitem(sys.modules, name, raising=False)  # so that they are imported anew
    monkeypatch.setitem(sys.modules, package, None)
    assert compile_model(small_model()) is None
    assert 'Inference on plain OneFlow, which is slower on a CPU: ' in messages()
    assert package in messages()
