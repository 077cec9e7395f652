"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.loggers.base import Log, run_names


class WandbLog(Log):
    """A run of Weights & Biases. WANDB_PROJECT, WANDB_MODE and the like count as everywhere."""

    title = 'Weights & Biases'
    package = 'wandb'

    def __init__(self, folder: Path, resume: str = '') -> None:
        import wandb

        project, name = run_names(folder)
        again = {'id': resume, 'resume': 'allow'} if resume else {}
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT') or project, name=os.environ.get('WANDB_NAME') or name,
            dir=str(folder), **again,
        )  # fmt: skip
        self.id = self._run.id

    @classmethod
    def asked_by(cls) -> str:
        if os.environ.get('WANDB_MODE') == 'disabled':
            return ''
        return next((name for name in ('WANDB_API_KEY', 'WANDB_MODE') if os.environ.get(name)), '')

    def params(self, values: Mapping[str, Any]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self._run.log(dict(values), step=epoch)

    def pictures(self, title: str, files: Sequence[Path], epoch: int) -> None:
        self._run.log({title: [self._wandb.Image(str(file), caption=file.name) for file in files]}, step=epoch)

    def weights(self, file: Path, epoch: int) -> None:
        artifact = self._wandb.Artifact(f'run_{self.id}_model', type='model', metadata={'epoch': epoch})
        artifact.add_file(str(file), name=file.name)
        self._run.log_artifact(artifact, aliases=[file.stem])

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
