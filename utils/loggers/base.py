"""What every logger but results.csv can be told."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Log:
    """One place that a run's numbers and pictures go to. A call that means nothing to a logger does nothing.

    Making one starts the logger, and imports its package only then.

    Args:
        folder: the run's folder.
        resume: what `id` was when the run was begun, for a run that goes on.

    Attributes:
        title: its name in messages; package: what has to be installed.
        id: by which the logger's server knows the run; '' for one that has no server.
    """

    title = ''
    package = ''
    id = ''

    def __init__(self, folder: Path, resume: str = '') -> None:
        pass

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the package can be imported; it isn't."""
        spec = importlib.util.find_spec(cls.package)
        return spec is not None and spec.origin is not None  # a mere folder of that name has no origin

    @classmethod
    def asked_by(cls) -> str:
        """What in the user's environment asks for this logger; '' if nothing does."""
        return ''

    def params(self, values: Mapping[str, Any]) -> None:
        """Options and hyper-parameters by name."""

    def graph(self, model: Any) -> None:
        """The structure of a `models.yolo.Model`."""

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Numbers by name."""

    def pictures(self, title: str, files: Sequence[Path], epoch: int) -> None:
        """JPEG and PNG files that belong together."""

    def weights(self, file: Path, epoch: int) -> None:
        """A checkpoint to keep a copy of."""

    def close(self, finished: bool) -> None:
        """The run is over; `finished` tells whether it came to its end."""


def run_names(folder: Path) -> tuple[str, str]:
    """Project and name under which a logger files a run: runs/train/exp2 is exp2 of YOLOv5, a/b is b of a."""
    folder = folder.absolute()
    return 'YOLOv5' if folder.parts[-3:-1] == ('runs', 'train') else folder.parent.name, folder.name
