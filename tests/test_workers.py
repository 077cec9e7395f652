"""However a parallel test process ends, the whole run ends, fails, and says which test it was. Each is tried on a small
run with the ordinary configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import workers
from tests.workers import sendable
from utils.paths import ROOT

FINE = 'def test_fine(): pass\n'
TEST = 'from signal import *\ndef test_fine(): pass\ndef test_guilty():\n    {body}\ndef test_next(): pass\n'
HOOK = 'import os\ndef {hook}():\n    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":\n        os._exit(0)\n'


def run(folder: Path, *words: str, **files: str) -> tuple[int, str]:
    """The exit code and output of a run of these files in two processes."""
    for name, code in files.items():
        (folder / f'{name}.py').write_text(code)
    ours = ['-c', str(ROOT / 'pyproject.toml'), '-p', 'tests.conftest', '-p', 'no:cacheprovider']
    command = [sys.executable, '-m', 'pytest', *ours, '-n', '2', '--dist', 'loadfile', *words, str(folder)]
    # What tells this process which worker it is would tell that run's main process the same.
    alone = {name: value for name, value in os.environ.items() if not name.startswith('PYTEST_XDIST')}
    done = subprocess.run(command, cwd=ROOT, env=alone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def test_one_dies_in_a_test(tmp_path):
    """Another one's report meanwhile holds an undecodable file name."""
    logs = "import logging; logging.getLogger().warning('\\udcb2.jpg'); assert 0, '\\udcb2'"
    files = {'test_a': TEST.format(body='raise_signal(SIGSEGV)'), 'test_b': TEST.format(body=logs)}
    code, said = run(tmp_path, **files)
    assert code == 1
    assert 'test_a.py::test_guilty - worker ' in said
    assert 'ended (SIGSEGV); its last report was of test_a.py::test_guilty. Tests that were still' in said
    assert 'in test_guilty' in said  # faulthandler's traceback
    assert '\\udcb2.jpg' in said
    assert '2 failed, 3 passed' in said


@pytest.mark.parametrize(('hook', 'when'), [
    ('pytest_collection_finish', 'it had reported nothing'),
    ('pytest_sessionfinish', 'its last report was of test_'),
])  # fmt: skip
def test_one_dies_outside_of_tests(tmp_path, hook, when):
    code, said = run(tmp_path, conftest=HOOK.format(hook=hook), test_a=FINE, test_b=FINE)
    assert code == 1
    assert f'gw0 ended (exit code 0); {when}' in said


def test_one_is_stuck_where_no_signal_is_seen(tmp_path):
    """As in C code that waits for ever."""
    body = 'pthread_sigmask(SIG_BLOCK, [SIGALRM]); pause()'
    limits = ('-o', 'timeout=0.5', '-o', 'faulthandler_timeout=1')
    code, said = run(tmp_path, *limits, test_a=TEST.format(body=body), test_b=FINE)
    assert code == 1
    assert 'in test_guilty' in said
    assert 'test_a.py::test_guilty - worker ' in said


def test_as_many_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr('utils.cpu.cores', lambda: 4)
    for gigabytes, expected in ((100, 4), (7, 2), (1, 1)):
        monkeypatch.setattr('utils.memory.available_memory', lambda free=gigabytes << 30: free)
        assert workers.how_many() == expected


def test_only_what_cannot_be_sent_is_changed():
    data = {'a': ['猫 😀', ('x\udcb2', 3, None)], 'b': b'x'}
    assert sendable(data) == {'a': ['猫 😀', ('x\\udcb2', 3, None)], 'b': b'x'}
