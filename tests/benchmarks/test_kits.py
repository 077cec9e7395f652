"""What the kinds of child processes compute is the same; PyTorch's and the checkouts' parts on stand-ins.

A process has one kind for good, so each runs in its own.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.checkout import Checkout
from benchmarks.kits import Ours, Plain, PyTorch, make_kit
from benchmarks.sides import Side, Worker
from utils import fused, optim
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


SHARED = {  # what stands for PyTorch: OneFlow, without the operators that it alone has
    'torch/__init__.py': """
import oneflow
def __getattr__(name):
    if name == '_C':
        raise AttributeError(name)
    return getattr(oneflow, name)
def set_num_threads(count): pass
def get_num_threads(): return 1
""",
    'torch/nn/__init__.py': 'from oneflow.nn import *\n',
    'torch/nn/functional.py': 'from oneflow.nn.functional import *\n',
}


def test_all_sides_agree(tiny, tmp_path, monkeypatch):
    """The checkout is this one: the names that it is asked for are the same."""
    for name, text in SHARED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    case = {'kind': 'train', 'cfg': str(tiny.cfg), 'batch': 2, 'size': 64, 'hyp': HYP}
    ours, later = numbers('ours', case)
    assert all(part > 0 for part in ours)
    for kind, checkout in (('plain', ''), ('pytorch', ''), ('one-yolov5', str(ROOT))):
        first, after_steps = numbers(kind, case, checkout)
        assert first == pytest.approx(ours, rel=1e-4)
        assert after_steps == pytest.approx(later, rel=0.05)
        assert after_steps[1] < ours[1]  # it learns


def test_on_a_gpu_ours_steps_as_training_does(tiny, monkeypatch):
    """By fused operators where they agree, over flat gradients; plain OneFlow and PyTorch do neither."""
    monkeypatch.setattr(fused, 'choose_ciou', lambda device: fused.fused_ciou)
    monkeypatch.setattr(fused, 'may_flatten_gradients', lambda device: True)
    asked = []
    monkeypatch.setattr(optim, 'may_fuse_optimizer', lambda make, device: asked.append(device.type))
    kit = Ours('cpu')
    model = kit.model(str(tiny.cfg))
    assert kit.loss(model, HYP).ciou is fused.ciou
    kit.device = 'cuda'
    assert kit.loss(model, HYP).ciou is fused.fused_ciou
    optimizer = kit.optimizer(model)
    assert asked == ['cpu']  # where the model is
    (flat,) = kit.gradients
    flat.fill_(1.0)
    before = model.model[0].conv.weight.numpy().copy()
    kit.update(optimizer, model)
    assert flat.abs().sum().item() == 0
    assert (model.model[0].conv.weight.numpy() != before).any()
    assert [issubclass(kind, Ours) and kind.fuses for kind in (Plain, PyTorch)] == [False, False]


def test_inference_agrees(tiny):
    case = {'kind': 'infer', 'cfg': str(tiny.cfg), 'batch': 2, 'size': 64}
    assert numbers('plain', case)[0] == pytest.approx(numbers('ours', case)[0], rel=1e-4)


CHECKOUT = {
    '__init__.py': '',
    'general.py': """
import oneflow
def non_max_suppression(rows, conf, iou, multi_label, max_det):
    assert (conf, iou, multi_label, max_det) == (0.001, 0.6, True, 300), (conf, iou, multi_label, max_det)
    return [rows[0, :7, :6]]
""",
    'dataloaders.py': """
from pathlib import Path
def create_dataloader(path, size, batch, stride, hyp, augment, shuffle, workers):
    assert (path, size, batch, stride, hyp, augment, shuffle) == (['images'], 64, 2, 32, {'mosaic': 1}, True, True)
    return [([0, 0],)] * 3, 'the data set'
class LoadImagesAndLabels:
    def __init__(self, path):
        cache = Path(path).with_name('labels.cache')
        cache.write_text(f'{cache.exists()}')
""",
}


def test_a_checkout_is_asked_by_its_public_names(tmp_path):
    for name, text in CHECKOUT.items():
        (tmp_path / 'utils' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'utils' / name).write_text(text)
    checkout = 'one-yolov5', {'kind': 'nms', 'count': 40}, str(tmp_path)
    assert numbers(*checkout)[0][0] == 7
    case = {'kind': 'load', 'train': ['images'], 'size': 64, 'batch': 2, 'hyp': {'mosaic': 1}, 'workers': 0}
    assert numbers('one-yolov5', case, str(tmp_path)) == ([], [])
    for cold in (True, False):
        numbers('one-yolov5', {'kind': 'scan', 'folder': str(tmp_path / 'images'), 'cold': cold}, str(tmp_path))
        assert (tmp_path / 'labels.cache').read_text() == str(not cold)


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
    del sys.modules['torch']  # not by monkeypatch, which would put it back
