"""The logger's lines go to stderr, once; colours only where a terminal shows them."""

from __future__ import annotations

import logging

import pytest

from utils import log
from utils.log import LOGGER, colorstr, set_logging


@pytest.fixture(autouse=True)
def _untouched(monkeypatch):
    monkeypatch.setattr(LOGGER, 'handlers', [])
    monkeypatch.setattr(LOGGER, 'propagate', True)
    monkeypatch.setattr(LOGGER, 'level', LOGGER.level)


def test_a_line_appears_once_however_often_logging_is_set(capfd):
    set_logging()
    set_logging()
    LOGGER.info('hello')
    out, err = capfd.readouterr()
    assert (out, err) == ('', 'hello\n')


def test_quiet_keeps_errors(capfd):
    set_logging(verbose=False)
    LOGGER.info('hidden')
    LOGGER.log(logging.ERROR, 'shown')
    assert capfd.readouterr().err == 'shown\n'


def test_colours_on_a_terminal(monkeypatch):
    monkeypatch.setattr(log.sys.stderr, 'isatty', lambda: True, raising=False)
    monkeypatch.delenv('NO_COLOR', raising=False)
    assert colorstr('red', 'bold', 'x') == '\033[31m\033[1mx\033[0m'
    assert colorstr('x') == colorstr('blue', 'bold', 'x')
    monkeypatch.setenv('NO_COLOR', '1')
    assert colorstr('red', 'x') == 'x'


def test_no_colours_in_a_file(monkeypatch):
    monkeypatch.setattr(log.sys.stderr, 'isatty', lambda: False, raising=False)
    assert colorstr('red', 'x') == 'x'
