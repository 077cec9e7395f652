"""Anything like a picture in: the same boxes however it comes, and a line for what is none."""

from __future__ import annotations

import contextlib
import copy
import http.server
import io
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import oneflow as torch
import onnx
import pytest
from PIL import Image

from models import autoshape
from models.autoshape import AutoShape, read_picture
from models.backend import load_backend
from models.ensemble import Ensemble
from models.graph.build import build_onnx
from tests.fuzz import bounded
from tests.models.exports import CONF, NAMES, claimed_png, pictures, plain_rows, save_small, small_model
from utils.boxes import scale_coords
from utils.data.bit_depth import ImageNotes
from utils.errors import DataError, ResourceError, UsageError
from utils.nms import non_max_suppression


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    made = AutoShape(load_backend(save_small(tmp_path_factory.mktemp('m') / 'm.safetensors', small_model()), 'cpu'))
    made.conf = CONF
    return made


@pytest.fixture(scope='module')
def rgb():
    """Smooth enough to survive as a JPEG."""
    return cv2.resize(pictures(8, 12, 3), (96, 64), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def files(tmp_path_factory, rgb):
    folder = tmp_path_factory.mktemp('pictures')
    cv2.imwrite(str(folder / 'a.png'), rgb[..., ::-1])
    Image.fromarray(rgb.transpose(1, 0, 2)[::-1]).save(folder / 'turned.png', exif=_orientation(6))
    (folder / 'bad.jpg').write_bytes(b'x' * 1000)
    whole = cv2.imencode('.jpg', rgb)[1].tobytes()
    (folder / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'huge.png').write_bytes(claimed_png(20_000, 20_000))
    return folder


@pytest.fixture
def opened():
    """Opens files as `open` does, binary by default, and closes them after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda file, mode='rb': stack.enter_context(open(file, mode))


def _orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def test_rows_to_boxes_in_the_picture(model, rgb):
    """Twice as large as the network sees it: boxes come out twice as large."""
    large = rgb.repeat(2, 0).repeat(2, 1)
    results = model(large, size=96)
    assert (results.s, results.n, results.names, results.files) == ((1, 3, 64, 96), 1, NAMES, ['image0.jpg'])
    seen = cv2.resize(large, (96, 64), interpolation=cv2.INTER_LINEAR)
    (wanted,) = non_max_suppression(plain_rows(small_model(), seen.transpose(2, 0, 1)[None]), CONF, max_det=1000)
    wanted[:, :4] = scale_coords((64, 96), wanted[:, :4], (128, 192))
    assert len(wanted) > 5
    np.testing.assert_allclose(results.xyxy[0].numpy(), wanted, atol=1e-2)
    assert results.xyxy[0][:, 2].max() > 96
    assert all(t > 0 for t in results.t)


def test_however_it_comes(model, rgb, files, opened):
    wanted = model(rgb, size=96).xyxy[0].numpy()
    assert len(wanted) > 5
    pil = Image.open(files / 'a.png')
    alpha = np.dstack([rgb, np.full((64, 96), 9, np.uint8)])
    ways = {
        'path': (files / 'a.png', 'a.jpg'), 'text': (str(files / 'a.png'), 'a.jpg'), 'pil': (pil, 'a.jpg'),
        'turned': (files / 'turned.png', 'turned.jpg'), 'turned pil': (Image.open(files / 'turned.png'), 'turned.jpg'),
        'made pil': (Image.fromarray(rgb), 'image0.jpg'), 'channels first': (rgb.transpose(2, 0, 1), 'image0.jpg'),
        'four channels': (alpha, 'image0.jpg'), 'tensor': (torch.tensor(rgb), 'image0.jpg'),
        'tensor first': (torch.tensor(rgb.transpose(2, 0, 1).copy()), 'image0.jpg'), 'batch': (rgb[None], 'image0.jpg'),
        'array of paths': (np.array([str(files / 'a.png')]), 'a.jpg'), 'opened': (opened(files / 'a.png'), 'a.jpg'),
        'in memory': (io.BytesIO((files / 'a.png').read_bytes()), 'image0.jpg'),
        'generator': ((name for name in [files / 'a.png']), 'a.jpg'), 'set': ({str(files / 'a.png')}, 'a.jpg'),
        'float': (rgb / 255, 'image0.jpg'), 'float32 in 0..255': (rgb.astype(np.float32), 'image0.jpg'),
        'flipped twice': (rgb[..., ::-1][..., ::-1], 'image0.jpg'),
    }  # fmt: skip
    for way, (source, name) in ways.items():
        results = model(source, size=96)
        assert results.files == [name], way
        np.testing.assert_array_equal(results.xyxy[0].numpy(), wanted, err_msg=way)


def test_grey_is_grey_of_any_kind(model, rgb):
    grey = rgb[..., 0]
    wanted = model(np.dstack([grey] * 3), size=96).xyxy[0].numpy()
    for source in (grey, grey[..., None], grey[None], Image.fromarray(grey)):
        np.testing.assert_array_equal(model(source, size=96).xyxy[0].numpy(), wanted)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bits_are_read_alike_by_opencv_and_pillow(tmp_path, caplog, suffix):
    file = tmp_path / f'deep.{suffix}'
    cv2.imwrite(str(file), np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    (by_opencv, _), (by_pillow, _) = read_picture(file), read_picture(Image.open(file))
    assert 120 < by_opencv.mean() < 135
    notes = ImageNotes(at_once=True)
    for source in (file, Image.open(file), file):
        read_picture(source, notes=notes)
    assert [m.split('; ')[-1] for m in caplog.messages] == ['images like it are not mentioned again']
    np.testing.assert_array_equal(by_pillow, by_opencv)


def test_pictures_of_a_call_share_a_shape(model, rgb, files):
    results = model([rgb, files / 'a.png', rgb[:32, :32]], size=64)
    assert results.s == (3, 3, 64, 64)
    assert results.files == ['image0.jpg', 'a.jpg', 'image2.jpg']
    assert [im.shape for im in results.ims] == [(64, 96, 3), (64, 96, 3), (32, 32, 3)]
    assert model((rgb, rgb), size=(64, 33)).s == (2, 3, 64, 64)
    assert model([rgb.transpose(1, 0, 2)], size=96).s == (1, 3, 96, 64)


def test_sides_that_are_whole_strides_stay(model):
    """810 * (640 / 1080) is 480.00000000000006."""
    assert model(np.zeros((1080, 810, 3), np.uint8), size=640).s == (1, 3, 640, 480)


def test_attributes_of_suppression(model, rgb):
    model = AutoShape(model.backend)
    model.conf = 0.5
    every = model(rgb, size=96).xyxy[0].numpy()
    for name, value, check in (
        ('conf', 0.62, lambda r: len(r) == (every[:, 4] > 0.62).sum()),
        ('classes', [0], lambda r: set(r[:, 5]) == {0}),
        ('max_det', 2, lambda r: len(r) == 2),
        ('agnostic', True, lambda r: 0 < len(r) < len(every)),
        ('iou', 0.0, lambda r: 0 < len(r) < len(every)),
    ):
        model.conf = 0.5
        setattr(model, name, value)
        assert check(model(rgb, size=96).xyxy[0].numpy()), name
        setattr(model, name, getattr(AutoShape, name))
    model.multi_label, model.conf = True, 0.3
    several = len(model(rgb, size=96).xyxy[0])
    model.multi_label = False
    assert several > len(model(rgb, size=96).xyxy[0])


@pytest.mark.parametrize('size', [96.0, np.int64(96), '96', (96,), np.array([96, 64]), torch.tensor(96), ['96']])
def test_sizes_of_any_type(model, rgb, size):
    results = model(rgb, size=size)
    assert results.s == (1, 3, 64, 96)
    np.testing.assert_array_equal(results.xyxy[0].numpy(), model(rgb, size=96).xyxy[0].numpy())


@pytest.mark.parametrize('classes', [0, np.int64(0), '0', (0,), {0}, np.array([0]), torch.tensor([0]), 0.0])
def test_classes_of_any_type(model, rgb, exports, classes):
    for weights in (model.backend, load_backend(exports['nms'], 'cpu')):
        one = AutoShape(weights)
        one.conf, one.classes = CONF, list(classes) if hasattr(classes, '__next__') else classes
        found = one(rgb, size=96).xyxy[0].numpy()
        assert len(found) > 2
        assert set(found[:, 5]) == {0}


def test_square_is_what_an_export_of_a_fixed_size_sees(tmp_path, rgb):
    network = small_model()
    onnx.save(build_onnx(network, (96, 96), 1), str(tmp_path / 'square.onnx'))
    exported, model = AutoShape(load_backend(tmp_path / 'square.onnx', 'cpu')), AutoShape(network)
    exported.conf = model.conf = CONF
    wanted, found, usual = exported(rgb, size=96), model(rgb, size=96, square=True), model(rgb, size=96)
    assert (wanted.s, found.s, usual.s) == ((1, 3, 96, 96), (1, 3, 96, 96), (1, 3, 64, 96))
    np.testing.assert_allclose(found.xyxy[0].numpy(), wanted.xyxy[0].numpy(), atol=1e-2)
    assert len(usual.xyxy[0]) != len(found.xyxy[0])  # random weights: the border counts
    assert model(rgb, size=(64, 160), square=True).s == (1, 3, 64, 160)


@pytest.mark.parametrize('form', ['checkpoint', 'fixed', 'openvino-dynamic', 'memory', 'ensemble'])
def test_copies_and_pickles(exports, rgb, form, tmp_path, monkeypatch):
    """A network goes along, whatever becomes of its file; an exported file is opened anew, wherever the process is."""
    monkeypatch.chdir(exports['checkpoint'].parent)
    given = {'memory': small_model(), 'ensemble': ['small.safetensors', 'dynamic.onnx']}.get(form)
    given = given or exports[form].name
    model = AutoShape(small_model()) if form == 'memory' else AutoShape(load_backend(given, 'cpu'))
    model.conf, model.names = CONF, ['a', 'b', 'c', 'd']
    wanted = model(rgb, size=96)
    monkeypatch.chdir(tmp_path)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (other.conf, other.names) == (CONF, ['a', 'b', 'c', 'd'])
        np.testing.assert_array_equal(other(rgb, size=96).xyxy[0].numpy(), wanted.xyxy[0].numpy())
        assert other.model is None or other.model is not model.model
        other.names = NAMES
    assert model.names == ['a', 'b', 'c', 'd']


def test_names_can_be_replaced(model, rgb):
    model = copy.deepcopy(model)
    for names in (('a', 'b', 'c', 'd'), {3: 'd', 1: 'b', 0: 'a', 2: 'c'}):
        model.names = names
        assert model(rgb, size=64).names == model.float().to('cpu').names == ['a', 'b', 'c', 'd']
    for names in (['a'], {1: 'a', 2: 'b', 3: 'c', 4: 'd'}, [0, 1, 2, 3], 'abcd', None):
        with pytest.raises(UsageError, match='names: . for 4 classes'):
            model.names = names


def test_methods_of_a_module(exports, rgb, messages):
    network = small_model()
    model = AutoShape(network)
    wanted = model(rgb, size=96).xyxy[0].numpy()
    assert model.half().float().eval().train(False) is model
    assert messages() == 'WARNING: half precision needs a GPU; the CPU computes in float32'
    assert next(model.parameters()).requires_grad
    assert model.fuse().fuse() is model
    assert not next(model.parameters()).requires_grad
    assert network.model[0].bn is None
    model.warmup()
    np.testing.assert_allclose(model(rgb, size=96).xyxy[0].numpy(), wanted, atol=1e-2)
    both = AutoShape(load_backend([exports['checkpoint'], exports['dynamic']], 'cpu', fuse=False)).fuse()
    assert not next(both.parameters()).requires_grad
    together = AutoShape(Ensemble([small_model(), small_model()])).fuse()
    assert not any(parameter.requires_grad for parameter in together.parameters())
    exported = AutoShape(load_backend(exports['dynamic'], 'cpu')).half().float().fuse()
    assert list(exported.parameters()) == []
    with pytest.raises(UsageError, match='this model only detects'):
        model.train()


def test_a_float_tensor_goes_as_it_is(model, rgb):
    x = torch.tensor(rgb.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    rows = model(x)
    assert isinstance(rows, torch.Tensor)
    np.testing.assert_allclose(rows.numpy(), plain_rows(small_model(), rgb.transpose(2, 0, 1)[None]), atol=1e-3)
    assert model(x, augment=True).shape[1] > rows.shape[1]


def test_augment_and_profile(model, rgb, capsys):
    assert len(model(rgb, size=96, augment=True).xyxy[0]) != len(model(rgb, size=96).xyxy[0])
    model(rgb, size=64, profile=True)
    assert 'Detect' in capsys.readouterr().out


def test_exported_files(exports, rgb, model):
    wanted = model(rgb, size=96).xyxy[0].numpy()
    for name in ('fixed', 'nms', 'openvino-dynamic'):
        exported = AutoShape(load_backend(exports[name], 'cpu'))
        exported.conf = CONF
        results = exported([rgb] * 3, size=640 if name != 'openvino-dynamic' else 96)
        assert results.s == (3, 3, 64, 96)
        np.testing.assert_allclose(results.xyxy[2].numpy(), wanted, atol=1e-2)
        with pytest.raises(UsageError, match='only a single checkpoint'):
            exported(rgb, profile=True)
    with pytest.raises(UsageError, match=r'nms\.onnx: suppresses boxes itself'):
        AutoShape(load_backend(exports['nms'], 'cpu'))(torch.zeros(1, 3, 64, 96))


def test_a_network_in_memory(rgb):
    network = small_model()
    model = AutoShape(network)
    assert (model.model, model.names, model.stride, model.device.type) == (network, NAMES, 32, 'cpu')
    assert model.cpu().eval().to('cpu') is model
    assert model.forward(rgb, size=96).n == 1
    with pytest.raises(UsageError, match='no CUDA GPU'):
        model.cuda()


def test_mixed_precision_is_for_gpus(model, rgb, monkeypatch):
    model = AutoShape(model.backend)
    wanted = model(rgb, size=64).xyxy[0].numpy()
    model.amp = True
    np.testing.assert_array_equal(model(rgb, size=64).xyxy[0].numpy(), wanted)
    monkeypatch.setattr(AutoShape, 'device', SimpleNamespace(type='cuda'))
    assert isinstance(model._precision(), torch.amp.autocast)


def test_threads_get_what_one_gets(model):
    views = [pictures(32 + 16 * (i % 3), 48 + 16 * (i % 2), 3, seed=i) for i in range(24)]
    wanted = [model(view, size=96).xyxy[0].numpy() for view in views]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda view: model(view, size=96).xyxy[0].numpy(), views))
    for ours, theirs in zip(found, wanted):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(('source', 'match'), [
    ('gone.jpg', 'gone.jpg: no such picture'),
    ('bad.jpg', 'bad.jpg: not a picture'),
    ('cut.jpg', 'cut.jpg: '),
    ('huge.png', 'huge.png: .*pixels'),
    (np.full((4, 4, 3), -7.5), 'image0: float64 pixels from -7.5 to -7.5, for which there is no rule. Convert all'),
    (np.zeros((9, 9, 5), np.uint8), r'image0: an array of shape \(9, 9, 5\) is no picture'),
    (np.zeros((0, 9, 3), np.uint8), 'is no picture'),
    (np.zeros(9, np.uint8), 'is no picture'),
    (None, 'image0: a NoneType is no picture'),
    ([], 'no pictures given'),
])  # fmt: skip
def test_what_is_no_picture_is_named(model, files, monkeypatch, source, match):
    monkeypatch.chdir(files)
    with pytest.raises(DataError, match=match):
        model(source)


def test_open_files_that_are_no_images_are_named(model, files, tmp_path, opened):
    closed = opened(files / 'a.png')
    closed.close()
    (tmp_path / 'text').write_text('abc')
    for file, match in (
        (closed, r'a\.png: can not be read \(.*closed file\)'),
        (opened(tmp_path / 'text', 'r'), 'text: a file opened as text is no image'),
        (opened(files / 'a.png', 'r'), r"a\.png: can not be read .* Open it in mode 'rb'"),
        (opened(files / 'cut.jpg'), r'cut\.jpg: '),
        (io.BytesIO(), 'image0: not an? (picture|image)'),
    ):
        with pytest.raises(DataError, match=match):
            model(file)


def test_names_that_are_not_utf8(model, rgb, tmp_path, opened):
    name = os.fsencode(tmp_path) + b'/\xb2\xe2.png'
    with open(name, 'wb') as file:
        file.write(cv2.imencode('.png', rgb)[1].tobytes())
    for source in (os.fsdecode(name), Path(os.fsdecode(name)), opened(name), Image.open(name)):
        results = model(source, size=96)
        assert results.files == ['\udcb2\udce2.jpg']
        results.save(save_dir=tmp_path / 'saved')
        assert len(results.crop(save_dir=tmp_path / 'saved')) > 5
    assert (tmp_path / 'saved' / '%B2%E2.jpg').is_file()


def test_a_damaged_pil_image_is_named(model, files):
    with pytest.raises(DataError, match=r'cut\.jpg: unreadable picture'):
        model(Image.open(files / 'cut.jpg'))


@pytest.mark.parametrize(('size', 'why'), [
    (0, 'too small'), ('wide', 'not a whole number'), (None, 'not a whole number'), ([], 'not an image size'),
    ([1, 2, 3], 'not an image size'), (64.5, 'not a whole number'), (10**6, 'too large'),
])  # fmt: skip
def test_bad_sizes(model, rgb, size, why):
    with pytest.raises(UsageError, match=f'^size .*: {why}'):
        model(rgb, size=size)


@pytest.mark.parametrize('square', [False, True])
def test_sizes_beyond_all_memory(model, rgb, square, monkeypatch):
    monkeypatch.setattr('utils.memory.available_memory', lambda: 8 << 30)
    with (
        bounded(megabytes=100),
        pytest.raises(ResourceError, match='a batch of 2 images of .*x60000 takes .* GB are free'),
    ):
        model([rgb, rgb], size=60_000, square=square)


def test_addresses(model, rgb, files, monkeypatch):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, 'log_message', lambda *_: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        results = model(f'{url}/a.png?x=1', size=96)
        np.testing.assert_array_equal(results.xyxy[0].numpy(), model(rgb, size=96).xyxy[0].numpy())
        assert results.files == ['a.jpg']
        with pytest.raises(DataError, match=f'{url}/bad.jpg: not a picture'):
            read_picture(f'{url}/bad.jpg')
        monkeypatch.setattr(autoshape, 'MAX_DOWNLOAD', 100)
        with pytest.raises(ResourceError, match='more than the 0 MB allowed'):
            read_picture(f'{url}/a.png')
        server.shutdown()
