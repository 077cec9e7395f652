"""What is compared: child processes and commands, run in turns so that a busy moment hits all alike.

values = race({'ours': Worker(...), 'PyTorch': Worker(...)}, rounds=10)   # A B A B ...
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from utils.paths import ROOT

SAME, STILL_SAME = 1e-4, 0.05  # how far numbers may be apart at first, and after some training steps
TF32 = 1e-2  # at first, where convolutions may round to eleven bits, as both libraries let them from Ampere on
LEAST = 0.1  # seconds that the slowest side is timed for at once


class SideError(Exception):
    """A side can't do what it was asked to; the text says why."""


class Contestant(Protocol):
    """Something that can be timed against others."""

    def prepare(self) -> list[float]:
        """Get ready; gives numbers that all sides have to agree on."""

    def run(self, times: int) -> float:
        """The seconds of a repetition, over so many."""

    def check(self) -> list[float]:
        """The numbers again, after some repetitions."""

    def peak(self) -> int:
        """Most memory it had, in bytes; 0 where that isn't known."""

    def close(self) -> None:
        """End what was started."""


@dataclass(frozen=True)
class Side:
    """One of those compared: its name in the tables, the interpreter, the kind of kit, and the checkout of a kit that
    needs one."""

    name: str
    python: str
    kind: str
    checkout: str = ''


class Worker:
    """A child process of `benchmarks.worker` with one case. It stands still between requests, its threads and its own
    child processes with it."""

    def __init__(self, side: Side, case: dict, device: str = 'cpu') -> None:
        self.side, self.case, self.device = side, case, device
        self.process: subprocess.Popen | None = None
        self.log: Any = None
        self.about = ''

    def prepare(self) -> list[float]:
        words = [self.side.python, '-m', 'benchmarks.worker', self.side.kind, self.device]
        self.log = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self.process = subprocess.Popen(
            words + [self.side.checkout] * bool(self.side.checkout),
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            preexec_fn=os.setpgrp,
        )
        answer = self.ask(prepare=self.case)
        self.about = answer['about']
        return answer['check']

    def run(self, times: int) -> float:
        return self.ask(run=times)['value']

    def check(self) -> list[float]:
        return self.ask(check=1)['check']

    def peak(self) -> int:
        return self.ask(peak=1)['peak']

    def ask(self, **request: Any) -> dict:
        """One request, one answer.

        Raises:
            SideError: it ended, or says that it can't.
        """
        self._signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request) + '\n')
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or '{}')
        except BrokenPipeError:
            answer = {}
        self._signal(signal.SIGSTOP)
        if not answer:
            self.log.seek(0)
            last = self.log.read().strip().splitlines()[-1:]
            raise SideError(f'its process ended ({last[0] if last else f"exit code {self.process.wait()}"})')
        if 'error' in answer:
            raise SideError(answer['error'])
        return answer

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        if self.process is not None:
            self._signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.process.wait()
            self.process.stdout.close()
            self.log.close()


class Command:
    """A whole process, from its start to its end."""

    about = ''

    def __init__(self, words: Sequence[str], cwd: str = '', timeout: float = 1800) -> None:
        self.words, self.cwd, self.timeout = list(words), cwd or str(ROOT), timeout

    def prepare(self) -> list[float]:
        return []

    def run(self, times: int) -> float:
        return sum(self._once() for _ in range(times)) / times

    def _once(self) -> float:
        with tempfile.TemporaryFile('w+') as log:
            start = time.perf_counter()
            process = subprocess.Popen(
                self.words, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                code = f'still there after {self.timeout:.0f} s'
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # a launcher's processes, too
                    process.wait()
            seconds = time.perf_counter() - start
            if code:
                log.seek(0)
                last = log.read().strip().splitlines()[-1:]
                raise SideError(f'{" ".join(self.words[1:4])} ... failed: {last[0] if last else code}')
        return seconds

    def check(self) -> list[float]:
        return []

    def peak(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing of it is left between runs."""


@dataclass
class Race:
    """What came of it: for each side its values round by round and its peak memory; who dropped out, and why."""

    values: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


def race(
    sides: Mapping[str, Contestant], rounds: int, warm_up: int = 2, least: float = LEAST, same: float = SAME
) -> Race:
    """Run all sides in turns, `rounds` times, after `warm_up` repetitions of each that don't count.

    Sides that can't run drop out, and those whose first numbers are off the first side's by more than `same`, relative.
    """
    result, first = Race(), {}
    running = dict(sides)

    def each(action: Any) -> dict[str, Any]:
        done = {}
        for name in list(running):
            try:
                done[name] = action(running[name])
            except SideError as problem:
                result.dropped[name] = str(problem)
                running.pop(name)
        return done

    try:
        first = each(lambda side: side.prepare())
        _drop_strangers(first, running, result.dropped, same)
        seconds = each(lambda side: side.run(warm_up)) if warm_up else {}
        _drop_strangers(each(lambda side: side.check()), running, result.dropped, STILL_SAME)
        times = max(1, math.ceil(least / max(seconds.values()))) if seconds and max(seconds.values()) > 0 else 1
        turns = [each(lambda side: side.run(times)) for _ in range(rounds)]
        result.values = {name: [turn[name] for turn in turns] for name in running}
        result.peaks = each(lambda side: side.peak())
        result.about = {name: side.about for name, side in running.items()}
    finally:
        for side in sides.values():
            side.close()
    return result


def _drop_strangers(
    checks: Mapping[str, Sequence[float]], running: dict[str, Any], dropped: dict[str, str], tolerance: float
) -> None:
    """Take out the sides whose numbers are not those of the first one. Without numbers nothing is compared."""
    names = [name for name in checks if name in running and checks[name]]
    for name in names[1:]:
        wanted, got = checks[names[0]], checks[name]
        same = len(wanted) == len(got) and all(math.isclose(a, b, rel_tol=tolerance) for a, b in zip(wanted, got))
        if not same:
            dropped[name] = f'computes something else: {_numbers(got)} and not {_numbers(wanted)}'
            running.pop(name)


def _numbers(values: Sequence[float]) -> str:
    return ', '.join(f'{value:.6g}' for value in values)
