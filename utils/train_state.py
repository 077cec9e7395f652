"""The state of a training run as a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from utils.checkpoint import Checkpoint, state_arrays
from utils.errors import TrainingError
from utils.optim import optimizer_to_numpy


def to_checkpoint(run: Any) -> Checkpoint:
    """All that is needed to use the model and to go on training it; arrays are copies.

    Args:
        run: a `train.Run` (the script uses this module, not the other way about).
    """
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
