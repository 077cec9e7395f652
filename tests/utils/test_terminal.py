from __future__ import annotations

import io
import logging

import pytest

from utils.errors import DataError, run_main
from utils.log import LOGGER, set_logging
from utils.terminal import counted, printable, shortened, showable_lines


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('bus.jpg', 'bus.jpg'),
        ('\udcb2\udce2.jpg', '\\xb2\\xe2.jpg'),  # bytes that are not UTF-8, as os.fsdecode keeps them
        ('a\x1b[2Jb', 'a\\x1b[2Jb'),
        ('a\nb\tc', 'a\\x0ab\\x09c'),
        ('a\u202egpj.exe', 'a\\u202egpj.exe'),
        ('猫 😀 é', '猫 😀 é'),
        (3.5, '3.5'),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_long_text_loses_its_middle():
    assert printable('a' * 50 + 'b' * 50, 23) == 'a' * 10 + '...' + 'b' * 10
    assert shortened('abc', 3) == 'abc'


def test_counted():
    assert [counted(n, 'repeated row') for n in (0, 1, 2)] == ['0 repeated rows', '1 repeated row', '2 repeated rows']
    assert [counted(n, 'box', 'boxes') for n in (1, 2)] == ['1 box', '2 boxes']


def test_lines_keep_their_layout_and_colours():
    assert showable_lines('\x1b[1m\x1b[34mval: \x1b[0ma\n\tb\x1b[2J\x9b2J') == (
        '\x1b[1m\x1b[34mval: \x1b[0ma\n\tb\\x1b[2J\\x9b2J'
    )


def test_no_name_breaks_a_log_line_or_reaches_the_terminal():
    set_logging()
    sink = io.TextIOWrapper(io.BytesIO(), encoding='utf-8')
    handler = logging.StreamHandler(sink)
    handler.setFormatter(LOGGER.handlers[0].formatter)
    LOGGER.addHandler(handler)
    try:
        LOGGER.info('image 1/1 \udcb2\udce2.jpg: a\x1b]0;title\x07')
    finally:
        LOGGER.removeHandler(handler)
    sink.flush()
    assert sink.buffer.getvalue() == b'image 1/1 \\xb2\\xe2.jpg: a\\x1b]0;title\\x07\n'


def test_an_error_is_shown_in_a_line_of_bearable_length(capsys):
    def main(argv):
        raise DataError('\udcb2.yaml: \x1b[2J' + 'x' * 10**6)

    assert run_main(main, []) == 1
    line = capsys.readouterr().err
    assert line.startswith('Error: \\xb2.yaml: \\x1b[2Jxxx')
    assert len(line) < 2100
