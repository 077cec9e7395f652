"""Data sets that we can make or fetch: the names that a data set YAML may give as `download`.

A name, never code: nothing that is written in a YAML is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def _shapes(folder: Path) -> None:
    from utils.data.shapes import make_shapes  # only who needs pictures drawn loads OpenCV

    make_shapes(folder)


# Each function fills the data set's folder, or raises and leaves no folder.
FETCHERS: dict[str, Callable[[Path], None]] = {'shapes': _shapes}
