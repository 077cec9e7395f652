"""Hyper-parameter files are completed and checked, unknown keys refused by name."""

from __future__ import annotations

import pytest

from utils.errors import ConfigError
from utils.hyps import KEYS, load_hyp


def test_missing_keys_take_their_defaults():
    hyp = load_hyp({'lr0': 0.02})
    assert hyp['lr0'] == 0.02
    assert hyp['momentum'] == KEYS['momentum'].default
    assert 'anchors' not in hyp


def test_a_shipped_file_by_bare_name():
    assert load_hyp('hyp.scratch-low.yaml')['box'] == 0.05


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('lr: 0.1', 'unknown hyper-parameter "lr"'),
        ('lr0: fast', "lr0 is 'fast', not a number"),
        ('lr0: true', 'not a number'),
        ('mosaic: 2', 'between 0 and 1'),
        ('lr0: .nan', 'lr0 is nan'),
        ('lr0: .inf', 'lr0 is inf'),
        (f'lr0: [{", ".join("x" * 999)}]', r"^.{,150}lr0 is \['x', 'x', .{,99} not a number"),
        ('- 1', 'not a list of'),
    ],
)
def test_a_wrong_file_names_itself_and_the_key(tmp_path, text, complaint):
    file = tmp_path / 'hyp.mine.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as error:
        load_hyp(file)
    assert str(file) in str(error.value)


def test_no_such_file():
    with pytest.raises(ConfigError, match='nothing.yaml: no such hyper-parameter file'):
        load_hyp('nothing.yaml')
