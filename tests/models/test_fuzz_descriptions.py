"""Damaged model descriptions are built or refused in one line; OneFlow would end the process over some."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import strategies as st

from models import limits
from models.limits import parameters_within
from models.parse import LAYERS
from models.yolo import Model
from tests.fuzz import bounded, damaged, fuzzed, refusals
from utils.paths import write_yaml

# A few layers on few channels: a model takes milliseconds.
SMALL = {
    'nc': 2,
    'depth_multiple': 1.0,
    'width_multiple': 1.0,
    'anchors': [[10, 13, 16, 30]],
    'backbone': [[-1, 1, 'Conv', [8, 3, 8]], [-1, 1, 'Conv', [8, 1]], [[-1, 0], 1, 'Concat', [1]]],
    'head': [[[2], 1, 'Detect', ['nc', 'anchors']]],
}
NUMBERS = st.sampled_from([-1, 0, 64, 1000, 10**6, 10**30, -5, 0.5, 1e9, float('inf'), float('nan')])
WORDS = st.sampled_from(['None', 'True', 'False', 'nearest', 'nc', 'anchors', 'x', None, True, [], {}, [3, 1], [[1]]])
VALUES = NUMBERS | WORDS
PLAUSIBLE = st.sampled_from([1, 2, 3, 4, 8, 16])
ARGUMENTS = st.lists(PLAUSIBLE | PLAUSIBLE | VALUES, max_size=6)
SOURCES = st.sampled_from([-1, -1, -1, 0, -2, 5, [-1], [-1, 0], [0, 0, -1], [], 'x', None])
REPEATS = st.sampled_from([1, 1, 1, 2, 3, 50]) | VALUES
ROWS = st.tuples(SOURCES, REPEATS, st.sampled_from(sorted(LAYERS)), ARGUMENTS).map(list)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """What is let through must not cost seconds."""
    for name, value in {'MAX_MAP': 1 << 21, 'MAX_WORK': 1 << 27, 'MAX_LAYERS': 40, 'MAX_ROWS': 20}.items():
        monkeypatch.setattr(limits, name, value)


def check(config: Any) -> None:
    with bounded(megabytes=150, seconds=20), refusals(), parameters_within(1 << 20, 'the test'):
        model = Model(config)
        assert 0 < model.largest_stride <= 256


@fuzzed(2000, row=ROWS, place=st.sampled_from([0, 1, 2]))
def test_fuzz_rows(row, place):
    config = copy.deepcopy(SMALL)
    config['backbone'][place] = row
    check(config)


@fuzzed(500, key=st.sampled_from([*SMALL, 'ch']), value=VALUES | ROWS | st.lists(ROWS, max_size=3))
def test_fuzz_keys(key, value):
    check(SMALL | {key: value})


PIECES = [b'[', b']', b'{', b'}', b': ', b'- ', b'&a ', b'*a', b'!!python/name:os.system ', b'\n', b'.inf', b'1e9']


def test_fuzz_files(tmp_path):
    path = tmp_path / 'small.yaml'
    write_yaml(path, SMALL)

    @fuzzed(1000, data=damaged([path.read_bytes()], inserts=PIECES))
    def run(data):
        path.write_bytes(data)
        check(path)

    run()
