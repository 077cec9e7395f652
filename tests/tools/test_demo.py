"""The demo's steps on eight pictures; that it reaches its mAP is for `make demo` to show."""

from __future__ import annotations

import numpy as np

from tools.demo import DEMO_HYP, TRAINING, demo
from utils.hyps import load_hyp
from utils.paths import read_yaml


def test_demo(tiny, tmp_path):
    folder = tmp_path / 'demo'
    (folder / 'old').mkdir(parents=True)
    training = TRAINING | {'imgsz': 64, 'epochs': 2, 'batch_size': 4}
    map50, found = demo(folder, training, str(tiny.data), str(tiny.cfg))
    assert 0 <= map50 <= 1
    assert not (folder / 'old').exists()
    assert len(list(found.glob('*.jpg'))) == 4
    assert read_yaml(folder / 'train' / 'hyp.yaml')['warmup_epochs'] == 2
    assert (folder / 'train' / 'results.png').exists()
    assert (folder / 'val' / 'confusion_matrix.png').exists()


def test_its_hyperparameters_are_ones_we_know():
    assert np.isfinite([float(v) for v in load_hyp(DEMO_HYP).values()]).all()
