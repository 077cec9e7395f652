"""What exported files tell about themselves, read as data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from models import runners
from models.graph.build import build_onnx
from models.runners import DnnRunner, OnnxRunner, Runner, read_metadata
from models.yolo import Model
from tests.models.tiny import TINY
from utils.errors import WeightsError
from utils.paths import ROOT


@pytest.mark.parametrize(('texts', 'expected'), [
    ({'names': '["a", "b"]', 'stride': '64'}, (['a', 'b'], 64)),
    ({'names': "{1: 'b', 0: 'a'}", 'stride': '32'}, (['a', 'b'], 32)),  # as the original writes them
    ({'names': '{"10": "c", "2": "b", "0": "a"}'}, (['a', 'b', 'c'], 32)),
    ({'names': "['a']", 'stride': '8.0'}, (['a'], 32)),
    ({}, (None, 32)),
])  # fmt: skip
def test_metadata(texts, expected):
    assert read_metadata(texts, 'm.onnx') == expected


@pytest.mark.parametrize('texts', [
    {'names': '__import__("os").system("true")'}, {'names': '[1, 2]'}, {'names': '3'}, {'names': '["a"'},
    {'names': '[' * 100_000}, {'stride': '"x"'}, {'stride': '0'}, {'stride': '1e9'}, {'stride': '[32]'},
    {'names': '{"x": "a"}'}, {'names': "{(): 'a'}"}, {'names': '{"0": 1}'},
    {'names': '["' + 'a' * (1 << 20) + '"]'},
])  # fmt: skip
def test_bad_metadata_are_refused(texts):
    with pytest.raises(WeightsError, match=r'm\.onnx: its '):
        read_metadata(texts, 'm.onnx')


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(runners.importlib, 'import_module', lambda name: __import__('no_such_package'))
    with pytest.raises(WeightsError, match=r'm\.onnx: needs the package onnxruntime .*Pip install onnxruntime'):
        OnnxRunner('m.onnx')


class Nothing(Runner):
    def run(self, x):
        return [x]


def test_no_pictures_no_runner():
    with pytest.raises(WeightsError, match='takes an input of 2 dimensions'):
        Nothing('m.onnx', [1, 10], {})


@pytest.mark.parametrize('shape', [[10**9, 3, 64, 64], [1, 3, 10**6, 64], [0, 3, 64, 64], [1, 4, 64, 64]])
def test_inputs_that_are_no_images(shape):
    with pytest.raises(WeightsError, match=f'takes an input of {shape[0]} x {shape[1]} x'):
        Nothing('m.onnx', shape, {})


def detections(count=(1, 1), boxes=(1, 9, 4), scores=(1, 9), classes=(1, 9), number=0):
    return [np.zeros(shape, np.float32) for shape in (count, boxes, scores)] + [np.full(classes, number, np.float32)]


@pytest.mark.parametrize(('kind', 'outputs'), [
    ('onnx', [np.zeros((1, 9))]), ('onnx', [np.zeros((1, 9, 5))]), ('onnx', [np.zeros((2, 9, 7))]),
    ('onnx', [np.zeros((1, 9, 8))]), ('onnx-nms', detections(boxes=(1, 9, 3))), ('onnx-nms', detections(scores=(1, 8))),
    ('onnx-nms', detections(count=(2, 1))), ('onnx-nms', detections(number=2)),
    ('onnx', RuntimeError('a\x1b[2J' * 999)),
])  # fmt: skip
def test_outputs_that_are_no_detections(kind, outputs):
    runner = Nothing('m.onnx', [1, 3, 64, 64], {'names': '["a", "b"]'})
    runner.kind = kind

    def run(x):
        if isinstance(outputs, Exception):
            raise outputs
        return outputs

    runner.run = run
    with pytest.raises(
        WeightsError, match=r'm\.onnx: (gives outputs of .* and 2 class names|can not be run)'
    ) as refused:
        runner(np.zeros((1, 3, 64, 64), np.float32))
    assert len(str(refused.value)) < 300
    assert '\x1b' not in str(refused.value)


def test_no_onnx_file(tmp_path):
    for content in (b'x', b''):
        (tmp_path / 'm.onnx').write_bytes(content)
        with pytest.raises(WeightsError, match='no ONNX file'):
            DnnRunner(tmp_path / 'm.onnx')


def test_activations_stay_in_the_layout_of_the_convolutions(monkeypatch, tmp_path):
    """What onnxruntime makes of the graph has none of the operations that cost a change of layout."""
    real, saved = onnxruntime.InferenceSession, tmp_path / 'optimized.onnx'

    def session(graph, options, **more):
        options.optimized_model_filepath = str(saved)
        return real(graph, options, **more)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    runners.open_session('tiny', graph=build_onnx(Model(TINY).eval(), (64, 64)).SerializeToString())
    kinds = {node.op_type for node in onnx.load(saved).graph.node}
    assert {'Sigmoid', 'ReorderOutput'} < kinds
    assert 'QuickGelu' not in kinds


def test_the_gpu_that_is_asked_for(monkeypatch, messages):
    """As far as it can be told without one: what onnxruntime is asked, and what is said where it can't."""
    asked = []
    monkeypatch.setattr(onnxruntime, 'InferenceSession', lambda *_, providers, **__: asked.append(providers))
    runners.open_session('m.onnx', gpu=1)
    assert 'm.onnx: this onnxruntime has no CUDA, so it runs on the CPU' in messages()
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: ['CUDAExecutionProvider'])
    runners.open_session('m.onnx', gpu=1)
    runners.open_session('m.onnx')
    cpu = 'CPUExecutionProvider'
    assert asked == [[cpu], [('CUDAExecutionProvider', {'device_id': 1}), cpu], [cpu]]


SIGNALLED = """
import signal, sys
from models.backend import load_backend

opened = [load_backend(sys.argv[1], 'cpu') for _ in range(2)]
del opened[0], opened[0]
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
signal.raise_signal(signal.SIGUSR1)
"""


def test_a_signal_after_openvino_files_were_closed(exports):
    """Two Cores of OpenVINO, freed in the order in which they were made, leave an alternate stack that is gone: the
    next signal with a handler ended the process by SIGSEGV."""
    words = [sys.executable, '-c', SIGNALLED, str(exports['openvino-dynamic'])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr
