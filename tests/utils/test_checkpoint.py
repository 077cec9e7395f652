"""Our checkpoint format: round trips, damage, kills, hostile headers, and the command."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import multiprocessing
import os
import struct
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.fuzz import bounded
from tests.utils.pt_files import Writer, write_pt, write_zip
from utils import checkpoint
from utils.checkpoint import Checkpoint, intersect_dicts, load_checkpoint, save_checkpoint, strip_optimizer
from utils.checkpoint_report import describe
from utils.errors import ResourceError, WeightsError
from utils.paths import ROOT
from utils.pt_reader import Bag

CONFIG = {
    'nc': 2,
    'depth_multiple': 0.33,
    'width_multiple': 0.25,
    'anchors': [[10, 13, 16, 30], [30, 61, 62, 45]],
    'backbone': [[-1, 1, 'Conv', [64, 6, 2, 2]], [-1, 3, 'C3', [128, False]]],
    'head': [[[0, 1], 1, 'Detect', ['nc', 'anchors']]],
}


def small(seed: int = 0, **changes: Any) -> Checkpoint:
    """A checkpoint in the middle of training, without a model behind it."""
    rng = np.random.default_rng(seed)
    state = {
        'model.1.weight': rng.random((3, 4), np.float32),
        'model.0.weight': rng.random((2, 3, 1, 1), np.float32).transpose(1, 0, 2, 3),
        'model.0.num_batches_tracked': np.array(2**40 + 1),
    }
    optimizer = {
        'state': {0: {'momentum_buffer': rng.random((3, 4), np.float32)}, 1: {}},
        'param_groups': [{'lr': 0.01, 'betas': (0.9, 0.999), 'params': [0, 1], 'nesterov': True}],
    }
    trainer = {'python': (3, tuple(range(625)), None), 'numpy': {'state': rng.integers(0, 2**32, 624, np.uint32)}}
    anchors = np.arange(8, dtype=np.float32).reshape(2, 2, 2) + 1
    full = Checkpoint(
        CONFIG, state, ['cat', 'dog'], [8.0, 16.0], anchors, {'lr0': 0.01}, 7, 0.25,
        {k: np.asarray(v + v.dtype.type(1)) for k, v in state.items()}, 800, optimizer, trainer, '2024-01-01', 'n.yaml',
    )  # fmt: skip
    return replace(full, **changes)


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert type(a) is type(b)
        assert a == b


def rewrite(path: Path, change: Any, crc: str | None = None) -> None:
    """Apply `change` to the metadata of a file of ours (a dict of texts)."""
    with safetensors.safe_open(path, 'np') as f:
        metadata, arrays = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    change(metadata, arrays)
    metadata.setdefault('crc32', checkpoint._checksum(metadata.get('header', ''), arrays))
    path.write_bytes(safetensors.numpy.save(arrays, metadata))


def deep(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {'x': value}
    return value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'weights' / 'last'
    save_checkpoint(path, small())
    return path


# Round trips -------------------------------------------------------------------------------------


def test_everything_comes_back(file: Path) -> None:
    back = load_checkpoint(file)
    for f in fields(Checkpoint):
        if f.name != 'path':
            assert_same(getattr(small(), f.name), getattr(back, f.name))
    assert back.path == file
    assert [p.name for p in file.parent.iterdir()] == ['last']


def test_state_is_stored_in_float32(tmp_path: Path) -> None:
    half = {'a': np.array([1.5, 2], np.float16), 'b': np.array([3.0]), 'n': np.array(1)}
    save_checkpoint(tmp_path / 'x', small(state=half, ema=None))
    back = load_checkpoint(tmp_path / 'x').state
    assert [a.dtype.name for a in back.values()] == ['float32', 'float32', 'int64']
    np.testing.assert_array_equal(back['a'], [1.5, 2])


def test_what_training_hands_over_is_made_plain(tmp_path: Path) -> None:
    loose = small(names=('a', 'b'), stride=np.float32([8, 16]), best_fitness=np.float32(0.5), trainer={'p': tmp_path})
    save_checkpoint(tmp_path / 'x', loose)
    back = load_checkpoint(tmp_path / 'x')
    assert (back.names, back.stride, back.best_fitness) == (['a', 'b'], [8.0, 16.0], 0.5)
    assert back.trainer == {'p': str(tmp_path)}


def test_any_safetensors_reader_can_use_the_file(file: Path) -> None:
    arrays = safetensors.numpy.load_file(file)
    np.testing.assert_array_equal(arrays['state/model.0.weight'], small().state['model.0.weight'])
    assert {'anchors', 'ema/model.1.weight', 'optimizer/state/0/momentum_buffer'} < set(arrays)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    for name in ('best.pt', 'best.safetensors', 'best', 'best.zip'):
        save_checkpoint(tmp_path / name, small(epoch=3))
        assert load_checkpoint(tmp_path / name).epoch == 3
    bag = official(epoch=5)
    assert load_checkpoint(write_pt(tmp_path / 'x.safetensors', bag)).epoch == 5


@pytest.mark.parametrize('beginning', [b'\x80', b'PK'])
def test_a_header_length_may_look_like_a_pickle_or_a_zip(file: Path, beginning: bytes) -> None:
    """The file begins with its header's length, and any length may occur."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], 'little')
    wanted = next(n for n in range(length, length + 2**17) if n.to_bytes(8, 'little').startswith(beginning))
    file.write_bytes(
        wanted.to_bytes(8, 'little') + data[8 : 8 + length] + b' ' * (wanted - length) + data[8 + length :]
    )
    assert_same(load_checkpoint(file).state, small().state)


def test_strip_optimizer(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        strip_optimizer(file)
    stripped, full = load_checkpoint(file), small()
    assert_same(stripped.state, full.ema)
    assert (stripped.epoch, stripped.ema, stripped.optimizer, stripped.trainer) == (-1, None, None, {})
    for name in ('names', 'hyp', 'config', 'config_name', 'stride', 'anchors', 'date'):
        assert_same(getattr(stripped, name), getattr(full, name))
    assert f'{file.stat().st_size / 1e6:.1f} MB' in caplog.text


def test_strip_optimizer_to_another_file(file: Path) -> None:
    before = file.read_bytes()
    strip_optimizer(file, s=file.with_name('other'))
    assert file.read_bytes() == before
    assert load_checkpoint(file.with_name('other')).epoch == -1


def test_intersect_dicts() -> None:
    ours = {'a': np.zeros((2, 3)), 'b': np.zeros(3), 'c': np.zeros(1), 'm.anchors': np.zeros(2)}
    theirs = {'a': np.ones((2, 3)), 'b': np.ones(4), 'm.anchors': np.ones(2)}
    assert list(intersect_dicts(ours, theirs)) == ['a', 'm.anchors']
    assert list(intersect_dicts(ours, theirs, exclude=['anchor'])) == ['a']
    assert intersect_dicts(ours, theirs)['a'] is ours['a']


# Writing under difficulties ------------------------------------------------------------------------


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / 'last'
    big = small(state={'w': np.zeros(300_000, np.float32)}, ema=None)
    save_checkpoint(path, replace(big, epoch=0))

    def keep_saving() -> None:
        for epoch in itertools.count(1):
            save_checkpoint(path, replace(big, state={'w': np.full(300_000, epoch, np.float32)}, epoch=epoch))
            saved.set()

    context, rng = multiprocessing.get_context('fork'), np.random.default_rng(0)
    for _ in range(8):
        saved = context.Event()
        process = context.Process(target=keep_saving)
        process.start()
        saved.wait()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        ckpt = load_checkpoint(path)
        assert (ckpt.state['w'] == ckpt.epoch).all()
        assert ckpt.epoch > 0


@pytest.mark.parametrize('step', ['write', 'fsync', 'replace'])
def test_a_full_disk_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullFile:
        def __enter__(self) -> FullFile:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        write = full

    before = file.read_bytes()
    if step == 'write':
        monkeypatch.setattr('utils.paths.open', lambda *_, **__: FullFile(), raising=False)
    else:
        monkeypatch.setattr(f'utils.paths.os.{step}', full)
    with pytest.raises(ResourceError, match='No space left on device') as refused:
        save_checkpoint(file, small(epoch=8))
    monkeypatch.undo()
    assert str(file) in str(refused.value)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ['last']


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(ResourceError, match='could not be written'):
        save_checkpoint(tmp_path / 'file' / 'last', small())


def test_a_malformed_checkpoint_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(WeightsError, match='malformed names'):
        save_checkpoint(file, small(names=['only one']))
    with pytest.raises(TypeError, match='trainer/x'):
        save_checkpoint(file, small(trainer={'x': object()}))
    assert file.read_bytes() == before


# Damaged and hostile files -------------------------------------------------------------------------


@pytest.mark.parametrize('cut', [1, 7, 8, 9, 100, 5000, -1])
def test_truncated_files(file: Path, cut: int) -> None:
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(WeightsError, match='last'):
        load_checkpoint(file)


def test_every_flipped_bit_is_noticed(file: Path) -> None:
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match='last'):
            load_checkpoint(file)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'empty file'),
        (b'<!DOCTYPE html><html></html>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'Git LFS'),
        (b'\x80\x02}q\x00.', 'old PyTorch file'),
        (b'PK\x03\x04', 'damaged'),
        (b'\x00' * 100, 'neither a checkpoint'),
        (b'\xff' * 8 + b'{}', 'header is larger'),
        (struct.pack('<Q', 3) + b'{}', 'not readable'),
        (struct.pack('<Q', 2) + b'{}', 'no checkpoint of this project'),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / 'x.pt').write_bytes(content)
    with pytest.raises(WeightsError, match=message) as refused:
        load_checkpoint(tmp_path / 'x.pt')
    assert str(tmp_path / 'x.pt') in str(refused.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='no such weights file'):
        load_checkpoint(tmp_path / 'nothing')
    with pytest.raises(WeightsError, match='cannot be read'):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda m, a: m.update(version='2'), "format version '2'.*Update the project"),
        (lambda m, a: m.update(version='one'), "format version 'one'"),
        (lambda m, a: m.pop('version'), "format version ''"),
        (lambda m, a: m.update(format='other'), 'no checkpoint of this project'),
        (lambda m, a: m.update(crc32='00000000'), 'have changed'),
    ],
)
def test_metadata(file: Path, change: Any, message: str) -> None:
    rewrite(file, change)
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(file)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('config', []), ('config', {}), ('config', {**CONFIG, 'nc': '2'}), ('config', {**CONFIG, 'nc': True}),
        ('config', {**CONFIG, 'nc': 3}), ('config', {**CONFIG, 'head': 'x'}), ('names', 'ab'), ('names', [1, 2]),
        ('names', {'0': 'cat'}), ('stride', []), ('stride', [0, 0]), ('stride', ['8', '16']), ('stride', None),
        ('anchors', 3), ('anchors', {'$tensor': 'state/model.1.weight'}), ('anchors', {'$tensor': 'nowhere'}),
        ('hyp', 'x'), ('epoch', '7'), ('epoch', None), ('epoch', True), ('best_fitness', 'x'), ('ema_updates', 0.5),
        ('epoch', -2), ('epoch', 10**400), ('best_fitness', 10**400), ('names', ['a', '\ud800']), ('stride', [1e300]),
        ('trainer', [[[]]] * 400_000), ('trainer', deep(60)), ('hyp', {'x': {'$dict': [[2**61 - 1, 1]]}}),
        ('state', {}), ('state', {'a': 1}), ('state', None), ('ema', {}), ('ema', {'a': {'$tensor': 'anchors'}}),
        ('optimizer', 3), ('trainer', None), ('date', 3), ('surprise', 1), ('date', ...),
    ],
)  # fmt: skip
def test_headers_that_lie(file: Path, name: str, value: Any) -> None:
    def change(metadata: dict, arrays: dict) -> None:
        header = json.loads(metadata['header'])
        header[name] = value
        if value is ...:
            del header[name]
        metadata['header'] = json.dumps(header)
        del metadata['crc32']

    rewrite(file, change)
    with pytest.raises(WeightsError, match='last: (malformed|its|not readable)'):
        load_checkpoint(file)


@pytest.mark.parametrize('header', ['', 'null', '[]', '{}', '[' * 100_000, '{"config":', '9' * 5000])
def test_headers_that_are_no_header(file: Path, header: str) -> None:
    rewrite(file, lambda metadata, arrays: (metadata.update(header=header), metadata.pop('crc32')))
    with pytest.raises(WeightsError, match='last'):
        load_checkpoint(file)


def test_element_types_that_numpy_lacks(file: Path) -> None:
    header = {
        'a': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [0, 4]},
        '__metadata__': {'format': checkpoint.FORMAT},
    }
    header['__metadata__']['version'] = checkpoint.VERSION
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack('<Q', len(text)) + text + b'1234')
    with pytest.raises(WeightsError, match='not readable'):
        load_checkpoint(file)


# Official files ------------------------------------------------------------------------------------


def module(kind: str, parameters: dict | None = None, buffers: dict | None = None, **attrs: Any) -> Bag:
    children = attrs.pop('children', {})
    common = {'_parameters': parameters or {}, '_buffers': buffers or {}, '_modules': children}
    return Bag(kind, {'training': False, **common, **attrs})


def official(head: str = 'models.yolo.Detect', **top: Any) -> dict:
    """The contents of a file as the original saves it, with a tiny model."""
    weight = np.arange(6, dtype=np.float16).reshape(2, 3)
    norm = {'running_mean': np.ones(2, np.float16), 'num_batches_tracked': np.array(3)}
    skipped = {'_non_persistent_buffers_set': top.pop('skipped', ()), 'eps': top.pop('eps', 1e-3)}
    conv = {
        'conv': module('torch.nn.modules.conv.Conv2d', {'weight': weight, 'bias': None}),
        'bn': module('torch.nn.modules.batchnorm.BatchNorm2d', {'weight': weight[0, :2]}, norm, **skipped),
        'act': module(f'torch.nn.modules.activation.{top.pop("act", "SiLU")}'),
    }
    anchors = np.ones((2, 3, 2), np.float16)
    stride = np.array([8, 16], np.float16)
    detect = module(head, {}, {'anchors': anchors, 'anchor_grid': anchors}, stride=stride)
    layers = {'0': module('models.common.Conv', children=conv), '1': detect}
    sequential = module('torch.nn.modules.container.Sequential', children=layers)
    attrs = {
        'yaml_file': 'yolov5n.yaml',
        'yaml': {**CONFIG, 'ch': 3},
        'names': ['a', 'b'],
        'hyp': {'lr0': 0.1},
    } | top.pop('attrs', {})
    model = module(top.pop('kind', 'models.yolo.Model'), children={'model': sequential}, **attrs)
    return {'epoch': -1, 'model': model, 'ema': None, 'updates': None, 'optimizer': None, 'date': 'today', **top}


def test_official_file(tmp_path: Path) -> None:
    ckpt = load_checkpoint(write_pt(tmp_path / 'x.pt', official()))
    assert list(ckpt.state) == [
        'model.0.conv.weight', 'model.0.bn.weight', 'model.0.bn.running_mean', 'model.0.bn.num_batches_tracked',
        'model.1.anchors',
    ]  # fmt: skip
    assert [a.dtype.name for a in ckpt.state.values()] == ['float32', 'float32', 'float32', 'int64', 'float32']
    assert ckpt.state['model.0.conv.weight'].flags.writeable
    np.testing.assert_array_equal(ckpt.state['model.0.conv.weight'], [[0, 1, 2], [3, 4, 5]])
    assert ckpt.state['model.0.bn.num_batches_tracked'] == 3
    assert (ckpt.names, ckpt.stride, ckpt.anchors.shape) == (['a', 'b'], [8.0, 16.0], (2, 3, 2))
    assert (ckpt.hyp, ckpt.epoch, ckpt.date, ckpt.ema) == ({'lr0': 0.1}, -1, 'today', None)
    assert ckpt.config_name == 'yolov5n.yaml'
    assert ckpt.config['head'][0] == [[0, 1], 1, 'Detect', ['nc', 'anchors']]


def test_official_file_in_the_middle_of_training(tmp_path: Path) -> None:
    ema = official()['model']
    ema.attrs['_modules']['model'].attrs['_modules']['0'].attrs['_modules']['conv'].attrs['_parameters']['weight'] *= 2
    content = official(epoch=4, ema=ema, updates=99, best_fitness=np.float64(0.5), optimizer={'state': {0: {}}})
    content['best_fitness'] = 0.5
    ckpt = load_checkpoint(write_pt(tmp_path / 'x.pt', content))
    assert (ckpt.epoch, ckpt.ema_updates, ckpt.best_fitness, ckpt.optimizer) == (4, 99, 0.5, None)
    np.testing.assert_array_equal(ckpt.ema['model.0.conv.weight'], 2 * ckpt.state['model.0.conv.weight'])


def test_newer_and_odd_official_files(tmp_path: Path) -> None:
    content = official(kind='models.yolo.DetectionModel', attrs={'names': {0: 'x', 1: 'y'}}, skipped=('running_mean',))
    ckpt = load_checkpoint(write_pt(tmp_path / 'x.pt', content))
    assert ckpt.names == ['x', 'y']
    assert 'model.0.bn.running_mean' not in ckpt.state
    ckpt = load_checkpoint(write_pt(tmp_path / 'x.pt', official(attrs={'names': ['only one'], 'hyp': None})))
    assert (ckpt.names, ckpt.hyp) == (['class0', 'class1'], None)
    assert load_checkpoint(write_pt(tmp_path / 'x.pt', official()['model'])).names == ['a', 'b']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'model': None}, 'no YOLOv5 model'),
        ([1, 2], 'no YOLOv5 model'),
        ({'a.weight': np.zeros(2, np.float32)}, 'only tensors'),
        (official(kind='models.yolo.ClassificationModel'), 'Only YOLOv5 detection'),
        (official(head='models.yolo.Segment'), 'Only YOLOv5 detection'),
        (official(act='Hardswish'), 'Hardswish, from a release before'),
        (official(eps=1e-5), 'eps 1e-05'),
        ({'model': Bag('models.yolo.Model', {})}, 'incomplete'),
        (official(attrs={'yaml': {'nc': 2}}), 'malformed config'),
        (official(attrs={'yaml': None}), 'incomplete'),
        (official(attrs={'yaml': {**CONFIG, 'x': Bag('models.yolo.Detect')}}), 'incomplete'),
        (official(attrs={'names': 5}), 'incomplete'),
        (official(attrs={'_modules': {'model': Bag('models.yolo.Model', {'_modules': {}})}}), 'incomplete'),
    ],
)
def test_official_files_that_cannot_be_used(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as refused:
        load_checkpoint(write_pt(tmp_path / 'x.pt', content))
    assert str(tmp_path / 'x.pt') in str(refused.value)


def shared(depth: int, width: int = 30) -> list:
    """Lists in lists, each a list of the same one: of `width ** depth` items as a tree."""
    value: Any = ['x']
    for _ in range(depth):
        value = [value] * width
    return value


def write_shared(path: Path, content: Any) -> Path:
    """A file in which what is one object in memory is one object."""
    writer, made = Writer(), {}
    encode = Writer.encode

    def once(self: Writer, value: Any) -> bytes:
        if not isinstance(value, (list, dict, Bag, np.ndarray)):
            return encode(self, value)
        if id(value) not in made:
            made[id(value)] = len(made), value
            return encode(self, value) + b'r' + struct.pack('<I', made[id(value)][0])
        return b'j' + struct.pack('<I', made[id(value)][0])

    writer.encode = once.__get__(writer)
    files = {'archive/data.pkl': writer.pickle(content), 'archive/version': b'3\n'}
    return write_zip(path, files | {f'archive/data/{key}': data for key, data in writer.storages.items()})


def modules_within(depth: int) -> dict:
    """An official file whose modules hold the same ones twice, again and again."""
    inner = module('torch.nn.modules.container.Sequential')
    for _ in range(depth):
        inner = module('torch.nn.modules.container.Sequential', children={'a' * 1000: inner, 'b': inner})
    content = official()
    content['model'].attrs['_modules']['model'].attrs['_modules'] = {
        '0': inner, **content['model'].attrs['_modules']['model'].attrs['_modules']
    }  # fmt: skip
    return content


def one_tensor_often(count: int) -> dict:
    content, weight = official(), np.zeros(1 << 20, np.float32)
    first = content['model'].attrs['_modules']['model'].attrs['_modules']['0']
    first.attrs['_parameters'] = {str(i): weight for i in range(count)}
    return content


def head_of(content: dict) -> dict[str, Any]:
    return content['model'].attrs['_modules']['model'].attrs['_modules']['1'].attrs


def with_head(**attrs: Any) -> dict:
    content = official()
    head_of(content).update(attrs)
    return content


@pytest.mark.parametrize(
    'content',
    [
        official(attrs={'yaml': {**CONFIG, 'x': shared(6, 500)}}),
        official(attrs={'names': shared(6, 500)}),
        official(attrs={'names': dict.fromkeys(range(2), shared(30, 2))}),
        official(attrs={'hyp': {'x': shared(6, 500)}}),
        official(attrs={'hyp': dict.fromkeys(map(str, range(1000)), 'x' * 4000)}),
        official(attrs={'yaml': {**CONFIG, 'nc': 10**15}}),
        with_head(stride=shared(8)),
        with_head(_buffers={'anchors': shared(8)}),
        with_head(_non_persistent_buffers_set=['x'] * 100_000),
        official(best_fitness=2**2000),
        official(epoch=2**2000),
        official(date=shared(8)),
        modules_within(12),
        modules_within(40),
        one_tensor_often(60),
    ],
)
def test_official_files_that_read_as_endless_trees(tmp_path: Path, content: Any) -> None:
    path = write_shared(tmp_path / 'x.pt', content)
    with bounded(megabytes=300, seconds=20), contextlib.suppress(WeightsError):
        assert len(describe(load_checkpoint(path))) < 10_000


# The command ---------------------------------------------------------------------------------------


def test_describe() -> None:
    text = describe(small(), tensors=True)
    lines = ['epoch         7', 'classes       2: cat, dog', 'strides       8, 16', 'EMA           after 800 updates']
    lines += ['optimizer     1 tensors', 'trainer       python, numpy', 'best fitness  0.25']
    assert set(lines) < set(text.splitlines())
    assert '8,16 24,32  80,96 112,128 pixels' in text
    assert 'model.0.weight               float32   3x2x1x1' in text
    assert 'model.0.num_batches_tracked  int64     scalar' in text


def test_describe_keeps_the_terminal_clean() -> None:
    text = describe(small(names=['\x1b[2J', 'dog\nepoch fake']))
    assert '\x1b' not in text
    assert '\\x1b[2J, dog\\x0aepoch fake' in text


def command(*argv: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'utils.checkpoint', *argv], cwd=ROOT, capture_output=True, text=True)


def test_command(file: Path) -> None:
    done = command(str(file), '--tensors')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'cat, dog' in done.stdout
    assert 'model.1.weight' in done.stdout
    failed = command(str(file.with_name('nothing')))
    assert failed.returncode == 1
    assert failed.stdout == ''
    assert failed.stderr.startswith('Error: ')
    assert failed.stderr.count('\n') == 1
