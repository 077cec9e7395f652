"""utils/nms.py against the reference's numbers (nms.npz, nms.json): same rows in the same order."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from tests.golden import SHARED, golden_json, golden_npz, needs_golden
from utils.nms import non_max_suppression

pytestmark = needs_golden

CASES = sorted(golden_json('nms.json')) if (SHARED / 'golden').is_dir() else []


def load(case: str) -> tuple[np.ndarray, dict, list[np.ndarray], list[np.ndarray]]:
    """A case's prediction, options (labels among them), and the expected rows of each picture."""
    about, arrays = golden_json('nms.json')[case], golden_npz('nms.npz')
    prediction = arrays[f'in.{case.split(".")[0]}']
    options = dict(about['options'])
    if case == 'p3.first_image_empty':
        prediction = prediction.copy()
        prediction[0, :, 4] = 0
    if case in ('p3.labels_only', 'p80.cap'):
        prediction = prediction[:1].copy()
    if case == 'p3.labels_only':
        prediction[..., 4] = 0
    if 'labels' in about:
        options['labels'] = np.split(arrays[f'{case}.labels'], np.cumsum(about['labels'])[:-1])
    return prediction, options, arrays[f'{case}.out'], about['counts']


def ordered(rows: np.ndarray) -> np.ndarray:
    """Rows of score 1 (labels) sorted by their other columns: their order among themselves is not pinned."""
    known = rows[:, 4] == 1
    first = rows[known]
    return np.concatenate((first[np.lexsort(first.T)], rows[~known]))


@pytest.mark.parametrize('case', [c for c in CASES if c != 'p80.cap'])
@pytest.mark.parametrize('kind', ['numpy', 'oneflow'])
def test_same_rows_in_the_same_order(case, kind):
    prediction, options, expected, counts = load(case)
    if kind == 'numpy':
        out = non_max_suppression(prediction, **options)
        assert all(o.dtype == np.float32 for o in out)
    else:
        out = [o.numpy() for o in non_max_suppression(torch.from_numpy(prediction), **options)]
    assert [o.shape for o in out] == [(count, 6) for count in counts]
    for ours, theirs in zip(out, np.split(expected, np.cumsum(counts)[:-1])):
        ours, theirs = ordered(ours), ordered(theirs)
        np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours[:, 4], theirs[:, 4], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(ours[:, 5], theirs[:, 5])


def test_at_most_30000_candidates_enter():
    prediction, options, every_50th, (count,) = load('p80.cap')
    (out,) = non_max_suppression(prediction, **options)
    assert len(out) == count
    np.testing.assert_allclose(out.astype(np.float64).sum(0), golden_json('nms.json')['p80.cap']['sum'], rtol=1e-5)
    np.testing.assert_allclose(out[::50], every_50th, rtol=0, atol=1e-4)
