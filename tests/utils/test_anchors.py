from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oneflow as torch
import pytest

from utils.anchors import anchor_metric, box_sizes, check_anchor_order, check_anchors, kmean_anchors, main
from utils.errors import UsageError

STRIDES = np.float32([8, 16, 32])


def dataset(wh: np.ndarray, width: int = 640, height: int = 640) -> SimpleNamespace:
    """Pictures of ten boxes each, whose sizes in pixels are given."""
    rows = np.column_stack([np.zeros(len(wh)), np.full((len(wh), 2), 0.5), wh / [width, height]]).astype(np.float32)
    labels = [rows[i : i + 10] for i in range(0, len(rows), 10)]
    return SimpleNamespace(labels=labels, shapes=np.array([[width, height]] * len(labels)))


def clustered(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.array(
        [[12, 14], [30, 20], [25, 60], [70, 55], [60, 130], [150, 100], [140, 260], [300, 180], [400, 420]]
    )
    return centres, centres[rng.integers(0, 9, n)] * rng.uniform(0.95, 1.05, (n, 2))


def detector(pixels: np.ndarray, strides: np.ndarray = STRIDES) -> SimpleNamespace:
    anchors = np.float32(pixels).reshape(3, 3, 2) / strides[:, None, None]
    return SimpleNamespace(detect=SimpleNamespace(anchors=torch.tensor(anchors), stride=torch.tensor(strides)))


def test_metric_by_hand():
    # Ratios to the anchors: first box 1 and 0.25, second 0.2 and 0.8, third 0.1 and 0.4.
    fit = anchor_metric([[10, 10], [50, 50], [100, 100]], [[10, 10], [40, 40]], thr=4.0)
    assert fit.recall == pytest.approx(1)
    assert fit.per_target == pytest.approx(1), 'a ratio of exactly 1/thr is outside'
    assert fit.fitness == pytest.approx((1 + 0.8 + 0.4) / 3)
    assert str(fit) == '1.00 anchors/target, 1.000 Best Possible Recall'
    worst_side = anchor_metric([[10, 90]], [[10, 10]], thr=4.0)
    assert worst_side == (0, 0, 0)


def test_metric_of_empty_boxes():
    assert anchor_metric([[0, 10], [10, 10]], [[10, 10]]).recall == 0.5


def test_box_sizes_scale_the_longer_side():
    data = SimpleNamespace(
        shapes=np.array([[1280, 640], [100, 200]]),
        labels=[np.float32([[0, 0.5, 0.5, 0.5, 0.5]]), np.float32([[0, 0.5, 0.5, 1, 1], [1, 0.5, 0.5, 0.1, 0.1]])],
    )
    np.testing.assert_allclose(box_sizes(data, 640), [[320, 160], [320, 640], [32, 64]], rtol=1e-6)
    np.testing.assert_allclose(box_sizes(data, 640, np.array([[2], [0.5]]))[1:], [[160, 320], [16, 32]], rtol=1e-6)


def test_kmeans_finds_the_clusters():
    centres, wh = clustered()
    anchors = kmean_anchors(dataset(wh), 9, 640, gen=300, verbose=False)
    assert anchors.dtype == np.float32
    np.testing.assert_allclose(anchors, centres[np.argsort(centres.prod(axis=1))], rtol=0.05)


def test_mutations_only_improve_and_the_seed_decides():
    wh = np.random.default_rng(5).uniform(5, 300, (400, 2))
    data = dataset(wh)
    fitness = [
        anchor_metric(box_sizes(data, 640), kmean_anchors(data, 6, gen=gen, rng=np.random.default_rng(1))).fitness
        for gen in (0, 50, 300)
    ]
    assert fitness[0] < fitness[1] < fitness[2]
    again = [kmean_anchors(data, 6, gen=20, rng=np.random.default_rng(s)) for s in (2, 2, 3)]
    np.testing.assert_array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


@pytest.mark.parametrize('count', [1, 5, 20])
def test_fewer_different_sizes_than_anchors(count):
    wh = np.tile([[40.0, 60.0]], (count, 1))
    anchors = kmean_anchors(dataset(wh), 9, gen=30, verbose=False)
    assert anchors.shape == (9, 2)
    assert np.isfinite(anchors).all()
    assert (anchors >= 2).all()


def test_tiny_boxes_are_named(caplog):
    _, wh = clustered()
    wh[:7] = [1.0, 2.5]
    with caplog.at_level('INFO', logger='yolov5'):
        kmean_anchors(dataset(wh), 9, gen=0)
    assert any('7 of 300 boxes are less than 3 pixels' in message for message in caplog.messages)


def test_good_anchors_stay(caplog):
    centres, wh = clustered()
    model = detector(centres)
    before = model.detect.anchors.numpy().copy()
    with caplog.at_level('INFO', logger='yolov5'):
        check_anchors(dataset(wh), model)
    np.testing.assert_array_equal(model.detect.anchors.numpy(), before)
    assert 'fit the data set' in caplog.messages[-1]


@pytest.mark.parametrize('strides', [STRIDES, STRIDES[::-1].copy()])
def test_bad_anchors_are_replaced_in_grid_units(strides):
    centres, wh = clustered()
    model = detector(centres * 20, strides)
    check_anchors(dataset(wh), model, rng=np.random.default_rng(0))
    pixels = model.detect.anchors.numpy() * strides[:, None, None]
    by_stride = pixels[np.argsort(strides)].reshape(-1, 2)
    np.testing.assert_allclose(by_stride, centres[np.argsort(centres.prod(axis=1))], rtol=0.1)


def test_no_boxes_leave_the_anchors_alone(caplog):
    model = detector(clustered()[0])
    empty = SimpleNamespace(labels=[np.zeros((0, 5), np.float32)], shapes=np.array([[640, 480]]))
    with caplog.at_level('INFO', logger='yolov5'):
        check_anchors(empty, model)
    assert 'no boxes' in caplog.messages[-1]


def test_anchor_order_follows_strides():
    centres = np.float32(clustered()[0])
    upright = SimpleNamespace(anchors=torch.tensor(centres.reshape(3, 3, 2)), stride=torch.tensor(STRIDES))
    turned = SimpleNamespace(anchors=torch.tensor(centres.reshape(3, 3, 2)[::-1].copy()), stride=torch.tensor(STRIDES))
    for detect in (upright, turned):
        check_anchor_order(detect)
        np.testing.assert_array_equal(detect.anchors.numpy(), centres.reshape(3, 3, 2))


def test_command(tmp_path, capsys):
    import cv2

    for part in ('images', 'labels'):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), np.zeros((64, 64, 3), np.uint8))
        rows = [f'0 0.5 0.5 {w:.4f} {h:.4f}' for w, h in rng.uniform(0.1, 0.9, (8, 2))]
        (tmp_path / f'labels/{i}.txt').write_text('\n'.join(rows))
    data = tmp_path / 'data.yaml'
    data.write_text(f'path: {tmp_path}\ntrain: images\nval: images\nnames: [thing]\n')
    main(['--data', str(data), '--n', '6', '--img', '320', '--gen', '20'])
    pairs = capsys.readouterr().out.strip().split(', ')
    assert len(pairs) == 6
    assert all(20 < int(side) < 320 for pair in pairs for side in pair.split(','))


@pytest.mark.parametrize('words', ['--n 0', '--img 0', '--thr 0.5', '--gen -1', '--seed -1'])
def test_a_value_that_makes_no_sense_is_refused(words):
    with pytest.raises(UsageError, match=': out of range'):
        main(['--data', 'gone.yaml', *words.split()])
