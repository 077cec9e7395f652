"""What a training run writes down: results.csv and TensorBoard events.

loggers = Loggers(save_dir)
callbacks.register_all(loggers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.loggers.csv_log import CsvLog
from utils.loggers.tensorboard import TensorBoardLog

LOGGERS = ('csv', 'tb')
RESULT_COLUMNS = (
    'train/box_loss', 'train/obj_loss', 'train/cls_loss',
    'metrics/precision', 'metrics/recall', 'metrics/mAP_0.5', 'metrics/mAP_0.5:0.95',
    'val/box_loss', 'val/obj_loss', 'val/cls_loss',
    'x/lr0', 'x/lr1', 'x/lr2',
)  # fmt: skip
BEST_COLUMNS = ('best/epoch', 'best/precision', 'best/recall', 'best/mAP_0.5', 'best/mAP_0.5:0.95')


class Loggers:
    """Listens to the hooks of a run and hands the numbers to each logger asked for.

    Args:
        save_dir: the run's folder.
        include: which loggers, of LOGGERS.
        best: the numbers of BEST_COLUMNS so far, when a run is resumed.
    """

    def __init__(self, save_dir: str | Path, include: Sequence[str] = LOGGERS, best: Sequence[float] = ()) -> None:
        self.save_dir = Path(save_dir)
        self.csv = CsvLog(self.save_dir / 'results.csv', RESULT_COLUMNS) if 'csv' in include else None
        self.tb = TensorBoardLog.open(self.save_dir) if 'tb' in include else None
        self.best = list(best)

    def on_fit_epoch_end(self, values: Sequence[float], epoch: int, best_fitness: float, fitness: float) -> None:
        """Write an epoch's numbers.

        Args:
            values: those of RESULT_COLUMNS.
            epoch: counted from 0.
            best_fitness, fitness: of the run so far, of this epoch.
        """
        if self.csv:
            self.csv.write(epoch, values)
        if self.tb:
            self.tb.scalars(dict(zip(RESULT_COLUMNS, values)), epoch)
        if best_fitness == fitness:
            self.best = [epoch, *values[3:7]]

    def on_params_update(self, params: Mapping[str, Any]) -> None:
        """Write options or hyper-parameters as a table."""
        if self.tb:
            rows = ''.join(f'|{name}|{value}|\n' for name, value in params.items())
            self.tb.text('params', '|name|value|\n|-|-|\n' + rows, 0)

    def on_train_end(self, last: Path, best: Path, epoch: int, results: Sequence[float]) -> None:
        """Write the best epoch's numbers and the plots of the run's folder."""
        if self.tb:
            self.tb.scalars(dict(zip(BEST_COLUMNS, self.best)), epoch)
            for file in sorted(f for f in self.save_dir.glob('*.*') if f.suffix in {'.jpg', '.png'}):
                self.tb.image_file(file.stem, file, epoch)

    def teardown(self) -> None:
        """Close the files; called at the end of a run, however it ends."""
        if self.tb:
            self.tb.close()
