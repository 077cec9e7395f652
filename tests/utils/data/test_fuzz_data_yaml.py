"""Data set and hyper-parameter YAMLs of any content: understood, or refused in one short line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from tests.fuzz import bounded, damaged, fuzzed, refusals
from utils.data import yaml as data_yaml
from utils.data.yaml import SPLITS, DataConfig, load_data
from utils.hyps import KEYS, load_hyp

GOOD = [
    b'path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n',
    b'# mine\npath: set\ntrain: [images/train, more.txt]\nval: images/val\nnc: 2\nnames:\n  0: a\n  1: "no"\n',
    b'train: &t ../train/images\nval: *t\nnames: {0: x, 1: y}\ndownload: https://a.org/s.zip\n',
]
HYPS = [b'lr0: 0.01\nlrf: 0.1\nmomentum: 0.937\nwarmup_epochs: 3.0\n# anchors: 3\nmosaic: 1.0\nfl_gamma: 0\n']
PIECES = [
    b'\n', b'  ', b'- ', b': ', b'? ', b'&a ', b'*a', b'*t', b'<<: ', b'!!int ', b'!!python/name:os.system ', b'{',
    b'}', b'[', b']', b'"', b"'", b'|\n', b'#', b'---\n', b'%YAML 1.2\n', b'~', b'1', b'\x00', b'\x85', b'\t',
    b'\xff\xfe', '猫'.encode('gbk'), '猫'.encode(), b'[' * 40, b'names: ', b'train: ', b'path: ', b'nc: ', b'~root/',
    b'a' * 300,
]  # fmt: skip
# What may stand for a value: each of YAML's types, well-formed, of the wrong length, and hardly that.
VALUES = [
    '', '~', 'true', 'no', '1', '0', '-1', '2.5', '.nan', '-.inf', '1e3', '1.0e+999', '0b_', '0x' + 'f' * 90, '9' * 400,
    '1:2:3', '2020-13-45', '2020-01-01', 'cat', '"\\ud800"', '"a\\0b"', '"\\e[2J"', "' '", '猫', 'a' * 300, '[]', '{}',
    '[[]]', '[a, b]', '[a, a]', '[1, true]', '[a, ~]', '{0: a, 1: b}', '{1: a}', '{0: a, 0: b}', '{"0": a, 0: b}',
    '{a: {b: [c]}}', '!!set {a, b}', '!!binary aGk=', '!!binary x', '!!int x', '!!float x', '!!bool x', '!!timestamp x',
    '!!omap [a: 1]', '!!python/name:os.system', '*t', '&t a', '[&t a, *t]', '&s [*s]', '|\n  a\n  b', 'images/train',
    'images/val ', '"images/val "', '../train/images', 'images/*', '~/x', '~nobody-here/x', '..', '/', 'https://a.org/x',
    'shapes', '[' + ', '.join('ab' * 20) + ']', '{' + ', '.join(f'{i}: x' for i in range(40)) + '}',
]  # fmt: skip


def written(*keys: str) -> st.SearchStrategy[bytes]:
    """A YAML that has some of these keys, in any order, now and then one twice, each with any value."""
    lines = st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(VALUES)), max_size=8)
    return lines.map(lambda pairs: '\n'.join(f'{key}: {value}' for key, value in pairs).encode())


NAMED = written('names', 'nc', 'path', 'train', 'val', 'test', 'download', 'urls', 'other').map(lambda y: GOOD[0] + y)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with the splits of a data set in it; nothing is looked for elsewhere."""
    for folder in ('images/train', 'images/val', 'train/images', 'set/images'):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(data_yaml, 'ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(data: DataConfig, need: tuple[str, ...]) -> None:
    assert data.nc == len(data.names) > 0
    assert all(isinstance(name, str) and name.encode() is not None for name in data.names)
    for split in SPLITS:
        assert isinstance(getattr(data, split), tuple)
        assert all(isinstance(path, Path) for path in getattr(data, split))
    assert all(getattr(data, split) for split in need)


@fuzzed(
    2000, data=damaged(GOOD, edits=4, inserts=PIECES) | NAMED, need=st.sampled_from([(), ('train', 'val'), ('test',)])
)
def test_data_set_yamls(place, data, need):
    file = place / 'data.yaml'
    file.write_bytes(data)
    with bounded(megabytes=48, seconds=10), refusals():
        check(load_data(file, autodownload=False, need=need), need)


@fuzzed(300, data=damaged(HYPS, edits=3, inserts=PIECES) | written(*KEYS, '1', 'x').map(lambda y: HYPS[0] + y))
def test_hyper_parameters(place, data):
    file = place / 'hyp.yaml'
    file.write_bytes(data)
    with bounded(megabytes=48, seconds=10), refusals():
        hyp = load_hyp(file)
        assert all(math.isfinite(value) and KEYS[key].low <= value <= KEYS[key].high for key, value in hyp.items())


def test_good_ones_are_good(place):
    """What the damage starts from is not refused for another reason."""
    for content in GOOD:
        (place / 'data.yaml').write_bytes(content)
        assert load_data('data.yaml', need=()).names
    assert load_data(yaml.safe_load(GOOD[0]), autodownload=False).train == (place / 'images/train',)
    (place / 'hyp.yaml').write_bytes(HYPS[0])
    assert load_hyp('hyp.yaml')['lr0'] == 0.01
