"""Process 0 lets the run's other processes in and nobody else; all in one process, with threads for the others."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable

import pytest

from tests.launcher import free_port
from utils import rendezvous
from utils.errors import ResourceError, UsageError
from utils.rendezvous import _new_token, _read_line, _token_file, _token_of_process_0, arrivals, connect, join, listen

HOST = '127.0.0.1'


@pytest.fixture
def port(monkeypatch, tmp_path) -> int:
    """A free port; this is a run of three processes."""
    monkeypatch.setenv('WORLD_SIZE', '3')
    monkeypatch.delenv('YOLOV5_TOKEN', raising=False)
    monkeypatch.setattr(rendezvous.tempfile, 'gettempdir', lambda: str(tmp_path))
    return free_port()


def as_rank(number: int, monkeypatch) -> None:
    monkeypatch.setattr(rendezvous, 'rank', lambda: number)


def at_the_side(work: Callable[[], object]) -> tuple[threading.Thread, list]:
    """A thread, and what its work gave or raised."""
    results = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def ask(port: int, line: bytes) -> socket.socket:
    """A stranger that says something."""
    connection = connect(HOST, port, 5)
    _read_line(connection)
    connection.sendall(line)
    return connection


def test_strangers_are_turned_away_and_hold_nobody_up(port, monkeypatch, messages):
    strangers = []

    def others() -> list[socket.socket]:
        hello = {'rank': 1, 'world': 3}
        for line in (
            b'{',
            b'',
            b'GET / HTTP/1.1\r\n',
            json.dumps(hello).encode() + b'\n',
            b'[1e999]\n',
            b'[' * 999 + b'\n',
        ):
            strangers.append(ask(port, line))
        strangers.append(ask(port, json.dumps(hello | {'rank': 1e999, 'signature': 1}).encode() + b'\n'))
        strangers.append(ask(port, json.dumps(hello | {'signature': '\ud800' * 64}).encode() + b'\n'))
        connections = []
        for number in (2, 1):
            as_rank(number, monkeypatch)
            connections.append(join(HOST, port))
        return connections

    thread, joined = at_the_side(others)
    met = dict(arrivals(HOST, port))
    thread.join()
    assert set(met) == {1, 2}
    for number, connection in zip((2, 1), joined[0]):
        met[number].sendall(b'hello\n')
        assert _read_line(connection) == b'hello\n'
    assert [json.loads(_read_line(s)) for s in strangers[2:3] + strangers[-1:]] == [
        'it is no process of ours', 'it has another token; set YOLOV5_TOKEN to the same text for all'
    ]  # fmt: skip
    assert messages().count('it is no process of ours') == 1, 'once for all of them'
    for connection in (*strangers, *met.values(), *joined[0]):
        connection.close()


@pytest.mark.parametrize(
    ('rank', 'world', 'reason'),
    [(5, 3, 'process 5 is there already'), (1, 2, 'it is one of 2 processes, not of 3')],
)
def test_what_does_not_belong_to_this_run(port, rank, world, reason, messages):
    here, there = socket.socketpair()
    hello = {'rank': rank, 'world': world, 'signature': rendezvous._signature(b'token', 'challenge', rank, world)}
    answer = rendezvous.Answer(here, HOST, 'challenge', json.dumps(hello).encode())
    assert rendezvous._judge(answer, b'token', {1, 2}, set()) is None
    assert json.loads(_read_line(there)) == reason
    assert there.recv(1) == b''
    assert f'a connection from 127.0.0.1 was turned away: {reason}' in messages()
    there.close()


def test_another_token_is_refused_and_said_on_both_sides(port, monkeypatch, messages):
    monkeypatch.setattr(rendezvous, '_token_of_process_0', lambda host, port: b'guessed')
    as_rank(1, monkeypatch)
    thread, raised = at_the_side(lambda: list(arrivals(HOST, port)))
    refused = 'refused process 1: it has another token; set YOLOV5_TOKEN to the same text for all'
    with pytest.raises(UsageError, match=refused):
        join(HOST, port)
    monkeypatch.setattr(rendezvous, 'PATIENCE', 0)
    thread.join()
    assert isinstance(raised[0], ResourceError)
    assert str(raised[0]).startswith(
        f'after 0 minutes 2 of 3 processes did not come to {HOST}, port {port}: 1, 2. Check'
    )
    assert 'a connection from 127.0.0.1 was turned away: it has another token' in messages()


def test_nobody_there(port, monkeypatch, messages):
    monkeypatch.setattr(rendezvous, 'PATIENCE', 0.3)
    monkeypatch.setattr(rendezvous, 'NOTICE', 0)
    as_rank(2, monkeypatch)
    with pytest.raises(
        ResourceError, match=f'process 2 found no process 0 at 127.0.0.1, port {port}. Check --master_a'
    ):
        join(HOST, port)
    assert messages().count(f'Process 2 is waiting for process 0 at 127.0.0.1, port {port}') == 1


def test_a_process_of_another_program_on_the_port_is_not_taken_for_process_0(port, monkeypatch):
    monkeypatch.setattr(rendezvous, 'PATIENCE', 0.3)
    monkeypatch.setattr(rendezvous, 'HANDSHAKE', 0.1)
    as_rank(1, monkeypatch)
    with socket.create_server((HOST, port)), pytest.raises(ResourceError, match='found no process 0'):
        join(HOST, port)


def test_the_token_of_one_machine(port, monkeypatch):
    file = _token_file(port)
    file.write_text('of a run that was killed')
    with _new_token(HOST, port) as token:
        assert len(token) == 64
        assert file.stat().st_mode & 0o777 == 0o600
        assert _token_of_process_0(HOST, port) == token
        monkeypatch.setattr(os, 'getuid', lambda: 12345)
        monkeypatch.setattr(rendezvous, '_token_file', lambda port: file)
        assert _token_of_process_0(HOST, port) == b'', "another user's"
    assert not file.exists()


def test_the_token_of_several_machines(port, monkeypatch, messages):
    with _new_token('10.0.0.1', port) as token:
        assert token == _token_of_process_0('10.0.0.1', port) == b''
    assert f'YOLOV5_TOKEN is not set: port {port} takes processes of any machine that can reach it' in messages()
    monkeypatch.setenv('YOLOV5_TOKEN', 'geheim')
    for host in ('10.0.0.1', HOST):
        with _new_token(host, port) as token:
            assert token == _token_of_process_0(host, port) == b'geheim'
    assert messages().count('WARNING') == 1
    assert not _token_file(port).exists()


@pytest.mark.parametrize(('host', 'address', 'bound'), [
    ('127.0.0.1', '127.0.0.1', ['127.0.0.1']),
    ('localhost', '127.0.0.1', ['127.0.0.1']),
    ('10.0.0.5', '10.0.0.5', ['10.0.0.5']),
    ('node1', '10.0.0.5', ['10.0.0.5']),
    ('node1', '127.0.1.1', ['']),  # as Debian names a machine for itself
    ('node1', '203.0.113.9', ['203.0.113.9', '']),  # an address that a router translates
])  # fmt: skip
def test_it_listens_where_it_is_needed(monkeypatch, host, address, bound):
    tried = []

    def server(address: tuple[str, int], backlog: int) -> str:
        tried.append(address[0])
        if address[0].startswith('203'):
            raise OSError(errno.EADDRNOTAVAIL, 'Cannot assign requested address')
        return 'server'

    monkeypatch.setattr(socket, 'create_server', server)
    monkeypatch.setattr(socket, 'gethostbyname', lambda host: address)
    assert listen(host, 1234) == 'server'
    assert tried == bound


def test_a_port_that_is_taken(monkeypatch):
    port = free_port()
    monkeypatch.setenv('MASTER_ADDR', HOST)
    monkeypatch.setenv('MASTER_PORT', str(port))
    host, control = rendezvous.control_address()
    assert (host, control) == (HOST, port - 10_000)
    with socket.create_server((host, control)), pytest.raises(UsageError, match='another --master_port'):
        listen(host, control)
    monkeypatch.setenv('MASTER_PORT', '1234')
    assert rendezvous.control_address()[1] == 11_234
    monkeypatch.delenv('MASTER_ADDR')
    with pytest.raises(UsageError, match='oneflow.distributed.launch'):
        rendezvous.control_address()
