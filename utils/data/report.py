"""What the label check found, as the lines of a log."""

from __future__ import annotations

import os
from collections.abc import Sequence

from utils.data.labelset import BACKGROUND, LEFT_OUT, REMOVED, LabelSet, Problem

_ORDER = {LEFT_OUT: 0, REMOVED: 1, BACKGROUND: 2}


def summary(labels: LabelSet, name: str = '', seconds: float | None = None) -> str:
    """One line: pictures, labels, and how many are background, left out or repeated."""
    counts = labels.counts
    background = sum(1 for rows in labels.labels.counts() if not rows)
    parts = [f'{len(labels)} pictures', f'{len(labels.labels.values)} labels']
    parts += [f'{background} without labels'] if background else []
    parts += [f'{counts["corrupt"]} left out'] if counts.get('corrupt') else []
    parts += [f'{counts["duplicates"]} repeated rows removed'] if counts.get('duplicates') else []
    took = '' if seconds is None else f' ({seconds:.1f} s)'
    return f'{name or "data"}: {", ".join(parts)}{took}'


def problem_table(problems: Sequence[Problem], rows: int = 20) -> str:
    """The problems as a table, gravest first; beyond `rows` the rest is counted by kind."""
    ordered = sorted(problems, key=lambda problem: _ORDER[problem.action])  # stable: by file within
    shown, rest = ordered[:rows], ordered[rows:]
    cells = [('file', 'line', 'problem', 'so')]
    cells += [(_short(p.file), str(p.line or ''), p.detail, p.action) for p in shown]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    if rest:
        kinds = {}
        for problem in rest:
            kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
        lines.append(f'and {len(rest)} more: ' + ', '.join(f'{n} {kind}' for kind, n in kinds.items()))
    return '\n'.join(lines)


def _short(file: str) -> str:
    """Relative to the working directory where that is shorter."""
    relative = os.path.relpath(file)
    return relative if len(relative) < len(file) else file
