from __future__ import annotations

import numpy as np
import pytest

from utils.boxes import box_iou
from utils.metrics import (
    IOU_THRESHOLDS,
    ConfusionMatrix,
    ap_per_class,
    compute_ap,
    fitness,
    match_detections,
    process_batch,
    smooth,
)

FILES = ('PR_curve.png', 'F1_curve.png', 'P_curve.png', 'R_curve.png')


def random_picture(seed: int, labels: int, detections: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Detections (n, 6) that jitter about labels (m, 5), best first, some of another class."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (labels, 2))
    truth = np.hstack((rng.integers(0, classes, (labels, 1)), corner, corner + rng.uniform(20, 80, (labels, 2))))
    about = truth[rng.integers(0, labels, detections)]
    boxes = about[:, 1:] + rng.normal(0, 5, (detections, 4))
    label = np.where(rng.random(detections) < 0.8, about[:, 0], rng.integers(0, classes, detections))
    confidence = np.sort(rng.random(detections))[::-1]
    return np.column_stack((boxes, confidence, label)).astype(np.float32), truth.astype(np.float32)


def test_ap_of_one_right_and_one_wrong():
    # Right, wrong, right, of 4 labels: recall 1/4 at precision 1, 2/4 at 2/3, then down to (1, 0).
    area, envelope, recall = compute_ap(np.array([0.25, 0.25, 0.5]), np.array([1, 1 / 2, 2 / 3]))
    np.testing.assert_allclose(envelope, [1, 1, 2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(recall, [0, 0.25, 0.25, 0.5, 1])
    exact = 0.25 * 1 + 0.25 * 2 / 3 + 0.5 * (2 / 3) / 2
    assert area == pytest.approx(exact, abs=0.005)


def test_the_working_point_by_hand():
    # Class 3: right, wrong, right, and one label of three never found. Below 0.8 nothing changes any more.
    tp = np.array([[1], [0], [1]], bool)
    result = ap_per_class(tp, np.array([0.9, 0.85, 0.8]), np.array([3, 3, 3]), np.array([3, 3, 3]))
    right, wrong, p, r, f1, ap, classes = (x.squeeze() for x in result)
    assert (right, wrong, classes) == (2, 1, 3)
    np.testing.assert_allclose((p, r, f1), 2 / 3)
    assert ap == pytest.approx(1 / 3 + 2 / 9 + 1 / 9, abs=0.005)


def test_order_of_predictions_does_not_matter():
    rng = np.random.default_rng(0)
    inputs = rng.random((60, 10)) < 0.5, rng.permutation(60) / 60, rng.integers(0, 3, 60)
    target = rng.integers(0, 4, 40)
    shuffled = rng.permutation(60)
    for a, b in zip(ap_per_class(*inputs, target), ap_per_class(*(x[shuffled] for x in inputs), target)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ('predictions', 'labels', 'classes'), [(0, 0, 0), (0, 9, 3), (9, 0, 0), (9, 9, 3)], ids=str
)  # the last: predictions, and all of them wrong
@pytest.mark.parametrize('plot', [False, True])
def test_nothing_right_scores_zero(tmp_path, recwarn, predictions, labels, classes, plot):
    tp = np.zeros((predictions, 10), bool)
    inputs = (np.linspace(1, 0.1, predictions), np.arange(predictions) % 3, np.arange(labels) % 3)
    *scores, ap, found = ap_per_class(tp, *inputs, plot=plot, save_dir=tmp_path, names=['a', 'b', 'c'])
    assert all(s.shape == (classes,) and not s[1:].any() for s in scores)
    assert ap.shape == (classes, 10)
    assert not ap.any()
    assert found.tolist() == list(range(classes))
    assert not [w for w in recwarn if w.category is not ResourceWarning]  # those are of what other tests left
    assert all((tmp_path / name).is_file() == plot for name in FILES)


def test_curves_are_drawn_under_a_prefix(tmp_path):
    tp = np.ones((4, 10), bool)
    ap_per_class(tp, np.linspace(1, 0.5, 4), np.zeros(4), np.zeros(5), True, tmp_path, {0: 'cell'}, prefix='Box')
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f'Box{name}' for name in FILES)


def test_smooth_keeps_length_and_constants():
    assert smooth(np.full(100, 3.0), 0.1) == pytest.approx(np.full(100, 3.0))
    assert smooth(np.arange(100.0), 0.1)[50] == pytest.approx(50)


def test_fitness_weighs_the_two_means():
    assert fitness(np.array([[0.9, 0.9, 0.5, 0.3, 7]])) == pytest.approx([0.05 + 0.27])
    assert fitness((0.9, 0.9, 0.5, 0.3)) == pytest.approx(0.05 + 0.27)


def naive_match(detections, labels, thresholds):
    correct = np.zeros((len(detections), len(thresholds)), bool)
    for t, threshold in enumerate(thresholds):
        taken = set()
        for d, detection in enumerate(detections):
            overlap = [
                box_iou(label[None, 1:], detection[None, :4]).item() if label[0] == detection[5] else -1
                for label in labels
            ]
            best = int(np.argmax(overlap))
            if overlap[best] >= threshold and best not in taken:
                taken.add(best)
                correct[d, t] = True
    return correct


@pytest.mark.parametrize('seed', range(4))
def test_matching_equals_the_naive_definition(seed):
    detections, labels = random_picture(seed, labels=9, detections=40, classes=2)
    correct = match_detections(detections, labels)
    assert correct[:, 0].any()
    np.testing.assert_array_equal(correct, naive_match(detections, labels, IOU_THRESHOLDS))
    assert process_batch is match_detections


def test_matching_without_detections_or_labels():
    detections, labels = random_picture(0, labels=3, detections=5, classes=1)
    assert match_detections(detections[:0], labels).shape == (0, 10)
    assert not match_detections(detections, labels[:0]).any()


def test_confusion_matrix_by_hand(tmp_path, capsys):
    confusion = ConfusionMatrix(nc=2)
    labels = np.float32([[0, 0, 0, 10, 10], [1, 50, 50, 60, 60], [1, 80, 80, 90, 90]])
    detections = np.float32(
        [
            [0, 0, 10, 10, 0.9, 0],  # right
            [0, 0, 10, 9, 0.8, 1],  # its label has a better one: false
            [50, 50, 60, 60, 0.7, 0],  # class 1 taken for class 0
            [20, 20, 30, 30, 0.6, 1],  # nothing there
            [80, 80, 90, 90, 0.2, 1],  # below the confidence, so its label is missed
        ]
    )
    confusion.process_batch(detections, labels)
    confusion.process_batch(None, labels[:1])
    confusion.process_batch(detections[:1], labels[:0])
    np.testing.assert_array_equal(confusion.matrix, [[1, 1, 1], [0, 0, 2], [1, 1, 0]])
    tp, fp = confusion.tp_fp()
    assert (tp.tolist(), fp.tolist()) == ([1, 0], [2, 2])

    confusion.print()
    assert capsys.readouterr().out == '1 1 1\n0 0 2\n1 1 0\n'
    confusion.plot(save_dir=tmp_path, names=['red', 'white'])
    assert (tmp_path / 'confusion_matrix.png').stat().st_size > 1000


def test_confusion_counts_each_detection_and_label_once():
    confusion = ConfusionMatrix(nc=3, conf=0.1, iou_thres=0.3)
    total = 0
    for seed in range(5):
        detections, labels = random_picture(seed, labels=8, detections=30, classes=3)
        confusion.process_batch(detections, labels)
        total += len(labels) + (detections[:, 4] > 0.1).sum()
    pairs = confusion.matrix[:-1, :-1].sum()
    assert confusion.matrix.sum() + pairs == total
