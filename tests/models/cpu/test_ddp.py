"""Two ranks with the engine give the average of the gradients that one process computes for their halves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.cpu import dnnl
from tests.models.cpu.test_engine import loss, pictures, small

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.skipif(dnnl.load() is None, reason='oneDNN is not installed')
def test_gradients_of_two_ranks_are_averaged(tmp_path, monkeypatch):
    launcher = [sys.executable, '-m', 'oneflow.distributed.launch', '--nproc_per_node', '2', '--master_port', '29517']
    command = [*launcher, '-m', 'tests.models.cpu.ddp_worker', str(tmp_path / 'gradients.npz')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    sums: dict[str, np.ndarray] = {}
    for rank in range(2):
        model = small([-1, 1, 'C3', [16]])
        loss(model(pictures(2, 3, 64, 64, seed=10 + rank))).backward()
        for name, p in model.named_parameters():
            sums[name] = sums.get(name, 0) + p.grad.numpy() / 2
    found = np.load(tmp_path / 'gradients.npz')
    scale = 1e-3 * max(np.abs(g).max() for g in sums.values())
    for name, expected in sums.items():
        assert np.abs(found[name] - expected).max() <= 5e-4 * max(np.abs(expected).max(), scale), name
