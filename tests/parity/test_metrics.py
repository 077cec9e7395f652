"""utils/metrics.py against the reference's numbers (metrics.npz, metrics.json)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden import SHARED, golden_json, golden_npz, needs_golden
from utils import metrics
from utils.metrics import ConfusionMatrix

pytestmark = needs_golden

ABOUT = golden_json('metrics.json') if (SHARED / 'golden').is_dir() else {}


def golden(name: str) -> np.ndarray:
    return golden_npz('metrics.npz')[name]


@pytest.mark.parametrize('case', ABOUT.get('ap_per_class', ()))
def test_ap_per_class(case):
    inputs = (golden(f'ap.{case}.{name}') for name in ('tp', 'conf', 'pred_cls', 'target_cls'))
    results = metrics.ap_per_class(*inputs)
    for ours, name in zip(results, ('tp', 'fp', 'p', 'r', 'f1', 'ap', 'classes'), strict=True):
        expected = golden(f'ap.{case}.out_{name}')
        assert ours.shape == expected.shape, name
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize('case', ['ramp', 'zigzag', 'full', 'one_point', 'flat_recall', 'zero', 'empty'])
def test_one_curve(case):
    ours = metrics.compute_ap(golden(f'curve.{case}.recall'), golden(f'curve.{case}.precision'))
    for value, name in zip(ours, ('ap', 'envelope', 'recall_padded'), strict=True):
        np.testing.assert_allclose(value, golden(f'curve.{case}.{name}'), rtol=0, atol=1e-12)


def test_smooth_and_fitness():
    for f in (0.05, 0.1, 0.0013):
        expected = golden(f'smooth.{f}.out')
        np.testing.assert_allclose(metrics.smooth(golden('smooth.in'), f), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(metrics.fitness(golden('fitness.in')), golden('fitness.out'), rtol=0, atol=1e-12)


@pytest.mark.parametrize('case', ABOUT.get('process_batch', ()))
def test_match_detections(case):
    np.testing.assert_array_equal(metrics.IOU_THRESHOLDS, golden('match.iou_thresholds'))
    detections, labels = golden(f'match.{case}.detections'), golden(f'match.{case}.labels')
    ours = metrics.match_detections(detections, labels)
    np.testing.assert_array_equal(ours, golden(f'match.{case}.correct'))
    assert ours.sum(0).tolist() == ABOUT['process_batch'][case]['hits']
    one = metrics.match_detections(detections, labels, np.float32([0.5]))
    np.testing.assert_array_equal(one, golden(f'match.{case}.correct_one_threshold'))


@pytest.mark.parametrize('case', ABOUT.get('confusion', ()))
def test_confusion_matrix(case):
    about = ABOUT['confusion'][case]
    confusion = ConfusionMatrix(about['nc'], **about['options'])
    for picture in range(len(about['detections'])):
        key = f'confusion.{case}.{picture}'
        confusion.process_batch(golden_npz('metrics.npz').get(f'{key}.detections'), golden(f'{key}.labels'))
    expected = golden(f'confusion.{case}.matrix').copy()
    if case == 'no_match_at_all':
        # A fault of the reference, mended here on purpose: where a picture has labels and not one match, it does not
        # count the detections as false positives.
        detections = golden(f'confusion.{case}.0.detections')
        assert not expected[:-1].any()
        expected[:-1, -1] = np.bincount(detections[detections[:, 4] > 0.25, 5].astype(int), minlength=about['nc'])
    np.testing.assert_array_equal(confusion.matrix, expected)
    tp, fp = confusion.tp_fp()
    np.testing.assert_array_equal(tp, golden(f'confusion.{case}.tp'))
    np.testing.assert_array_equal(fp, expected[:-1].sum(1) - np.diag(expected)[:-1])
    if case != 'no_match_at_all':
        np.testing.assert_array_equal(fp, golden(f'confusion.{case}.fp'))
