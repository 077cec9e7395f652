"""What was measured, as rows: ratios with their spread, and the files made of them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from utils.paths import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS = 'ours'


@dataclass(frozen=True)
class Row:
    """One figure against one other side, or by itself.

    Attributes:
        unit: of `ours` and `theirs`, which are medians over the rounds; less is better.
        against: the other side, '' for none.
        ratio, low, high: ours by theirs, round by round: the median, the least and the largest. By itself: of our
            values, by their median.
        best: the least of ours by the least of theirs.
        goal: what the ratio is meant to be at most; by itself, what `ours` is.
        x: of a figure over several settings, the number that varies.
    """

    figure: str
    setting: str
    unit: str
    against: str
    ours: float
    theirs: float | None
    ratio: float | None
    low: float
    high: float
    best: float | None
    rounds: int
    goal: float | None = None
    x: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None without one."""
        measured = self.ours if self.ratio is None else self.ratio
        return None if self.goal is None else measured <= self.goal


def make_rows(
    figure: str,
    setting: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    goal: float | None = None,
    x: float | None = None,
) -> list[Row]:
    """A row for each side that our values, the first of the mapping, are compared with; one by itself without any.

    Args:
        values: of each side round by round; they belong together in pairs.
    """
    (_, ours), *others = values.items()
    middle = statistics.median(ours)
    if not others:
        spread = [value / middle for value in ours]
        return [Row(figure, setting, unit, '', middle, None, None, min(spread), max(spread), None, len(ours), goal, x)]
    rows = []
    for name, theirs in others:
        ratios = [a / b for a, b in zip(ours, theirs)]
        rows.append(
            Row(
                figure, setting, unit, name, middle, statistics.median(theirs), statistics.median(ratios),
                min(ratios), max(ratios), min(ours) / min(theirs), len(ours), goal, x,
            )
        )  # fmt: skip
    return rows


def write_csv(rows: Sequence[Row], path: Path) -> None:
    with atomic_write(path, 'w') as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_markdown(rows: Sequence[Row], machine: Sequence[str], left_out: Sequence[str], path: Path) -> None:
    """One table of all rows; above it on what they were measured, below it what was not, and why."""
    lines = ['# Benchmarks', '', *(f'- {line}' for line in machine), '', *markdown_table(rows), '']
    if left_out:
        lines += ['Not measured:', '', *(f'- {line}' for line in left_out), '']
    with atomic_write(path, 'w') as file:
        file.write('\n'.join(lines))


def markdown_table(rows: Sequence[Row]) -> list[str]:
    head = ['figure', 'setting', 'ours', 'against', 'theirs', 'ratio', 'spread', 'of the best', 'goal']
    lines = ['| ' + ' | '.join(head) + ' |', '|' + ' --- |' * len(head)]
    for row in rows:
        verdict = {True: ', reached', False: ', missed', None: ''}[row.reached]
        cells = [
            row.figure, row.setting, quantity(row.ours, row.unit), row.against, quantity(row.theirs, row.unit),
            '' if row.ratio is None else f'{row.ratio:.2f}',
            f'{row.low:.2f} to {row.high:.2f}' if row.rounds > 1 else '',
            '' if row.best is None else f'{row.best:.2f}',
            '' if row.goal is None else f'≤ {quantity(row.goal, row.unit if row.ratio is None else "")}{verdict}',
        ]  # fmt: skip
        lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def quantity(value: float | None, unit: str) -> str:
    """0.0123, 's' -> '12.3 ms'; shares in percent, bytes in MiB, '' for None."""
    if value is None:
        return ''
    if unit == 's':
        return f'{value:.2f} s' if value >= 1 else f'{value * 1e3:.3g} ms'
    if unit == 'share':
        return f'{value:.1%}'
    return f'{value / 2**20:.0f} MiB' if unit == 'bytes' else f'{value:g} {unit}'.strip()


def plot(rows: Sequence[Row], folder: Path) -> list[Path]:
    """ratios.png, bars with their spread; scaling.png, figures over several settings as curves. None without rows."""
    from utils.plots.figure import new_figure, save_figure

    bars = [row for row in rows if row.ratio is not None and row.x is None]
    curves = [row for row in rows if row.x is not None]
    names, files = list(dict.fromkeys(row.figure for row in curves)), []
    if bars:
        figure, axes = new_figure(size=(10, 1.5 + 0.3 * len(bars)))
        _bars(axes[0][0], bars)
        files.append(save_figure(figure, folder / 'ratios.png', dpi=120))
    if names:
        figure, axes = new_figure(1, len(names), (4 * len(names), 3.5))
        for axis, name in zip(axes[0], names):
            _curves(axis, [row for row in curves if row.figure == name])
        files.append(save_figure(figure, folder / 'scaling.png', dpi=120))
    return files


def _bars(axis: Axes, rows: Sequence[Row]) -> None:
    colour = {name: f'C{i}' for i, name in enumerate(dict.fromkeys(row.against for row in rows))}
    for place, row in enumerate(rows):
        spread = [[row.ratio - row.low], [row.high - row.ratio]]
        axis.barh(place, row.ratio, xerr=spread, color=colour[row.against], capsize=2)
    axis.set_yticks(range(len(rows)), [f'{row.figure}, {row.setting}: {row.against}' for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(1, color='k', linewidth=1)
    axis.set_xlabel('ours / theirs; left of 1 is faster or smaller')


def _curves(axis: Axes, rows: Sequence[Row]) -> None:
    """Our median over what varies, and that of each other side."""
    ours = {row.x: row.ours for row in rows}
    axis.plot(ours.keys(), ours.values(), 'o-', label=OURS)
    for other in dict.fromkeys(row.against for row in rows if row.against):
        theirs = {row.x: row.theirs for row in rows if row.against == other}
        axis.plot(theirs.keys(), theirs.values(), 'o--', label=other)
    fixed, varied = rows[0].setting.split(': ')
    axis.set_title(f'{rows[0].figure}\n{fixed}', fontsize=9)
    axis.set_xticks(list(ours))
    axis.set_xlabel(varied.strip('0123456789 ') or 'number')
    axis.set_ylim(0)
    axis.set_ylabel('seconds')
    axis.legend()
