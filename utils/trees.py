"""Nested data with arrays in it <-> JSON plus a flat dict of arrays, for files that keep the two apart.

JSON has no arrays of numbers, no tuples and only text as keys. These travel as objects with one special key:
{"$tensor": name}, {"$tuple": [...]}, {"$dict": [[key, value], ...]}. Paths become text.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

import numpy as np

_SCALARS = (str, int, float, bool, type(None))
MAX_DEPTH = 50  # the state of a run is some six deep
MAX_VALUES = 1_000_000  # and has some 10,000 values


def split_tree(tree: Any) -> tuple[str, dict[str, np.ndarray]]:
    """JSON text and the arrays by name; an array's name is its path, such as optimizer/state/0/momentum_buffer.

    Raises:
        TypeError: something is neither plain data nor an array; the message has its path.
    """
    arrays: dict[str, np.ndarray] = {}
    return json.dumps(_encode(tree, '', arrays), separators=(',', ':')), arrays


def join_tree(text: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree that `split_tree` took apart.

    Raises:
        ValueError: not JSON, nested too deep, too many values, or a special object is malformed, or names an array that
            is not there or was named before.
    """
    if sum(map(text.count, '[{,')) > MAX_VALUES:  # each is a list, an object or one more item of them
        raise ValueError(f'over {MAX_VALUES} values')
    try:
        return _decode(json.loads(text), dict(arrays), MAX_DEPTH)
    except RecursionError:
        raise ValueError('nested too deep') from None


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = path or 'tensor'
        while name in arrays:  # keys with a slash in them can make two paths read the same
            name += '_'
        arrays[name] = value
        return {'$tensor': name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PurePath):
        value = str(value)
    if type(value) in _SCALARS:
        return value
    if type(value) in (list, tuple):
        items = [_encode(item, f'{path}/{i}', arrays) for i, item in enumerate(value)]
        return items if type(value) is list else {'$tuple': items}
    if isinstance(value, dict):
        items = [(key, _encode(item, f'{path}/{key}' if path else str(key), arrays)) for key, item in value.items()]
        if all(type(key) is str and not key.startswith('$') for key in value):
            return dict(items)
        if all(type(key) in _SCALARS for key in value):
            return {'$dict': items}
    raise TypeError(f'{path}: a {type(value).__name__} cannot be stored')


def _decode(value: Any, arrays: dict[str, np.ndarray], depth: int) -> Any:
    """The tree of what JSON gave; takes the arrays that it names out of `arrays`."""
    if not isinstance(value, (list, dict)):
        return value
    if not depth:
        raise ValueError('nested too deep')
    if isinstance(value, list):
        return [_decode(item, arrays, depth - 1) for item in value]
    special = [key for key in value if key.startswith('$')]
    if not special:
        return {key: _decode(item, arrays, depth - 1) for key, item in value.items()}
    ((kind, content),) = value.items()  # ValueError when a special key has company
    if kind == '$tensor' and isinstance(content, str) and content in arrays:
        return arrays.pop(content)
    if kind == '$tuple' and isinstance(content, list):
        return tuple(_decode(item, arrays, depth - 1) for item in content)
    if kind == '$dict' and isinstance(content, list) and all(_is_pair(pair) for pair in content):
        return {key: _decode(item, arrays, depth - 1) for key, item in content}
    raise ValueError(f'malformed {kind[:20]} {type(content).__name__}')


def _is_pair(pair: Any) -> bool:
    if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in _SCALARS):
        return False
    return type(pair[0]) is not int or abs(pair[0]) < 1 << 48  # larger ones can be made to collide in a dict
