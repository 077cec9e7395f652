"""The shipped data set and hyper-parameter files hold the reference's facts (datasets.json, hyps.json)."""

from __future__ import annotations

import pytest

from tests.golden import SHARED, golden_json, needs_golden, shared
from utils.data.labels import read_labels
from utils.data.yaml import load_data
from utils.paths import DATA_DIRS, HYP_DIRS, read_yaml

pytestmark = needs_golden


def names_in(file: str) -> list[str]:
    return list(golden_json(file)) if (SHARED / 'golden' / file).is_file() else []


@pytest.mark.parametrize('name', names_in('datasets.json'))
def test_data_sets(name):
    want = golden_json('datasets.json')[name]
    content = read_yaml(DATA_DIRS[0] / name)
    assert {key: content.get(key) for key in want if key != 'download_kind'} == {
        key: value for key, value in want.items() if key != 'download_kind'
    }
    data = load_data(name, need=())
    assert list(data.names) == want['names']
    assert data.nc == want['nc']


@pytest.mark.parametrize('name', names_in('hyps.json'))
def test_hyper_parameters(name):
    assert list(read_yaml(HYP_DIRS[0] / name).items()) == list(golden_json('hyps.json')[name].items())


def test_bccd_is_read_whole():
    data = load_data(shared('data/bccd/bccd.yaml'))
    assert data.names == ('RBC', 'WBC', 'Platelets')
    train, val = (read_labels(split, data.nc, cache=False) for split in (data.train, data.val))
    assert (len(train), len(train.labels.values)) == (205, 2804)
    assert (len(val), len(val.labels.values)) == (87, 1137)
    assert train.problems == val.problems == []
    assert {tuple(shape) for shape in train.shapes.tolist()} == {(640, 480)}
