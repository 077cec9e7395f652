"""Parallel test processes (pytest-xdist): a core each, reports that can always be sent, and no end without a word.

The rest is in pyproject.toml: a process that dies is not replaced (its successor would run the same test, and with
--dist loadfile the run then hangs), and a test that is stuck in C code, where pytest-timeout's signal does not reach
it, ends its process after all threads' tracebacks are printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

MEMORY = 3 << 30  # bytes that a process and what it starts take at most (measured: 2.1 and 0.7 GB)


def take_a_core() -> None:
    """Give this process a core of its own if it is a parallel one: computing threads that share cores wait for one
    another.
    """
    worker = os.environ.get('PYTEST_XDIST_WORKER')
    if worker:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix('gw')) % len(cores)]})


def how_many() -> int:
    """Processes for `-n auto`: one for each core that may be used, as long as memory is enough for all.

    Without memory the system kills one of them.
    """
    from utils.cpu import cores
    from utils.memory import available_memory

    return max(1, min(cores(), available_memory() // MEMORY))


class Reports:
    """In every process: what a report holds can be sent, whatever a test printed or logged."""

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, Any, Any]:
        return sendable((yield))


def sendable(data: Any) -> Any:
    """The same without lone surrogates, which stand for undecodable bytes of file names: they end the sender."""
    if isinstance(data, str):
        return data.encode(errors='backslashreplace').decode()
    if isinstance(data, dict):
        return {sendable(key): sendable(value) for key, value in data.items()}
    return type(data)(map(sendable, data)) if isinstance(data, (list, tuple)) else data


class Deaths:
    """In the process that hands out tests: one that dies fails the run, whatever it was doing, and is told about.

    pytest-xdist names a test that ran. But one that dies while it collects, or after its last test, would leave the
    exit code at 0.
    """

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if node := getattr(report, 'node', None):
            self.last[node.gateway.id] = report.nodeid

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        if error:
            name = node.gateway.id
            where = f'its last report was of {self.last[name]}' if name in self.last else 'it had reported nothing'
            self.lines.append(f'{name} ended ({_how(node)}); {where}. Tests that were still to run are left out')

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.lines:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for line in self.lines:
            terminalreporter.write_line(line, red=True)


def _how(node: Any) -> str:
    """The exit code or signal of a test process that is gone."""
    with suppress(AttributeError, subprocess.TimeoutExpired):  # the process is no part of execnet's interface
        code = node.gateway._io.popen.wait(10)
        return f'exit code {code}' if code >= 0 else signal.Signals(-code).name
    return 'it no longer answers'
