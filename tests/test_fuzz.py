"""The watch over fuzz tests sees what it is for; the damage it does differs."""

from __future__ import annotations

import mmap
from contextlib import suppress

import pytest

from tests.fuzz import bounded, damaged, fuzzed, refusals
from utils.errors import DataError


def test_bounded_sees_memory_and_endless_loops():
    with bounded(megabytes=64):
        bytearray(1 << 20)
    # Straight from the system: a process that has run for long has as much to give from what it freed.
    with (
        pytest.raises(AssertionError, match='took 1.. MB'),
        bounded(megabytes=64),
        mmap.mmap(-1, 100 << 20) as memory,
    ):
        for _ in range(100):
            memory.write(bytes(1 << 20))
    with pytest.raises(AssertionError, match='took more than 0.2 s'), bounded(megabytes=64, seconds=0.2):
        while True:
            with suppress(Exception):
                sum(range(1000))


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
