"""What a data set's labels look like: labels.jpg, labels_correlogram.jpg."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from utils.annotate import colors
from utils.boxes import xywh2xyxy
from utils.plots.figure import font_for, name_list, new_figure, save_figure

COLUMNS = ('x', 'y', 'width', 'height')
BOXES_SHOWN = 1000
MAX_NAMED_CLASSES = 30


def plot_labels(labels: np.ndarray, names: dict[int, str] | Iterable[str] = (), save_dir: str | Path = '') -> None:
    """Write labels.jpg (counts, boxes, centres, sizes) and labels_correlogram.jpg (every pair of columns).

    Args:
        labels: (n, 5) class, x, y, w, h, normalised.
        names: class names.
        save_dir: folder to write into.
    """
    classes, boxes, names = labels[:, 0].astype(int), labels[:, 1:5], name_list(names)
    _plot_correlogram(boxes, Path(save_dir) / 'labels_correlogram.jpg')

    figure, axes = new_figure(2, 2, (8, 8))
    _plot_class_counts(axes[0, 0], classes, names)
    _plot_boxes(axes[0, 1], classes, boxes)
    _histogram_2d(axes[1, 0], boxes, 0, 1)
    _histogram_2d(axes[1, 1], boxes, 2, 3)
    save_figure(figure, Path(save_dir) / 'labels.jpg')


def _plot_class_counts(ax: Axes, classes: np.ndarray, names: list[str]) -> None:
    nc = max([len(names), *(classes + 1)])
    ax.bar(range(nc), np.bincount(classes, minlength=nc), color=[np.divide(colors(i), 255) for i in range(nc)])
    ax.set_ylabel('instances')
    if 0 < len(names) < MAX_NAMED_CLASSES:
        ax.set_xticks(range(len(names)), names, rotation=90, fontproperties=font_for(names))
    else:
        ax.set_xlabel('classes')


def _plot_boxes(ax: Axes, classes: np.ndarray, boxes: np.ndarray) -> None:
    """The first labels' boxes on one unit square, all centred."""
    centred = boxes[:BOXES_SHOWN].astype(float)
    centred[:, :2] = 0.5
    corners = xywh2xyxy(centred)
    patches = [Rectangle((x1, y1), x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
    edges = [np.divide(colors(c), 255) for c in classes[:BOXES_SHOWN]]
    ax.add_collection(PatchCollection(patches, facecolor='none', edgecolor=edges, linewidth=0.7))
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect='equal')
    ax.axis('off')


def _histogram_2d(ax: Axes, boxes: np.ndarray, i: int, j: int, bins: int = 50) -> None:
    """Counts of column `j` over column `i`, both 0..1, on a logarithmic scale of colour."""
    counts, *_ = np.histogram2d(boxes[:, i], boxes[:, j], bins=bins, range=[[0, 1], [0, 1]])
    edges = np.linspace(0, 1, bins + 1)
    shown = np.ma.masked_equal(counts.T, 0)
    ax.pcolormesh(edges, edges, shown, cmap='Blues', norm=LogNorm(vmin=0.5, vmax=max(counts.max(), 1)))
    ax.set(xlabel=COLUMNS[i], ylabel=COLUMNS[j], xlim=(0, 1), ylim=(0, 1))


def _plot_correlogram(boxes: np.ndarray, file: Path) -> None:
    """A lower triangle of two-dimensional histograms with each column's own histogram on the diagonal."""
    figure, axes = new_figure(4, 4, (10, 10))
    for i, j in np.ndindex(4, 4):
        ax = axes[i, j]
        if j > i:
            ax.axis('off')
        elif j == i:
            ax.hist(boxes[:, i], bins=50, range=(0, 1), color='steelblue')
            ax.set(xlabel=COLUMNS[i], xlim=(0, 1))
        else:
            _histogram_2d(ax, boxes, j, i)
        ax.label_outer()
    save_figure(figure, file)


def hist2d(x: np.ndarray, y: np.ndarray, n: int = 100) -> np.ndarray:
    """For each point the logarithm of how many points share its cell of an n x n grid over the data: its density.

    Args:
        x, y: (points,) coordinates.
        n: cells a side.

    Returns:
        (points,) float64.
    """
    counts, x_edges, y_edges = np.histogram2d(x, y, n)
    column = np.digitize(x, x_edges[1:-1])
    row = np.digitize(y, y_edges[1:-1])
    return np.log(counts[column, row])


def plot_targets_txt(file: str | Path = 'targets.txt') -> None:
    """Histograms of a text file of targets (rows of image, class, x, y, w, h), written as targets.jpg beside it."""
    boxes = np.loadtxt(file, dtype=np.float32, ndmin=2)[:, 2:6]
    figure, axes = new_figure(2, 2, (8, 8))
    for ax, name, values in zip(axes.flat, COLUMNS, boxes.T):
        ax.hist(values, bins=100, label=f'{values.mean():.3g} ± {values.std():.3g}')
        ax.legend()
        ax.set_title(name)
    save_figure(figure, Path(file).with_name('targets.jpg'))
