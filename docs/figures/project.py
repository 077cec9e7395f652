"""How large the parts of this code are, for the chapter on why it exists."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.tools.numbers import write_numbers
from utils.paths import ROOT

ROOMS = ('models', 'utils')


def make() -> None:
    files = [*ROOT.glob('*.py'), *(path for room in ROOMS for path in sorted((ROOT / room).rglob('*.py')))]
    lengths = {path: len(path.read_text('utf-8').splitlines()) for path in files}
    functions = {f'{path.stem}.{name}': length for path in files for name, length in _functions(path)}
    longest = max(functions, key=functions.get)
    write_numbers('project', {
        'files': len(files), 'lines': f'{round(sum(lengths.values()), -2):,}',
        'longest_file': max(lengths.values()), 'longest_function': functions[longest],
        'median_function': sorted(functions.values())[len(functions) // 2],
        'train': functions['train.train'], 'val': functions['val.run'],
    })  # fmt: skip


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.FunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1
