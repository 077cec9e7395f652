"""Options: one dataclass read from the command line and from Python alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.errors import UsageError
from utils.options import describe_options, make_options, option, parse_options


@dataclass
class Options:
    weights: list = option(['a.pt'], nargs='+', help='files')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='size')
    batch_size: int = option(16, help='batch')
    iou_thres: float = option(0.6, help='iou')
    cfg: str = option(None, help='model')
    nosave: bool = option(False, help='switch')
    evolve: int = option(None, nargs='?', const=300, type=int, help='generations')


def parse(*words: str) -> Options:
    return parse_options(Options, list(words), 'Test.', 'test.py')


def test_defaults_and_every_spelling():
    assert parse() == Options(['a.pt'], 640, 16, 0.6, None, False, None)
    for flag in ('--imgsz', '--img', '--img-size'):
        assert parse(flag, '320').imgsz == 320
    assert parse('--batch', '4', '--iou', '0.65', '--nosave') == Options(['a.pt'], 640, 4, 0.65, None, True, None)
    assert parse('--weights', 'b.pt', 'c.pt').weights == ['b.pt', 'c.pt']
    assert parse('--evolve').evolve == 300
    assert parse('--evolve', '3').evolve == 3
    assert parse('--debug') == parse()


def test_default_lists_are_not_shared():
    parse().weights.append('x')
    assert parse().weights == ['a.pt']


@pytest.mark.parametrize('words', [['--no-such'], ['--imgsz', 'wide'], ['--iou']])
def test_a_wrong_word_is_one_line_with_exit_code_2(words):
    with pytest.raises(UsageError, match=r'^test.py: .*See python test.py --help$') as error:
        parse(*words)
    assert error.value.exit_code == 2
    assert '\n' not in str(error.value)


def test_keywords_from_python():
    assert make_options(Options, imgsz=320).imgsz == 320
    with pytest.raises(UsageError, match='imgszz: no such option. Did you mean imgsz'):
        make_options(Options, imgszz=320)


@dataclass
class Kinds:
    files: list = option(['a.pt'], nargs='+', help='files')
    size: list = option([640], '--imgsz', '--img', nargs='+', type=int, help='size')
    kept: list = option(None, nargs='+', type=int, help='classes')
    batch: int = option(16, help='batch')
    iou_thres: float = option(0.6, help='iou')
    device: str = option('', help='device')
    plots: bool = option(False, help='switch')
    evolve: int = option(None, nargs='?', const=300, type=int, help='generations')
    cache: str = option(None, nargs='?', const='ram', choices=['ram', 'disk'], help='cache')
    task: str = option('val', choices=['val', 'test'], help='task')
    data: Any = option('a.yaml', help='data')


@pytest.mark.parametrize(('name', 'value', 'wanted'), [
    ('files', 'b.pt', ['b.pt']), ('files', Path('b.pt'), ['b.pt']), ('files', ('b', Path('c.pt')), ['b', 'c.pt']),
    ('files', (f'{i}.pt' for i in range(2)), ['0.pt', '1.pt']), ('size', 320, [320]), ('size', '320', [320]),
    ('size', np.int64(320), [320]), ('size', (384.0, np.int32(640)), [384, 640]), ('size', np.array([64]), [64]),
    ('kept', 1, [1]), ('kept', (0, 2), [0, 2]), ('kept', {3}, [3]), ('kept', None, None), ('kept', [], []),
    ('batch', np.int64(4), 4), ('batch', 4.0, 4), ('batch', '4', 4), ('iou_thres', np.float32(0.5), 0.5),
    ('iou_thres', 1, 1), ('iou_thres', '0.5', 0.5), ('device', 0, '0'), ('device', None, ''),
    ('plots', np.True_, True), ('plots', 1, True), ('plots', None, False), ('evolve', True, 300),
    ('evolve', False, None), ('evolve', np.int64(3), 3), ('cache', True, 'ram'), ('cache', 'disk', 'disk'),
    ('cache', False, None), ('data', Path('b.yaml'), 'b.yaml'), ('data', {'nc': 1}, {'nc': 1}),
])  # fmt: skip
def test_values_from_python(name, value, wanted):
    converted = getattr(make_options(Kinds, **{name: value}), name)
    assert (converted, type(converted)) == (wanted, type(wanted))


@pytest.mark.parametrize(('name', 'value', 'line'), [
    ('files', [], '--files: nothing given. Files'), ('files', {'a': 1}, "--files {'a': 1}: not a list"),
    ('size', 'wide', '--imgsz wide: not a whole number'), ('size', [], '--imgsz: nothing given. Size'),
    ('size', None, '--imgsz None: not a whole number'), ('kept', ['a'], '--kept a: not a whole number'),
    ('batch', 1.5, '--batch 1.5: not a whole number'), ('batch', True, '--batch True: not a whole number'),
    ('iou_thres', 'a', '--iou-thres a: not a number'), ('device', ['0'], "--device ['0']: not text"),
    ('plots', 'False', '--plots False: neither True nor False'), ('cache', 'tape', '--cache tape: no such choice.'),
    ('task', 'test ', '--task test : no such choice. There are val, test'),
])  # fmt: skip
def test_a_wrong_value_from_python_is_one_line(name, value, line):
    with pytest.raises(UsageError) as error:
        make_options(Kinds, **{name: value})
    assert str(error.value).startswith(line)


def test_describe():
    assert describe_options(Options()).startswith("weights=['a.pt'], imgsz=640, batch_size=16")
