"""ClearML."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.loggers.base import Log, run_names


class ClearMLLog(Log):
    """A task of ClearML. It is told all it gets: its own hooks into other packages stay off."""

    title = 'ClearML'
    package = 'clearml'

    def __init__(self, folder: Path, resume: str = '') -> None:
        import clearml

        project, name = run_names(folder)
        again = {'continue_last_task': resume} if resume else {'reuse_last_task_id': False}
        self._task = clearml.Task.init(
            project_name=project, task_name=name, tags=['YOLOv5'], output_uri=True,
            auto_connect_arg_parser=False, auto_connect_frameworks=False, **again,
        )  # fmt: skip
        if resume:
            self._task.set_initial_iteration(0)  # it would count on from its last one, but epochs count from 0
        self._logger = self._task.get_logger()
        self._model = clearml.OutputModel(task=self._task, name=name)
        self.id = self._task.id

    @classmethod
    def asked_by(cls) -> str:
        if (Path.home() / 'clearml.conf').is_file():
            return '~/clearml.conf'
        return next((name for name in sorted(os.environ) if name.startswith('CLEARML_')), '')

    def params(self, values: Mapping[str, Any]) -> None:
        self._task.connect(dict(values), name='Options')

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            title, series = name.split('/', 1)
            self._logger.report_scalar(title=title, series=series, value=float(value), iteration=epoch)

    def pictures(self, title: str, files: Sequence[Path], epoch: int) -> None:
        for file in files:
            self._logger.report_image(title=title, series=file.stem, iteration=epoch, local_path=str(file))

    def weights(self, file: Path, epoch: int) -> None:
        self._model.update_weights(
            weights_filename=str(file), target_filename=file.name, iteration=epoch, auto_delete_file=False
        )

    def close(self, finished: bool) -> None:
        if not finished:
            self._task.mark_stopped()
        self._task.close()
