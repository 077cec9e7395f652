"""Which loggers a run has: those --loggers names; without it TensorBoard and those the user's environment asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils.errors import ResourceError, UsageError
from utils.log import LOGGER
from utils.loggers.base import Log
from utils.loggers.clearml_log import ClearMLLog
from utils.loggers.comet_log import CometLog
from utils.loggers.tensorboard import TensorBoardLog
from utils.loggers.wandb_log import WandbLog
from utils.paths import read_yaml, write_yaml

LOGS: dict[str, type[Log]] = {
    'tensorboard': TensorBoardLog,
    'wandb': WandbLog,
    'clearml': ClearMLLog,
    'comet': CometLog,
}
IDS = 'loggers.yaml'  # in the run's folder: by which id each server knows the run


def check_loggers(names: Sequence[str] | None) -> None:
    """Refuse loggers that can't be had, before anything is written.

    Raises:
        UsageError: there is no logger of that name.
        ResourceError: its package is not installed.
    """
    for name in names or ():
        if name != 'csv' and name not in LOGS:
            raise UsageError(f'--loggers {name}: no such logger', f'there are {", ".join(["csv", *LOGS])}')
        if name != 'csv' and not LOGS[name].is_installed():
            raise ResourceError(f'--loggers {name}: it is not installed', f"'{_pip(name)}' adds it")


def open_loggers(names: Sequence[str] | None, folder: Path, resumed: bool = False) -> list[Log]:
    """Start the loggers of a run, results.csv aside. One that can't start is left out, and a line says so.

    Args:
        names: as --loggers has them; None leaves it to the environment.
        resumed: the run goes on in the folder, and so in each logger.
    """
    check_loggers(names)
    file = folder / IDS
    if not resumed:
        file.unlink(missing_ok=True)  # of an earlier run, with --exist-ok
    ids = read_yaml(file) if file.is_file() else {}
    logs = {}
    for name in _from_environment() if names is None else dict.fromkeys(names):
        if name != 'csv':
            try:
                logs[name] = LOGS[name](folder, resume=ids.get(name, ''))
            except Exception as error:
                warn_off(LOGS[name], 'it did not start', error)
    ids |= {name: log.id for name, log in logs.items() if log.id}
    if ids:
        write_yaml(file, ids)
    return list(logs.values())


def warn_off(log: Log | type[Log], what: str, error: Exception) -> None:
    """Say that a logger is off, and why, on one line."""
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    LOGGER.warning(f'WARNING: {log.title}: {what} ({reason}), so the run goes on without it')


def _from_environment() -> list[str]:
    """TensorBoard, and what the environment asks for, where it is installed; a line for what isn't."""
    found = []
    for name, log in LOGS.items():
        why = log.asked_by()
        if name == 'tensorboard' or why:
            if log.is_installed():
                found.append(name)
            else:
                asked = f'{why} asks for it, but it is ' if why else ''
                LOGGER.info(f"{log.title}: {asked}not installed, so nothing is logged there; '{_pip(name)}' adds it")
    return found


def _pip(name: str) -> str:
    return f'pip install {LOGS[name].package}' + ('==2.12.3' if name == 'tensorboard' else '')
