"""Anchor fit and k-means anchors of BCCD against the reference."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest

from tests.golden import golden_json, needs_golden, shared
from utils.anchors import anchor_metric, box_sizes, check_anchors, kmean_anchors

pytestmark = needs_golden


@pytest.fixture(scope='module')
def bccd() -> SimpleNamespace:
    golden = golden_json('autoanchor.json')
    files = sorted(shared('data/bccd/labels').joinpath(golden['part']).glob('*.txt'))
    labels = [np.loadtxt(f, dtype=np.float32, ndmin=2) for f in files]
    assert (len(labels), sum(map(len, labels))) == (golden['images'], golden['labels'])
    return SimpleNamespace(labels=labels, shapes=np.array(golden['shapes'] * len(labels)))


@pytest.mark.parametrize('case', ['yolov5n_img640_thr4.0', 'yolov5n_img320_thr4.0'])
def test_fit_of_the_default_anchors(case, bccd):
    golden = golden_json('autoanchor.json')['defaults'][case]
    imgsz, anchors = int(case.split('_img')[1][:3]), np.array(golden['anchors'])
    wh = box_sizes(bccd, imgsz)
    assert list(wh.shape) == golden['wh']['shape']
    assert np.float64(wh).sum() == pytest.approx(golden['wh']['sum'], rel=1e-6)
    assert (wh < 3).any(axis=1).sum() == golden['labels_under_3_pixels']
    assert anchor_metric(wh, anchors).fitness == pytest.approx(golden['fitness'], abs=1e-5)

    scales = {'1': golden['scale_1'], '0.9': golden['scale_0.9'], '1.1': golden['scale_1.1']}
    for scale, expected in [(float(k), v) for k, v in scales.items()] + [
        (np.random.RandomState(int(seed)).uniform(0.9, 1.1, (len(bccd.shapes), 1)), v)
        for seed, v in golden['scale_random'].items()
    ]:
        fit = anchor_metric(box_sizes(bccd, imgsz, scale), anchors)
        assert fit.recall == pytest.approx(expected['bpr'], abs=1e-5)
        assert fit.per_target == pytest.approx(expected['aat'], abs=1e-5)
        assert str(fit) == expected['line']


@pytest.mark.parametrize('imgsz', [320, 640])
def test_kmeans_reaches_the_references_fitness(imgsz, bccd):
    wh = box_sizes(bccd, imgsz)
    for gen, floor in [(0, 0.905), (1000, 0.912)]:
        anchors = kmean_anchors(bccd, 9, imgsz, 4.0, gen, verbose=False, rng=np.random.default_rng(imgsz))
        fit = anchor_metric(wh, anchors)
        assert (np.diff(anchors.prod(axis=1)) >= 0).all()
        assert fit.fitness >= floor
        assert fit.recall == 1.0


def test_bad_anchors_are_replaced(bccd, caplog):
    golden = golden_json('autoanchor.json')
    recomputed, thr = golden['recomputed'], golden['recomputed']['thr']
    pixels = np.array(golden['defaults']['yolov5n_img640_thr4.0']['anchors'], np.float32).reshape(3, 3, 2)
    stride = np.float32([8, 16, 32])
    detect = SimpleNamespace(anchors=torch.tensor(pixels / stride[:, None, None]), stride=torch.tensor(stride))
    held = detect.anchors
    fixed_scale = np.random.default_rng(0)
    wh = box_sizes(bccd, 640)
    before = anchor_metric(wh, pixels.reshape(-1, 2), thr)
    assert before.recall == pytest.approx(recomputed['runs'][0]['bpr_before'], abs=1e-5)
    assert before.per_target == pytest.approx(recomputed['runs'][0]['aat_before'], abs=1e-5)

    with caplog.at_level('INFO', logger='yolov5'):
        check_anchors(bccd, SimpleNamespace(detect=detect), thr, recomputed['imgsz'], fixed_scale)
    after = detect.anchors.numpy() * stride[:, None, None]
    assert detect.anchors is held, 'written in place'
    assert anchor_metric(wh, after.reshape(-1, 2), thr).recall >= 0.94
    assert (np.diff(after.reshape(-1, 2).prod(axis=1)) > 0).all()
    assert 'the model now has' in caplog.messages[-1]
