"""Stand-ins for wandb, clearml and comet_ml: modules that write down what they are called with.

They take the arguments that those packages document, and no others. The packages themselves are not installed here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Calls = list[tuple[str, dict[str, Any]]]


def recorder(calls: Calls) -> Callable[..., Callable]:
    """Makes functions that append (name, arguments) to `calls`; a file among them has to be there."""

    def make(name: str, parameters: str, gives: Any = None) -> Callable:
        names = parameters.split()

        def called(*args: Any, **kwargs: Any) -> Any:
            assert len(args) <= len(names)
            given = dict(zip(names, args)) | kwargs
            assert set(given) <= set(names), f'{name} takes no {set(given) - set(names)}'
            for value in given.values():
                assert not str(value).startswith('/') or Path(value).exists(), value
            calls.append((name, given))
            return gives(given) if callable(gives) else gives

        return called

    return make


def wandb(calls: Calls) -> dict[str, Any]:
    record = recorder(calls)
    run = SimpleNamespace(
        id='run7',
        config=SimpleNamespace(update=record('config.update', 'd allow_val_change')),
        log=record('log', 'data step commit'),
        log_artifact=record('log_artifact', 'artifact_or_path name type aliases', None),
        finish=record('finish', 'exit_code quiet'),
    )
    artifact = SimpleNamespace(add_file=record('add_file', 'local_path name'))
    return {
        'init': record('init', 'entity project dir id name tags config resume mode', run),
        'Image': record('Image', 'data_or_path mode caption', lambda given: Path(given['data_or_path']).name),
        'Artifact': record('Artifact', 'name type description metadata', artifact),
    }


def clearml(calls: Calls) -> dict[str, Any]:
    record = recorder(calls)
    logger = SimpleNamespace(
        report_scalar=record('report_scalar', 'title series value iteration'),
        report_image=record('report_image', 'title series iteration local_path image'),
    )
    task = SimpleNamespace(
        id='task7',
        get_logger=lambda: logger,
        connect=record('connect', 'mutable name'),
        set_initial_iteration=record('set_initial_iteration', 'offset'),
        mark_stopped=record('mark_stopped', 'force status_message'),
        close=record('close', ''),
    )
    init = record(
        'init',
        'project_name task_name task_type tags reuse_last_task_id continue_last_task output_uri '
        'auto_connect_arg_parser auto_connect_frameworks',
        task,
    )
    model = SimpleNamespace(
        update_weights=record(
            'update_weights', 'weights_filename upload_uri target_filename auto_delete_file register_uri iteration'
        )
    )
    return {'Task': SimpleNamespace(init=init), 'OutputModel': record('OutputModel', 'task name tags', model)}


def comet_ml(calls: Calls) -> dict[str, Any]:
    record = recorder(calls)
    experiment = SimpleNamespace(
        get_key=lambda: 'key7',
        set_name=record('set_name', 'name'),
        log_parameters=record('log_parameters', 'parameters prefix nested_support step'),
        log_metrics=record('log_metrics', 'dic prefix step epoch'),
        log_image=record('log_image', 'image_data name overwrite image_format step'),
        log_model=record('log_model', 'name file_or_folder file_name overwrite metadata'),
        log_other=record('log_other', 'key value'),
        end=record('end', ''),
    )
    return {
        'Experiment': record('Experiment', 'api_key project_name workspace', experiment),
        'ExistingExperiment': record('ExistingExperiment', 'api_key previous_experiment workspace', experiment),
    }


MODULES = {'wandb': wandb, 'clearml': clearml, 'comet': comet_ml}  # by the names of --loggers


def install(monkeypatch: pytest.MonkeyPatch, name: str) -> Calls:
    """Put a stand-in where the package would be; the calls it gets, as a list that grows."""
    calls: Calls = []
    package = MODULES[name].__name__
    module = ModuleType(package)
    module.__spec__ = ModuleSpec(package, None, origin='stand-in')
    vars(module).update(MODULES[name](calls))
    monkeypatch.setitem(sys.modules, package, module)
    return calls
