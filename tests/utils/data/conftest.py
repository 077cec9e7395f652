"""Small data sets to spoil, and a user's cache folder that is not the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BOX = '0 0.5 0.5 0.25 0.25\n'


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'user-cache'))
    return tmp_path / 'user-cache'


def picture(path: Path, size: tuple[int, int] = (60, 40), **options: object) -> Path:
    """Write a small grey-to-white picture; `size` is (width, height), `options` are Pillow's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(90, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    Image.fromarray(ramp).save(path, **options)
    return path


@pytest.fixture
def data_set(tmp_path) -> Callable[..., Path]:
    """data_set(a='0 .5 .5 .1 .1', b=None): pictures a.jpg, b.jpg with these label files (None: no file)."""

    def make(**texts: str | None) -> Path:
        root = tmp_path / 'set'
        for name, text in texts.items():
            picture(root / 'images' / 'train' / f'{name}.jpg')
            label = root / 'labels' / 'train' / f'{name}.txt'
            label.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                label.write_text(text)
        return root

    return make
