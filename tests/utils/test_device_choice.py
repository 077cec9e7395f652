"""What --device means, and what a command's process shows itself before OneFlow is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import oneflow as flow
import pytest

from utils import device_choice
from utils.device_choice import claim_device, cuda_numbers, parse_device
from utils.errors import UsageError
from utils.paths import ROOT


class TorchDevice:
    """As PyTorch's device objects read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(('device', 'expected'), [
    ('', ('', [])), (None, ('', [])), ('None', ('', [])), (' ', ('', [])),
    ('cpu', ('cpu', [])), ('CPU', ('cpu', [])), (flow.device('cpu'), ('cpu', [])), (TorchDevice('cpu'), ('cpu', [])),
    ('cuda', ('cuda', [])), (TorchDevice('cuda'), ('cuda', [])),
    ('cuda:0', ('cuda', [0])), ('CUDA:1', ('cuda', [1])), ('0', ('cuda', [0])), (0, ('cuda', [0])), (3, ('cuda', [3])),
    (np.int64(2), ('cuda', [2])), (TorchDevice('cuda:1'), ('cuda', [1])), (flow.device('cuda:1'), ('cuda', [1])),
    ('0,1', ('cuda', [0, 1])), (' 1, 0 ', ('cuda', [1, 0])), ('cuda:2,3', ('cuda', [2, 3])),
    ('cuda:2,cuda:3', ('cuda', [2, 3])),
])  # fmt: skip
def test_every_spelling(device, expected):
    assert parse_device(device) == expected


@pytest.mark.parametrize(
    'device', ['gpu', 'mps', '-1', '0,', '0.0', 'cuda:', 'cuda:x', '0;1', '²', True, TorchDevice('meta')]
)
def test_what_is_no_device(device):
    with pytest.raises(UsageError, match='not a device. Use cpu, cuda, the number'):
        parse_device(device)


def test_one_gpu_twice():
    with pytest.raises(UsageError, match='--device 0,0: names a GPU twice'):
        parse_device('0,0')


@pytest.fixture
def fresh(monkeypatch):
    """A process that has not imported OneFlow, and sees all GPUs."""
    monkeypatch.delitem(sys.modules, 'oneflow')
    monkeypatch.setattr(device_choice, '_shown', [])
    monkeypatch.setattr(os, 'environ', {'OPENCV_FOR_THREADS_NUM': '1'})


@pytest.mark.parametrize(('before', 'device', 'after'), [
    (None, '1', '1'), (None, 'cuda:1', '1'), (None, '2,3', '2,3'), (None, '1,0', '1,0'),
    (None, 'cpu', '-1'), ('2,3', 'cpu', '-1'), (None, '', None), (None, 'cuda', None), ('2,3', '', '2,3'),
    ('2,3', '1', '3'), ('2,3', '1,0', '3,2'),  # the second of those that the user, or a scheduler, left in sight
    ('GPU-5f3a, MIG-7c1b', '1', 'MIG-7c1b'),
])  # fmt: skip
def test_what_a_command_shows_itself(fresh, before, device, after):
    if before is not None:
        os.environ['CUDA_VISIBLE_DEVICES'] = before
    claim_device(device)
    assert os.environ.get('CUDA_VISIBLE_DEVICES') == after


@pytest.mark.parametrize(('before', 'count'), [('2,3', 2), ('', 0)])
def test_a_gpu_beyond_those_in_sight(fresh, before, count):
    os.environ['CUDA_VISIBLE_DEVICES'] = before
    with pytest.raises(UsageError, match=f'--device 2: CUDA_VISIBLE_DEVICES={before} names {count} GPUs'):
        claim_device('2')
    assert os.environ['CUDA_VISIBLE_DEVICES'] == before


def test_nothing_is_hidden_once_oneflow_is_there(monkeypatch):
    monkeypatch.setattr(device_choice, '_shown', [])
    before = dict(os.environ)
    claim_device('1')
    claim_device('cpu')
    assert dict(os.environ) | {'OPENCV_FOR_THREADS_NUM': ''} == before | {'OPENCV_FOR_THREADS_NUM': ''}
    assert cuda_numbers([1]) == [1]


def test_the_numbers_that_cuda_gives(fresh):
    claim_device('2,3')
    assert cuda_numbers([2, 3]) == [0, 1]
    assert cuda_numbers([3]) == [1]
    with pytest.raises(UsageError, match='--device 0: this process was started on --device 2,3'):
        cuda_numbers([0])


def test_opencv_takes_as_many_threads_as_this_process(fresh, monkeypatch):
    monkeypatch.setattr(device_choice, 'threads', lambda: 3)
    claim_device('')
    assert os.environ['OPENCV_FOR_THREADS_NUM'] == '1'  # the user's
    del os.environ['OPENCV_FOR_THREADS_NUM']
    claim_device('')
    assert os.environ['OPENCV_FOR_THREADS_NUM'] == '3'


EVERY_COMMAND = """
import contextlib, importlib, io, json, os, sys

class Stop(BaseException):
    pass

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == 'oneflow':
            raise Stop(os.environ.get('CUDA_VISIBLE_DEVICES'))

sys.meta_path.insert(0, Watch())
found = {}
for name, words in json.loads(sys.argv[1]):
    os.environ.pop('CUDA_VISIBLE_DEVICES', None)
    try:
        importlib.import_module(name).main([*words, '--device', sys.argv[2]])
    except Stop as stop:
        found[name] = str(stop)
    for module in [module for module in sys.modules if module.split('.')[0] in ('models', 'utils')]:
        del sys.modules[module]  # half imported
print(json.dumps(found))
"""


@pytest.mark.parametrize(('device', 'seen'), [('1', '1'), ('cpu', '-1')])
def test_every_command_chooses_before_oneflow_is_imported(tmp_path, device, seen):
    (tmp_path / 'a.jpg').touch()
    commands = [
        ('train', ['--weights', '', '--cfg', 'yolov5n.yaml']),
        ('val', []),
        ('detect', ['--source', str(tmp_path / 'a.jpg')]),
        ('export', []),
        ('benchmarks.formats', ['--project', str(tmp_path)]),
        ('examples.server', []),
    ]
    command = [sys.executable, '-c', EVERY_COMMAND, json.dumps(commands), device]
    environment = {key: value for key, value in os.environ.items() if key != 'CUDA_VISIBLE_DEVICES'}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {name: seen for name, _ in commands}


def test_a_resumed_run_has_its_gpu(monkeypatch, tmp_path):
    """Its options are read before OneFlow is imported."""
    import train

    claimed = []
    monkeypatch.setattr('utils.train_state.reopen', lambda opt: (train.TrainOptions(device='1'), 'checkpoint'))
    monkeypatch.setattr(train, 'claim_device', lambda device: claimed.append(device))
    monkeypatch.setattr(train, 'train', lambda opt, callbacks, checkpoint: (opt.device, checkpoint))
    assert train.start_training(train.TrainOptions(resume=True), command=True) == ('1', 'checkpoint')
    assert claimed == ['1']
    train.start_training(train.TrainOptions(device='1'))
    assert claimed == ['1'], 'a Python program has other uses for its GPUs'
    monkeypatch.setenv('WORLD_SIZE', '2')
    train.start_training(train.TrainOptions(device='0,1'))
    assert claimed == ['1', '0,1']


def test_reading_a_run_imports_no_oneflow():
    code = 'import sys, utils.train_state, utils.checkpoint; print("oneflow" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('False\n', '')
