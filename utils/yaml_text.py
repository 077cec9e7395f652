"""YAML from outside as plain data: bounded before it is built, and nothing in it taken silently.

A few hundred bytes of aliases can stand for gigabytes, and a key given twice hides the first value. So the text is
first composed to nodes; those are counted as if every alias were written out, and only then made into lists and dicts.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any

import yaml

from utils.errors import ConfigError, UserError
from utils.log import LOGGER
from utils.terminal import printable

MAX_CHARACTERS = 1 << 20  # twice a data set of 21,841 named classes; PyYAML needs seconds for it
MAX_DEPTH = 32  # lists and mappings within each other; ours have 4
MAX_VALUES = 200_000  # all aliases written out
_LONGEST_NUMBER = 100  # characters: integers grow without limit, and 1:59:59:... is one to the base of 60
_EXAMPLES = 3  # of keys given twice
_NUMBERS = ('tag:yaml.org,2002:int', 'tag:yaml.org,2002:float')

# What constructors raise for values that only look like their type, such as the date 2020-13-45.
_MISFITS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def quoted(value: object) -> str:
    """A value of a YAML for a message: its `repr` in at most 100 characters, however much it holds."""
    return printable(_REPR.repr(value), 100)


def parse_yaml(text: str, name: str | Path, error: type[UserError] = ConfigError) -> Any:
    """A YAML text as plain data (safe loader). Keys that are given twice are logged as a warning.

    Args:
        name: of the file, for messages.
        error: the class of what is raised.

    Raises:
        error: it is no YAML, or too much of it; the message names the line.
    """
    if len(text) > MAX_CHARACTERS:
        raise error(f'{name}: {len(text):,} characters of YAML', f'at most {MAX_CHARACTERS:,} are read')
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        twice = _Walk().look_at(node) if node else []
        data = loader.construct_document(node) if node else None
    except yaml.YAMLError as problem:
        raise error(*_explained(problem, name, text)) from None
    except _MISFITS as problem:
        what = f'a value is not what it looks like: {printable(problem, 200)}'
        raise error(f'{name}: not valid YAML ({what})', 'correct that value or quote it') from None
    if twice:
        shown = ', '.join(f'{printable(key.value, 40)} (line {_line(key)})' for key in twice[:_EXAMPLES])
        more = f' and {len(twice) - _EXAMPLES} more' if len(twice) > _EXAMPLES else ''
        LOGGER.warning(f'WARNING: {name}: given twice, and the last one counts: {shown}{more}')
    return data


class _Loader(yaml.SafeLoader):
    """Stops at `MAX_DEPTH`, long before Python's own limit, which takes seconds to be reached and reported."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_TOO_DEEP = f'more than {MAX_DEPTH} lists or mappings within each other'


class _Walk:
    """Visits every node of a document once, and raises YAMLError for one that is too much."""

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[int, int]] = {}  # values and depth below a node, by its id; (0, 0): not yet known
        self.twice: list[yaml.Node] = []

    def look_at(self, root: yaml.Node) -> list[yaml.Node]:
        """The keys that were given before in their mapping."""
        self._size(root)
        return self.twice

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        if id(node) not in self.sizes:
            self.sizes[id(node)] = 0, 0
            parts = [self._size(child) for child in self._children(node)]
            values, depth = 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
            if values > MAX_VALUES:
                raise _marked(node, f'more than {MAX_VALUES:,} values once its aliases are written out')
            if depth > MAX_DEPTH:
                raise _marked(node, _TOO_DEEP)
            self.sizes[id(node)] = values, depth
        elif self.sizes[id(node)] == (0, 0):
            raise _marked(node, 'an alias of what it is itself part of')
        return self.sizes[id(node)]

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                self.twice += [key] if (key.tag, key.value) in seen else []
                seen.add((key.tag, key.value))
            return [part for pair in node.value for part in pair]
        if isinstance(node, yaml.SequenceNode):
            return node.value
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise _marked(node, f'a number of {len(node.value)} characters')
        return []


def _marked(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _explained(problem: yaml.YAMLError, name: str | Path, text: str) -> tuple[str, str]:
    mark, line = getattr(problem, 'problem_mark', None), None
    if mark:
        line = mark.line + 1
    elif isinstance(problem, yaml.reader.ReaderError):
        line = text.count('\n', 0, problem.position) + 1
    what = getattr(problem, 'problem', None) or getattr(problem, 'reason', None) or 'unreadable'
    where = f' line {line}' if line else ''
    return f'{name}{where}: not valid YAML ({printable(what, 200)})', 'mend that line'
