"""The processes of one training run: they meet, wait for each other, tell each other values, and end together.

OneFlow's collectives carry the tensors, but wait for ever for a process that is gone. So beside them every process
keeps a connection to process 0, from before OneFlow is imported until the end. A process that dies closes it, and
then all end; one that fails sends its reason, and process 0 prints the first to arrive. Messages are lines of JSON.

    with together():
        names = share(find() if is_main() else None)   # what process 0 says
        losses = exchange(loss)                        # of all, by rank
        with in_turn():                                # process 0 fetches and caches, the others find it done
            ...
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from utils.distributed import local_rank, rank, world_size
from utils.errors import explain, ignore, sigterm_as_ctrl_c
from utils.rendezvous import arrivals, connect, control_address, join

GRACE = 3.0  # seconds that the main thread has to tidy up before its process ends
# A machine is gone after a minute of silence, and two in which it does not answer. (That a process ended is heard at
# once.) A network may be away for a while in a run of days.
SILENCE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 8}

_peers: Peers | None = None


@contextmanager
def together() -> Iterator[None]:
    """Meet the other processes, and end with them; nothing where this process is the only one.

    Before anything imports OneFlow, `import_oneflow` has to be called.

    When an exception leaves the block, or a process dies, or the launcher does, all processes end within seconds and
    one line (or one traceback) tells why: this then does not return. SIGTERM counts as Ctrl-C.

    Raises:
        UsageError: the launcher's environment is incomplete.
    """
    global _peers
    if world_size() == 1 or _peers is not None:
        yield
        return
    address = control_address()
    _peers = Peers()
    with sigterm_as_ctrl_c():
        try:
            _end_with_the_launcher()
            _peers.meet(*address)
            yield
        except BaseException as error:
            if not (isinstance(error, SystemExit) and not error.code):
                _peers.fail(*_reason(error))
        _peers.leave()
        _peers = None


def exchange(value: Any = None) -> list:
    """Wait for all processes; what each gave, by rank. Values are such as JSON holds."""
    return [value] if _peers is None else _peers.exchange(value)


def share(value: Any = None) -> Any:
    """Wait for all processes; what process 0 gave."""
    return exchange(value)[0]


@contextmanager
def in_turn() -> Iterator[None]:
    """Let process 0 go first, then the first one of each other machine, then the rest.

    For what is made once and then found: on the second machine too, whether or not the two see the same disk.
    """
    turn = 0 if rank() == 0 else 1 if local_rank() == 0 else 2
    for _ in range(turn):
        exchange()
    yield
    for _ in range(turn, 2):
        exchange()


class Peers:
    """This process's connections: from process 0 to all others, from any other to process 0.

    Attributes:
        ending: the exit code, once process 0 has printed why all end.
        left: they part without a failure.
    """

    def __init__(self) -> None:
        self.sockets: dict[int, socket.socket] = {}
        self.readers: list[threading.Thread] = []
        self.inboxes: dict[int, SimpleQueue] = {}
        self.lock, self.sending = threading.Lock(), threading.Lock()
        self.ending: int | None = None
        self.left = False

    def meet(self, host: str, port: int) -> None:
        """Connect; number the processes on this machine, and count those that share this one's cores."""
        for other, connection in arrivals(host, port) if rank() == 0 else [(0, join(host, port))]:
            self._know(other, connection)
        self.signals = self._wake_on_signals()
        self.readers = [self._start(self._read, other) for other in self.sockets]
        self._start(self._watch)
        here = [Path('/proc/sys/kernel/random/boot_id').read_text(), socket.gethostname()]
        places = exchange([here, sorted(os.sched_getaffinity(0))])
        os.environ['LOCAL_WORLD_SIZE'] = str(places.count(places[rank()]))
        # OneFlow numbers the processes of a machine through, also where two launchers play two machines on one.
        os.environ['LOCAL_RANK'] = str([machine for machine, _ in places[: rank()]].count(here))

    def exchange(self, value: Any) -> list:
        """What every process gave, by rank."""
        if rank() == 0:
            values = [value] + [self.inboxes[other].get() for other in sorted(self.inboxes)]
            for other in self.sockets:
                self._send(other, value=values)
            return values
        self._send(0, value=value)
        return self.inboxes[0].get()

    def leave(self) -> None:
        """Wait for all, and part."""
        self.exchange(None)
        self.left = True
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        self.signal_end.close()
        for other, connection in self.sockets.items():
            self._send(other, bye=True)
            connection.close()

    def fail(self, reason: str, code: int) -> None:
        """End all processes, this one included. The first reason that process 0 hears is the one that is printed."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, ignore)
        if rank() == 0:
            self._end_all(self._tell(reason, code))
        if not self.sockets:  # not met: nobody else tells. What interrupts one interrupts all, and process 0 says so
            os._exit(code if code > 128 else self._tell(reason, code))
        self._send(0, failed=reason, code=code)
        time.sleep(GRACE + 1)  # the answer ends this process; without one process 0 is gone as well
        os._exit(code)

    def _tell(self, reason: str, code: int) -> int:
        """Print the reason, if none is yet; the exit code for all."""
        with self.lock:
            if self.ending is None:
                self.ending = code
                _print(reason)
            return self.ending

    def _end_all(self, code: int) -> NoReturn:
        """End the others, then this process: OneFlow's threads print a stack trace when they miss another for long."""
        for other in self.sockets:
            self._send(other, end=code)
        for reader in self.readers:
            reader.join(GRACE / len(self.readers))
        os._exit(code)

    def _hear(self, other: int, kind: str, message: dict) -> None:
        """Act on a message in a thread of its own; the main thread may be waiting inside OneFlow."""
        if kind == 'value':
            self.inboxes[other].put(message['value'])
        elif kind == 'end':
            os._exit(message['end'])
        elif kind == 'failed':
            self._start(self._end_from_aside, message['failed'], message['code'])

    def _end_from_aside(self, reason: str, code: int) -> None:
        """End all, from another thread than the main one, which gets the time to close its files."""
        code = self._tell(reason, code)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(GRACE)
        self._end_all(code)

    def _lost(self, other: int) -> None:
        if self.left or self.ending is not None:
            return
        reason = f'Error: process {other} ended without a word, as if it was killed. {OUT_OF_MEMORY}'
        if rank() == 0:
            self._start(self._end_from_aside, reason, 1)
            return
        if rank() == 1:  # process 0 is gone: one of the others has to say so
            _print(reason)
        os._exit(1)

    def _watch(self) -> None:
        """See to it that a signal ends this process whatever its main thread is waiting for."""
        while not {*(arrived := self.signals.recv(64))} & {signal.SIGINT, signal.SIGTERM}:
            if not arrived:
                return  # `leave` closed the other end
        time.sleep(GRACE)
        self.fail('Error: Interrupted', 130)

    def _know(self, other: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in SILENCE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self.sockets[other], self.inboxes[other] = connection, SimpleQueue()

    def _send(self, other: int, **message: Any) -> None:
        with self.sending, suppress(OSError, KeyError):  # a closed connection is its reader's business
            self.sockets[other].sendall(json.dumps(message).encode() + b'\n')

    def _read(self, other: int) -> None:
        with suppress(OSError, ValueError), self.sockets[other].makefile('rb') as lines:
            for line in lines:
                message = json.loads(line)
                kind = next(iter(message))
                if kind == 'bye':
                    return
                self._hear(other, kind, message)
        self._lost(other)

    def _start(self, work: Callable, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, daemon=True, name='peers')
        thread.start()
        return thread

    def _wake_on_signals(self) -> socket.socket:
        """A socket on which each signal's number arrives, even while the main thread is inside OneFlow."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.signal_end = theirs  # kept open
        if threading.current_thread() is threading.main_thread():  # no other gets signals
            signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        return ours


OUT_OF_MEMORY = 'If memory ran out, give a smaller --batch-size, fewer --workers, or no --cache ram'


def _reason(error: BaseException) -> tuple[str, int]:
    """What to print of an exception, and the exit code."""
    known = explain(error)
    if known is None or os.environ.get('YOLO_DEBUG') == '1':
        text = ''.join(traceback.format_exception(error))
        return f'Process {rank()}: {text.rstrip()}', known[1] if known else 1
    return f'Error: {known[0]}', known[1]


def _print(reason: str) -> None:
    # Where process 0 is gone, its progress bar may be all that there is of the last line.
    bar_open = rank() or getattr(getattr(sys.modules.get('tqdm'), 'tqdm', None), '_instances', ())
    print(('\n' if bar_open or sys.stderr.isatty() else '') + reason, file=sys.stderr, flush=True)


def import_oneflow() -> None:
    """Import OneFlow together with the others; it waits there until all processes do, and lets no other thread run.

    Process 0 goes first: one that comes before it tries again only after ten seconds. A signal just ends the process.
    Where this process is the only one it can wait until it is needed.
    """
    if 'oneflow' in sys.modules or _peers is None:
        return
    if rank():
        with suppress(OSError):
            connect(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']), 5).close()
    numbers = signal.SIGINT, signal.SIGTERM
    handlers = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    import oneflow  # noqa: F401

    for number, handler in zip(numbers, handlers):
        signal.signal(number, handler)


def _end_with_the_launcher() -> None:
    """Have the system send SIGTERM when the parent process dies (PR_SET_PDEATHSIG of prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
