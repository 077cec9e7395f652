"""Faults of single inputs: a run that has others reports them, counts them, and goes on."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import NamedTuple

from utils.errors import ConfigError, UsageError, UserError, WeightsError, explain
from utils.log import LOGGER
from utils.terminal import printable

EXAMPLES = 3  # faults shown in the summary
LONGEST = 150  # characters of a reason in the summary

# What the next input would meet, too: a full disk, one that can't be written, no more files to open.
_OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)


class Fault(NamedTuple):
    """An input that could not be handled, or not to its end, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f'{printable(self.name)}: {self.reason}'


class Faults(list[Fault]):
    """The faults of a run, each of which has been logged."""

    def add(self, name: str, error: Exception, prefix: str = '') -> None:
        """Report what happened to an input; the traceback, too, where it is a bug of ours, or with --debug.

        Args:
            name: of the input.
            error: what was raised.
            prefix: start of the logged line.

        Raises:
            the error itself: it has nothing to do with this input, see `ends_run`.
        """
        if ends_run(error):
            raise error
        bug = _is_bug(error)
        fault = Fault(name, f'{"internal error, " if bug else ""}{_reason(error, name)}')
        LOGGER.warning(f'{prefix}{fault}')
        if (bug and all(fault.reason != other.reason for other in self)) or _debugging():
            LOGGER.warning(''.join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
        self.append(fault)

    def count(self) -> int:
        """How many inputs have faults."""
        return len({fault.name for fault in self})

    def summary(self, total: int, what: str = 'inputs') -> str:
        """'3 of 57 inputs failed: a.jpg (not an image), ...'; '' where none did."""
        if not self:
            return ''
        reasons = {fault.name: fault.reason for fault in reversed(self)}  # the first of each
        names = list(dict.fromkeys(fault.name for fault in self))
        shown = [f'{printable(name)} ({printable(reasons[name], LONGEST)})' for name in names[:EXAMPLES]]
        more = [f'and {len(names) - EXAMPLES} more'] if len(names) > EXAMPLES else []
        return f'{len(names)} of {total} {what} failed: {", ".join(shown + more)}'


def ends_run(error: Exception) -> bool:
    """Whether an error would meet every other input, too, so that a run has to end: options, weights, the disk."""
    of_the_system = isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM
    return of_the_system or isinstance(error, (UsageError, ConfigError, WeightsError))


def _is_bug(error: Exception) -> bool:
    """Whether an error is none that files, libraries or the system cause: those have classes of their own."""
    of_python = type(error).__module__ == 'builtins' and type(error) is not RuntimeError
    return of_python and explain(error) is None


def _reason(error: Exception, name: str) -> str:
    """Why, in one line without the input's name."""
    if isinstance(error, MemoryError):
        return 'too little memory for it'
    if isinstance(error, OSError) and error.errno is not None:
        other = error.filename and os.fsdecode(error.filename) != name
        return f'{error.strerror}: {os.fsdecode(error.filename)}' if other else error.strerror
    if isinstance(error, UserError):
        return str(error).removeprefix(f'{name}: ')
    return printable(' '.join(f'{type(error).__name__}: {error}'.split()), 300)


def _debugging() -> bool:
    return '--debug' in sys.argv or os.environ.get('YOLO_DEBUG') == '1'
