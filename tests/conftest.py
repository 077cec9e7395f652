from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import workers
from tests.tiny import Tiny, logged_lines, make_tiny


def pytest_configure(config: pytest.Config) -> None:
    """Set up parallel processes, see tests/workers.py.

    And let Ctrl-C be what it is: a shell's background jobs ignore it, and so would all that the tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workers.take_a_core()
    config.pluginmanager.register(workers.Reports())
    config.pluginmanager.register(workers.Deaths())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return workers.how_many()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `cuda` (or `cuda(2)`, of two cards) are skipped, with the reason, where there is no GPU for them."""
    cards = max((mark.args[0] if mark.args else 1 for mark in item.iter_markers('cuda')), default=0)
    if cards and (reason := _no_gpu(cards)):
        pytest.skip(reason)


@cache
def _no_gpu(cards: int) -> str:
    from tools.gpu_check import find_cards, missing

    return missing(str(cards - 1), find_cards())


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> Tiny:
    """A data set and a model with which a run takes a second; not to be changed."""
    return make_tiny(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='session')
def exports(tmp_path_factory) -> dict[str, Path]:
    """A small model as checkpoint and in every form that it is exported in, see tests/models/exports.py."""
    from tests.models.exports import write_exports

    return write_exports(tmp_path_factory.mktemp('exports'))


@pytest.fixture
def messages() -> Iterator[Callable[[], str]]:
    """A function that gives what was logged so far."""
    with logged_lines() as lines:
        yield lambda: '\n'.join(lines)
