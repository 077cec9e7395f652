"""One logger for the toolkit. Modules log to it; the scripts decide where it goes."""

from __future__ import annotations

import logging
import os
import sys

from utils.terminal import showable_lines

LOGGER = logging.getLogger('yolov5')

_CODES = {
    'black': 30, 'red': 31, 'green': 32, 'yellow': 33, 'blue': 34, 'magenta': 35, 'cyan': 36, 'white': 37,
    'bright_black': 90, 'bright_red': 91, 'bright_green': 92, 'bright_yellow': 93, 'bright_blue': 94,
    'bright_magenta': 95, 'bright_cyan': 96, 'bright_white': 97, 'end': 0, 'bold': 1, 'underline': 4,
}  # fmt: skip


class _Formatter(logging.Formatter):
    """Escapes what file and class names could do to a terminal, so that no line ever fails to be written."""

    def format(self, record: logging.LogRecord) -> str:
        return showable_lines(super().format(record))


def set_logging(verbose: bool = True) -> None:
    """Send the toolkit's messages to stderr as plain lines; called once by each script."""
    if not LOGGER.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter('%(message)s'))
        LOGGER.addHandler(handler)
        LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO if verbose else logging.ERROR)


def colorstr(*text: str) -> str:
    """ANSI-coloured text: colorstr('blue', 'bold', 'hello'); with one argument, bold blue.

    Plain text where stderr is no terminal or NO_COLOR is set (https://no-color.org).
    """
    *styles, message = text if len(text) > 1 else ('blue', 'bold', text[0])
    if not sys.stderr.isatty() or 'NO_COLOR' in os.environ:
        return message
    return ''.join(f'\033[{_CODES[style]}m' for style in styles) + message + '\033[0m'
