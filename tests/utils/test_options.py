"""Options: one dataclass read from the command line and from Python alike."""

from __future__ import annotations

from dataclasses import dataclass

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


def test_describe():
    assert describe_options(Options()).startswith("weights=['a.pt'], imgsz=640, batch_size=16")
