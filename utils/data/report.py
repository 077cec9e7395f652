"""What the label check found, as the lines of a log."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from utils.data.labelset import BACKGROUND, IGNORED, KEPT, LEFT_OUT, REMOVED, ROW_LEFT_OUT, LabelSet, Problem
from utils.terminal import counted, printable

_ORDER = (LEFT_OUT, ROW_LEFT_OUT, REMOVED, KEPT, IGNORED, BACKGROUND)
_LONGEST_DETAIL = 160  # characters in the table


def summary(labels: LabelSet, name: str = '', seconds: float | None = None) -> str:
    """One line: pictures, labels, and how many are background, left out, repeated, clipped or outside."""
    counts = labels.counts
    background = sum(1 for rows in labels.labels.counts() if not rows)
    parts = [counted(len(labels), 'picture'), counted(len(labels.labels.values), 'label')]
    parts += [f'{background} without labels'] if background else []
    parts += [f'{counts["corrupt"]} left out'] if counts.get('corrupt') else []
    parts += [f'{counted(counts["bad_rows"], "row")} left out'] if counts.get('bad_rows') else []
    parts += [f'{counted(counts["duplicates"], "repeated row")} removed'] if counts.get('duplicates') else []
    parts += [f'{counted(counts["clipped"], "row")} clipped to 0..1'] if counts.get('clipped') else []
    parts += [f'{counted(counts["outside"], "box", "boxes")} mostly outside'] if counts.get('outside') else []
    took = '' if seconds is None else f' ({seconds:.1f} s)'
    return f'{name or "data"}: {", ".join(parts)}{took}'


def problem_table(problems: Sequence[Problem], rows: int = 20) -> str:
    """The problems as a table, gravest first, some of each kind; beyond `rows` the rest is counted by kind."""
    ordered = sorted(problems, key=lambda problem: _ORDER.index(problem.action))  # stable: by file within
    shown, rest = _some_of_each_kind(ordered, rows)
    cells = [('file', 'line', 'problem', 'so')]
    cells += [
        (printable(_short(p.file)), str(p.line or ''), printable(p.detail, _LONGEST_DETAIL), p.action) for p in shown
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    if rest:
        kinds = Counter(problem.kind for problem in rest)
        lines.append(f'and {len(rest)} more: ' + ', '.join(f'{n} {kind}' for kind, n in kinds.items()))
    return '\n'.join(lines)


def _some_of_each_kind(problems: Sequence[Problem], rows: int) -> tuple[list[Problem], list[Problem]]:
    """Which problems to show, and the others: a share for each kind, and what that leaves to the first ones."""
    kinds = Counter(problem.kind for problem in problems)
    share = max(rows // max(len(kinds), 1), 1)
    left, seen = rows - sum(min(n, share) for n in kinds.values()), Counter()
    shown, rest = [], []
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] > share:
            left -= 1
        (shown if seen[problem.kind] <= share or left >= 0 else rest).append(problem)
    return shown, rest


def _short(file: str) -> str:
    """Relative to the working directory where that is shorter."""
    relative = os.path.relpath(file)
    return relative if len(relative) < len(file) else file
