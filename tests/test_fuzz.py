"""The watch over fuzz tests sees what it is for; the damage it does differs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.fuzz import damaged, fuzzed, refusals
from utils.errors import DataError
from utils.paths import ROOT

WATCHED = """
from contextlib import suppress
from tests.fuzz import bounded

def loop():
    while True:
        with suppress(Exception):
            sum(range(1000))

for work, limits in (
    (lambda: b'a' * (1 << 20), {}), (lambda: b'a' * (100 << 20), {}), (loop, {'seconds': 0.2}),
):
    try:
        with bounded(megabytes=64, **limits):
            work()
        print('fine')
    except AssertionError as problem:
        print(problem)
"""


def test_bounded_sees_memory_and_endless_loops():
    """In a process of its own: one that has run many tests takes what it needs from what it freed."""
    done = subprocess.run([sys.executable, '-c', WATCHED], cwd=ROOT, capture_output=True, text=True)
    fine, memory, seconds = done.stdout.splitlines()
    assert (fine, seconds, done.returncode) == ('fine', 'took more than 0.2 s of the processor', 0), done.stderr
    assert re.fullmatch(r'took 1\d\d MB', memory)


def test_refusals_are_short_errors_for_users():
    with refusals():
        raise DataError('a.txt: no image', 'take another')
    with pytest.raises(AssertionError, match='a message of 3'), refusals():
        raise DataError('a' * 3000, '')
    with pytest.raises(KeyError), refusals(ValueError):
        raise KeyError


def test_damaged_files_differ_and_repeat():
    seen: list[bytes] = []

    @fuzzed(200, data=damaged([b'0123456789', b'']))
    def collect(data):
        seen.append(data)

    collect()
    first = list(seen)
    seen.clear()
    collect()
    assert seen == first
    assert len(set(seen)) > 40
    assert min(map(len, seen)) == 0
