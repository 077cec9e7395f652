"""AutoBatch's arithmetic against the reference's, and the two differences that are meant.

- The reference sets readings in units of 10^9 bytes against GiB. Ours are bytes on both sides, so that it takes 7%
  more of the GPU for the same readings; the arithmetic itself is compared with both sides in one unit.
- Nothing bounds the reference's result; ours lies in 1 to MAX_BATCH_SIZE.
"""

from __future__ import annotations

import oneflow as torch
import pytest
from oneflow import nn

from tests.golden import SHARED, golden_json, needs_golden
from utils.autobatch import MAX_BATCH_SIZE, Memory, autobatch, choose, fit_batch_size

pytestmark = needs_golden
CASES = golden_json('autobatch.json') if SHARED.is_dir() else {}
GPU = {name: case for name, case in CASES.items() if not case.get('cpu')}
BOUNDED = {'almost_full': 1, 'no_growth': MAX_BATCH_SIZE}  # the reference: 0 and 15041


def free_of(case: dict) -> float:
    return case['total'] - case['reserved'] - case['allocated']


@pytest.mark.parametrize('name', GPU)
def test_picked(name):
    case = GPU[name]
    ours = fit_batch_size(case['memory'], free_of(case), case.get('fraction', 0.9))
    assert ours == BOUNDED.get(name, case['picked'])


def test_the_bounded_ones_are_those_out_of_bounds():
    assert {n for n, case in GPU.items() if not 1 <= case['picked'] <= MAX_BATCH_SIZE} == BOUNDED.keys()


@pytest.mark.parametrize('name', GPU)
def test_the_unit_is_mended(name):
    """Readings of 10^9 bytes count as that: as if each were 7% smaller in the reference's arithmetic."""
    case = GPU[name]
    readings = [None if value is None else value * 1e9 for value in case['memory']]
    memory = Memory(int(case['total'] * 2**30), int((case['reserved'] + case['allocated']) * 2**30))
    ours = choose(readings, memory, case.get('fraction', 0.9))
    in_gib = [None if value is None else value / 2**30 for value in readings]
    assert ours == fit_batch_size(in_gib, free_of(case), case.get('fraction', 0.9))
    assert ours >= min(case['picked'], MAX_BATCH_SIZE)
    if name == 'line':
        assert (case['picked'], ours) == (33, 35)  # (0.9 * 15.25 * 1.0737 - 0.5) / 0.4 = 35.6


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if case.get('cpu')])
def test_without_a_gpu(name):
    sizes = {'batch_size': CASES[name]['batch_size']} if 'batch_size' in CASES[name] else {}
    assert autobatch(nn.Conv2d(3, 4, 1), 64, **sizes) == CASES[name]['picked']
    assert next(nn.Conv2d(3, 4, 1).parameters()).device == torch.device('cpu')
