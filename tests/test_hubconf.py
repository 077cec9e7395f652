"""Models by oneflow.hub and by import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import oneflow as flow
import pytest

import hubconf
from models.autoshape import AutoShape
from models.backend import Backend
from models.yolo import Model
from tests.models.exports import CONF, pictures, save_small, small_model
from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays
from utils.errors import UsageError, WeightsError

ROOT = Path(__file__).resolve().parents[1]
OFFICIAL = [f'yolov5{size}{six}' for six in ('', '6') for size in 'nsmlx']


def test_loaded_by_oneflow_from_elsewhere(exports, tmp_path):
    """In a process of its own, whose path does not have the checkout, before or afterwards; late imports included."""
    cv2.imwrite(str(tmp_path / 'a.png'), pictures(64, 96, 3))
    code = f"""
import json, sys, oneflow as flow
before = list(sys.path)
model = flow.hub.load({str(ROOT)!r}, 'custom', path={str(exports['checkpoint'])!r}, source='local', _verbose=False)
assert sys.path == before
model.conf = {CONF}
results = model('a.png', size=96)
results.save(save_dir='out'); results.crop(save_dir='out')
print(json.dumps(results.pandas().xyxy[0].to_dict('records')))
"""
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    model = hubconf.custom(exports['checkpoint'], device='cpu')
    model.conf = CONF
    wanted = model(tmp_path / 'a.png', size=96).pandas().xyxy[0]
    found = json.loads(done.stdout)
    assert len(found) == len(wanted) > 5
    assert [row['name'] for row in found] == wanted['name'].tolist()
    assert (tmp_path / 'out' / 'a.jpg').is_file()


def test_custom(exports, messages):
    assert isinstance(hubconf.custom(exports['checkpoint'], device='cpu'), AutoShape)
    network = hubconf.custom(exports['checkpoint'], autoshape=False, device='cpu')
    assert isinstance(network, Model)
    assert all(p.requires_grad for p in network.parameters())  # not folded: it can be trained
    assert network.model[0].bn is not None
    assert isinstance(hubconf.custom(exports['dynamic'], autoshape=False, device='cpu'), Backend)
    both = hubconf.custom([exports['checkpoint'], exports['dynamic']], device='cpu')
    assert len(both.backend.members) == 2
    assert 'summary' in messages()


def test_quiet(exports, messages):
    hubconf.custom(exports['checkpoint'], device='cpu', _verbose=False)
    assert messages() == ''


@pytest.mark.parametrize('name', OFFICIAL)
def test_official_entries(name):
    entry = getattr(hubconf, name)
    assert list(inspect.signature(entry).parameters) == [
        'pretrained', 'channels', 'classes', 'autoshape', '_verbose', 'device',
    ]  # fmt: skip
    assert entry.__name__ == name
    assert name in entry.__doc__


def test_an_official_model_with_weights(tmp_path, monkeypatch):
    """From a file of that name in the working directory, as if it had been downloaded."""
    monkeypatch.chdir(tmp_path)
    source = Model('yolov5n.yaml', nc=80)
    names = [f'thing {i}' for i in range(80)]
    strides, anchors = source.stride.numpy().tolist(), source.detect.anchors.numpy()
    save_checkpoint('yolov5n.pt', Checkpoint(source.yaml, state_arrays(source), names, strides, anchors))
    whole = hubconf.yolov5n(device='cpu')
    assert whole.names == names
    fewer = hubconf.yolov5n(classes=5, autoshape=False, device='cpu')
    assert (fewer.nc, fewer.names) == (5, ['0', '1', '2', '3', '4'])
    first = source.model[0].conv.weight.detach().numpy()
    np.testing.assert_array_equal(fewer.model[0].conv.weight.detach().numpy(), first)
    grey = hubconf.yolov5n(channels=1, device='cpu', autoshape=False)
    assert grey.names == names
    assert grey(flow.zeros(1, 1, 64, 64))[0].shape[0] == 1
    bare = hubconf.yolov5n(pretrained=False, device=flow.device('cpu'))
    assert isinstance(bare, AutoShape)
    assert np.abs(bare.model.model[0].conv.weight.detach().numpy() - first).max() > 1e-3


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(WeightsError, match='gone.safetensors: no such weights file'):
        hubconf.custom(tmp_path / 'gone.safetensors')
    with pytest.raises(UsageError, match='--device tpu'):
        hubconf.custom(save_small(tmp_path / 'm', small_model()), device='tpu')
