from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from tests.tiny import logged_lines
from utils import nms
from utils.boxes import box_iou, xywh2xyxy
from utils.errors import UsageError
from utils.nms import greedy_nms, non_max_suppression


def naive_nms(prediction, conf_thres, iou_thres, max_det, classes=None, agnostic=False, multi_label=False):
    """One picture, written as the definition reads."""
    candidates = []
    for x, y, w, h, objectness, *scores in prediction.tolist():
        scores = [np.float32(objectness) * np.float32(s) for s in scores]
        for label, score in enumerate(scores):
            best = multi_label or label == int(np.argmax(scores))
            if best and objectness > conf_thres and score > conf_thres and (classes is None or label in classes):
                candidates.append((*xywh2xyxy(np.float32([x, y, w, h])), score, label))
    kept = []
    for box in sorted(candidates, key=lambda c: -c[4]):
        rivals = [k for k in kept if agnostic or k[5] == box[5]]
        overlaps = box_iou(np.float32([box[:4]]), np.float32([r[:4] for r in rivals]).reshape(-1, 4), eps=0)
        if not (overlaps > iou_thres).any():
            kept.append(box)
    return np.array(kept[:max_det], np.float32).reshape(-1, 6)


def crowd(rows: int, classes: int, seed: int) -> np.ndarray:
    """Rows (rows, 5 + classes) that lie in heaps, so that many overlap."""
    rng = np.random.default_rng(seed)
    heap = rng.integers(0, max(rows // 8, 1), rows)
    centre, size = rng.uniform(0, 640, (rows, 2)), rng.uniform(10, 150, (rows, 2))
    boxes = np.hstack((centre[heap] + rng.normal(0, 4, (rows, 2)), size[heap] * rng.uniform(0.7, 1.3, (rows, 2))))
    return np.hstack((boxes, rng.uniform(0, 1, (rows, 1 + classes)))).astype(np.float32)


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'agnostic': True},
        {'multi_label': True},
        {'multi_label': True, 'agnostic': True},
        {'classes': [0, 2]},
        {'max_det': 5},
        {'iou_thres': 0.1},
        {'conf_thres': 0.6},
    ],
    ids=str,
)
@pytest.mark.parametrize('classes', [1, 4])
def test_equals_the_naive_definition(options, classes):
    options = {'conf_thres': 0.25, 'iou_thres': 0.45, 'max_det': 300, **options}
    pictures = np.stack([crowd(150, classes, seed) for seed in range(3)])
    out = non_max_suppression(pictures, **options)
    assert len(out) == 3
    for ours, picture in zip(out, pictures):
        np.testing.assert_allclose(ours, naive_nms(picture, **options), atol=1e-4)


@pytest.mark.parametrize(
    ('boxes', 'groups', 'max_det', 'iou_thres'),
    [
        (30_000, 3, 300, 0.6),
        (3_000, 400, 3_000, 0.6),
        (1_500, 1, 1_000, 0.45),
        (4 * nms.FIRST + 1, 2, 4 * nms.FIRST, 0.6),  # one is left behind those that are settled first
        (5, 9, 2, 0.6),
        *((400, 3, 400, iou_thres) for iou_thres in (0, 1e-6, 0.05, 0.3, 0.95, 1)),
    ],
)
def test_the_operator_keeps_what_one_by_one_keeps(boxes, groups, max_det, iou_thres):
    rng = np.random.default_rng(boxes)
    sides = np.hstack((rng.uniform(0, 640, (boxes, 2)), rng.uniform(0, 200, (boxes, 2))))
    sides[1::2] = sides[::2][: boxes // 2] + rng.normal(0, 3, (boxes // 2, 4))  # so that many overlap nearly
    sides[:, 2:] = np.abs(sides[:, 2:])
    sides, group = xywh2xyxy(sides.astype(np.float32)), rng.integers(0, groups, boxes)
    expected, alive = [], np.ones(boxes, bool)
    for i in range(boxes):
        if alive[i] and len(expected) < max_det:
            expected.append(i)
            alive &= ~((box_iou(sides[i : i + 1], sides, eps=0)[0] > iou_thres) & (group == group[i]))
    np.testing.assert_array_equal(greedy_nms(sides, group, iou_thres, max_det), expected)


def test_an_overlap_of_exactly_the_threshold_stays():
    boxes = np.float32([[0, 0, 2, 2], [0, 0, 2, 1]])  # IoU 0.5 to the last bit
    assert greedy_nms(boxes, np.zeros(2), 0.5, 10).tolist() == [0, 1]
    assert greedy_nms(boxes, np.zeros(2), 0.49, 10).tolist() == [0]


def test_equal_scores_keep_their_order():
    rows = np.float32([[10 + 50 * i, 10, 8, 8, 0.5, 0.8] for i in range(9)])
    (out,) = non_max_suppression(rows[None])
    np.testing.assert_array_equal(out[:, 0], rows[:, 0] - 4)


def test_known_boxes_join_with_score_one():
    rows = crowd(50, 3, seed=5)
    known = np.float32([[2, 320, 320, 40, 20], [0, 100, 100, 30, 30]])
    (out,) = non_max_suppression(rows[None], labels=[known], conf_thres=0.2)
    first = out[out[:, 4] == 1]
    np.testing.assert_allclose(first, [[300, 310, 340, 330, 1, 2], [85, 85, 115, 115, 1, 0]])


@pytest.mark.parametrize('kind', [np.array, torch.tensor])
def test_no_candidates_give_no_rows(kind):
    for shape in ((2, 40, 8), (2, 0, 8), (1, 40, 6)):
        out = non_max_suppression(kind(np.zeros(shape, np.float32)), multi_label=True)
        assert [tuple(o.shape) for o in out] == [(0, 6)] * shape[0]


def test_boxes_without_area_and_broken_numbers_are_survived(recwarn):
    rows = np.float32([[5, 5, 0, 0, 0.9, 0.9], [5, 5, 0, 0, 0.8, 0.9], [np.nan, 0, 1, 1, np.nan, 1]])
    (out,) = non_max_suppression(rows[None])
    np.testing.assert_allclose(out[:, 4], [0.81, 0.72], atol=1e-6)
    assert not recwarn.list


def test_the_prediction_is_left_alone_and_a_models_pair_will_do():
    prediction = crowd(80, 2, seed=6)[None]
    before = prediction.copy()
    (alone,) = non_max_suppression(prediction)
    (pair,) = non_max_suppression((torch.from_numpy(prediction), ['maps']))
    np.testing.assert_array_equal(prediction, before)
    np.testing.assert_array_equal(pair.numpy(), alone)


@pytest.mark.parametrize('limits', [{'conf_thres': 1.5}, {'iou_thres': -0.1}])
def test_impossible_thresholds_are_refused(limits):
    with pytest.raises(UsageError, match='out of range. It has to be between 0 and 1'):
        non_max_suppression(np.zeros((1, 1, 6), np.float32), **limits)


@pytest.fixture
def kernel(monkeypatch):
    """The operators of the device's way run on CPU tensors; only the CUDA kernel for NMS is replaced."""

    def nms_kernel(boxes, iou_thres):
        keep = np.zeros(len(boxes), np.int8)
        keep[greedy_nms(boxes.numpy(), np.zeros(len(boxes)), iou_thres, len(boxes))] = 1
        return torch.tensor(keep)

    monkeypatch.setattr(torch._C, 'nms', nms_kernel)


def limits_of(**options):
    defaults = {'conf_thres': 0.25, 'iou_thres': 0.45, 'classes': None, 'agnostic': False, 'multi_label': False}
    return nms._Limits(**{'max_det': 30, **defaults, **options})


DEVICE_OPTIONS = [
    {}, {'agnostic': True}, {'multi_label': True}, {'classes': [1]}, {'classes': [9]}, {'conf_thres': 0.999},
    {'classes': [0, 3], 'multi_label': True}, {'max_det': 300, 'iou_thres': 0.9, 'multi_label': True},
]  # fmt: skip


@pytest.mark.parametrize('options', DEVICE_OPTIONS, ids=str)
@pytest.mark.parametrize('first', [2048, 16])
def test_the_devices_way_finds_what_the_cpus_does(kernel, monkeypatch, options, first):
    """Also where several rounds are needed, for too few of the first candidates stay."""
    monkeypatch.setattr(nms, 'FIRST', first)
    limits = limits_of(**options)
    rows, known = np.stack([crowd(200, 4, seed=seed) for seed in (7, 8)]), np.float32([[1, 50, 50, 20, 20]])
    for boxes in (None, known):
        ours = nms._suppress_on_device(torch.tensor(rows), [boxes] * 2, limits)
        for found, picture in zip(ours, rows):
            np.testing.assert_allclose(found, nms._suppress(picture, boxes, limits), atol=1e-4)


def test_no_rows_on_a_device(kernel):
    limits = limits_of()
    for shape in ((2, 0, 8), (2, 40, 8), (1, 40, 6)):
        found = nms._suppress_on_device(torch.zeros(*shape), [None] * shape[0], limits)
        assert [rows.shape for rows in found] == [(0, 6)] * shape[0]


@pytest.mark.parametrize('options', DEVICE_OPTIONS, ids=str)
def test_the_host_waits_for_a_device_once_an_image(kernel, monkeypatch, options):
    """Nothing asks how many there are; each image comes in one copy, after all have been asked for."""
    waits = []

    def refused(*_args, **_options):
        raise AssertionError('waits for the device')

    for name in ('nonzero', 'argwhere', 'masked_select', 'nms'):
        monkeypatch.setattr(torch, name, refused)
    for name in ('item', 'tolist', '__bool__', '__int__', '__float__', 'nonzero'):
        monkeypatch.setattr(torch.Tensor, name, refused)
    copy, best = torch.Tensor.cpu, nms._best_on_device
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: waits.append('copy') or copy(self))
    monkeypatch.setattr(nms, '_best_on_device', lambda *args: waits.append('ask') or best(*args))
    rows = torch.tensor(np.stack([crowd(200, 4, seed=seed) for seed in range(3)]))
    nms._suppress_on_device(rows, [None] * 3, limits_of(**options))
    assert waits == ['ask'] * 3 + ['copy'] * 3


class Cuda:
    """A device that says it is one, for tensors that stay on the CPU."""

    type = 'cuda'


@pytest.mark.parametrize(('kept', 'told'), [(None, []), ('all', ['its results differ']), ('none', ['it fails'])])
def test_a_device_is_trusted_where_it_agrees_with_the_cpu(kernel, monkeypatch, kept, told):
    monkeypatch.setattr(nms, '_upload', lambda array, device: torch.from_numpy(array))
    if kept == 'all':
        monkeypatch.setattr(torch._C, 'nms', lambda boxes, iou_thres: torch.ones(len(boxes)))
    elif kept == 'none':
        monkeypatch.delattr(torch._C, 'nms')
    with logged_lines() as lines:
        assert nms.works_on(Cuda()) == (not told)
    expected = [f'WARNING: NMS on the GPU: not used, {why}' for why in told]
    assert [line.split(' on this GPU')[0] for line in lines] == expected


@pytest.mark.parametrize('trusted', [True, False])
def test_without_trust_the_cpu_suppresses(kernel, monkeypatch, trusted):
    rows, known, used = crowd(50, 3, seed=5)[None], torch.tensor([[1.0, 50, 50, 20, 20]]), []
    (expected,) = non_max_suppression(rows, labels=[known.numpy()])
    device_way = nms._suppress_on_device
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    monkeypatch.setattr(nms, 'works_on', lambda device: trusted)
    monkeypatch.setattr(nms, '_suppress_on_device', lambda *args: used.append(1) or device_way(*args))
    (found,) = non_max_suppression(torch.tensor(rows), labels=[known])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    assert bool(used) == trusted


def test_arrays_on_request():
    rows = torch.tensor(crowd(50, 3, seed=5)[None])
    (tensor,), (array,) = non_max_suppression(rows), non_max_suppression(rows, arrays=True)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(tensor.numpy(), array)
