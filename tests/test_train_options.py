"""What each option of train.py changes, seen on the steps that a run is made of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import oneflow as torch
import pytest

import train
from models.yolo import Model
from tests.golden import needs_golden, shared
from tests.tiny import SIZE, Tiny, logged_lines, make_tiny
from tests.utils.pt_files import write_pt
from utils import fused, optim
from utils.checkpoint import load_checkpoint, save_checkpoint, state_arrays
from utils.data.labels import labels_to_class_weights
from utils.errors import UsageError
from utils.optim import clipped_step
from utils.options import make_options, parse_options
from utils.paths import ROOT, read_yaml, write_yaml
from utils.pt_reader import Bag
from utils.train_setup import Run
from utils.train_state import to_checkpoint

pytestmark = pytest.mark.usefixtures('messages')


def prepare(tiny: Tiny, **changes: Any) -> train.Run:
    """A run that is ready for its first batch and has written nothing."""
    run = train.start(make_options(train.TrainOptions, **tiny.options(project='unused', **changes)), None)
    train.build_model(run)
    train.build_loaders(run)
    train.build_optimizer(run)
    train.distribute(run)
    run.model.train()
    return run


def step(run: train.Run, iteration: int = 0) -> tuple[Any, Any]:
    """Train on the first batch."""
    run.train_loader.set_epoch(0)
    images, targets, *_ = next(iter(run.train_loader))
    return train.train_batch(run, images, targets, iteration)


def without_warmup(run: train.Run, accumulate: int) -> None:
    run.schedule.warmup, run.schedule.accumulate = -1, accumulate


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not np.array_equal(before[name], after[name])}


# The command line -----------------------------------------------------------------------------------------------------

DEFAULTS = {
    'weights': 'yolov5s.pt', 'cfg': '', 'data': 'coco128.yaml', 'hyp': 'hyp.scratch-low.yaml', 'epochs': 300,
    'batch_size': 16, 'imgsz': 640, 'rect': False, 'resume': False, 'nosave': False, 'noval': False,
    'noautoanchor': False, 'noplots': False, 'cache': None, 'image_weights': False, 'device': '', 'multi_scale': False,
    'single_cls': False, 'optimizer': 'SGD', 'workers': 8, 'project': 'runs/train', 'name': 'exp', 'exist_ok': False,
    'quad': False, 'cos_lr': False, 'label_smoothing': 0.0, 'patience': 100, 'freeze': [0], 'save_period': -1,
    'seed': 0, 'evolve': None, 'sync_bn': False, 'loggers': None,
}  # fmt: skip


def parse(words: str) -> train.TrainOptions:
    return parse_options(train.TrainOptions, words.split(), '', 'train.py')


def test_names_and_defaults_are_the_references():
    options = parse('')
    for name, default in DEFAULTS.items():
        assert getattr(options, name) == default, name
        if default is False:
            assert getattr(parse(f'--{name.replace("_", "-")}'), name) is True
    for spelling in ('--img', '--imgsz', '--img-size'):
        assert parse(f'{spelling} 320').imgsz == 320
    assert parse('--batch 8').batch_size == 8
    assert parse('--freeze 10').freeze == [10]
    assert parse('--freeze 0 1 5').freeze == [0, 1, 5]
    assert parse('--cache').cache == 'ram'
    assert parse('--cache disk').cache == 'disk'
    assert parse('--local_rank 3').local_rank == 3


@pytest.mark.parametrize('words', ['--optimizer Lion', '--cache tape', '--epochs many', '--freeze', '--nonsense'])
def test_what_cannot_be_parsed_is_a_usage_error(words):
    with pytest.raises(UsageError, match='train.py: '):
        parse(words)


# Model and weights ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def checkpoint(tiny, tmp_path_factory):
    """A checkpoint of the tiny model, its weights and anchors unlike those a run would begin with."""
    with logged_lines():
        run = prepare(tiny, seed=5)
    run.model.detect.anchors.mul_(1.5)
    path = tmp_path_factory.mktemp('weights') / 'other.safetensors'
    save_checkpoint(path, to_checkpoint(run))
    return path


def test_weights_go_over_whole(tiny, checkpoint, messages):
    run = prepare(tiny, weights=checkpoint, cfg='', noautoanchor=True)
    expected = load_checkpoint(checkpoint).state
    assert not changed(expected, state_arrays(run.model))
    assert f'Transferred {len(expected)}/{len(expected)} items from {checkpoint}' in messages()


def test_weights_for_other_classes_go_over_but_for_the_head(tiny, checkpoint, messages):
    run = prepare(tiny, weights=checkpoint, cfg='', single_cls=True, noautoanchor=True)
    expected, state = load_checkpoint(checkpoint).state, state_arrays(run.model)
    assert list(state) == list(expected)
    heads = {f'model.24.m.{level}.{kind}' for level in range(3) for kind in ('weight', 'bias')}
    assert changed(expected, state) == heads
    assert f'Transferred {len(expected) - 6}/{len(expected)} items' in messages()


def test_weights_with_the_same_classes_in_another_order_are_said(tiny, checkpoint, tmp_path, messages):
    stored = load_checkpoint(checkpoint)
    other = tmp_path / 'reversed.safetensors'
    save_checkpoint(other, replace(stored, names=stored.names[::-1], path=None))
    prepare(tiny, weights=other, cfg='', noautoanchor=True)
    assert (
        f'WARNING: {tiny.data} and {other}: 4 of 4 classes have other names, the same ones in another order: class 0 '
        'is "circle" in the data set and "star" in the weights; the head starts with the wrong classes'
    ) in messages()


def test_a_model_file_beside_weights_keeps_its_anchors(tiny, checkpoint, messages):
    run = prepare(tiny, weights=checkpoint, noautoanchor=True)
    expected = load_checkpoint(checkpoint).state
    assert changed(expected, state_arrays(run.model)) == {'model.24.anchors'}
    np.testing.assert_allclose(run.model.detect.anchors.numpy()[0, 0], [10 / 8, 13 / 8])
    assert f'Transferred {len(expected) - 1}/{len(expected)} items' in messages()


def official(module: torch.nn.Module) -> Bag:
    """A module as torch.save would write it, in half precision."""
    own = {'_parameters': module._parameters, '_buffers': module._buffers}
    attrs = {
        key: {
            name: tensor.numpy().astype('f2' if tensor.is_floating_point() else 'i8') for name, tensor in kept.items()
        }
        for key, kept in own.items()
    }
    attrs['_modules'] = {name: official(child) for name, child in module.named_children()}
    extra = {
        'BatchNorm2d': ('torch.nn.modules.batchnorm.BatchNorm2d', {'eps': 0.001}),
        'Detect': ('models.yolo.Detect', {'stride': np.array([8, 16, 32], 'f4')}),
        'Model': ('models.yolo.Model', {'yaml': getattr(module, 'yaml', None), 'names': list('abcd'), 'hyp': None}),
    }
    kind, more = extra.get(type(module).__name__, ('torch.nn.modules.container.Sequential', {}))
    return Bag(kind, attrs | more)


def test_official_files_go_over_whole(tiny, tmp_path, messages):
    torch.manual_seed(7)
    model = Model(tiny.cfg, nc=4)
    path = write_pt(tmp_path / 'official.pt', {'epoch': -1, 'model': official(model)})
    run = prepare(tiny, weights=path, cfg='', noautoanchor=True)
    state, expected = state_arrays(run.model), state_arrays(model)
    assert f'Transferred {len(expected)}/{len(expected)} items' in messages()
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array.astype('f2').astype('f4'), err_msg=name)


@needs_golden
def test_yolov5n_itself(tiny, messages):
    options = tiny.options(project='unused', weights=shared('weights/yolov5n.pt'), cfg='')
    run = train.start(make_options(train.TrainOptions, **options), None)
    train.build_model(run)
    assert 'Transferred 343/349 items' in messages()  # all but the heads, which were for 80 classes
    assert (run.model.nc, run.model.names) == (4, ['circle', 'square', 'triangle', 'star'])


def test_no_weights_is_from_scratch(tiny, messages):
    run = prepare(tiny, weights=' ')
    assert run.opt.weights == ''
    assert 'Transferred' not in messages()
    assert run.model.yaml_file == 'tiny.yaml'


def test_freeze(tiny):
    run = prepare(tiny, freeze=[3])
    before = state_arrays(run.model)
    step(run)
    moved = changed(before, state_arrays(run.model)) & {name for name, _ in run.model.named_parameters()}
    no_weights = {11, 12, 15, 16, 19, 22}  # upsampling and joining
    assert {int(name.split('.')[1]) for name in moved} == set(range(3, 25)) - no_weights


def test_freeze_several_names_them(tiny):
    run = prepare(tiny, freeze=[0, 24])
    frozen = {name.split('.')[1] for name, p in run.model.named_parameters() if not p.requires_grad}
    assert frozen == {'0', '24'}


def test_anchors_that_do_not_fit_are_replaced_unless_asked_not_to(tiny, tmp_path, messages):
    cfg = read_yaml(tiny.cfg)
    huge = [[size * 20 for size in level] for level in cfg['anchors']]
    write_yaml(tmp_path / 'huge.yaml', cfg | {'anchors': huge})
    kept = prepare(tiny, cfg=tmp_path / 'huge.yaml', noautoanchor=True).model.detect.anchors.numpy()
    np.testing.assert_allclose(kept[0].reshape(-1) * 8, huge[0])
    found = prepare(tiny, cfg=tmp_path / 'huge.yaml').model.detect.anchors.numpy()
    assert found.max() < 10
    assert 'AutoAnchor: ' in messages()


def test_number_of_anchors_from_the_hyper_parameters(tiny):
    assert prepare(tiny, hyp={'anchors': 2}).model.detect.na == 2


@pytest.mark.parametrize('anchors', [0, 2])
def test_without_autoanchor_the_models_own_anchors_stay(tiny, anchors):
    """Their number alone would leave the placeholders that AutoAnchor is to replace."""
    own = prepare(tiny, hyp={'anchors': anchors}, noautoanchor=True).model.detect.anchors.numpy()
    np.testing.assert_allclose(own[0, 0] * 8, [10, 13])


# Data -----------------------------------------------------------------------------------------------------------------


def test_image_size_is_rounded_up_and_that_is_said(tiny, messages):
    run = prepare(tiny, imgsz=SIZE + 1)
    images, _ = step(run)
    assert images.shape == (4, 3, 96, 96)
    assert run.val_loader.dataset.img_size == 96
    assert '--img 65 is no multiple of the largest stride 32, using 96' in messages().replace('[96]', '96')


def test_a_batch_is_what_was_loaded_between_0_and_1(tiny):
    run = prepare(tiny)
    images, _ = step(run)
    run.train_loader.set_epoch(0)
    loaded = next(iter(run.train_loader))[0]
    np.testing.assert_allclose(images.numpy() * 255, loaded, atol=1e-4)


def test_the_seed_decides_what_is_drawn(tiny):
    first, again, other = (step(prepare(tiny, seed=seed))[0].numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.05


def test_rect(tiny):
    run, squares = prepare(tiny, rect=True), prepare(tiny)
    assert (run.dataset.rect, run.dataset.mosaic) == (True, False)
    assert (squares.dataset.rect, squares.dataset.mosaic) == (False, True)
    run.train_loader.set_epoch(0)
    squares.train_loader.set_epoch(0)
    in_order, shuffled = ([path for batch in r.train_loader for path in batch[2]] for r in (run, squares))
    assert in_order == run.dataset.im_files
    assert sorted(shuffled) == sorted(in_order)
    assert shuffled != in_order


def test_batch_size_is_measured_for_the_model_and_the_size(tiny, monkeypatch, messages):
    run = prepare(tiny, batch_size=-1)
    assert (run.opt.batch_size, run.train_loader.batch_size, run.schedule.accumulate) == (16, 8, 4)  # of 8 pictures
    assert 'no GPU, using the default batch size 16' in messages()
    asked = []
    monkeypatch.setattr('utils.autobatch.autobatch', lambda *args, **named: asked.append((*args, named)) or 3)
    run = prepare(tiny, batch_size=-1, imgsz=SIZE + 1)
    assert asked == [(run.model, 96, {'stride': 32})]
    assert step(run)[0].shape[0] == to_checkpoint(run).trainer['options']['batch_size'] == 3


def test_cache(tmp_path):
    tiny = make_tiny(tmp_path)
    assert not prepare(tiny).dataset.ram
    ram = prepare(tiny, cache='ram')
    assert (len(ram.dataset.ram), len(ram.val_loader.dataset.ram)) == (8, 4)
    assert not prepare(tiny, cache='ram', noval=True).val_loader.dataset.ram  # it is read once only
    disk = prepare(tiny, cache='disk')
    assert len(list((tiny.data.parent / 'images' / 'train.npy').iterdir())) == 8
    first = [next(iter(run.train_loader))[0] for run in (prepare(tiny), ram, disk)]
    np.testing.assert_array_equal(first[0], first[1])
    np.testing.assert_array_equal(first[0], first[2])


def test_image_weights_draw_what_is_found_badly(tiny):
    run, paths = prepare(tiny, image_weights=True, rect=True), set()
    assert not run.dataset.rect  # drawing and sorting exclude each other
    assert np.ptp(run.train_loader.weights) > 0  # at first by how rare the classes are
    run.maps = np.array([0.0, 1.0, 1.0, 1.0])  # of the four classes only circles are not found yet
    run.callbacks.register_action('on_train_batch_end', callback=lambda *args: paths.update(args[-1]))
    train.train_epoch(run)
    circles = np.array([np.sum(labels[:, 0] == 0) for labels in run.dataset.labels])
    weight = labels_to_class_weights(run.dataset.labels, 4)[0]
    np.testing.assert_allclose(run.train_loader.weights, circles * weight)
    with_circles = {path for path, count in zip(run.dataset.im_files, circles) if count}
    assert paths <= with_circles < set(run.dataset.im_files)
    plain = prepare(tiny)
    train.train_epoch(plain)
    assert plain.train_loader.weights is None


def test_multi_scale(tiny):
    run = prepare(tiny, multi_scale=True)
    sizes = {step(run, iteration)[0].shape[2:] for iteration in range(5)}
    assert len(sizes) > 1
    assert all(height == width and height in (32, 64, 96) for height, width in sizes)


def test_single_cls(tiny):
    run = prepare(tiny, single_cls=True)
    assert (run.names, run.model.nc, run.nc) == (['item'], 1, 1)
    assert {int(row[1]) for batch in run.train_loader for row in batch[1]} == {0}
    assert {int(row[1]) for batch in prepare(tiny).train_loader for row in batch[1]} == {0, 1, 2, 3}


def test_workers(tiny):
    assert prepare(tiny, workers=0).train_loader.workers == 0
    assert prepare(tiny, workers=1).train_loader.workers == 1


def test_quad_gives_boards_whose_loss_counts_fourfold(tiny):
    def gradients(run: train.Run) -> dict[str, np.ndarray]:
        run.schedule.last_step = 100  # no step, so that the gradients stay
        assert step(run)[0].shape == (1, 3, 2 * SIZE, 2 * SIZE)
        return {name: p.grad.numpy().copy() for name, p in run.model.named_parameters()}

    run = prepare(tiny, quad=True)
    fourfold = gradients(run)
    run = prepare(tiny, quad=True)
    run.opt.quad = False  # the same boards, counted once
    for name, gradient in gradients(run).items():
        np.testing.assert_allclose(fourfold[name], 4 * gradient, rtol=1e-3, atol=1e-5, err_msg=name)


# Optimiser and schedule -----------------------------------------------------------------------------------------------


def test_hyper_parameters_arrive(tiny):
    hyp = {'lr0': 0.03, 'lrf': 0.2, 'momentum': 0.8, 'weight_decay': 0.004, 'box': 0.1, 'obj': 3.0, 'cls': 2.0}
    run = prepare(tiny, hyp=hyp, epochs=10)
    assert run.schedule.factor(10) == pytest.approx(0.2)
    assert [group['momentum'] for group in run.optimizer.param_groups] == [0.8] * 3
    assert [group['weight_decay'] for group in run.optimizer.param_groups] == pytest.approx([0, 0.004, 0])
    gains = {name: run.compute_loss.hyp[name] for name in ('box', 'obj', 'cls')}
    assert gains == pytest.approx({'box': 0.1, 'obj': 3.0 * (SIZE / 640) ** 2, 'cls': 2.0 * 4 / 80})
    without_warmup(run, 1)
    step(run)
    assert run.schedule.rates() == [0.03] * 3


@pytest.mark.parametrize(('batch_size', 'accumulate', 'decay'), [(4, 16, 0.0005), (24, 3, 0.0005 * 72 / 64)])
def test_small_batches_add_up_to_64(tiny, batch_size, accumulate, decay):
    run = prepare(tiny, batch_size=batch_size)
    assert run.schedule.accumulate == accumulate
    assert run.optimizer.param_groups[1]['weight_decay'] == pytest.approx(decay)


def test_gradients_gather_until_a_step_is_due(tiny):
    run = prepare(tiny, batch_size=32)
    without_warmup(run, 2)
    weight = run.model.model[0].conv.weight
    seen = []
    for iteration in range(4):
        before = weight.numpy().copy()
        step(run, iteration)
        seen.append((bool((weight.numpy() != before).any()), bool(weight.grad.numpy().any()), run.ema.updates))
    # A step moves the weights, empties the gradients and moves the average.
    assert seen == [(False, True, 0), (True, False, 1), (False, True, 1), (True, False, 2)]


@pytest.mark.parametrize('name', ['SGD', 'Adam', 'AdamW'])
def test_optimizer(tiny, name):
    run = prepare(tiny, optimizer=name)
    assert type(run.optimizer) is getattr(torch.optim, name)
    before = state_arrays(run.model)
    step(run)
    parameters = {name for name, _ in run.model.named_parameters()}
    moved = changed(before, state_arrays(run.model)) & parameters
    assert {name for name in parameters if name.endswith('bias')} <= moved  # at batch 0 only biases have a rate


def test_fused_box_loss(tiny, monkeypatch, messages):
    """Chosen for the device, and then what the loss calls; on a CPU one line says that it isn't for it."""
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    assert prepare(tiny, bbox_iou_optim=True).compute_loss.ciou is fused.ciou
    assert 'fused box loss: not used, it needs a GPU' in messages()

    plain = step(prepare(tiny))[1].numpy()
    monkeypatch.setattr(fused, 'choose_ciou', lambda device: lambda box1, box2: fused.ciou(box1, box2) * 0)
    box = step(prepare(tiny, bbox_iou_optim=True))[1].numpy()[0]
    assert box > plain[0]
    assert box == pytest.approx(3 * read_yaml(ROOT / 'data/hyps/hyp.scratch-low.yaml')['box'])  # 1 - 0 on each level


def test_fused_optimizer_and_average(tiny, monkeypatch, messages):
    prepare(tiny, multi_tensor_optimizer=True)
    assert 'fused optimizer: not used, it needs a GPU' in messages()
    assert 'fused moving average: not used, it needs a GPU' in messages()

    made, plain = [], torch.optim.SGD
    monkeypatch.setattr(optim, 'may_fuse_optimizer', lambda make, device: True)
    monkeypatch.setattr(torch.optim, 'SGD', lambda *args, **options: made.append(options) or plain(*args, **options))
    prepare(tiny, multi_tensor_optimizer=True)
    prepare(tiny)
    assert [options['fused'] for options in made] == [True, False]


def test_fused_operators_are_the_default_on_a_gpu(tiny, monkeypatch, messages):
    """What is tried; here on a CPU, for which each says that it isn't. On the CPU itself nothing is tried."""
    plain = prepare(tiny)
    assert (plain.fuses, plain.gradients) == (False, None)
    assert 'it needs a GPU' not in messages()
    options = {'device': SimpleNamespace(type='cuda'), 'opt': SimpleNamespace(no_fused=True)}
    assert not Run.fuses.fget(SimpleNamespace(**options))
    options['opt'].no_fused = False
    assert Run.fuses.fget(SimpleNamespace(**options))

    monkeypatch.setattr(Run, 'fuses', True)
    prepare(tiny)
    tried = [line.split(':')[1].strip() for line in messages().splitlines() if 'it needs a GPU' in line]
    assert tried == ['fused optimizer', 'fused moving average', 'fused box loss', 'flat gradients']


def test_flat_gradients_train_as_others_do(tiny, monkeypatch):
    """Over steps that are clipped and batches that add up: the weights are the same but for rounding."""
    states = []
    for flat in (False, True):
        monkeypatch.setattr(Run, 'fuses', flat)
        monkeypatch.setattr(fused, 'may_flatten_gradients', lambda device: True)
        monkeypatch.setattr(fused, 'agree', lambda what, *_: False)
        run = prepare(tiny, batch_size=32)
        without_warmup(run, 2)
        monkeypatch.setattr(optim, 'clipped_step', partial(clipped_step, max_norm=0.1))
        for iteration in range(6):
            step(run, iteration)
        assert (run.gradients is not None) == flat
        assert not any(p.grad.numpy().any() for p in run.model.parameters())
        states.append(state_arrays(run.model))
    for name, plain in states[0].items():
        np.testing.assert_allclose(states[1][name], plain, rtol=1e-4, atol=1e-5, err_msg=name)


def test_cosine_schedule(tiny):
    straight, cosine = (prepare(tiny, epochs=10, cos_lr=cos).schedule.factor for cos in (False, True))
    assert straight(2) == pytest.approx(0.8 * 0.99 + 0.01)
    assert cosine(2) == pytest.approx((1 - np.cos(0.2 * np.pi)) / 2 * -0.99 + 1)


def test_label_smoothing(tiny):
    run = prepare(tiny, label_smoothing=0.1)
    assert (run.compute_loss.positive, run.compute_loss.negative) == pytest.approx((0.95, 0.05))
    assert prepare(tiny).compute_loss.positive == 1


def test_patience(tiny):
    assert prepare(tiny, patience=7).stopper.patience == 7
    assert prepare(tiny, patience=0).stopper.patience == float('inf')


def test_losses_fall_on_a_batch_seen_again_and_again(tiny):
    run = prepare(tiny, optimizer='Adam', hyp={'lr0': 0.02, 'mosaic': 0.0}, batch_size=8)
    without_warmup(run, 1)
    losses = np.array([step(run, iteration)[1].numpy().copy() for iteration in range(25)])
    box, _, cls = ratio = losses[-3:].mean(0) / losses[:3].mean(0)
    assert box < 0.8, ratio  # the objectness loss first rises, since its target is how well the boxes fit
    assert cls < 0.8, ratio
    assert run.ema.updates == 25
