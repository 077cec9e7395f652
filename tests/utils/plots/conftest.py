import cv2
import numpy as np
import pytest


@pytest.fixture
def look():
    """Read a picture that was drawn: (h, w, 3) uint8 RGB."""

    def read(path) -> np.ndarray:
        image = cv2.imread(str(path))
        assert image is not None, f'{path} is no picture'
        return image[..., ::-1]

    return read


@pytest.fixture
def drawn(monkeypatch):
    """Figures are kept, by file name, when they are saved: their axes can be asked for numbers."""
    from matplotlib.figure import Figure

    figures, save = {}, Figure.savefig

    def keep(figure, path, **kwargs):
        figures[path.name] = figure
        save(figure, path, **(kwargs | {'dpi': 50}))

    monkeypatch.setattr(Figure, 'savefig', keep)
    return figures
