"""How the figures look, and files that come out the same every time."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from utils.plots.figure import new_figure

IMAGES = Path(__file__).resolve().parents[1] / 'img'
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    '#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#f0e442',
)  # fmt: skip
GREY, DARK = '#9a9a9a', '#333333'
WIDTH = 9.0  # inches: a figure as wide as the text of a page

_SETTINGS = {
    'svg.hashsalt': 'yolov5', 'font.family': 'DejaVu Sans', 'font.size': 10, 'axes.titlesize': 11,
    'axes.edgecolor': GREY, 'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True,
    'grid.color': '#e8e8e8', 'axes.axisbelow': True, 'xtick.color': DARK, 'ytick.color': DARK, 'legend.frameon': False,
}  # fmt: skip


def canvas(rows: int = 1, columns: int = 1, height: float = 4.0, width: float = WIDTH) -> tuple[Figure, np.ndarray]:
    """A figure and its (rows, columns) array of axes, in the common style."""
    with matplotlib.rc_context(_SETTINGS):
        return new_figure(rows, columns, (width, height))


def picture_axes(axes: Axes) -> Axes:
    """Axes for a picture or boxes: equal scales, no ticks."""
    axes.set(aspect='equal', xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def box(axes: Axes, xyxy, color: str, **style) -> None:
    """Draw a box, unfilled unless `style` says otherwise."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, **{'fill': False, 'edgecolor': color, 'linewidth': 1.5} | style)
    )


def save(figure: Figure, name: str, dpi: int = 110) -> Path:
    """Write docs/img/NAME: .svg for lines, .png (256 colours, also those of small patches) for pictures."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / name
    with matplotlib.rc_context(_SETTINGS):
        if path.suffix == '.svg':
            text = io.StringIO()
            figure.savefig(text, format='svg', metadata={'Date': None})
            path.write_text('\n'.join(line.rstrip() for line in text.getvalue().splitlines()) + '\n', 'utf-8')
        else:
            pixels = io.BytesIO()
            figure.savefig(pixels, format='png', dpi=dpi)
            image = Image.open(pixels).convert('RGB')  # just drawn, so nothing is to be decided
            image = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
            image.save(path, optimize=True)
    return path
