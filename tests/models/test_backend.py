"""One callable over weights of any kind: all give the same boxes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oneflow as torch
import onnx
import pytest

from models.backend import Backend, DetectMultiBackend, load_backend, wrap
from models.ensemble import Ensemble
from models.graph.build import build_onnx
from models.yolo import Model
from tests.models.exports import CONF, NAMES, pictures, plain_rows, save_small, small_model
from tests.models.tiny import deep
from utils.errors import UsageError, WeightsError
from utils.nms import non_max_suppression

KINDS = {
    'checkpoint': 'oneflow', 'dynamic': 'onnx', 'fixed': 'onnx', 'half': 'onnx', 'nms': 'onnx-nms',
    'openvino-dynamic': 'openvino', 'openvino-nms': 'openvino-nms',
}  # fmt: skip


@pytest.fixture(scope='module')
def images():
    return pictures(2, 3, 64, 96)


def close(found, wanted, pixels=1e-2, score=1e-4):
    assert [len(rows) for rows in found] == [len(rows) for rows in wanted]
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=pixels)
        np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=score)
        np.testing.assert_array_equal(ours[:, 5], theirs[:, 5])


@pytest.mark.parametrize('name', [n for n in KINDS if n != 'half'])
def test_every_kind_finds_the_same(exports, images, name):
    backend = load_backend(exports[name], 'cpu')
    assert (backend.kind, backend.names, backend.stride, backend.fp16) == (KINDS[name], NAMES, 32, False)
    wanted = non_max_suppression(plain_rows(small_model(), images), CONF)
    assert min(len(rows) for rows in wanted) > 15
    close(backend.predict(images, conf_thres=CONF), wanted)
    fewer = [rows[np.isin(rows[:, 5], [0, 2]) & (rows[:, 4] > 0.62)][:3] for rows in wanted]
    found = backend.predict(images, conf_thres=0.62, classes=[0, 2], max_det=3)
    close(found, fewer)


def test_images_are_multiples_of_the_largest_stride_of_any_row(tmp_path):
    """Which a head may not reach; an export says it, too."""
    model = Model(deep(3)).eval()
    model.names = NAMES
    file = tmp_path / 'deep.onnx'
    onnx.save(build_onnx(model, (64, 64), dynamic=True), str(file))
    for weights in (save_small(tmp_path / 'deep.safetensors', model), file):
        backend = load_backend(weights, 'cpu')
        assert (backend.stride, backend.input_size([64, 100])) == (64, [64, 128])
    assert Ensemble([model, small_model()]).largest_stride == 64


def test_opencv_finds_the_same(exports, images):
    backend = load_backend(exports['fixed'], 'cpu', dnn=True)
    assert (backend.kind, backend.names, backend.imgsz, backend.batch) == ('dnn', NAMES, (64, 96), 2)
    np.testing.assert_allclose(backend(backend.prepare(images)), plain_rows(small_model(), images), atol=1e-3)


def test_half_precision_files_take_the_same_pictures(exports, images):
    backend = load_backend(exports['half'], 'cpu')
    rows = backend(backend.prepare(images))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, plain_rows(small_model(), images), atol=1)


def test_steps_of_predict(exports, images):
    backend = load_backend(exports['checkpoint'], 'cpu')
    x = backend.prepare(images)
    np.testing.assert_array_equal(x, images.astype(np.float32) / 255)
    rows = backend(x)
    np.testing.assert_allclose(rows, plain_rows(small_model(), images), atol=1e-3)
    np.testing.assert_allclose(backend(torch.tensor(x)), rows, atol=1e-6)  # a tensor will do
    for a, b in zip(backend.suppress(rows, conf_thres=CONF), backend.predict(images, conf_thres=CONF)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('batch', [1, 2, 3, 5])
@pytest.mark.parametrize('name', ['fixed', 'nms'])
def test_a_file_of_fixed_batch_takes_any(exports, name, batch):
    images = pictures(batch, 3, 64, 96, seed=batch)
    backend = load_backend(exports[name], 'cpu')
    assert backend.batch == 2
    wanted = non_max_suppression(plain_rows(small_model(), images), CONF)
    close(backend.predict(images, conf_thres=CONF), wanted)


def test_a_file_of_fixed_size_says_what_it_takes(exports, messages):
    backend = load_backend(exports['fixed'], 'cpu')
    assert backend.imgsz == (64, 96)
    assert backend.input_size(640) == [64, 96]
    assert 'fixed.onnx: made for pictures of 64x96, used in place of 640x640' in messages()
    with pytest.raises(
        UsageError, match=r'fixed.onnx: made for pictures of 64x96, got 64x64. Export it with --dynamic'
    ):
        backend.predict(pictures(1, 3, 64, 64))


def test_input_sizes_are_whole_strides(exports):
    backend = load_backend(exports['dynamic'], 'cpu')
    assert (backend.imgsz, backend.batch) == (None, None)
    assert [backend.input_size(size) for size in (64, [100], (64, 90))] == [[64, 64], [128, 128], [64, 96]]
    assert len(backend.predict(pictures(1, 3, 96, 32), conf_thres=CONF)) == 1


@pytest.mark.parametrize('augment', [False, True])
def test_a_run_outside_oneflow_asks_oneflow_for_nothing(exports, images, monkeypatch, augment):
    """A number read from one of its tensors takes as long as a pass of yolov5n at 320."""
    backend = load_backend(exports['checkpoint'], device='cpu')
    x = backend.prepare(images)
    wanted = backend(x, augment=augment)
    monkeypatch.setattr(Model, 'stride', property(lambda model: pytest.fail('a tensor of OneFlow')))
    np.testing.assert_array_equal(backend(x, augment=augment), wanted)


def test_augment_and_visualize_are_for_checkpoints(exports, images):
    backend = load_backend(exports['checkpoint'], 'cpu')
    x = backend.prepare(images)
    with torch.no_grad():
        wanted = small_model()(torch.tensor(x), augment=True)[0].numpy()
    np.testing.assert_allclose(backend(x, augment=True), wanted, atol=1e-3)
    seen = []
    backend(x, visualize=lambda out, kind, row: seen.append(row))
    assert seen == list(range(len(backend.model.model)))
    with pytest.raises(UsageError, match='--visualize: draws one pass, and --augment has three'):
        backend(x, augment=True, visualize=print)
    for option in ({'augment': True}, {'visualize': print}):
        with pytest.raises(UsageError, match=f'dynamic.onnx: an exported file can not --{next(iter(option))}'):
            load_backend(exports['dynamic'], 'cpu')(x, **option)


def test_ensembles_join_rows_of_any_kind(exports, images, tmp_path):
    other = save_small(tmp_path / 'other.safetensors', small_model(1))
    backend = load_backend([other, exports['dynamic']], 'cpu')
    wanted = np.concatenate([plain_rows(small_model(seed), images) for seed in (1, 0)], 1)
    np.testing.assert_allclose(backend(backend.prepare(images)), wanted, atol=1e-3)
    assert backend.model is None
    for file, match in (
        (exports['nms'], 'nms.onnx: suppresses boxes itself'),
        (save_small(tmp_path / 'x', small_model(0, ['a', 'b', 'c', 'd'])), 'Join only models of one data set'),
    ):
        with pytest.raises(WeightsError, match=match):
            load_backend([other, file], 'cpu')


def test_eight_threads_get_what_one_gets(exports):
    """Of different sizes, so that whatever is kept for a size would be the wrong one's."""
    views = [pictures(1, 3, 32 * h, 32 * w, seed=h * w) for h in (1, 2, 3) for w in (1, 2, 3)]
    for backend in (
        load_backend(exports['checkpoint'], 'cpu'),
        wrap(small_model()),
        load_backend(exports['dynamic'], 'cpu'),
    ):
        wanted = [backend.predict(view, conf_thres=CONF)[0] for view in views]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda view: backend.predict(view, conf_thres=CONF)[0], views * 8))  # noqa: B023
        for ours, theirs in zip(found, wanted * 8):
            np.testing.assert_array_equal(ours, theirs)


def test_a_model_in_memory_follows_its_weights(images):
    model = small_model()
    backend = wrap(model)
    assert wrap(backend) is backend
    assert (backend.kind, backend.names, backend.model) == ('oneflow', NAMES, model)
    x = backend.prepare(images)
    before = backend(x).copy()
    with torch.no_grad():
        model.detect.m[0].bias.add_(1.0)
    assert np.abs(backend(x) - before).max() > 0.1
    both = Ensemble([model, small_model(1)])
    assert wrap(both)(x).shape[1] == 2 * before.shape[1]


@pytest.mark.parametrize('engine', ['0', '1'])
def test_raw_maps_for_the_loss(images, monkeypatch, engine):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
    model = small_model()
    backend = wrap(model, frozen=True, maps=True)
    assert bool(backend.members[0].fast) == (engine == '1')
    x = backend.prepare(images)
    rows, maps = backend.with_maps(x)
    with torch.no_grad():
        wanted, raw = model(torch.tensor(x))
    np.testing.assert_allclose(rows, wanted.numpy(), atol=1e-3)
    np.testing.assert_allclose(backend(x), rows)
    assert [m.shape for m in maps] == [m.shape for m in raw]
    for ours, theirs in zip(maps, raw):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-3)


def test_to(exports):
    backend = load_backend(exports['checkpoint'], 'cpu')
    assert backend.to('cpu') is backend
    with pytest.raises(UsageError, match='no CUDA GPU'):
        backend.to('0')


def test_half_on_a_cpu_is_said(exports, messages):
    assert load_backend(exports['checkpoint'], 'cpu', fp16=True).fp16 is False
    assert '--half needs a GPU; the CPU computes in float32' in messages()


def test_warmup_runs_what_is_prepared_lazily(exports, monkeypatch):
    calls = []
    monkeypatch.setattr(Backend, '__call__', lambda self, x: calls.append((self.kind, x.shape)))
    for name in ('fixed', 'checkpoint'):
        load_backend(exports[name], 'cpu').warmup((1, 3, 32, 32))
    wrap(small_model()).warmup((1, 3, 32, 32))
    assert calls == [('onnx', (1, 3, 64, 96)), ('oneflow', (1, 3, 32, 32))]


def test_known_boxes_do_not_go_with_inner_suppression(exports, images):
    with pytest.raises(UsageError, match='--save-hybrid'):
        load_backend(exports['nms'], 'cpu').predict(images, labels=[np.zeros((1, 5))] * 2)


def test_the_originals_name(exports):
    assert DetectMultiBackend(weights=str(exports['dynamic']), device=torch.device('cpu')).kind == 'onnx'


@pytest.mark.parametrize('half', [False, True])
def test_tensors_are_cast_to_the_weights_precision(half):
    """A float32 tensor into a half model fails on a GPU. Here a stand-in for the network, for a CPU has no kernels."""
    seen = []

    class Recorder(torch.nn.Module):
        names, largest_stride = NAMES, 32

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, augment=False, visualize=None):
            seen.append(x.dtype)
            return x.reshape(1, 1, -1), None

    backend = wrap(Recorder().half() if half else Recorder())
    assert backend.fp16 == half
    runner = backend.members[0]
    for dtype in (torch.float32, torch.float16):
        x = torch.zeros(1, 3, 2, 2).to(dtype)
        assert runner(x).dtype == torch.float32
        runner.with_maps(x)
    assert seen == [torch.float16 if half else torch.float32] * 4
