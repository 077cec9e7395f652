"""The reference's golden numbers, for the parity tests.

They lie in a folder `shared` beside the checkout (or where YOLOV5_SHARED points) and are not part of the project:
without them the parity tests are skipped on a user's machine, and fail in CI.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SHARED = Path(os.environ.get('YOLOV5_SHARED', Path(__file__).resolve().parents[2] / 'shared'))

needs_golden = pytest.mark.skipif(
    not (SHARED / 'golden').is_dir() and os.environ.get('CI') != 'true',
    reason=f'the reference numbers are not on this machine ({SHARED / "golden"}; set YOLOV5_SHARED)',
)


def shared(name: str) -> Path:
    """A file or folder of the shared folder, for example `weights/yolov5n.pt`."""
    return SHARED / name


@lru_cache
def golden_json(name: str) -> Any:
    path = shared(f'golden/{name}')
    opener = gzip.open if path.suffix == '.gz' else open
    with opener(path, 'rt', encoding='utf-8') as f:
        return json.load(f)


@lru_cache
def golden_npz(name: str) -> dict[str, np.ndarray]:
    with np.load(shared(f'golden/{name}')) as archive:
        return dict(archive)


@lru_cache
def recipes() -> ModuleType:
    """The golden folder's `recipes.py`, which re-creates weights and inputs."""
    spec = importlib.util.spec_from_file_location('golden_recipes', shared('golden/recipes.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
