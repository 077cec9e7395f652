"""Processes that load batches ahead.

Workers are forked and need nothing but NumPy and OpenCV. Each has one pipe for tasks and answers; pictures travel in
anonymous shared memory that was mapped before the fork, so that no file in /dev/shm can be left over. There are no
locks and no helper threads: a worker that is killed closes its pipe, which the parent sees, and a worker whose parent
is gone sees the same from its side and ends.
"""

from __future__ import annotations

import gc
import math
import mmap
import multiprocessing
import os
import signal
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import cv2
import numpy as np

from utils.errors import ResourceError, UserError

AHEAD = 2  # batches that each worker has to do or has done
PARENT_CHECK = 5.0  # seconds between looks at whether the parent still lives
GOODBYE = 2.0  # seconds the workers have for ending by themselves

_PARENTS_ENDS: weakref.WeakSet[Connection] = weakref.WeakSet()  # of all pools: what a forked worker has to close

Load = Callable[[Any], tuple]  # task -> (pictures: uint8 array, anything picklable, ...)


class WorkerPool:
    """Runs `load` in worker processes.

    Args:
        load: what a worker does with a task; it sees the program as it was when the pool was made.
        workers: number of processes.
        slot_bytes: room for the pictures of one batch; a larger batch goes through the pipe, slower.
        prepare: what a worker does with the messages of `tell`.
    """

    def __init__(self, load: Load, workers: int, slot_bytes: int, prepare: Callable[[Any], None] | None = None) -> None:
        self.slots = [mmap.mmap(-1, max(slot_bytes, 1)) for _ in range(AHEAD * workers)]
        self.connections: list[Connection] = []
        self.processes: list[BaseProcess] = []
        context = multiprocessing.get_context('fork')
        for number in range(workers):
            ours, theirs = context.Pipe()
            _PARENTS_ENDS.add(ours)
            args = theirs, self.slots, load, prepare, os.getpid()
            process = context.Process(target=_work, args=args, name=f'loader-{number}', daemon=True)
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)
        self.tasks_out = [0] * workers  # tasks that each worker has not answered
        self.free = list(range(len(self.slots)))
        self.runs = 0
        self.close = weakref.finalize(self, _end, self.processes, self.connections, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether the pool was not closed, be it by an error."""
        return self.close.alive

    def tell(self, message: Any) -> None:
        """Let every worker call `prepare(message)` before its next task."""
        self._finish_what_is_out()
        for connection in self.connections:
            connection.send((None, message))

    def run(self, tasks: Iterable[Any]) -> Iterator[tuple]:
        """What `load` gives for each task, in order; the workers are kept busy `AHEAD` tasks each.

        Raises:
            UserError: the one that `load` raised.
            RuntimeError: `load` raised something else; its traceback is in the text.
            ResourceError: a worker was killed.
        """
        self._finish_what_is_out()
        self.runs += 1
        this_run = self.runs
        done: dict[int, tuple | Exception] = {}
        left, sent, wanted = iter(tasks), 0, 0
        while True:
            while self.free and (task := next(left, None)) is not None:
                self._send(sent, task)
                sent += 1
            if wanted == sent:
                return
            while wanted not in done:
                done.update(self._answers())
            result = done.pop(wanted)
            wanted += 1
            if isinstance(result, Exception):
                raise result
            yield result
            if self.runs != this_run:
                raise RuntimeError('this iteration was abandoned: another one of the same loader has begun')

    def _send(self, number: int, task: Any) -> None:
        worker = self.tasks_out.index(min(self.tasks_out))
        self.tasks_out[worker] += 1
        try:
            self.connections[worker].send((self.free.pop(), (number, task)))
        except OSError:
            raise self._death_of(worker) from None

    def _answers(self) -> Iterator[tuple[int, tuple | Exception]]:
        """Wait for at least one answer: its task's number, and the batch or error."""
        for connection in wait(self.connections):
            worker = self.connections.index(connection)
            try:
                slot, number, shape, rest = connection.recv()
            except (EOFError, OSError):
                raise self._death_of(worker) from None
            except KeyboardInterrupt:
                self.close()  # half a message was read
                raise
            self.tasks_out[worker] -= 1
            self.free.append(slot)
            if shape is not None:
                # A copy, because the slot is filled again while the caller still has the batch.
                rest = (np.frombuffer(self.slots[slot], np.uint8, math.prod(shape)).reshape(shape).copy(), *rest)
            yield number, rest

    def _finish_what_is_out(self) -> None:
        """Take back the slots of an iteration that was left early."""
        while any(self.tasks_out):
            list(self._answers())

    def _death_of(self, worker: int) -> ResourceError:
        """What to raise after a worker's pipe closed; ends the other workers too."""
        process = self.processes[worker]
        process.join(GOODBYE)
        code = process.exitcode
        self.close()
        how = f'by {signal.Signals(-code).name}' if code and code < 0 else f'with code {code}'
        return ResourceError(
            f'A loader process ended {how} (process {process.pid})',
            'if memory ran out, give fewer --workers, a smaller --batch-size, or no --cache ram',
        )


def _end(processes: list[BaseProcess], connections: list[Connection], owner: int) -> None:
    """Closing the pipes asks the workers to end; who doesn't in time is made to."""
    if os.getpid() != owner:
        return  # a forked copy of the pool went away, not the pool
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + GOODBYE
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
        if process.is_alive():
            process.kill()
            process.join()


def _work(
    connection: Connection,
    slots: list[mmap.mmap],
    load: Load,
    prepare: Callable[[Any], None] | None,
    parent: int,
) -> None:
    """A worker's life: answer tasks until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for inherited in list(_PARENTS_ENDS):  # held here, they would hide from their workers that the parent let go
        inherited.close()
    cv2.setNumThreads(0)  # one core for each worker
    gc.freeze()  # the collector writes to what it visits: it would copy the parent's memory page by page
    try:
        while True:
            while not connection.poll(PARENT_CHECK):
                if os.getppid() != parent:
                    return
            slot, message = connection.recv()
            if slot is None:
                prepare(message)
            else:
                number, task = message
                connection.send((slot, number, *_try(load, task, slots[slot])))
    except (EOFError, OSError):
        return


def _try(load: Load, task: Any, slot: mmap.mmap) -> tuple[tuple[int, ...] | None, tuple | Exception]:
    """The shape of the pictures that lie in the slot, and the rest of the batch; or None and all of it, or an error."""
    try:
        pictures, *rest = load(task)
        if pictures.nbytes > len(slot):
            return None, (pictures, *rest)
        np.frombuffer(slot, np.uint8, pictures.size)[:] = pictures.ravel()
        return pictures.shape, tuple(rest)
    except UserError as error:
        return None, error
    except Exception:
        return None, RuntimeError(f'in a loader process:\n{traceback.format_exc()}')
