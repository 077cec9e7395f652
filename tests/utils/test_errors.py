"""A user's mistake is one line and an exit code; a bug keeps its traceback."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from utils.errors import DataError, Terminated, UsageError, check_range, run_main, sigterm_as_ctrl_c
from utils.paths import ROOT


def raises(error):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize(
    ('error', 'code', 'line'),
    [
        (DataError('a.yaml: has no names', 'add a list'), 1, 'Error: a.yaml: has no names. Add a list'),
        (DataError('a.yaml: empty'), 1, 'Error: a.yaml: empty'),
        (UsageError('--img x: not a number', 'give one'), 2, 'Error: --img x: not a number. Give one'),
        (OSError(errno.ENOSPC, 'No space left on device', 'last'), 1, 'Error: last: No space left on device'),
        (KeyboardInterrupt(), 130, 'Error: Interrupted'),
        (KeyboardInterrupt('Interrupted. Go on'), 130, 'Error: Interrupted. Go on'),
        (Terminated(), 143, 'Error: Terminated'),
    ],
)
def test_one_line_and_a_code(capfd, error, code, line):
    assert run_main(raises(error), []) == code
    assert capfd.readouterr().err == line + '\n'


@pytest.mark.parametrize(('value', 'limits', 'said'), [
    (0, (1,), '--max-det 0: out of range. It has to be 1 or more'),
    (1.5, (0, 1), '--max-det 1.5: out of range. It has to be between 0 and 1'),
    (float('nan'), (0, 1), '--max-det nan: out of range'),
])  # fmt: skip
def test_a_value_out_of_range(value, limits, said):
    with pytest.raises(UsageError, match=said):
        check_range('max_det', value, *limits)
    check_range('max_det', 1, *limits)


@pytest.mark.parametrize('call', [
    'sigterm_raises()',
    'tidying_goes_on(signal.SIGINT, KeyboardInterrupt)',
    'tidying_goes_on(signal.SIGTERM, Terminated)',
])  # fmt: skip
def test_sigterm_raises_once_where_asked_for(call):
    """In a process of its own: a signal that comes late would end the tests' one."""
    code = f'from tests.utils.test_errors import *; {call}'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


def sigterm_raises():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


def tidying_goes_on(number, error):
    """As when a launcher gets Ctrl-C, and then ends its processes."""
    before, tidied = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)], []
    with pytest.raises(KeyboardInterrupt) as stop, sigterm_as_ctrl_c():
        try:
            with sigterm_as_ctrl_c():
                os.kill(os.getpid(), number)
                time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            tidied.append(True)
    assert (stop.type, tidied) == (error, [True])
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_leaves_sigterm_alone():
    seen, before = [], signal.getsignal(signal.SIGTERM)

    def look():
        with sigterm_as_ctrl_c():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize('error', [MemoryError('9 GB'), OSError(errno.ENOMEM, 'Cannot allocate memory')])
def test_out_of_memory_names_the_mend(capfd, error):
    assert run_main(raises(error), []) == 1
    assert '--batch-size' in capfd.readouterr().err


def test_success_is_0():
    assert run_main(lambda argv: None, []) == 0


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_main(raises(ZeroDivisionError()), [])


@pytest.mark.parametrize('by', ['option', 'environment'])
def test_debug_shows_the_traceback(capfd, monkeypatch, by):
    if by == 'environment':
        monkeypatch.setenv('YOLO_DEBUG', '1')
    assert run_main(raises(DataError('x')), ['--debug'] if by == 'option' else []) == 1
    assert 'Traceback' in capfd.readouterr().err


def test_an_error_crosses_a_process_boundary_whole():
    error = pickle.loads(pickle.dumps(DataError('a: b', 'mend it')))
    assert (str(error), error.mend) == ('a: b. Mend it', 'mend it')
