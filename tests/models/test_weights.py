"""What can't be opened is named, and every file has class names."""

from __future__ import annotations

import json

import onnx
import pytest

from models.backend import load_backend
from utils.errors import UsageError, WeightsError


@pytest.mark.parametrize(('file', 'error', 'match'), [
    ('', UsageError, '--weights: none given'),
    ('gone.onnx', WeightsError, 'gone.onnx: no such weights file'),
    ('gone.xml', WeightsError, 'gone.xml: no such weights file'),
    ('gone.pt', WeightsError, 'gone.pt: no such weights file'),
    ('a.torchscript', WeightsError, 'TorchScript does not run here. Give a checkpoint'),
    ('a.engine', WeightsError, 'TensorRT'),
    ('a_saved_model', WeightsError, 'SavedModel'),
    ('empty', WeightsError, 'empty: a folder with 0 .xml files'),
    ('bad.onnx', WeightsError, 'bad.onnx: onnxruntime can not read it'),
    ('bad.xml', WeightsError, 'bad.xml: no OpenVINO model'),
    ('worse.xml', WeightsError, 'worse.xml: OpenVINO can not read it'),
    ([], UsageError, '--weights: none given'),
])  # fmt: skip
def test_what_can_not_be_run_is_named(tmp_path, monkeypatch, file, error, match):
    monkeypatch.chdir(tmp_path)
    for name in ('bad.onnx', 'bad.xml'):
        (tmp_path / name).write_text('x')
    (tmp_path / 'worse.xml').write_text('<net name="x" version="11"></net>')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(error, match=match):
        load_backend(file, 'cpu')


@pytest.mark.parametrize(('name', 'error', 'match'), [
    ('checkpoint', UsageError, '--dnn is for .onnx files'),
    ('dynamic', WeightsError, 'dynamic.onnx: not for --dnn'),
    ('nms', WeightsError, 'nms.onnx: not for --dnn'),
])  # fmt: skip
def test_dnn_takes_fixed_onnx_files(exports, name, error, match):
    with pytest.raises(error, match=match):
        load_backend(exports[name], 'cpu', dnn=True)


def test_names_from_the_data_where_the_file_has_none(exports, tmp_path):
    graph = onnx.load(str(exports['fixed']))
    del graph.metadata_props[:]
    onnx.save(graph, str(tmp_path / 'bare.onnx'))
    assert load_backend(tmp_path / 'bare.onnx', 'cpu').names == ['class0', 'class1', 'class2', 'class3']
    (tmp_path / 'd.yaml').write_text(json.dumps({'train': 'x', 'val': 'x', 'names': ['a', 'b', 'c', 'd']}))
    assert load_backend(tmp_path / 'bare.onnx', 'cpu', data=tmp_path / 'd.yaml').names == ['a', 'b', 'c', 'd']
    (tmp_path / 'other.yaml').write_text(json.dumps({'train': 'x', 'val': 'x', 'names': ['a', 'b']}))
    assert load_backend(tmp_path / 'bare.onnx', 'cpu', data=tmp_path / 'other.yaml').names[3:] == ['class3']
    onnx.helper.set_model_props(graph, {'names': '["a", "b"]'})
    onnx.save(graph, str(tmp_path / 'wrong.onnx'))
    with pytest.raises(WeightsError, match=r'wrong\.onnx: has 2 names for 4 classes'):
        load_backend(tmp_path / 'wrong.onnx', 'cpu')
