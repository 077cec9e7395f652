"""Values as Python callers have them, brought to the types that options have: numpy and tensor scalars, text with a
number in it, paths, a single item in place of a list. What can't be meant is refused in one line.

`what` is always the name for the message: an option as it is written, or an argument.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any

from utils.errors import UsageError
from utils.terminal import printable

SHOWN = 60  # characters of a refused value


def whole_number(what: str, value: Any) -> int:
    """640, np.int64(640), 640.0 or '640' -> 640. A truth value is no number.

    Raises:
        UsageError: it is none.
    """
    number = _scalar(value)
    try:
        if isinstance(number, str):
            return int(number)
        if isinstance(number, float) and number.is_integer():
            return int(number)
        if not isinstance(number, bool):
            return operator.index(number)
    except (TypeError, ValueError, AssertionError):  # the last of OneFlow's tensors
        pass
    raise _refused(what, value, 'not a whole number')


def number(what: str, value: Any) -> float:
    """0.25, np.float32(0.25) or '0.25' -> a float; a whole number stays one. NaN is one too, and fails `check_range`.

    Raises:
        UsageError: it is none.
    """
    number = _scalar(value)
    try:
        if not isinstance(number, (bool, bytes)):
            return number if isinstance(number, int) else float(number)
    except (TypeError, ValueError):
        pass
    raise _refused(what, value, 'not a number')


def switch(what: str, value: Any) -> bool:
    """True, np.bool_(True) or 1 -> True; None is False. 'False' is refused: as text it would be true.

    Raises:
        UsageError: it is none.
    """
    flag = False if value is None else _scalar(value)
    if isinstance(flag, (bool, int)) and flag in (0, 1):
        return bool(flag)
    raise _refused(what, value, 'neither True nor False')


def text(what: str, value: Any) -> str:
    """A text, a path (bytes too), a number or a device (of OneFlow or PyTorch) -> text; None is ''.

    Raises:
        UsageError: it is none.
    """
    if not is_text(value):
        raise _refused(what, value, 'not text')
    if isinstance(value, (str, bytes, os.PathLike)):
        return str(os.fsdecode(value))
    if _is_device(value):  # str() makes 'cpu:0' of OneFlow's
        return value.type if value.type == 'cpu' or value.index is None else f'{value.type}:{value.index}'
    return '' if value is None else str(_scalar(value))


def is_text(value: Any) -> bool:
    """Whether `text` takes it."""
    scalar = _scalar(value)
    number = isinstance(scalar, (int, float)) and not isinstance(scalar, bool)
    return value is None or number or isinstance(value, (str, bytes, os.PathLike)) or _is_device(value)


def items(what: str, value: Any) -> list[Any]:
    """The items of a list, tuple, set, array, tensor, generator, ...; a text, path, number or the like is one item.

    Raises:
        UsageError: a mapping.
    """
    if isinstance(value, Mapping):
        raise _refused(what, value, 'not a list')
    value = value.tolist() if hasattr(value, 'tolist') else value  # of an array or tensor
    single = isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable)
    return [value] if single else list(value)


def _scalar(value: Any) -> Any:
    """What an array or tensor of one element holds; any other value as it is."""
    try:
        return value.item() if hasattr(value, 'item') else value
    except (TypeError, ValueError, RuntimeError, AssertionError):  # it holds several
        return value


def _is_device(value: Any) -> bool:
    return isinstance(getattr(value, 'type', None), str) and hasattr(value, 'index')


def _refused(what: str, value: Any, why: str) -> UsageError:
    shown = value if isinstance(value, str) and value.strip() else repr(value)
    return UsageError(f'{what} {printable(shown, SHOWN)}: {why}')
