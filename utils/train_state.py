"""The state of a training run as a checkpoint, and a run taken up again from one.

The order of pictures and all that is drawn by chance follow from the seed and the epoch, so no generator is stored.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from utils.checkpoint import DAMAGED, Checkpoint, build_model, load_checkpoint, load_state, state_arrays
from utils.distributed import world_size
from utils.errors import DataError, TrainingError, UsageError, WeightsError, sigterm_as_ctrl_c
from utils.log import LOGGER
from utils.options import make_options
from utils.terminal import printable

if TYPE_CHECKING:
    from models.yolo import Model

T = TypeVar('T')


def to_checkpoint(run: Any) -> Checkpoint:
    """All that is needed to use the model and to go on training it; arrays are copies.

    Args:
        run: a `utils.train_setup.Run`.
    """
    from utils.optim import optimizer_to_numpy  # brings OneFlow, which may not be there yet when a run is reopened

    return Checkpoint(
        config=run.model.yaml,
        config_name=run.model.yaml_file,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        state=state_arrays(run.model),
        names=run.names,
        stride=[float(s) for s in run.model.stride],
        anchors=run.model.detect.anchors.cpu().numpy(),
        hyp=run.hyp,
        epoch=run.epoch,
        best_fitness=run.stopper.best_fitness,
        ema=state_arrays(run.ema.ema),
        ema_updates=run.ema.updates,
        optimizer=optimizer_to_numpy(run.optimizer),
        trainer={
            'options': asdict(run.opt),
            'last_step': run.schedule.last_step,
            'best_epoch': run.stopper.best_epoch,
            'best_results': list(map(float, run.best_results)),
            'results': list(map(float, run.results)),
            'maps': list(map(float, run.maps)),
        },
    )


def check_finite(checkpoint: Checkpoint, last: Path) -> None:
    """Refuse to write broken weights over good ones: an epoch's last step may break them with a loss still fine.

    Args:
        last: the file that would be overwritten.

    Raises:
        TrainingError: a weight is infinite or not a number.
    """
    if not all(np.isfinite(array).all() for array in (*checkpoint.state.values(), *checkpoint.ema.values())):
        kept = f'{last} is kept from before' if last.exists() else 'nothing was saved'
        raise TrainingError(f'the weights are not finite after epoch {checkpoint.epoch}', f'lower lr0; {kept}')


# Resuming ---------------------------------------------------------------------------------------------------------

OF_THE_MACHINE = ('device', 'workers', 'cache', 'no_fused')  # may change when a run goes on: results stay the same


def reopen(opt: T) -> tuple[T, Checkpoint]:
    """The options of the run that `opt.resume` means, and its checkpoint.

    Those of `OF_THE_MACHINE` in `opt` count, where not the default. All else in `opt` is ignored, and that said.

    Raises:
        UsageError: there is no such run, or it is over, or the file holds no run.
    """
    latest = opt.resume is True
    file = find_last(opt.project) if latest else Path(opt.resume)
    file = file / 'weights' / 'last.safetensors' if file.is_dir() else file
    if not file.is_file():
        raise UsageError(f'--resume {file}: no such file', "give a run's folder or its weights/last.safetensors")
    checkpoint = load_checkpoint(file)
    if not (checkpoint.trainer and checkpoint.optimizer and checkpoint.ema):
        what = 'its training is over' if checkpoint.epoch < 0 else 'it holds weights, but no state of a run'
        raise UsageError(f'--resume {file}: {what}', f'to train on from these weights, give --weights {file}')
    if file.absolute().parent.name != 'weights':
        raise UsageError(f'--resume {file}: is in no run', "put it into the weights folder of a run's folder")
    default = asdict(type(opt)())
    given = {name: value for name, value in asdict(opt).items() if value != default[name]}
    here = {name: value for name, value in given.items() if name in OF_THE_MACHINE}
    ignored = [name for name in given if name not in here and name != 'resume' and not (latest and name == 'project')]
    if ignored:
        names = ', '.join(f'--{name.replace("_", "-")}' for name in ignored)
        LOGGER.warning(f'WARNING: a resumed run keeps its options; ignored: {names}')
    LOGGER.info(f'Resuming {file} after epoch {checkpoint.epoch}')
    _check_saved(checkpoint.trainer, file)
    return make_options(type(opt), **(checkpoint.trainer['options'] | here)), checkpoint


def _check_saved(saved: dict[str, Any], file: Path) -> None:
    """Refuse a state that no run of ours wrote.

    Raises:
        WeightsError: something is not there, or is of another type.
    """
    lists = {name: saved.get(name) for name in ('results', 'best_results', 'maps')}
    checks = {
        'options': isinstance(saved.get('options'), dict) and all(isinstance(key, str) for key in saved['options']),
        **{name: type(saved.get(name)) is int for name in ('last_step', 'best_epoch')},
        **{
            name: isinstance(values, (list, tuple)) and all(type(value) in (int, float) for value in values)
            for name, values in lists.items()
        },
    }
    wrong = [name for name, fine in checks.items() if not fine]
    if wrong:
        raise WeightsError(f'--resume {file}: its state of the run has no fitting {", ".join(wrong)}', DAMAGED)


def find_last(project: str | Path) -> Path:
    """The last.safetensors under a folder of runs that was written last.

    Raises:
        UsageError: there is none.
    """
    found = list(Path(project).glob('**/weights/last.safetensors'))
    if not found:
        raise UsageError(f'--resume: there is no run under {project}', "give a run's folder or its last.safetensors")
    return max(found, key=lambda file: file.stat().st_mtime_ns)


def trained_model(run: Any) -> Model:
    """The model of the run to be resumed, as it was, anchors included.

    Raises:
        DataError: the data set has other classes now.
    """
    if run.names != run.checkpoint.names:
        now, then = (printable(', '.join(names), 300) for names in (run.names, run.checkpoint.names))
        raise DataError(
            f'{run.data.file or "data set"}: has the classes {now}', f'the run to be resumed was started with {then}'
        )
    return build_model(replace(run.checkpoint, ema=None))


def restore(run: Any) -> None:
    """Put back what `to_checkpoint` stored, but for the model: that has to be there before the others are built."""
    from utils.optim import optimizer_from_numpy

    checkpoint, saved = run.checkpoint, run.checkpoint.trainer
    run.folder = Path(os.path.normpath(checkpoint.path.parent / '..'))
    run.epoch, run.start_epoch, run.resumable = checkpoint.epoch, checkpoint.epoch + 1, True
    run.best_saved = run.best.exists()
    if run.ema:
        load_state(run.ema.ema, checkpoint.ema, checkpoint.path)
        run.ema.updates = checkpoint.ema_updates
    try:
        optimizer_from_numpy(run.optimizer, checkpoint.optimizer)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as problem:
        what = f'{type(problem).__name__}: {printable(problem, 100)}'
        raise WeightsError(f'{checkpoint.path}: its optimiser state is malformed ({what})', DAMAGED) from problem
    # Fewer pictures than before make fewer batches.
    run.schedule.last_step = min(saved['last_step'], run.start_epoch * len(run.train_loader) - 1)
    run.over = run.stopper.resume(checkpoint.epoch, saved['best_epoch'], checkpoint.best_fitness)
    run.results, run.best_results = tuple(saved['results']), tuple(saved['best_results'])
    run.maps = np.array(saved['maps'])
    run.checkpoint = None  # as large as the run itself


def file_identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that takes its place; None where there is none."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    return None


@contextmanager
def interruptible(run: Any) -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, and have the interrupt's text say how to go on."""
    try:
        with sigterm_as_ctrl_c():
            yield
    except KeyboardInterrupt as stop:
        if run.resumable and file_identity(run.last) != run.other_last:
            start = 'python' if world_size() == 1 else 'the same launcher and options of it,'
            how = f'{start} train.py --resume {shlex.quote(str(run.last))}'
            stop.args = (f'{str(stop) or "Interrupted"} in epoch {run.epoch}. To go on: {how}',)
        raise
