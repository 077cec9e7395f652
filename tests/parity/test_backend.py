"""yolov5n.pt and everything made of it find the same on the two photographs, and what the reference found."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from models.backend import load_backend
from models.graph.build import build_onnx
from models.graph.nms import NMSOptions
from tests.golden import golden_json, golden_npz, needs_golden, recipes, shared
from utils.boxes import scale_coords
from utils.checkpoint import build_model, load_checkpoint, save_checkpoint
from utils.data.letterbox import letterbox

pytestmark = needs_golden
WEIGHTS = 'weights/yolov5n.pt'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    import openvino

    folder = tmp_path_factory.mktemp('exports')
    ckpt = load_checkpoint(shared(WEIGHTS))
    model = build_model(ckpt)
    files = {'pt': shared(WEIGHTS), 'checkpoint': folder / 'yolov5n.safetensors', 'plain': shared(WEIGHTS)}
    save_checkpoint(files['checkpoint'], ckpt)
    for name, dynamic, nms in (
        ('onnx', True, None), ('onnx-nms', True, NMSOptions()),
        ('fixed', False, None), ('fixed-nms', False, NMSOptions()),
    ):  # fmt: skip
        files[name] = folder / f'{name}.onnx'
        onnx.save(build_onnx(model, dynamic=dynamic, nms=nms), str(files[name]))
    files['openvino'] = folder / 'yolov5n_openvino_model'
    openvino.save_model(openvino.convert_model(str(files['onnx'])), str(files['openvino'] / 'yolov5n.xml'), False)
    return files


@pytest.mark.parametrize('kind', ['plain', 'pt', 'checkpoint', 'onnx', 'onnx-nms', 'openvino'])
def test_the_photographs(files, kind, monkeypatch):
    if kind == 'plain':
        monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    backend = load_backend(files[kind], 'cpu')
    assert backend.names[0] == 'person'
    for picture in ('bus', 'zidane'):
        about = golden_json('official.json')[f'plain/{picture}']
        im0 = cv2.imread(str(shared(f'data/images/{picture}.jpg')))
        if recipes().sha256(im0) != about['decoded_picture_sha256']:
            pytest.skip('this JPEG decoder gives other pixels')
        im = letterbox(im0, backend.input_size(about['size']), auto=about['auto'])[0]
        (found,) = backend.predict(np.ascontiguousarray(im.transpose(2, 0, 1)[None, ::-1]), max_det=1000)
        found[:, :4] = scale_coords(im.shape[:2], found[:, :4], im0.shape[:2])
        wanted = golden_npz('official.npz')[f'plain/{picture}/detect']
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found[:, :4], wanted[:, :4], rtol=0, atol=0.05)
        np.testing.assert_allclose(found[:, 4], wanted[:, 4], rtol=0, atol=2e-4)
        np.testing.assert_array_equal(found[:, 5], wanted[:, 5])


def test_files_of_one_size_find_the_same_on_the_same_square(files):
    backends = {kind: load_backend(file, 'cpu') for kind, file in files.items() if kind != 'plain'}
    checkpoint = backends.pop('pt')
    for picture in ('bus', 'zidane'):
        im = letterbox(cv2.imread(str(shared(f'data/images/{picture}.jpg'))), (640, 640), auto=False)[0]
        images = np.ascontiguousarray(im.transpose(2, 0, 1)[None, ::-1])
        (expected,) = checkpoint.predict(images)
        assert len(expected) >= 3
        for kind, backend in backends.items():
            (found,) = backend.predict(images)
            np.testing.assert_array_equal(found[:, 5], expected[:, 5], err_msg=kind)
            np.testing.assert_allclose(found[:, :4], expected[:, :4], rtol=0, atol=0.05, err_msg=kind)
            np.testing.assert_allclose(found[:, 4], expected[:, 4], rtol=0, atol=2e-4, err_msg=kind)
