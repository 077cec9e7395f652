"""Waiting for what other processes and threads do: for an event, never for a time. How long that takes depends on what
else the machine does, so only pytest's own limit ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path


def wait_until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds."""
    while not condition():
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def alive(pids: Iterable[int]) -> list[int]:
    """Those that still run; one that its parent has not yet buried does not."""
    return [pid for pid in pids if _state(pid) not in ('', 'Z')]


def stopped(pid: int) -> bool:
    """Whether a process stands still after SIGSTOP."""
    return _state(pid) == 'T'


def _state(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ''
