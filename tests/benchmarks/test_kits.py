"""What the kinds of child processes compute is the same; PyTorch's and the checkouts' parts on stand-ins.

A process has one kind for good, so each runs in its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.checkout import Checkout
from benchmarks.kits import make_kit
from benchmarks.sides import Side, Worker
from utils.hyps import load_hyp
from utils.paths import ROOT

HYP = load_hyp('hyp.scratch-low.yaml')


def numbers(kind, case, checkout=''):
    worker = Worker(Side(kind, sys.executable, kind, checkout), case)
    try:
        first = worker.prepare()
        assert worker.run(1) > 0
        return first, worker.check()
    finally:
        worker.close()


def test_ours_plain_and_a_checkout_agree(tiny):
    """The checkout is this one: the names that it is asked for are the same."""
    case = {'kind': 'train', 'cfg': str(tiny.cfg), 'batch': 2, 'size': 64, 'hyp': HYP}
    ours, later = numbers('ours', case)
    assert all(part > 0 for part in ours)
    for kind, checkout in (('plain', ''), ('one-yolov5', str(ROOT))):
        first, after_steps = numbers(kind, case, checkout)
        assert first == pytest.approx(ours, rel=1e-4)
        assert after_steps == pytest.approx(later, rel=0.05)
        assert after_steps[1] < ours[1]  # it learns


def test_inference_agrees(tiny):
    case = {'kind': 'infer', 'cfg': str(tiny.cfg), 'batch': 2, 'size': 64}
    assert numbers('plain', case)[0] == pytest.approx(numbers('ours', case)[0], rel=1e-4)


def test_a_library_stands_in_for_oneflow(tmp_path):
    """`import oneflow` and what our source imports from it, after `stand_in`, with a library of three modules."""
    (tmp_path / 'other/nn').mkdir(parents=True)
    (tmp_path / 'other/__init__.py').write_text('from other import nn\n')
    (tmp_path / 'other/nn/__init__.py').write_text('from other.nn import functional\n')
    (tmp_path / 'other/nn/functional.py').write_text('x = 7\n')
    code = """
import json, other
from benchmarks.kits import stand_in
stand_in(other)
import oneflow as torch
from oneflow import nn
from oneflow.nn import functional as F
print(json.dumps([torch.__name__, nn.__name__, F.__name__, F.x, F is other.nn.functional]))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env={'PYTHONPATH': f'{ROOT}:{tmp_path}'}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ['other', 'other.nn', 'other.nn.functional', 7, True]


def test_the_reference_runs_on_pytorch(tmp_path, monkeypatch):
    """Its checkout comes before ours among the places that modules are imported from."""
    (tmp_path / 'torch.py').write_text('__version__ = "9"\nthreads = []\nset_num_threads = threads.append\n')
    (tmp_path / 'only_theirs.py').write_text('')
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.chdir(ROOT)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    kit = make_kit('reference', str(tmp_path))
    assert isinstance(kit, Checkout)
    assert sys.path[0] == str(tmp_path)
    assert kit.about() == f'PyTorch 9, {tmp_path}'
    assert kit.torch.threads
    monkeypatch.delitem(sys.modules, 'torch')
