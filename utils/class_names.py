"""Class names of a model against those of a data set: the same number of classes may still be other classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from utils.terminal import counted, printable

_LONGEST = 40  # characters of a name in a message
_NUMBERED = re.compile(r'(class|item)?[\s_-]*\d*', re.IGNORECASE)


def are_named(names: Sequence[str]) -> bool:
    """Whether classes have real names, not numbers such as 0, class1 or item that stand for missing ones."""
    return not all(_NUMBERED.fullmatch(name.strip()) for name in names)


def same_name(a: str, b: str) -> bool:
    """Whether two names mean one class: capitals and what stands between words are no difference."""
    return _plain(a) == _plain(b)


def _plain(name: str) -> str:
    return re.sub(r'[\s_-]+', '', name).casefold()


def difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """How many classes have other names, and the first of them; '' if none has, or one side has no real names.

    Args:
        ours, theirs: the data set's and the weights' names by class number, as many on both sides.
    """
    if not (are_named(ours) and are_named(theirs)):
        return ''
    other = [i for i, (a, b) in enumerate(zip(ours, theirs)) if not same_name(a, b)]
    if not other:
        return ''
    verb = 'has another name' if len(other) == 1 else 'have other names'
    first, count = other[0], f'{len(other)} of {counted(len(ours), "class", "classes")} {verb}'
    a, b = (printable(names[first], _LONGEST) for names in (ours, theirs))
    order = ', the same ones in another order' if reordered(ours, theirs) else ''
    return f'{count}{order}: class {first} is "{a}" in the data set and "{b}" in the weights'


def reordered(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether both sides have the same names, but not in the same order."""
    a, b = [_plain(name) for name in ours], [_plain(name) for name in theirs]
    return a != b and sorted(a) == sorted(b)
