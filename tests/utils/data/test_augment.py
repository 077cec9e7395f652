"""Augmentations: what the golden numbers leave open (draws, defaults, edge cases)."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from utils.data.augment import (
    Albumentations,
    apply_hsv,
    augment_hsv,
    box_candidates,
    copy_paste,
    cutout,
    draw_hsv,
    flip_left_right,
    flip_up_down,
    hist_equalize,
    hsv_tables,
    letterbox,
    mixup,
    random_perspective,
    replicate,
)
from utils.data.letterbox import rect_batch_shapes, rect_order, resize_longest
from utils.data.mix import Hole, apply_copy_paste, apply_cutout, apply_replicate, draw_cutout, draw_mixup
from utils.data.perspective import Warp, apply_warp, draw_warp


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(height: int = 64, width: int = 80, seed: int = 0) -> np.ndarray:
    return generator(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Letterbox ------------------------------------------------------------------------------------------------------------


def test_letterbox_takes_one_number_and_keeps_the_given_picture():
    picture = noise(50, 100)
    before = picture.copy()
    out, ratio, pad = letterbox(picture, 64, auto=False)
    assert out.shape == (64, 64, 3)
    assert (ratio, pad) == ((0.64, 0.64), (0.0, 16.0))
    assert (out[:16] == 114).all()
    np.testing.assert_array_equal(picture, before)
    same, _, _ = letterbox(noise(64, 64), 64)
    same[:] = 0  # a copy even where nothing changes: a cached picture must not be painted over


@pytest.mark.parametrize(('height', 'width', 'shape'), [(1000, 1, (64, 1)), (1, 1000, (1, 64)), (2000, 20, (64, 1))])
def test_resize_never_makes_a_side_of_nothing(height, width, shape):
    assert resize_longest(np.zeros((height, width, 3), np.uint8), 64).shape[:2] == shape


def test_rect_order_is_stable_and_shapes_are_stride_multiples():
    shapes = np.array([[100, 100], [200, 100], [100, 100], [100, 200]])  # width, height
    order = rect_order(shapes)
    assert order.tolist() == [1, 0, 2, 3]
    assert rect_batch_shapes(shapes[order], 1, 64, 32, 0.0).tolist() == [[32, 64], [64, 64], [64, 64], [64, 32]]
    assert rect_batch_shapes(shapes[order], 4, 64, 32, 0.5).tolist() == [[96, 96]]


# Perspective ----------------------------------------------------------------------------------------------------------


def test_draw_warp_stays_within_its_limits():
    rng, warps = generator(), []
    for _ in range(2000):
        warps.append(draw_warp(rng, 200, 100, degrees=10, translate=0.2, scale=0.5, shear=4, perspective=0.001))
    columns = np.array([(*w.perspective, w.angle, w.scale, *w.shear, *w.translate) for w in warps]).T
    limits = [(-0.001, 0.001)] * 2 + [(-10, 10), (0.5, 1.5), (-4, 4), (-4, 4), (60, 140), (30, 70)]
    for values, (low, high) in zip(columns, limits):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high


def test_random_perspective_repeats_with_a_seed_and_differs_without():
    picture, targets = noise(), np.array([[1, 10, 10, 50, 40]], np.float32)
    first, boxes = random_perspective(picture, targets, rng=generator(3))
    again, boxes_again = random_perspective(picture, targets, rng=generator(3))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(boxes, boxes_again)
    assert (random_perspective(picture)[0] != random_perspective(picture)[0]).any()
    assert random_perspective(picture, border=(-16, -20))[0].shape == (32, 40, 3)


def test_the_warped_box_surrounds_the_warped_object():
    picture = np.zeros((100, 140, 3), np.uint8)
    picture[30:60, 40:90] = 255
    targets = np.array([[2, 40, 30, 90, 60]], np.float32)
    for seed in range(20):
        out, boxes = random_perspective(picture, targets, degrees=20, perspective=0.001, rng=generator(seed))
        y, x = np.nonzero(out[..., 0] > 200)
        found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        np.testing.assert_allclose(boxes[0, 1:], found, atol=2.5)


def test_polygons_and_plain_boxes_mix():
    """A turned square: its box is cut from the polygon's extent, a neighbour's without polygon from its corners."""
    turn = Warp(angle=45, translate=(100, 100))
    diamond = np.array([[100, 80], [120, 100], [100, 120], [80, 100]], np.float32)
    targets = np.array([[0, 80, 80, 120, 120], [1, 80, 80, 120, 120]], np.float32)
    _, out = apply_warp(noise(200, 200), targets, [diamond, np.zeros((0, 2), np.float32)], turn)
    half = 20 / np.sqrt(2)
    np.testing.assert_allclose(out[0, 1:], [100 - half, 100 - half, 100 + half, 100 + half], atol=0.1)
    half = 20 * np.sqrt(2)
    np.testing.assert_allclose(out[1, 1:], [100 - half, 100 - half, 100 + half, 100 + half], atol=0.1)


def test_area_thresholds_of_polygons_and_boxes():
    """5% of the area left: enough for what is known to be the object, too little for a box."""
    shift = Warp(translate=(50 - 57, 50))  # moves 57 px to the left: 3 of 60 columns stay
    targets = np.array([[0, 0, 20, 60, 80], [1, 0, 20, 60, 80]], np.float32)
    rectangle = np.array([[0, 20], [60, 20], [60, 80], [0, 80]], np.float32)
    _, out = apply_warp(noise(100, 100), targets, [rectangle, np.zeros((0, 2), np.float32)], shift)
    assert out[:, 0].tolist() == [0]
    np.testing.assert_allclose(out[0, 1:], [0, 20, 3, 80], atol=0.2)


@pytest.mark.parametrize('seed', range(20))
def test_the_window_of_a_warp_is_all_it_shows(seed):
    """What lies outside may be anything, and the window is not much larger than it need be."""
    picture = noise(128, 128)
    warp = draw_warp(generator(seed), 64, 64, degrees=30, translate=0.3, scale=0.9, shear=10)
    x1, y1, x2, y2 = warp.window(128, 64)
    other = noise(128, 128, seed=1)
    other[y1:y2, x1:x2] = picture[y1:y2, x1:x2]
    nothing, border = np.zeros((0, 5), np.float32), (-32, -32)
    out = apply_warp(picture, nothing, [], warp, border)[0]
    np.testing.assert_array_equal(apply_warp(other, nothing, [], warp, border)[0], out)
    inner = other.copy()
    inner[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4] = 255 - inner[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
    assert (apply_warp(inner, nothing, [], warp, border)[0] != out).any()


def test_a_window_of_a_perspective_or_of_nothing():
    assert Warp(perspective=(0.001, 0), translate=(32, 32)).window(128, 64) == (0, 0, 128, 128)
    assert Warp(scale=0.0, translate=(32, 32)).window(128, 64) == (0, 0, 3, 3)
    assert Warp(translate=(32, 32)).window(128, 64) == (30, 30, 98, 98)
    assert Warp(translate=(500, 32)).window(128, 64)[0::2] == (0, 0)


def test_box_candidates_against_a_loop():
    rng = generator()
    before = np.sort(rng.uniform(0, 100, (2, 2, 300)), 0).reshape(4, 300)
    after = np.sort(rng.uniform(0, 60, (2, 2, 300)), 0).reshape(4, 300)
    keep = box_candidates(before, after, wh_thr=5, ar_thr=4, area_thr=0.2)
    for i in range(300):
        w1, h1 = before[2, i] - before[0, i], before[3, i] - before[1, i]
        w2, h2 = after[2, i] - after[0, i], after[3, i] - after[1, i]
        assert keep[i] == (w2 > 5 and h2 > 5 and w2 * h2 / (w1 * h1) > 0.2 and max(w2 / h2, h2 / w2) < 4)
    assert 20 < keep.sum() < 280


# Colours --------------------------------------------------------------------------------------------------------------


def test_hsv_against_one_channel_at_a_time():
    picture = noise()
    factors = draw_hsv(generator(5), 0.1, 0.7, 0.4)
    expected = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV))
    expected = cv2.merge([table[channel] for table, channel in zip(hsv_tables(factors), expected)])
    augment_hsv(picture, 0.1, 0.7, 0.4, rng=generator(5))
    np.testing.assert_array_equal(picture, cv2.cvtColor(expected, cv2.COLOR_HSV2BGR))


@pytest.mark.parametrize('seed', range(20))
def test_hsv_is_its_tables(seed):
    """Whether or not they are used: a random factor is mostly multiplied with, 1.9999 and below 0 can't be."""
    factors = [draw_hsv(generator(seed), 0.5, 0.9, 0.9), np.array([0.9, 1.99997, 0.5]), np.array([1, -0.2, 0.0])]
    picture = noise(61, 67, seed)
    for factor in factors[: 1 + 2 * (seed == 0)]:
        hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        hsv = np.stack([table[plane] for table, plane in zip(hsv_tables(factor), np.moveaxis(hsv, -1, 0))], -1)
        out = picture.copy()
        apply_hsv(out, factor)
        np.testing.assert_array_equal(out, cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def test_hsv_without_gains_draws_nothing():
    picture, rng = noise(), generator()
    augment_hsv(picture, 0, 0, 0, rng)
    np.testing.assert_array_equal(picture, noise())
    assert rng.random() == generator().random()


def test_hsv_factors_stay_within_the_gains():
    rng = generator()
    factors = np.array([draw_hsv(rng, 0.015, 0.7, 0.0) for _ in range(1000)])
    np.testing.assert_allclose(factors.min(0), [0.985, 0.3, 1], atol=0.01)
    np.testing.assert_allclose(factors.max(0), [1.015, 1.7, 1], atol=0.01)


@pytest.mark.parametrize('clahe', [True, False])
def test_hist_equalize_stretches_brightness(clahe):
    dark = noise() // 8
    before = dark.copy()
    out = hist_equalize(dark, clahe=clahe, bgr=True)
    assert out.std() > 1.2 * dark.std()
    np.testing.assert_array_equal(dark, before)
    swapped = hist_equalize(np.ascontiguousarray(dark[..., ::-1]), clahe=clahe, bgr=False)
    np.testing.assert_array_equal(swapped[..., ::-1], out)


@pytest.mark.parametrize(('flip', 'axis'), [(flip_left_right, 1), (flip_up_down, 0)])
def test_flips(flip, axis):
    picture, labels = noise(), np.array([[1, 0.2, 0.3, 0.1, 0.4]], np.float32)
    out, out_labels = flip(picture, labels)
    np.testing.assert_array_equal(out, np.flip(picture, axis))
    expected = [1, 0.8, 0.3, 0.1, 0.4] if axis else [1, 0.2, 0.7, 0.1, 0.4]
    np.testing.assert_allclose(out_labels, [expected], atol=1e-7)
    np.testing.assert_allclose(labels, [[1, 0.2, 0.3, 0.1, 0.4]], atol=1e-7)


# Mixing ---------------------------------------------------------------------------------------------------------------


def test_mixup_blends_and_joins():
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)
    ratio = draw_mixup(generator(1))
    out, labels = mixup(black, np.zeros((1, 5)), white, np.ones((2, 5)), rng=generator(1))
    assert (out == int(200 * (1 - ratio))).all()
    assert labels[:, 0].tolist() == [0, 1, 1]
    ratios = [draw_mixup(generator(i)) for i in range(500)]
    assert abs(np.mean(ratios) - 0.5) < 0.01
    assert np.std(ratios) == pytest.approx(1 / np.sqrt(4 * 65), rel=0.1)  # of Beta(32, 32)


def two_objects() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    picture = np.full((60, 100, 3), 7, np.uint8)
    picture[10:30, 5:25] = (0, 150, 160)
    picture[40:50, 45:55] = 250
    labels = np.array([[1, 5, 10, 25, 30], [2, 45, 40, 55, 50]], np.float32)
    square = np.array([[5, 10], [24, 10], [24, 29], [5, 29]], np.float32)
    middle = np.array([[45, 40], [54, 40], [54, 49], [45, 49]], np.float32)
    return picture, labels, [square, middle]


def test_copy_paste_mirrors_what_hides_nothing():
    picture, labels, segments = two_objects()
    before = picture.copy()
    out, out_labels, out_segments = copy_paste(picture, labels, segments, p=1.0, rng=generator())
    np.testing.assert_array_equal(picture, before)
    assert out_labels.tolist() == [*labels.tolist(), [1, 75, 10, 95, 30]]  # the one in the middle would hide itself
    assert (out[10:30, 75:95, 1:] == (150, 160)).all()
    assert (out[10:30, 75:95, 0] == 7).all()  # a channel of 0 leaves the background's
    np.testing.assert_array_equal(out_segments[2][:, 0], 100 - segments[0][:, 0])
    assert (len(segments), out_labels.dtype) == (2, np.float32)


def test_copy_paste_copies_only_objects_with_polygons():
    picture, labels, segments = two_objects()
    out, out_labels, _ = copy_paste(picture, labels, [np.zeros((0, 2)), segments[1]], p=1.0, rng=generator())
    np.testing.assert_array_equal(out, picture)
    assert len(out_labels) == 2
    out, out_labels, _ = copy_paste(picture, labels, [], p=1.0, rng=generator())
    assert len(out_labels) == 2


def test_copy_paste_counts_pasted_objects_as_there():
    picture, labels, segments = two_objects()
    _, out_labels, _ = apply_copy_paste(picture, labels, segments, [0, 0])
    assert len(out_labels) == 3


def test_cutout_drops_labels_that_are_mostly_hidden():
    picture = np.full((100, 100, 3), 255, np.uint8)
    labels = np.array([[0, 0.2, 0.2, 0.2, 0.2], [1, 0.7, 0.7, 0.2, 0.2]], np.float32)
    holes = [Hole(10, 10, 30, 24, 0.5, (64, 65, 66)), Hole(60, 60, 80, 80, 0.03, (1, 2, 3))]
    kept = apply_cutout(picture, labels, holes)
    assert kept[:, 0].tolist() == [1]  # 70% of the first is hidden; the small hole hides nothing
    assert (picture[10:24, 10:30] == (64, 65, 66)).all()
    assert (picture[60:80, 60:80] == (1, 2, 3)).all()


def test_cutout_draws():
    holes = draw_cutout(generator(), 200, 100)
    assert [hole.scale for hole in holes].count(0.03125) == 16
    assert len(holes) == 31
    for hole in holes:
        assert 0 <= hole.x1 <= hole.x2 <= 200
        assert 0 <= hole.y1 <= hole.y2 <= 100
        assert hole.x2 - hole.x1 <= max(200 * hole.scale, 1)
        assert min(hole.color) >= 64
        assert max(hole.color) <= 191
    picture, labels = noise(), np.zeros((0, 5), np.float32)
    assert len(cutout(picture, labels, p=0, rng=generator())) == 0
    np.testing.assert_array_equal(picture, noise())
    cutout(picture, labels, p=1, rng=generator())
    assert (picture != noise()).any()


def test_replicate_copies_the_smaller_half():
    picture = noise(100, 100)
    labels = np.array([[0, 0, 0, 60, 60], [1, 70, 70, 80, 85], [2, 10, 80, 30, 95]], np.float32)
    patch = picture[70:85, 70:80].copy()
    out, out_labels = apply_replicate(picture, labels, [(1, 5, 8)])
    np.testing.assert_array_equal(out[8:23, 5:15], patch)
    assert out_labels[3].tolist() == [1, 5, 8, 15, 23]
    _, out_labels = replicate(noise(100, 100), labels, rng=generator())
    assert out_labels[3:, 0].tolist() == [1, 2]  # round(1.5) = 2 of three, smallest first
    assert (out_labels[:, 1:] >= 0).all()
    assert (out_labels[:, 1:] <= 100).all()


# Albumentations -------------------------------------------------------------------------------------------------------


def test_without_the_package_nothing_happens(monkeypatch):
    monkeypatch.setitem(sys.modules, 'albumentations', None)
    picture, labels = noise(), np.zeros((1, 5), np.float32)
    step = Albumentations()
    assert step.transform is None
    assert step(picture, labels) == (picture, labels)


class FakeCompose:
    """Inverts the picture and drops the first box; remembers its seed."""

    def __init__(self, steps, bbox_params):
        self.steps, self.bbox_params, self.seeds = steps, bbox_params, []

    def set_random_seed(self, seed):
        self.seeds.append(seed)

    def __call__(self, image, bboxes, class_labels):
        return {'image': 255 - image, 'bboxes': bboxes[1:].tolist(), 'class_labels': class_labels[1:].tolist()}


@pytest.fixture
def _fake_package(monkeypatch):
    names = ('Blur', 'MedianBlur', 'ToGray', 'CLAHE')
    steps = {name: lambda p, name=name: (name, p) for name in names}
    package = SimpleNamespace(**steps, BboxParams=lambda **options: options, Compose=FakeCompose)
    monkeypatch.setitem(sys.modules, 'albumentations', package)


@pytest.mark.usefixtures('_fake_package')
def test_with_the_package():
    step = Albumentations()
    assert step.transform.steps == [('Blur', 0.01), ('MedianBlur', 0.01), ('ToGray', 0.01), ('CLAHE', 0.01)]
    assert step.transform.bbox_params == {'format': 'yolo', 'label_fields': ['class_labels']}
    picture, labels = noise(), np.array([[1, 0.2, 0.2, 0.1, 0.1], [2, 0.5, 0.5, 0.1, 0.1]], np.float32)
    out, out_labels = step(picture, labels, rng=generator(4))
    np.testing.assert_array_equal(out, 255 - picture)
    np.testing.assert_array_equal(out_labels, labels[1:])
    assert out_labels.dtype == np.float32
    assert step(picture, labels[:1], rng=generator(4))[1].shape == (0, 5)
    assert step.transform.seeds[0] == step.transform.seeds[1]  # equal streams, equal seeds
    assert step(picture, labels, p=0.0) == (picture, labels)
