"""Weights that are hostile or damaged: every way in refuses them in one short line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import detect
import export
import hubconf
import train
import val
from models.backend import load_backend
from models.yolo import Model
from tests.fuzz import bounded
from tests.models.exports import save_small, small_model
from tests.utils.pt_files import Call, write_pt
from tests.utils.test_checkpoint import official, shared, write_shared
from tests.utils.test_checkpoint_models import checkpoint_of
from utils import checkpoint
from utils.checkpoint import attempt_load, save_checkpoint
from utils.errors import UserError, run_main

pytestmark = pytest.mark.usefixtures('messages')


def write_all(folder: Path, cfg: Path) -> dict[str, Path]:
    """Hostile files by what they try."""
    good = checkpoint_of(Model(cfg, nc=2))
    whole = folder / 'whole.safetensors'
    save_checkpoint(whole, good)
    (folder / 'cut.safetensors').write_bytes(whole.read_bytes()[:-9])
    (folder / 'header.safetensors').write_bytes(b'\xff\xff\xff\x7f\x00\x00\x00\x00{' + bytes(100))
    save_checkpoint(folder / 'wide.safetensors', replace(good, config=good.config | {'width_multiple': 900}))
    save_checkpoint(folder / 'deep.safetensors', replace(good, config=good.config | {'depth_multiple': 900}))
    return {
        'runs code': write_pt(folder / 'code.pt', {'model': Call('os.system', ('true',))}),
        'endless names': write_shared(folder / 'names.pt', official(attrs={'names': shared(6, 500)})),
        'cut short': folder / 'cut.safetensors',
        'huge header': folder / 'header.safetensors',
        'wide': folder / 'wide.safetensors',
        'deep': folder / 'deep.safetensors',
        'no zip': write_bytes(folder / 'a.pt', b'PK\x03\x04' + bytes(50)),
        'no graph': write_bytes(folder / 'a.onnx', b'\x1b[2J\n' * 100),
        'entities': write_bytes(
            folder / 'a.xml', b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><net>&b;</net>'
        ),
    }


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


FILES = ('runs code', 'endless names', 'cut short', 'huge header', 'wide', 'deep', 'no zip', 'no graph', 'entities')


@pytest.fixture(scope='module')
def files(tiny, tmp_path_factory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp('hostile'), tiny.cfg)


WAYS: dict[str, Callable[..., Any]] = {
    'attempt_load': lambda file, tiny, tmp: attempt_load(file, 'cpu'),
    'load_backend': lambda file, tiny, tmp: load_backend(file, 'cpu'),
    'hub': lambda file, tiny, tmp: hubconf.custom(file, device='cpu'),
    'detect': lambda file, tiny, tmp: detect.run(
        weights=file, source=tiny.data.parent / 'images/val', project=tmp, device='cpu'
    ),
    'val': lambda file, tiny, tmp: val.run(weights=file, data=tiny.data, project=tmp, device='cpu', workers=0),
    'export': lambda file, tiny, tmp: export.run(weights=file, include=['onnx'], device='cpu'),
    'resume': lambda file, tiny, tmp: train.run(resume=str(file)),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('name', FILES)
def test_every_way_in_refuses_it_in_a_line(files, tiny, tmp_path, name, way):
    with bounded(megabytes=400), pytest.raises(UserError) as refused:
        WAYS[way](files[name], tiny, tmp_path)
    text = str(refused.value)
    assert str(files[name]) in text or files[name].stem in text
    assert len(text) < 1000
    assert '\n' not in text
    assert '\x1b' not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', FILES)
def test_the_command_that_prints_a_checkpoint(files, name, capsys):
    code = run_main(checkpoint.main, [str(files[name])])
    out, err = capsys.readouterr()
    if name in ('wide', 'deep'):  # nothing is built to print them
        assert (code, err) == (0, '')
        assert 'width_multiple' in out
    else:
        assert (code, out, err.count('\n')) == (1, '', 1)
        assert err.startswith('Error: ')


@pytest.mark.parametrize('name', ['runs code', 'endless names', 'cut short', 'wide'])
def test_training_from_it(files, tiny, tmp_path, name):
    with bounded(megabytes=400), pytest.raises(UserError) as refused:
        train.run(**tiny.options(tmp_path, weights=str(files[name]), cfg=''))
    assert len(str(refused.value)) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'change',
    [
        {'trainer': {'options': 5}}, {'trainer': {'last_step': 'x'}}, {'trainer': {'maps': {}}},
        {'trainer': {'best_epoch': None}}, {'optimizer': {'groups': 5}}, {'optimizer': {'x': {}}},
        {'optimizer': {'groups': [], 'state': {}, 'step': 0}},
    ],
)  # fmt: skip
def test_a_run_whose_saved_state_is_none(run_to_resume, change):
    file, good = run_to_resume
    merged = {name: getattr(good, name) | value if name == 'trainer' else value for name, value in change.items()}
    save_checkpoint(file, replace(good, **merged))
    with pytest.raises(UserError) as refused:
        train.run(resume=str(file))
    assert len(str(refused.value)) < 1000


@pytest.fixture(scope='module')
def run_to_resume(tiny, tmp_path_factory):
    from tests.test_resume import file_of, interrupt
    from utils.checkpoint import load_checkpoint

    project = tmp_path_factory.mktemp('runs')
    interrupt(tiny.options(project, epochs=2), call=3)
    file = file_of(project / 'exp')
    return file, load_checkpoint(file)


@pytest.mark.parametrize('options', [{'imgsz': 60_000}, {'imgsz': 10**6}, {'imgsz': 60_000, 'batch_size': 10**9}])
def test_training_on_sizes_beyond_all_memory(tiny, tmp_path, options, monkeypatch):
    monkeypatch.setattr('utils.memory.available_memory', lambda: 8 << 30)
    with bounded(megabytes=200), pytest.raises(UserError, match='--img (60000|1000000).* (too large|GB are free)'):
        train.run(**tiny.options(tmp_path, **options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('task', ['val', 'speed'])
def test_evaluating_on_sizes_beyond_all_memory(tiny, tmp_path, task, monkeypatch):
    monkeypatch.setattr('utils.memory.available_memory', lambda: 8 << 30)
    weights = save_small(tmp_path / 'a.safetensors', small_model())
    options = {'data': tiny.data, 'weights': weights, 'project': tmp_path, 'device': 'cpu', 'workers': 2, 'task': task}
    with bounded(megabytes=200), pytest.raises(UserError, match='a batch of . images of 60.*x60.* GB are free'):
        val.run(imgsz=60_000, **options)
    assert [path.name for path in tmp_path.iterdir()] == ['a.safetensors']


def test_a_model_file_timed_on_a_huge_batch():
    from models import yolo

    with pytest.raises(UserError, match='--batch-size 1000000000 takes 4,915,200.0 GB at the least'):
        yolo.main(['--cfg', 'yolov5n.yaml', '--batch-size', '1000000000', '--device', 'cpu'])
