"""Comet."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.loggers.base import Log, run_names


class CometLog(Log):
    """An experiment of Comet."""

    title = 'Comet'
    package = 'comet_ml'

    def __init__(self, folder: Path, resume: str = '') -> None:
        import comet_ml

        project, name = run_names(folder)
        if resume:
            self._experiment = comet_ml.ExistingExperiment(previous_experiment=resume)
        else:
            self._experiment = comet_ml.Experiment(project_name=os.environ.get('COMET_PROJECT_NAME') or project)
            self._experiment.set_name(name)
        self.id = self._experiment.get_key()

    @classmethod
    def asked_by(cls) -> str:
        return 'COMET_API_KEY' if os.environ.get('COMET_API_KEY') else ''

    def params(self, values: Mapping[str, Any]) -> None:
        self._experiment.log_parameters(dict(values))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        self._experiment.log_metrics(dict(values), step=epoch, epoch=epoch)

    def pictures(self, title: str, files: Sequence[Path], epoch: int) -> None:
        for file in files:
            self._experiment.log_image(str(file), name=f'{title}/{file.name}', step=epoch)

    def weights(self, file: Path, epoch: int) -> None:
        self._experiment.log_model('YOLOv5', str(file), file_name=file.name, overwrite=True)

    def close(self, finished: bool) -> None:
        self._experiment.log_other('finished', finished)
        self._experiment.end()
