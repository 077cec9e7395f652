"""Figures without pyplot: made, filled, saved, gone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from utils.fonts import find_font
from utils.paths import writing
from utils.terminal import printable

LONGEST_SHOWN = 80  # characters of a class name


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (9, 6)) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches and its (rows, columns) array of axes."""
    figure = Figure(figsize=size, layout='tight')
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: str | Path, dpi: int = 200) -> Path:
    """Write a figure; the suffix of `path` gives the format, its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # find_font has said once which characters no font can show; matplotlib would repeat it for each of them.
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        with writing(path):
            figure.savefig(path, dpi=dpi)
    return path


def font_for(names: Iterable[str]) -> FontProperties:
    """A font that can show all the class names."""
    return FontProperties(fname=str(find_font(''.join(names))))


def name_list(names: dict[int, str] | Iterable[str]) -> list[str]:
    """Class names as a list, from a list or from a dictionary by class number, fit for matplotlib.

    It takes what stands between dollar signs for a formula, and can't draw half characters.
    """
    listed = names.values() if isinstance(names, dict) else names
    return [printable(name, LONGEST_SHOWN).replace('$', r'\$') for name in listed]
