"""Names and values from outside, made fit for a terminal and a log."""

from __future__ import annotations

import re

LONGEST_NAME = 100  # characters
_STYLES = re.compile(r'(\x1b\[[\d;]*m)')  # colours and bold, as `colorstr` writes them
# Control characters and what turns the direction of writing round (Unicode TR 9), as a range of a regular expression.
CONTROLS = r'\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069'
_UNSHOWABLE = re.compile(f'[{CONTROLS}\ud800-\udfff]')


def printable(text: object, limit: int = 0) -> str:
    """A name or value from outside as one line: what would move the cursor or can't be encoded is escaped.

    Args:
        text: anything; its `str` counts.
        limit: characters to show at most; beyond, the middle is left out. 0 shows all.
    """
    return shortened(_UNSHOWABLE.sub(_escaped, str(text)), limit)


def shown_name(name: object) -> str:
    """The name of a class in a line, a table or a figure: names come from files of others, and may be of any length."""
    return printable(name, LONGEST_NAME)


def counted(n: int, noun: str, plural: str = '') -> str:
    """A number of things: '1 row', '2 rows'; `plural` where it is not the noun with an s."""
    return f'{n} {noun if n == 1 else plural or f"{noun}s"}'


def showable_lines(text: str, limit: int = 0) -> str:
    """A message of our own with whatever names it holds: like `printable`, but lines, tabs and colours stay."""
    parts = _STYLES.split(shortened(text, limit))
    return ''.join(part if i % 2 else _UNSHOWABLE.sub(_escaped_but_layout, part) for i, part in enumerate(parts))


def shortened(text: str, limit: int) -> str:
    """The text in at most `limit` characters, its middle left out if need be; 0 leaves it whole."""
    if not limit or len(text) <= limit:
        return text
    end = (limit - 3) // 2
    return f'{text[: limit - 3 - end]}...{text[len(text) - end :]}'


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f'\\x{code - 0xDC00:02x}'  # the byte that it stands for
    return f'\\x{code:02x}' if code < 256 else f'\\u{code:04x}'


def _escaped_but_layout(match: re.Match[str]) -> str:
    return match[0] if match[0] in '\n\t\r' else _escaped(match)
