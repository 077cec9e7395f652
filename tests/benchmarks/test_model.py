"""The benchmark's two networks compute the same, and it prints its ratios."""

from __future__ import annotations

import numpy as np
import oneflow as torch

from benchmarks import model as benchmark
from models import ops
from models.yolo import Model


def test_plain_layers_compute_the_same(tiny):
    model = Model(tiny.cfg)
    plain = benchmark.plain_layers(model)
    assert not any(type(module).__module__ == ops.__name__ for module in plain.modules())
    images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 64), np.float32))
    for ours, theirs in zip(model.eval()(images)[1], plain.eval()(images)[1]):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


def test_it_prints_a_ratio_for_training_and_inference(tiny, capsys):
    benchmark.main(['--cfg', str(tiny.cfg), '--imgsz', '64', '--batch-size', '2', '--rounds', '2'])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines] == ['train batch 2 at 64', 'infer batch 1 at 128']
    assert all('ratio' in line for line in lines)
