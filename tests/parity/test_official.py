"""The official yolov5n.pt: reading it, and the whole inference path with it, against official.json and official.npz."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import oneflow as torch
import pytest

from models.ensemble import Ensemble
from models.yolo import Model
from tests.golden import SHARED, golden_json, golden_npz, needs_golden, recipes, shared
from utils.boxes import box_iou, scale_coords
from utils.checkpoint import (
    Checkpoint,
    attempt_load,
    build_model,
    intersect_dicts,
    load_checkpoint,
    save_checkpoint,
    state_arrays,
)
from utils.checkpoint_report import describe
from utils.data.augment import letterbox
from utils.nms import non_max_suppression

pytestmark = needs_golden

CASES = [name for name in golden_json('official.json') if name != 'checkpoint'] if (SHARED / 'golden').is_dir() else []
RUNS = [(case, run) for case in CASES for run in golden_json('official.json')[case]['runs']]


def checkpoint_file() -> Path:
    return shared('weights/yolov5n.pt')


@lru_cache
def official() -> Checkpoint:
    return load_checkpoint(checkpoint_file())


def pinned() -> dict:
    return golden_json('official.json')['checkpoint']


# Reading -------------------------------------------------------------------------------------------


def test_description_names_strides_anchors() -> None:
    ckpt = official()
    assert ckpt.config == pinned()['yaml']
    assert ckpt.names == pinned()['names']
    assert ckpt.stride == pinned()['stride']
    assert ckpt.epoch == pinned()['epoch']
    assert ckpt.config['nc'] == pinned()['nc']
    np.testing.assert_array_equal(ckpt.anchors, np.array(pinned()['anchors_grid'], np.float32))


def test_every_tensor_bit_for_bit() -> None:
    entries = [
        [key, list(a.shape), a.dtype.name, hashlib.sha256(a.tobytes()).hexdigest()]
        for key, a in official().state.items()
    ]
    assert entries == [[key, shape, kind, sha] for key, shape, kind, _, _, sha in pinned()['state_dict']]
    assert len(entries) == pinned()['entries']


def test_bit_for_bit_through_our_own_format_and_a_model(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / 'copy', official())
    back = load_checkpoint(tmp_path / 'copy')
    state = state_arrays(build_model(back))
    for key, _, _, total, absolute, sha in pinned()['state_dict']:
        assert hashlib.sha256(back.state[key].tobytes()).hexdigest() == sha
        assert hashlib.sha256(state[key].tobytes()).hexdigest() == sha
        np.testing.assert_allclose(state[key].sum(dtype=np.float64), total, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(np.abs(state[key]).sum(dtype=np.float64), absolute, rtol=1e-9)


def test_the_built_model() -> None:
    model = build_model(official())
    norms = {(m.eps, m.momentum) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert norms == {tuple(pair) for pair in pinned()['bn_eps_momentum']}
    assert sum(p.numel() for p in model.parameters()) == pinned()['parameters']
    assert f'{pinned()["parameters"]:,} parameters' in describe(official())
    assert not model.training
    assert model.names == pinned()['names']
    assert model.stride.numpy().tolist() == pinned()['stride']


def test_fused_summary() -> None:
    assert build_model(official(), fuse=True).info().startswith(pinned()['fused_summary'])


@pytest.mark.parametrize('nc', [80, 3])
def test_what_a_fresh_model_takes_over(nc: int) -> None:
    taken, entries, left = pinned()[f'transferred_to_yolov5n_nc{nc}']
    fresh = Model('yolov5n.yaml', nc=nc).state_dict()
    shared_entries = intersect_dicts(official().state, fresh, exclude=['anchor'])
    assert (len(shared_entries), len(fresh)) == (taken, entries)
    assert sorted(set(fresh) - set(shared_entries)) == left


def test_the_reference_trained_checkpoint_loads() -> None:
    ckpt = load_checkpoint(shared('weights/bccd_yolov5n_ref.pt'))
    assert ckpt.names == ['RBC', 'WBC', 'Platelets']
    assert ckpt.config['nc'] == 3
    assert ckpt.state['model.24.m.0.weight'].shape == (24, 64, 1, 1)
    assert build_model(ckpt).names == ckpt.names


# Inference -----------------------------------------------------------------------------------------


@lru_cache
def picture(name: str) -> np.ndarray:
    return cv2.imread(str(shared(f'data/images/{name}')))


@lru_cache
def prepared(case: str) -> np.ndarray:
    """A case's letterboxed picture, (h, w, 3) BGR uint8; skips where this machine decodes the JPEG differently."""
    about = golden_json('official.json')[case]
    im = picture(about['image'])
    if recipes().sha256(im) != about['decoded_picture_sha256']:
        pytest.skip('this JPEG decoder gives other pixels')
    return letterbox(im, about['size'], auto=about['auto'])[0]


@lru_cache
def model_of(scales: tuple[float, ...], fused: bool) -> torch.nn.Module:
    """The official model, or an ensemble of it and of copies whose parameters are multiplied by `scales`."""
    models = []
    for scale in scales:
        model = build_model(official())
        with torch.no_grad():
            for parameter in model.parameters():
                if scale != 1:
                    parameter.copy_(torch.from_numpy(parameter.numpy() * np.float32(scale)))
        models.append(model.fuse() if fused else model)
    return models[0] if len(models) == 1 else Ensemble(models)


@lru_cache
def output(case: str) -> np.ndarray:
    """A case's network output, (rows, 85): xywh in pixels of the letterboxed picture, then scores."""
    about = golden_json('official.json')[case]
    pixels = np.ascontiguousarray(prepared(case)[..., ::-1].transpose(2, 0, 1)[None])
    model = model_of(tuple(about['scales']), about['fused'])
    with torch.no_grad():
        return model(torch.from_numpy(pixels).float() / 255, augment=about['augment'])[0].numpy()[0]


@pytest.mark.parametrize('case', CASES)
def test_letterbox(case: str) -> None:
    about, im = golden_json('official.json')[case], prepared(case)
    assert list(im.shape) == about['letterbox_shape']
    assert recipes().sha256(im) == about['letterbox_sha256']


def assert_rows_agree(ours: np.ndarray, theirs: np.ndarray, is_box: np.ndarray) -> None:
    """0.01 pixel or 1e-4 of a large box's size; 1e-4 for scores."""
    limit = np.where(is_box, np.maximum(0.01, 1e-4 * np.abs(theirs)), 1e-4)
    worst = np.abs(ours - theirs) / limit
    assert worst.max() <= 1, f'{worst.max():.2f} times the tolerance'


@pytest.mark.parametrize('case', CASES)
def test_network_output(case: str) -> None:
    about, arrays, ours = golden_json('official.json')[case]['output'], golden_npz('official.npz'), output(case)
    assert list(ours.shape) == about['shape']
    step, box_column = about['step'], np.arange(85) < 4
    is_box = recipes().sample(np.broadcast_to(box_column, ours.shape), step)
    assert_rows_agree(recipes().sample(ours, step), arrays[f'{case}/output'], is_box)
    assert_rows_agree(ours[arrays[f'{case}/best_rows_index']], arrays[f'{case}/best_rows'], box_column)
    if f'{case}/first_rows' in arrays:
        assert_rows_agree(ours[:200], arrays[f'{case}/first_rows'], box_column)
    np.testing.assert_allclose(ours.sum(dtype=np.float64), about['sum'], rtol=1e-5)


def matched(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many rows of `theirs` have one of `ours` of the same class, place and confidence, each used once."""
    same = (ours[:, None, 5] == theirs[None, :, 5]) & (np.abs(ours[:, None, 4] - theirs[None, :, 4]) <= 2e-4)
    same &= box_iou(ours[:, :4], theirs[:, :4]) > 0.98
    found = 0
    for column in range(len(theirs)):
        rows = np.flatnonzero(same[:, column])
        if len(rows):
            same[rows[0]] = False
            found += 1
    return found


@pytest.mark.parametrize(('case', 'run'), RUNS)
def test_detections(case: str, run: str) -> None:
    about = golden_json('official.json')[case]
    expected = about['runs'][run]
    options = {k: v for k, v in expected.items() if k not in ('found', 'stored', 'per_class')}
    theirs = golden_npz('official.npz')[f'{case}/{run}']
    (ours,) = non_max_suppression(output(case)[None], **options)
    ours[:, :4] = scale_coords(prepared(case).shape[:2], ours[:, :4], picture(about['image']).shape[:2])
    if options['conf_thres'] < 0.01 and 'max_det' not in options:
        assert abs(len(ours) - expected['found']) <= 0.02 * expected['found']
        assert matched(ours, theirs) >= 0.98 * len(theirs)
        return
    assert len(ours) == expected['found']
    classes, counts = np.unique(ours[:, 5].astype(int), return_counts=True)
    assert dict(zip(map(str, classes), counts)) == expected['per_class']
    np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=0, atol=0.05)
    np.testing.assert_allclose(ours[:, 4], theirs[:, 4], rtol=0, atol=2e-4)
    np.testing.assert_array_equal(ours[:, 5], theirs[:, 5])


def test_what_is_seen() -> None:
    """bus.jpg has four persons and a bus, zidane.jpg two persons and a tie."""
    names, seen = official().names, {}
    for case in ('plain/bus', 'plain/zidane'):
        (rows,) = non_max_suppression(output(case)[None])
        seen[case] = sorted(names[int(c)] for c in rows[:, 5])
    assert seen == {'plain/bus': ['bus'] + ['person'] * 4, 'plain/zidane': ['person', 'person', 'tie']}


def test_attempt_load_is_the_same_model() -> None:
    model = attempt_load(checkpoint_file(), fuse=True)
    state, expected = state_arrays(model), state_arrays(model_of((1.0,), True))
    assert state.keys() == expected.keys()
    assert all(np.array_equal(state[key], expected[key]) for key in expected)
