"""The public functions with values as Python callers have them: numpy numbers, text, paths, single items for lists."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import oneflow as flow
import pytest

import detect
import export
import hubconf
import train
import val
from tests.models.exports import pictures
from utils.errors import UsageError


@pytest.fixture(scope='module')
def weights(tiny, tmp_path_factory):
    """Trained with odd types on the tiny data set: a checkpoint that knows its classes."""
    project = tmp_path_factory.mktemp('runs')
    options = tiny.options(project, loggers='csv', seed=np.int64(1), freeze=np.int64(0), cache=True, rect=np.False_)
    options |= {'epochs': '1', 'batch_size': np.int32(4), 'imgsz': 64.0, 'data': Path(tiny.data), 'device': 'cpu'}
    options |= {
        'project': Path(project),
        'name': np.str_('odd'),
        'evolve': False,
        'resume': False,
        'cfg': Path(tiny.cfg),
    }
    assert len(train.run(**options)) == 7
    return project / 'odd' / 'weights' / 'last.safetensors'


def test_detect(weights, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), pictures(64, 48, 3))
    given = {'weights': weights, 'project': tmp_path, 'device': flow.device('cpu'), 'save_txt': np.True_, 'nosave': 1}
    given |= {'conf_thres': '0.001', 'iou_thres': np.float32(0.5)}
    folder = detect.run(
        source=(tmp_path / 'a.png',), imgsz=(np.int64(64), '64'), classes=1, max_det=np.int64(5),
        line_thickness=2.0, square=True, data={'names': ['a']}, **given,
    )  # fmt: skip
    lines = (folder / 'labels' / 'a.txt').read_text().splitlines()
    assert 0 < len(lines) <= 5
    assert {line.split()[0] for line in lines} == {'1'}


def test_val(weights, tiny, tmp_path):
    odd = {'batch_size': np.int64(2), 'imgsz': '64', 'conf_thres': np.float64(0.01), 'workers': 0.0, 'device': None}
    results, maps, _ = val.run(Path(tiny.data), weights=(weights,), save_dir=tmp_path, plots=False, **odd)
    same = {'batch_size': 2, 'imgsz': 64, 'conf_thres': 0.01, 'workers': 0, 'device': 'cpu'}
    wanted, _, _ = val.run(str(tiny.data), weights=[str(weights)], save_dir=tmp_path, plots=False, **same)
    assert results == wanted
    assert maps.shape == (4,)


def test_export(weights):
    files = export.run(weights=weights, imgsz=np.array([64, 32]), include='onnx', batch_size='1', opset=np.int64(13))
    assert files == [str(weights.with_suffix('.onnx'))]
    model = hubconf.custom((files[0],), device=flow.device('cpu'), autoshape=1, _verbose=np.False_)
    assert model(np.zeros((20, 30, 3), np.uint8)).s == (1, 3, 64, 32)


def test_hub(weights):
    network = hubconf.yolov5n(False, channels=np.int64(3), classes='5', autoshape=False, device='cpu')
    assert (network.nc, len(network.names)) == (5, 5)
    for path in (weights, str(weights), [weights], (str(weights),), bytes(weights)):
        assert len(hubconf.custom(path, device='cpu', _verbose=False).names) == 4


@pytest.mark.parametrize(('call', 'options', 'line'), [
    (detect.run, {'classes': 'cat'}, '--classes cat: not a whole number'),
    (detect.run, {'imgsz': []}, '--imgsz: nothing given'),
    (detect.run, {'source': [None, {}]}, '--source {}: not text'),
    (val.run, {'task': 'valid'}, '--task valid: no such choice'),
    (val.run, {'half': 'no'}, '--half no: neither True nor False'),
    (train.run, {'optimizer': 'sgd'}, '--optimizer sgd: no such choice'),
    (train.run, {'epochs': [1]}, r'--epochs \[1\]: not a whole number'),
    (export.run, {'imgsz': [1, 2, 3]}, r'--imgsz \[1, 2, 3\]: not an image size'),
    (hubconf.yolov5n, {'classes': 0.5}, 'classes 0.5: not a whole number'),
    (hubconf.yolov5n, {'pretrained': False, 'classes': 0}, 'classes 0: out of range'),
])  # fmt: skip
def test_wrong_types_are_one_line(call, options, line):
    with pytest.raises(UsageError, match=f'^{line}'):
        call(**options)
