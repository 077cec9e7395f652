"""What the property-based tests share: how many examples, damaged bytes, and a watch on what one example costs.

In CI the examples are the same in every run. `YOLOV5_FUZZ=10 python -m pytest -k fuzz -o faulthandler_timeout=0` tries
ten times as many, others in every run, for as long as that takes; what fails is printed with a line that repeats it.

    @fuzzed(2000, data=damaged(ORIGINALS))
    def test_fuzz_reader(data):
        with bounded(megabytes=64), refusals():
            read(data)
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.errors import UserError

LONGER = 'YOLOV5_FUZZ'  # the environment variable with how many times as many examples to try
# Numbers that sit at the limits of some integer type.
ODD_INTEGERS = [bytes([n]) * size for n in (0x00, 0x7F, 0x80, 0xFF) for size in (1, 2, 4, 8)]


def examples(n: int) -> int:
    """How many examples to try where a run in CI tries `n`."""
    return max(1, int(n * float(os.environ.get(LONGER, '1'))))


def fuzzed(n: int, /, **strategies: st.SearchStrategy) -> Callable[[Callable], Callable]:
    """Run a test on `n` examples (see `examples`) drawn from strategies by the names of its arguments.

    Fixtures by other names come as they always do, once for all examples.
    """
    longer = LONGER in os.environ
    chosen = settings(
        max_examples=examples(n),
        deadline=None,  # machines differ
        derandomize=not longer,
        print_blob=longer,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    patient = pytest.mark.timeout(examples(600))  # seconds; of the whole test, so more for a longer run
    return lambda test: patient(chosen(given(**strategies)(test)))


def damaged(originals: Sequence[bytes], edits: int = 4, inserts: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """One of some good files after up to `edits` edits: cut, bits flipped, pieces put in, overwritten, repeated, moved.

    Args:
        originals: the good files; the shorter, the more of each is tried.
        inserts: pieces that mean something in the format, inserted and written over.
    """
    pieces = st.sampled_from([*inserts, *ODD_INTEGERS]) | st.binary(min_size=1, max_size=8)
    edit = st.tuples(st.sampled_from(_EDITS), st.integers(0, 2**32), st.integers(0, 2**32), pieces)
    return st.builds(_edited, st.sampled_from(list(originals)), st.lists(edit, max_size=edits))


def _edited(data: bytes, edits: list[tuple[Callable[..., bytes], int, int, bytes]]) -> bytes:
    for edit, at, length, piece in edits:
        start = at % (len(data) + 1)
        data = edit(data, start, start + length % (min(len(data) - start, 4096) + 1), piece)
    return data


_EDITS: list[Callable[[bytes, int, int, bytes], bytes]] = [
    lambda data, start, end, piece: data[:start],
    lambda data, start, end, piece: data[:start] + data[end:],
    lambda data, start, end, piece: data[:start] + piece + data[start:],
    lambda data, start, end, piece: data[:start] + piece + data[start + len(piece) :],
    lambda data, start, end, piece: (
        data[:start] + bytes(b ^ 1 << piece[0] % 8 for b in data[start:][:1]) + data[start + 1 :]
    ),
    lambda data, start, end, piece: data[:start] + data[start:end] * (2 + piece[0] % 16) + data[end:],
    lambda data, start, end, piece: data[:start] + data[end:] + data[start:end],
]


@contextmanager
def refusals(*others: type[Exception]) -> Iterator[None]:
    """Input may be refused by a short error for users, or by one of the others; nothing else may be raised."""
    message = ''
    try:
        yield
    except UserError as problem:
        message = str(problem)
    except others:
        pass
    assert len(message) < 2000, f'a message of {len(message)} characters'


@contextmanager
def bounded(megabytes: float, seconds: float = 30) -> Iterator[None]:
    """Fail where the block makes this process larger by more than that, at any moment, or computes for longer.

    The seconds are those of the processor, whatever else the machine does. They end Python code only: a call of C code
    has to come back first.
    """
    before = _restart_peak()
    previous = signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except _Endless:
        raise AssertionError(f'took more than {seconds} s of the processor') from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
    grown = (_peak() - before) / 1024
    assert grown < megabytes, f'took {grown:.0f} MB'


class _Endless(BaseException):
    """Not an Exception: what is tested may catch those."""


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _Endless


def _restart_peak() -> int:
    """Let the largest size of this process, in kB, be counted from now on, where the system can; that size now."""
    with suppress(OSError), open('/proc/self/clear_refs', 'w') as f:
        f.write('5')
    return _peak()


def _peak() -> int:
    """The largest resident size so far, in kB. Not getrusage's, which a process inherits from who started it."""
    with open('/proc/self/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmHWM:'))
