"""export.py: files that give what the checkpoint gives, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import export
from models.backend import load_backend
from models.graph import build
from tests.fuzz import bounded
from tests.models.exports import NAMES, pictures, plain_rows, save_small, small_model
from utils import parity
from utils.errors import ConfigError, DataError, ResourceError, UsageError, WeightsError
from utils.nms import non_max_suppression
from utils.paths import ROOT, read_yaml
from utils.pt_reader import read_pt

SIZE = (64, 96)


@pytest.fixture(scope='module')
def model():
    return small_model()


@pytest.fixture
def weights(model, tmp_path) -> Path:
    return save_small(tmp_path / 'small.safetensors', model)


def make(file: Path, **options) -> list[Path]:
    return [Path(f) for f in export.run(**{'weights': str(file), 'imgsz': list(SIZE), 'device': 'cpu', **options})]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_format_beside_the_weights(weights, model, messages):
    files = make(weights, include=['onnx', 'openvino', 'pt'], batch_size=2)
    assert [f.name for f in files] == ['small.onnx', 'small_openvino_model', 'small_state_dict.pt']
    assert left(weights.parent) == sorted(['small.safetensors', *(f.name for f in files)])
    expected = plain_rows(model, pictures(2, 3, *SIZE))
    for file in files[:2]:
        backend = load_backend(file, device='cpu')
        assert (backend.names, backend.stride, backend.imgsz, backend.batch) == (NAMES, 32, SIZE, 2)
        found = backend(backend.prepare(pictures(2, 3, *SIZE)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    state = read_pt(files[2])
    assert list(state) == list(model.state_dict())
    np.testing.assert_array_equal(state['model.0.conv.weight'], model.state_dict()['model.0.conv.weight'].numpy())
    assert messages().count('largest difference to the checkpoint on a drawn picture') == 2


def test_a_gpu_is_not_compared_on(weights, messages):
    """Its convolutions round to TF32, by more than an export may differ."""
    (file,) = make(weights, device='0')
    assert file.is_file()
    assert '--device 0: exported files are compared with the checkpoint on the CPU' in messages()


def test_simplified(weights):
    plain, simple = (onnx.load(str(make(weights, dynamic=True, simplify=s, nms=True)[0])) for s in (False, True))
    assert len(simple.graph.node) < len(plain.graph.node)
    assert simple.ByteSize() < plain.ByteSize()
    assert list(simple.graph.output) == list(plain.graph.output)
    assert simple.metadata_props[1:] == plain.metadata_props[1:]  # the first has the date


@pytest.mark.parametrize('include', ['onnx', 'openvino'])
def test_any_size_simplified_with_suppression(weights, model, include):
    (file,) = make(
        weights, include=include, dynamic=True, simplify=True, agnostic_nms=True, topk_all=20, conf_thres=0.6
    )
    backend = load_backend(file, device='cpu')
    assert (backend.kind, backend.names, backend.imgsz) == (f'{include}-nms', NAMES, None)
    images = pictures(3, 3, 64, 64)
    wanted = non_max_suppression(plain_rows(model, images), 0.6, 0.45, agnostic=True, max_det=20)
    for found, expected in zip(backend.predict(images), wanted, strict=True):
        assert len(expected) > 5
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_limit_for_each_class(weights):
    (file,) = make(weights, nms=True, topk_per_class=1, conf_thres=0.5)
    (found,) = load_backend(file, device='cpu').predict(pictures(1, 3, *SIZE))
    assert len(found) == len(set(found[:, 5])) > 1


def test_half_precision(weights):
    whole, half = (make(weights, include=['onnx', 'openvino', 'pt'], half=half) for half in (False, True))
    assert onnx.load(str(half[0])).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert {a.dtype.name for a in read_pt(half[2]).values()} == {'float16', 'int64'}
    assert half == whole  # the names: the later took the place of the earlier


def test_metadata(weights):
    files = make(weights, include=['onnx', 'openvino'], opset=17, simplify=True)
    graph = onnx.load(str(files[0]))
    assert graph.opset_import[0].version == 17
    assert {p.key: p.value for p in graph.metadata_props}['names'] == '["cat", "dog", "cow", "hen"]'
    found = read_yaml(files[1] / 'metadata.yaml')
    assert (found['names'], found['imgsz'], found['weights']) == (NAMES, list(SIZE), 'small.safetensors')


def test_sizes_are_whole_strides_and_weights_may_be_several(weights, model, messages):
    other = save_small(weights.parent / 'other.safetensors', model)
    files = make(weights, weights=[weights, other], imgsz=50)
    assert [f.name for f in files] == ['small.onnx', 'other.onnx']
    assert load_backend(files[0], device='cpu').imgsz == (64, 64)
    assert '--img 50 50 is no multiple of the largest stride 32, using 64 64' in messages()


def test_compared_on_the_data_sets_own_picture(weights, tiny, messages):
    make(weights, data=str(tiny.data))
    assert f'on {tiny.data.parent}/images/val/00000.jpg: ' in messages()


@pytest.mark.parametrize('include', ['onnx', 'openvino'])
def test_a_file_that_differs_is_not_written(weights, monkeypatch, include):
    (old,) = make(weights, include=include)
    before = old.stat().st_mtime_ns
    real = build.build_onnx

    def wrong(*arguments, **options):
        graph = real(*arguments, **options)
        first = next(c for c in graph.graph.initializer if len(c.dims) == 4)
        numbers = onnx.numpy_helper.to_array(first) * np.float32(1.01)
        first.CopyFrom(onnx.numpy_helper.from_array(numbers, first.name))
        return graph

    monkeypatch.setattr(build, 'build_onnx', wrong)
    with pytest.raises(WeightsError, match='not written, for on a drawn picture it differs from the checkpoint by'):
        make(weights, include=include)
    assert left(weights.parent) == sorted(['small.safetensors', old.name])
    assert old.stat().st_mtime_ns == before


@pytest.mark.parametrize('options', [{'imgsz': 60_000}, {'batch_size': 10**9}])
def test_what_there_is_no_memory_for(weights, monkeypatch, options):
    monkeypatch.setattr('utils.memory.available_memory', lambda: 8 << 30)
    with bounded(megabytes=200), pytest.raises(ResourceError, match=r'--batch-size .* --img .* GB are free'):
        make(weights, **options)
    assert left(weights.parent) == ['small.safetensors']


def test_what_fails_for_one_format_or_checkpoint_costs_no_other(tmp_path, weights, monkeypatch, messages):
    def missing(name):
        raise ResourceError(f'{name}: this package is not installed')

    monkeypatch.setattr(export, 'library', missing)  # OpenVINO needs it
    with pytest.raises(ResourceError, match='openvino: this package is not installed'):
        make(weights, include=['openvino', 'onnx', 'pt'])
    exported = ['small.onnx', 'small.safetensors', 'small_state_dict.pt']
    assert left(tmp_path) == exported
    assert f'{weights} as OpenVINO: not exported: openvino: this package' in messages()
    bad = tmp_path / 'bad.safetensors'
    bad.write_text('x')
    (tmp_path / 'small.onnx').unlink()
    with pytest.raises(WeightsError) as caught:
        make(weights, weights=[str(bad), str(weights)], include=['openvino', 'onnx'])
    assert str(caught.value).startswith(f'2 exports failed, the first: {bad}: ')
    assert left(tmp_path) == ['bad.safetensors', *exported]
    assert f'WARNING: {bad}: ' in messages()


def test_one_failure_of_one_export_is_said_once(tmp_path, messages):
    bad = tmp_path / 'bad.safetensors'
    bad.write_text('x')
    with pytest.raises(WeightsError, match='bad.safetensors'):
        make(bad, include='onnx')
    assert 'WARNING' not in messages()


def test_a_wrong_suppression_is_noticed(weights, monkeypatch):
    real = parity.suppressed
    monkeypatch.setattr(parity, 'suppressed', lambda rows, nms: [found[1:] for found in real(rows, nms)])
    with pytest.raises(WeightsError, match='differs from the checkpoint by inf px'):
        make(weights, nms=True, conf_thres=0.6)
    assert left(weights.parent) == ['small.safetensors']


@pytest.mark.parametrize(('options', 'error', 'said'), [
    ({'include': ['tflite']}, UsageError, '--include tflite: not there; .* There are onnx, openvino, pt'),
    ({'include': ['engine']}, UsageError, 'trtexec --onnx='),
    ({'include': 'onx'}, UsageError, '--include onx: not there'),
    ({'opset': 9}, UsageError, '--opset 9: not known here. Take one from 12'),
    ({'batch_size': 0}, UsageError, '--batch-size 0: out of range'),
    ({'imgsz': [64, 64, 64]}, UsageError, 'not an image size'),
    ({'nms': True, 'iou_thres': 45}, UsageError, '--iou-thres 45: out of range'),
    ({'weights': 'gone.safetensors'}, WeightsError, 'gone.safetensors: no such weights file'),
    ({'data': 'gone.yaml'}, DataError, 'gone.yaml: no such data set YAML'),
    ({'incldue': 'onnx'}, UsageError, 'Did you mean include'),
])  # fmt: skip
def test_bad_options(weights, options, error, said):
    with pytest.raises(error, match=said):
        make(weights, **options)
    assert left(weights.parent) == ['small.safetensors']


def test_a_missing_package_is_named():
    with pytest.raises(ResourceError, match='no_such_package: this package is not installed'):
        export.library('no_such_package')


def test_only_detectors(tmp_path, monkeypatch):
    from models.yolo import Model
    from tests.models.tiny import TINY

    classifier = Model({**TINY, 'head': [[-1, 1, 'Classify', ['nc']]]})
    monkeypatch.setattr('utils.checkpoint.load_checkpoint', lambda path: None)
    monkeypatch.setattr('utils.checkpoint.build_model', lambda *arguments, **options: classifier)
    (tmp_path / 'c.safetensors').write_text('x')
    with pytest.raises(ConfigError, match=r'c.safetensors: ends in Classify. Only detectors are exported'):
        make(tmp_path / 'c.safetensors')


def test_options_without_meaning_are_said(weights, messages):
    make(weights, include=['pt'], dynamic=True, nms=True)
    assert 'WARNING: --dynamic means nothing for pt' in messages()
    assert 'WARNING: --nms means nothing for pt' in messages()


def test_only_a_file_that_detect_runs_is_named_to_try(tmp_path, model, messages):
    weights = save_small(tmp_path / 'my small.safetensors', model)
    make(weights, include=['pt'])
    assert 'detect.py' not in messages()
    files = make(weights, weights=[weights, weights], include=['pt', 'onnx'])
    assert messages().splitlines()[-1] == f"Try it: python detect.py --weights '{files[1]}'"


def test_the_table_of_formats():
    table = export.export_formats().set_index('Argument')
    assert list(table.index) == ['-', *export.FORMATS]
    assert table.Suffix['openvino'] == '_openvino_model'
    assert not table.CPU['pt']


def test_the_command(weights):
    words = ['--weights', weights, '--img', 64, '--include', 'onnx', '--half']
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert f'ONNX: saved as {weights.with_suffix(".onnx")}' in done.stderr
    done = command('--include', 'tflite')
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith('Error: --include tflite: not there')


def command(*words) -> subprocess.CompletedProcess:
    script = [sys.executable, str(ROOT / 'export.py'), *map(str, words)]
    return subprocess.run(script, capture_output=True, text=True, check=False)
