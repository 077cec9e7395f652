"""The errors that a user can mend, as one small family.

Raise the class that names the kind of thing at fault, with what is wrong and what to do about it:

    raise DataError(f'{file}: has no "names"', 'add a list of class names')

`run_main` turns one into a single line and an exit code; anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from utils.terminal import showable_lines

LONGEST_REPORT = 2000  # characters: a message may quote what a hostile file holds


class UserError(Exception):
    """Something outside the program is wrong, and the user can mend it.

    Args:
        message: what is wrong, beginning with the file or option at fault.
        mend: what to do about it, one short sentence without a full stop; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, mend: str = '') -> None:
        self.message, self.mend = message, mend
        super().__init__(f'{message}. {mend[:1].upper()}{mend[1:]}' if mend else message)

    def __reduce__(self) -> tuple:
        # Exception's own pickling would pass the joined text as the message: a loader worker's error crosses a pipe.
        return type(self), (self.message, self.mend)


class UsageError(UserError):
    """An option or argument is wrong (exit code 2)."""

    exit_code = 2


def check_range(option: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse an option's value outside `low` to `high`, which both will do. NaN is outside.

    Raises:
        UsageError: the value is; the message has the option as it is written on the command line.
    """
    if not low <= value <= high:
        limits = f'{low:g} or more' if high == math.inf else f'between {low:g} and {high:g}'
        raise UsageError(f'--{option.replace("_", "-")} {value}: out of range', f'it has to be {limits}')


class ConfigError(UserError):
    """A model YAML, hyper-parameter file or option file is wrong."""


class DataError(UserError):
    """A data set, its YAML, its labels, a picture, a video or a stream is wrong."""


class WeightsError(UserError):
    """A checkpoint or exported model is missing, damaged or refused."""


class ResourceError(UserError):
    """The machine lacks something: disk, memory, network, a device."""


class TrainingError(UserError):
    """Training cannot go on, for example because the loss is no longer finite."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. What tidies up after Ctrl-C tidies up after this, too."""

    exit_code = 128 + signal.SIGTERM

    def __init__(self, message: str = 'Terminated') -> None:
        super().__init__(message)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated` where the program is. Only a main thread can have that.

    Once: while the program tidies up after that, or after Ctrl-C, SIGTERM is ignored until the outermost block is left.
    A launcher that gets Ctrl-C sends one after the other, and the second would cut the tidying short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGINT: _interrupt, signal.SIGTERM: _terminate}
    # Where Ctrl-C is ignored (a shell's background job) or the program has a way of its own, that stays.
    if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, _interrupt):
        del handlers[signal.SIGINT]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        inner = before[signal.SIGTERM] is _terminate
        if not (inner and signal.getsignal(signal.SIGTERM) is ignore):
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore(number: int, frame: FrameType | None) -> None:
    """A signal's handler that does nothing. Unlike SIG_IGN it leaves no complaint about one that is on its way."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, ignore)
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, ignore)
    raise Terminated


def explain(error: BaseException) -> tuple[str, int] | None:
    """What to tell the user about an exception, and the exit code; None for a bug of ours.

    The code is a `UserError`'s own, 1 for a full disk or too little memory, 130 after Ctrl-C, 143 after SIGTERM where
    `sigterm_as_ctrl_c` holds.
    """
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return str(error) or 'Interrupted', getattr(error, 'exit_code', 130)
    if isinstance(error, MemoryError) or getattr(error, 'errno', None) == errno.ENOMEM:
        return f'Out of memory: {error}. Take a smaller --batch-size or --img, or drop --cache ram', 1
    if isinstance(error, OSError) and error.errno is not None:
        # Only the system's own failures (disk full, no permission, read-only): their text names the file.
        return f'{error.filename or "System"}: {error.strerror}', 1
    return None


def run_main(main: Callable[[list[str] | None], object], argv: list[str] | None = None) -> int:
    """Run a script's `main(argv)`; print an error that the user can mend as one line on stderr.

    Returns the exit code: 0, or that of `explain`.
    With --debug among the arguments or YOLO_DEBUG=1 in the environment every error keeps its traceback.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        main(argv)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        known = explain(error)
        if known is None:
            raise
        if '--debug' in argv or os.environ.get('YOLO_DEBUG') == '1':
            traceback.print_exc()
    report, code = known
    print(f'Error: {showable_lines(report, LONGEST_REPORT)}', file=sys.stderr)
    return code
