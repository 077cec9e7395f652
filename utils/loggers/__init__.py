"""What a training run writes down: results.csv always; TensorBoard, Weights & Biases, ClearML and Comet by choice.

loggers = Loggers(save_dir)
callbacks.register_all(loggers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.loggers.choice import open_loggers, warn_off
from utils.loggers.csv_log import CsvLog

RESULT_COLUMNS = (
    'train/box_loss', 'train/obj_loss', 'train/cls_loss',
    'metrics/precision', 'metrics/recall', 'metrics/mAP_0.5', 'metrics/mAP_0.5:0.95',
    'val/box_loss', 'val/obj_loss', 'val/cls_loss',
    'x/lr0', 'x/lr1', 'x/lr2',
)  # fmt: skip
BEST_COLUMNS = ('best/epoch', 'best/precision', 'best/recall', 'best/mAP_0.5', 'best/mAP_0.5:0.95')


class Loggers:
    """Listens to the hooks of a run and hands numbers, pictures and checkpoints to each logger.

    A logger that fails is off from then on: the training is worth more than its record. A row of results.csv that
    can't be written does end it, since then a checkpoint can't be written either.

    Args:
        save_dir: the run's folder.
        names: which loggers, as `utils.loggers.choice` knows them; None leaves it to the environment.
        best: the numbers of BEST_COLUMNS so far, when a run is resumed.
        done: how many epochs it had then.
    """

    def __init__(
        self,
        save_dir: str | Path,
        names: Sequence[str] | None = None,
        best: Sequence[float] = (),
        done: int = 0,
    ) -> None:
        self.save_dir = Path(save_dir)
        self.csv = CsvLog(self.save_dir / 'results.csv', RESULT_COLUMNS)
        self.best = list(best)
        self.epoch, self.save_period, self.finished = max(done - 1, 0), -1, False
        self._known = self._files()  # an earlier run's, with --exist-ok
        self.logs = open_loggers(names, self.save_dir, resumed=done > 0)

    def on_params_update(self, params: Mapping[str, Any]) -> None:
        """Write options and hyper-parameters."""
        self.save_period = params.get('save_period', -1)
        self._tell('params', params)

    def on_pretrain_routine_end(self) -> None:
        self._tell_pictures('Labels')

    def on_train_batch_end(self, model: Any, iteration: int, *_: Any) -> None:
        if iteration == 0:
            self._tell('graph', model)

    def on_train_epoch_end(self, epoch: int) -> None:
        self.epoch = epoch
        self._tell_pictures('Mosaics')

    def on_val_end(self) -> None:
        self._tell_pictures('Validation', 'val*')

    def on_fit_epoch_end(self, values: Sequence[float], epoch: int, best_fitness: float, fitness: float) -> None:
        """Write an epoch's numbers.

        Args:
            values: those of RESULT_COLUMNS.
            epoch: counted from 0.
            best_fitness, fitness: of the run so far, of this epoch.
        """
        self.csv.write(epoch, values)
        self._tell('scalars', dict(zip(RESULT_COLUMNS, values)), epoch)
        if best_fitness == fitness:
            self.best = [epoch, *values[3:7]]

    def on_model_save(self, last: Path, epoch: int, final: bool, best_fitness: float, fitness: float) -> None:
        """Hand on what --save-period keeps."""
        if self.save_period > 0 and epoch % self.save_period == 0:
            self._tell('weights', last.with_name(f'epoch{epoch}.safetensors'), epoch)

    def on_train_end(self, last: Path, best: Path, epoch: int, results: Sequence[float]) -> None:
        """Write the best epoch's numbers, the plots of the run's folder and the final checkpoint."""
        self._tell('scalars', dict(zip(BEST_COLUMNS, self.best)), epoch)
        self._tell_pictures('Results')
        final = next((file for file in (best, last) if file in self._new_files()), None)
        if final:
            self._tell('weights', final, epoch)
        self.finished = True

    def teardown(self) -> None:
        """Close the loggers; called at the end of a run, however it ends."""
        self._tell('close', self.finished)
        self.logs.clear()

    def _tell(self, call: str, *args: Any) -> None:
        """Make a call of `utils.loggers.base.Log` on each logger."""
        for log in list(self.logs):
            try:
                getattr(log, call)(*args)
            except Exception as error:
                self.logs.remove(log)
                warn_off(log, f'{call} failed', error)

    def _tell_pictures(self, title: str, pattern: str = '*') -> None:
        """Hand on the pictures that were written since the last time."""
        files = [file for file in self._new_files() if file.match(pattern) and file.suffix in {'.jpg', '.png'}]
        if files:
            self._tell('pictures', title, files, self.epoch)
            self._known |= {file: file.stat().st_mtime_ns for file in files}

    def _files(self) -> dict[Path, int]:
        """Pictures and checkpoints of the run's folder, and when they were written."""
        found = [*self.save_dir.glob('*.*'), *self.save_dir.glob('weights/*.safetensors')]
        return {file: file.stat().st_mtime_ns for file in sorted(found)}

    def _new_files(self) -> list[Path]:
        return [file for file, written in self._files().items() if self._known.get(file) != written]
