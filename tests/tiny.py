"""The smallest training there is: eight drawn pictures, yolov5n's layers with a few channels, a step in 0.1 s."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.data.shapes import make_shapes
from utils.log import LOGGER
from utils.paths import ROOT, read_yaml, write_yaml

PICTURES, UNSEEN = 8, 4  # for training and for validation
SIZE = 64  # pixels


@dataclass(frozen=True)
class Tiny:
    """A data set and a model in a folder."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / 'shapes' / 'shapes.yaml'

    @property
    def cfg(self) -> Path:
        return self.folder / 'tiny.yaml'

    def options(self, project: Path, **changes: Any) -> dict[str, Any]:
        """Options of a short run: two batches an epoch, on the CPU, in this process, without plots."""
        options = {
            'data': str(self.data), 'cfg': str(self.cfg), 'weights': '', 'epochs': 1, 'batch_size': 4, 'imgsz': SIZE,
            'device': 'cpu', 'workers': 0, 'noplots': True, 'project': str(project),
        }  # fmt: skip
        return options | changes

    def words(self, project: Path, **changes: Any) -> list[str]:
        """The same as words of the command line; an option that is None is left out."""
        words = []
        for name, value in self.options(project, **changes).items():
            if value is not None and value is not False:
                words += [f'--{name.replace("_", "-")}', *([] if value is True else [str(value)])]
        return words


def make_tiny(folder: Path) -> Tiny:
    tiny = Tiny(folder)
    make_shapes(tiny.data.parent, train=PICTURES, val=UNSEEN, size=SIZE)
    write_yaml(tiny.cfg, read_yaml(ROOT / 'models/yolov5n.yaml') | {'depth_multiple': 0.1, 'width_multiple': 0.02})
    return tiny


@contextmanager
def logged_lines() -> Iterator[list[str]]:
    """What the toolkit logs, as a list that grows. Scripts set the logger up; afterwards it is as it was."""
    lines: list[str] = []
    handler, before = logging.Handler(), (LOGGER.handlers, LOGGER.propagate, LOGGER.level)
    handler.emit = lambda record: lines.append(record.getMessage())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        LOGGER.handlers, LOGGER.propagate = before[:2]
        LOGGER.setLevel(before[2])
