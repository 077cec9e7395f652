"""How the processes of a training run find each other: process 0 listens, the others connect and say who they are.

It is done where the launcher's --master_addr is, on the port 10,000 below its --master_port, which is OneFlow's own.
Whoever connects gets a challenge, a random line, and answers with its rank, the number of processes, and a signature
(HMAC) of both and the challenge by a secret that the run's processes share: YOLOV5_TOKEN, where that is set; on one
machine else what process 0 writes to a file that only this user can read. Without either, between machines, whoever
knows the number of processes is let in, and a warning says so. Nothing is encrypted, and neither is what OneFlow sends.
"""

from __future__ import annotations

import errno
import hmac
import json
import math
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from utils.distributed import rank, world_size
from utils.errors import ResourceError, UsageError
from utils.log import LOGGER

LAUNCHER = 'python -m oneflow.distributed.launch'
TOKEN = 'YOLOV5_TOKEN'  # the environment variable
PATIENCE = 1800.0  # seconds in which all have to come: machines of a cluster start at different times
NOTICE = 15.0  # seconds after which those that wait say so
HANDSHAKE = 10.0  # seconds in which a connection has to say who it is
LONGEST = 1000  # bytes of a line


class Answer(NamedTuple):
    """What somebody who connected said."""

    connection: socket.socket
    host: str
    challenge: str
    text: bytes


def control_address() -> tuple[str, int]:
    """Where process 0 listens.

    Raises:
        UsageError: the environment has not both of the launcher's address and port.
    """
    try:
        host, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    except (KeyError, ValueError):
        raise UsageError(
            f'WORLD_SIZE is {world_size()}, but MASTER_ADDR and MASTER_PORT are not set', f'start with {LAUNCHER} ...'
        ) from None
    return host, port - 10_000 if port > 11_024 else port + 10_000


def arrivals(host: str, port: int) -> Iterator[tuple[int, socket.socket]]:
    """For process 0: the rank and connection of each other process, as they come. Strangers are turned away.

    Raises:
        UsageError: the port is taken.
        ResourceError: some did not come in time.
    """
    missing, answers, refused = set(range(1, world_size())), SimpleQueue(), set()
    clock = _Clock()
    with listen(host, port) as server, _new_token(host, port) as token:
        server.settimeout(0.05)
        while missing:
            names = ', '.join(map(str, sorted(missing)))
            clock.check(
                f'{len(missing)} of {world_size()} processes did not come to {host}, port {port}: {names}',
                'check the launchers on the other machines, their --node_rank and --master_addr, and firewalls',
            )
            clock.notice(f'Waiting for processes {names} of {world_size()} at {host}, port {port}')
            with suppress(TimeoutError):
                connection, address = server.accept()
                # Each in a thread of its own: one that is slow, or says nothing, holds nobody up.
                threading.Thread(target=_ask, args=(connection, address[0], answers), daemon=True).start()
            while not answers.empty():
                process = _judge(answers.get(), token, missing, refused)
                if process:
                    missing.remove(process[0])
                    yield process


def join(host: str, port: int) -> socket.socket:
    """For any other process: the connection to process 0.

    Raises:
        UsageError: process 0 refused this one.
        ResourceError: it was not there in time.
    """
    clock = _Clock()
    while True:
        clock.check(
            f'process {rank()} found no process 0 at {host}, port {port}',
            'check --master_addr, whether process 0 runs, and firewalls',
        )
        clock.notice(f'Process {rank()} is waiting for process 0 at {host}, port {port}')
        try:
            connection = connect(host, port, 1)
            challenge = _read_line(connection).decode().strip()
            hello = {'rank': rank(), 'world': world_size()}
            signature = _signature(_token_of_process_0(host, port), challenge, **hello)
            connection.sendall(json.dumps(hello | {'signature': signature}).encode() + b'\n')
            reply = json.loads(_read_line(connection))
        except (OSError, ValueError):  # not there yet, or somebody else
            time.sleep(0.05)
            continue
        if reply == 'welcome':
            return connection
        raise UsageError(f'process 0 at {host}, port {port} refused process {rank()}: {reply}')


def connect(host: str, port: int, seconds: float = math.inf) -> socket.socket:
    """A connection, as soon as somebody listens there.

    Raises:
        TimeoutError: nobody did.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            connection = socket.create_connection((host, port), timeout=5)
            if connection.getsockname() != connection.getpeername():  # by chance a socket can meet itself
                return connection
            connection.close()
        time.sleep(0.05)
    raise TimeoutError


def listen(host: str, port: int) -> socket.socket:
    """A server on the interface that `host` is; on all where this machine knows that by another address.

    Raises:
        UsageError: the port is taken.
    """
    try:
        place = '127.0.0.1' if _on_one_machine(host) else socket.gethostbyname(host)
        if place.startswith('127.') and not _on_one_machine(host):
            place = ''  # its own name for itself: other machines resolve it to another address
        try:
            return socket.create_server((place, port), backlog=world_size())
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # an address that a router translates
                raise
            return socket.create_server(('', port), backlog=world_size())
    except OSError as error:
        raise UsageError(
            f'process 0 cannot listen on port {port} of {host}: {error.strerror}',
            f'give {LAUNCHER} another --master_port',
        ) from None


class _Clock:
    """Since when a process waits."""

    def __init__(self) -> None:
        self.began, self.noticed = time.monotonic(), False

    def check(self, what: str, hint: str) -> None:
        if time.monotonic() - self.began > PATIENCE:
            raise ResourceError(f'after {PATIENCE / 60:g} minutes {what}', hint)

    def notice(self, text: str) -> None:
        """Log the text, once, when some time has passed."""
        if not self.noticed and time.monotonic() - self.began > NOTICE:
            self.noticed = True
            LOGGER.info(text)


def _ask(connection: socket.socket, host: str, answers: SimpleQueue) -> None:
    """Send a challenge and hand on what is answered; without an answer in time the connection is closed."""
    challenge = secrets.token_hex(16)
    try:
        connection.sendall(f'{challenge}\n'.encode())
        answers.put(Answer(connection, host, challenge, _read_line(connection)))
    except OSError:
        connection.close()


def _judge(answer: Answer, token: bytes, missing: set[int], refused: set) -> tuple[int, socket.socket] | None:
    """Let a process in, which gives its rank and connection, or turn it away; why is logged once for each host."""
    number, reason = None, ''
    try:
        hello = json.loads(answer.text)
        number, world, signature = int(hello['rank']), int(hello['world']), str(hello['signature'])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        reason = 'it is no process of ours'
    else:
        expected = _signature(token, answer.challenge, number, world)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors='replace')):
            reason = f'it has another token; set {TOKEN} to the same text for all'
        elif world != world_size():
            reason = f'it is one of {world} processes, not of {world_size()}'
        elif number not in missing:
            reason = f'process {number} is there already'
    with suppress(OSError):
        answer.connection.sendall(json.dumps(reason or 'welcome').encode() + b'\n')
        if not reason:
            return number, answer.connection
    answer.connection.close()
    if (answer.host, reason) not in refused:
        refused.add((answer.host, reason))
        LOGGER.warning(f'WARNING: a connection from {answer.host} was turned away: {reason or "it broke"}')
    return None


def _read_line(connection: socket.socket) -> bytes:
    """Read one line and not a byte more.

    Raises:
        OSError: it didn't come in time, or the connection was closed.
    """
    line, until = b'', time.monotonic() + HANDSHAKE
    while not line.endswith(b'\n') and len(line) < LONGEST:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError
        line += byte
    return line


# The secret -------------------------------------------------------------------------------------------------------


def _signature(token: bytes, challenge: str, rank: int, world: int) -> str:
    return hmac.new(token, f'{challenge} {rank} {world}'.encode(), 'sha256').hexdigest()


@contextmanager
def _new_token(host: str, port: int) -> Iterator[bytes]:
    """What process 0 checks signatures with. Where it is a file, that is there within the block."""
    token = os.environ.get(TOKEN, '').encode()
    if token or not _on_one_machine(host):
        if not token:
            LOGGER.warning(f'WARNING: {TOKEN} is not set: port {port} takes processes of any machine that can reach it')
        yield token
        return
    token, file = secrets.token_hex(32).encode(), _token_file(port)
    try:
        file.unlink(missing_ok=True)  # of a run that was killed
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as f:
            f.write(token)
    except OSError as error:
        raise ResourceError(f'{file}: cannot be written ({error.strerror})', f'set {TOKEN}') from None
    try:
        yield token
    finally:
        file.unlink(missing_ok=True)


def _token_of_process_0(host: str, port: int) -> bytes:
    """The secret for a process that was sent a challenge: by then the file is written."""
    token = os.environ.get(TOKEN, '').encode()
    if not token and _on_one_machine(host):
        with suppress(OSError), open(_token_file(port), 'rb') as f:
            if os.fstat(f.fileno()).st_uid == os.getuid():
                return f.read(LONGEST)
    return token


def _token_file(port: int) -> Path:
    return Path(tempfile.gettempdir(), f'yolov5-oneflow-{os.getuid()}-{port}')


def _on_one_machine(host: str) -> bool:
    """Whether all processes are on this machine: the launcher's default address leads nowhere else."""
    return host == 'localhost' or host.startswith('127.')
