"""Processes that meet, wait for each other, tell each other values, and end together; without OneFlow, for speed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher import free_port
from tests.waiting import alive, wait_until
from utils import peers
from utils.paths import ROOT

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from utils import peers, rendezvous
from utils.distributed import is_main, local_world_size, rank
from utils.errors import DataError
{before}
with peers.together():
{body}
print('alone again' if peers.exchange(1) == [1] else '')
"""


def ranks(
    folder: Path, body: str, count: int = 2, start: int | None = None, before: str = '', port: int = 0
) -> list[subprocess.Popen]:
    """That many processes that run `body` together; what they say goes to a file each.

    Args:
        start: how many of them are really started.
        before: what each does before.
    """
    program = PROGRAM.format(body='\n'.join(f'    {line}' for line in body.splitlines()), before=before)
    port, started = str(port or free_port()), []
    for number in range(count if start is None else start):
        place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': str(count), 'RANK': str(number)}
        environment = os.environ | place | {'LOCAL_RANK': str(number)}
        with open(folder / f'{number}.txt', 'w') as said:
            command = [sys.executable, '-u', '-c', program]
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said))
    return started


def finish(folder: Path, processes: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """Exit codes, and what was said; by rank."""
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [(folder / f'{number}.txt').read_text() for number in range(len(processes))]


def wait_for_line(file: Path, line: str) -> None:
    wait_until(lambda: line in file.read_text())


def test_values_and_turns(tmp_path):
    body = f"""
print(peers.exchange({{'rank': rank()}}), peers.share(rank() + 5), local_world_size())
place = Path({str(tmp_path)!r})
with peers.in_turn():
    print([(place / name).exists() for name in 'abc'[:1 if rank() else 3]])
    if rank() == 0:
        time.sleep(0.3)
    (place / 'abc'[rank()]).touch()
    while rank() and not ((place / 'b').exists() and (place / 'c').exists()):
        time.sleep(0.01)
"""
    codes, said = finish(tmp_path, ranks(tmp_path, body, 3))
    assert codes == [0] * 3, said
    values, seen, ends = zip(*(text.splitlines() for text in said))
    assert values == ("[{'rank': 0}, {'rank': 1}, {'rank': 2}] 5 3",) * 3
    # Process 0 went first, and the others, on its machine, at one time: each waits for the other.
    assert seen == ('[False, False, False]', '[True]', '[True]')
    assert ends == ('alone again',) * 3


@pytest.mark.parametrize('guilty', [0, 1])
def test_the_cause_is_printed_once_by_process_0(tmp_path, guilty):
    body = f"""
if rank() == {guilty}:
    raise DataError('x.txt: bad', 'mend it')
time.sleep(60) if rank() else peers.exchange()
"""
    codes, said = finish(tmp_path, ranks(tmp_path, body))
    assert codes == [1, 1]
    assert said == ['Error: x.txt: bad. Mend it\n', '']


def test_all_fail_alike_and_one_tells(tmp_path):
    codes, said = finish(tmp_path, ranks(tmp_path, "raise ValueError('a bug of ours')", 3))
    assert codes == [1] * 3
    assert ''.join(said).count('ValueError: a bug of ours') == 1
    assert said[0].startswith('Process ')
    assert 'Traceback' in said[0]


@pytest.mark.parametrize('victim', [0, 1, 2])
def test_one_is_killed(tmp_path, victim):
    body = "print('here')\ntime.sleep(60)"
    processes = ranks(tmp_path, body, 3)
    for number in range(3):
        wait_for_line(tmp_path / f'{number}.txt', 'here')
    processes[victim].kill()
    codes, said = finish(tmp_path, processes)
    assert [code for number, code in enumerate(codes) if number != victim] == [1, 1]
    assert ''.join(said).count(f'Error: process {victim} ended without a word') == 1


@pytest.mark.parametrize(
    ('number', 'code', 'word'), [(signal.SIGINT, 130, 'Interrupted'), (signal.SIGTERM, 143, 'Terminated')]
)
def test_a_signal_ends_all(tmp_path, number, code, word):
    processes = ranks(tmp_path, "print('here')\nwhile True: peers.exchange(); time.sleep(0.01)")
    for place in range(2):
        wait_for_line(tmp_path / f'{place}.txt', 'here')
    processes[1].send_signal(number)
    codes, said = finish(tmp_path, processes)
    assert codes == [code, code]
    assert said == [f'here\nError: {word}\n', 'here\n']


def test_signals_to_all_end_them_at_once(tmp_path):
    """And not after the time that process 0 gives another."""
    processes = ranks(tmp_path, "peers.GRACE = 1000\nprint('here')\ntime.sleep(1000)")
    for place in range(2):
        wait_for_line(tmp_path / f'{place}.txt', 'here')
    for process in processes:
        process.send_signal(signal.SIGTERM)
    codes, said = finish(tmp_path, processes)
    assert codes == [143, 143]
    assert said == ['here\nError: Terminated\n', 'here\n']


def test_the_others_stay_until_process_0_has_tidied_up(tmp_path):
    """OneFlow's threads print a stack trace when they miss another process."""
    body = """
peers.GRACE = 60
others = peers.exchange(os.getpid())
if rank():
    raise DataError('x.txt: bad')
try:
    time.sleep(60)
finally:
    time.sleep(1)
    print(open(f'/proc/{others[1]}/stat').read().split()[2] not in 'ZX')
"""
    codes, said = finish(tmp_path, ranks(tmp_path, body))
    assert codes == [1, 1]
    assert said == ['Error: x.txt: bad\nTrue\n', '']


def test_ends_though_the_main_thread_hears_nothing(tmp_path):
    """As inside a collective that waits for a process which is gone: signals reach no Python code there."""
    body = "print('here')\nsignal.signal(signal.SIGINT, lambda *_: None)\nprint('deaf')\ntime.sleep(60)"
    processes = ranks(tmp_path, body)
    wait_for_line(tmp_path / '0.txt', 'deaf')
    processes[0].send_signal(signal.SIGINT)
    codes, said = finish(tmp_path, processes)
    assert codes == [130, 130]
    assert said[0] == 'here\ndeaf\nError: Interrupted\n'


def test_the_launcher_is_gone(tmp_path):
    """The system tells a process with SIGTERM that its parent died."""
    port = free_port()
    program = PROGRAM.format(body='    print(os.getpid(), flush=True)\n    time.sleep(60)', before='')
    launcher = f"""
import os, subprocess, sys, time
place = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT='{port}', WORLD_SIZE='2')
for i in '01':
    subprocess.Popen([sys.executable, '-c', {program!r}], env=os.environ | place | dict(RANK=i, LOCAL_RANK=i))
time.sleep(60)
"""
    with open(tmp_path / 'said.txt', 'w') as said:
        process = subprocess.Popen([sys.executable, '-c', launcher], cwd=ROOT, stdout=said, stderr=said)
    wait_until(lambda: len((tmp_path / 'said.txt').read_text().split()) == 2)
    children = [int(child) for child in (tmp_path / 'said.txt').read_text().split()]
    process.kill()
    process.wait()
    wait_until(lambda: not alive(children))
    assert (tmp_path / 'said.txt').read_text().count('Error: ') == 1


OUT_OF_PATIENCE = """
judge = rendezvous._judge
def judge_last(*args):
    rendezvous.PATIENCE = 0
    return judge(*args)
rendezvous._judge = judge_last
"""


def test_one_that_does_not_come(tmp_path):
    """Process 0, whose patience is over when one other has come, says which, and ends that."""
    codes, said = finish(tmp_path, ranks(tmp_path, 'print("here")', 3, start=2, before=OUT_OF_PATIENCE))
    assert codes == [1, 1]
    assert said[0].startswith('Error: after 0 minutes 1 of 3 processes did not come to 127.0.0.1, port ')
    assert said[1] == ''


def test_a_port_that_is_taken(tmp_path):
    port = free_port()
    with socket.create_server(('127.0.0.1', port - 10_000)):
        codes, said = finish(tmp_path, ranks(tmp_path, 'print("here")', 2, start=1, port=port))
    assert codes == [2]
    assert said[0].startswith(f'Error: process 0 cannot listen on port {port - 10_000} of 127.0.0.1: ')


def test_a_network_may_be_silent_for_minutes():
    with socket.create_server(('127.0.0.1', 0)) as server, socket.create_connection(server.getsockname()) as connection:
        peers.Peers()._know(1, connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert 120 <= idle + interval * count <= 600


def test_alone_nothing_happens():
    with peers.together(), peers.in_turn():
        assert peers.exchange('x') == ['x']
        assert peers.share(3) == 3
