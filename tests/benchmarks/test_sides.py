"""Who has which turn, who drops out, and what passes through the pipe to a child process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.gpu import on_gpu
from benchmarks.plan import OURS, Job
from benchmarks.sides import SAME, Command, Side, SideError, Worker, race
from tests.waiting import stopped, wait_until


class Fake:
    """A side that takes so many seconds and notes its turns."""

    about = 'a fake'

    def __init__(self, name, seconds, turns, checks=((1.0, 2.0), (1.0, 2.0)), fails=''):
        self.name, self.seconds, self.turns, self.checks, self.fails = name, seconds, turns, list(checks), fails
        self.closed = False

    def prepare(self):
        self._fail('prepare')
        return list(self.checks[0])

    def run(self, times):
        self._fail('run')
        self.turns.append((self.name, times))
        return self.seconds

    def check(self):
        return list(self.checks[1])

    def peak(self):
        return 100

    def close(self):
        self.closed = True

    def _fail(self, when):
        if self.fails == when:
            raise SideError('out of breath')


def test_turns_alternate_after_the_warm_up():
    turns = []
    sides = {name: Fake(name, seconds, turns) for name, seconds in (('ours', 0.02), ('theirs', 0.04))}
    result = race(sides, rounds=3, warm_up=2, least=0.1)
    assert turns == [('ours', 2), ('theirs', 2)] + [('ours', 3), ('theirs', 3)] * 3  # 0.1 s are three of 0.04 s
    assert result.values == {'ours': [0.02] * 3, 'theirs': [0.04] * 3}
    assert result.peaks == {'ours': 100, 'theirs': 100}
    assert result.dropped == {}
    assert all(side.closed for side in sides.values())


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'fails': 'prepare'}, 'out of breath'),
        ({'fails': 'run'}, 'out of breath'),
        ({'checks': ((1.0, 2.001), (1.0, 2.0))}, 'computes something else: 1, 2.001 and not 1, 2'),
        ({'checks': ((1.0, 2.0), (1.0, 2.2))}, 'computes something else: 1, 2.2 and not 1, 2'),
        ({'checks': ((1.0,), (1.0, 2.0))}, 'computes something else: 1 and not 1, 2'),
        ({'checks': ((float('nan'), 2.0), (1.0, 2.0))}, 'computes something else: nan, 2 and not 1, 2'),
    ],
)
def test_who_fails_or_differs_drops_out(changes, reason):
    sides = {'ours': Fake('ours', 1, []), 'theirs': Fake('theirs', 1, [], **changes), 'third': Fake('third', 1, [])}
    result = race(sides, rounds=2)
    assert result.dropped == {'theirs': reason}
    assert set(result.values) == {'ours', 'third'}
    assert sides['theirs'].closed


@pytest.mark.parametrize('checks', [((1.0, 2.00005), (1.0, 2.05)), ((), ())])
def test_small_differences_and_no_numbers_are_fine(checks):
    sides = {'ours': Fake('ours', 1, []), 'theirs': Fake('theirs', 1, [], checks=checks)}
    assert set(race(sides, rounds=1).values) == {'ours', 'theirs'}


def test_figures_of_a_gpu_pass_with_tf32s_rounding():
    """Eleven bits in convolutions: losses a few thousandths apart are the same network."""
    job = Job({OURS: Side(OURS, 'python', 'ours')}, {}, '', [], [], '', Path(), 0)
    same = next(on_gpu(job, 1)).same
    checks = (1.0, 2.01), (1.0, 2.0)
    for tolerance, kept in ((same, {'ours', 'theirs'}), (SAME, {'ours'})):
        sides = {'ours': Fake('ours', 1, []), 'theirs': Fake('theirs', 1, [], checks=checks)}
        assert set(race(sides, rounds=1, same=tolerance).values) == kept


def test_a_worker_over_its_pipe():
    """A real child process, with the case that needs the least."""
    worker = Worker(Side('ours', sys.executable, 'ours'), {'kind': 'nms', 'count': 50})
    kept, *_, label = worker.prepare()
    assert 1 <= kept <= 50
    assert 0 <= label < 80
    assert worker.run(2) > 0
    wait_until(lambda: stopped(worker.process.pid))
    assert 30 << 20 < worker.peak() < 4 << 30
    with pytest.raises(SideError, match="KeyError: 'no such kind'"):
        worker.ask(prepare={'kind': 'no such kind'})
    worker.close()
    assert worker.process.returncode == 0


def test_a_worker_that_ends_says_its_last_words(tmp_path):
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\necho no such library >&2\nexit 3\n')
    script.chmod(0o755)
    worker = Worker(Side('theirs', str(script), 'pytorch'), {'kind': 'nms', 'count': 5})
    with pytest.raises(SideError, match=r'its process ended \(no such library\)'):
        worker.prepare()
    worker.close()


def test_commands():
    assert Command([sys.executable, '-S', '-c', 'import time; time.sleep(0.2)']).run(1) >= 0.2
    with pytest.raises(SideError, match='failed: not today'):
        Command([sys.executable, '-S', '-c', 'raise SystemExit("not today")']).run(1)
    with pytest.raises(SideError, match='still there after 0 s'):
        Command([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], timeout=0.3).run(1)
