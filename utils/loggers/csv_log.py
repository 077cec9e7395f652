"""results.csv: one row an epoch, columns padded so that the file reads as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils.paths import atomic_write

WIDTH = 20


class CsvLog:
    """Writes rows of numbers under a header.

    The file is rewritten whole with every row, so a kill never leaves half a row, and an epoch that is trained again
    after --resume replaces its old row instead of following it.

    Args:
        path: the file; rows of an earlier run in it are kept if they are of earlier epochs.
        columns: names of the numbers, without the epoch.
    """

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path, self.columns = Path(path), tuple(columns)

    def write(self, epoch: int, values: Sequence[float]) -> None:
        """Add the row of an epoch, with 5 significant digits; rows of this and later epochs go.

        Raises:
            ValueError: the number of values is not that of the columns.
        """
        if len(values) != len(self.columns):
            raise ValueError(f'{len(values)} values for the {len(self.columns)} columns of {self.path}')
        header = ','.join(f'{name:>{WIDTH}}' for name in ('epoch', *self.columns))
        row = ','.join([f'{epoch:>{WIDTH}}', *(f'{float(value):>{WIDTH}.5g}' for value in values)])
        with atomic_write(self.path, 'w') as file:
            file.write('\n'.join([header, *self._earlier_rows(epoch), row]) + '\n')

    def _earlier_rows(self, epoch: int) -> list[str]:
        """The file's whole rows of epochs before `epoch`."""
        lines = self.path.read_text(encoding='utf-8').splitlines() if self.path.is_file() else []
        return [line for line in lines[1:] if self._is_row(line) and int(line.split(',')[0]) < epoch]

    def _is_row(self, line: str) -> bool:
        cells = line.split(',')
        return len(cells) == len(self.columns) + 1 and cells[0].strip().isdigit()
