"""What the evaluation draws: precision, recall and F1 over confidence, precision over recall, the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from utils.annotate import colors
from utils.plots.figure import font_for, name_list, new_figure, save_figure

MAX_LEGEND_CLASSES = 20  # above this the classes' curves are all grey and unnamed
MAX_CELLS_WITH_NUMBERS = 30
MAX_NAMED_TICKS = 99

Names = dict[int, str] | Iterable[str]


def plot_pr_curve(
    px: np.ndarray, py: Sequence[np.ndarray] | np.ndarray, ap: np.ndarray, save_dir: str | Path = 'pr_curve.png',
    names: Names = (),
) -> None:  # fmt: skip
    """Precision over recall at IoU 0.5, one line per class and their mean.

    Args:
        px: (points,) recalls.
        py: (classes, points) precisions.
        ap: (classes, thresholds) average precisions, IoU 0.5 first.
        save_dir: the file to write (the reference's name for it).
        names: of these classes, in this order.
    """
    py, names = np.reshape(py, (-1, len(px))), name_list(names)
    labels = [f'{name} {value:.3f}' for name, value in zip(names, ap[:, 0])]
    mean = f'all classes {ap[:, 0].mean():.3f} mAP@0.5' if len(ap) else 'no classes'
    _plot_class_curves(px, py, labels, mean, ('Recall', 'Precision'), save_dir)


def plot_mc_curve(
    px: np.ndarray, py: np.ndarray, save_dir: str | Path = 'mc_curve.png', names: Names = (),
    xlabel: str = 'Confidence', ylabel: str = 'Metric',
) -> None:  # fmt: skip
    """A metric over confidence, one line per class and their mean.

    Args:
        px: (points,) confidences.
        py: (classes, points) values of the metric.
        save_dir: the file to write.
        names: of these classes, in this order.
        xlabel, ylabel: what the axes show.
    """
    from utils.metrics import smooth

    py, names = np.reshape(py, (-1, len(px))), name_list(names)
    mean = 'no classes'
    if len(py):
        curve = smooth(py.mean(0), 0.05)
        mean = f'all classes {curve.max():.2f} at {px[curve.argmax()]:.3f}'
    _plot_class_curves(px, py, names, mean, (xlabel, ylabel), save_dir)


def _plot_class_curves(
    px: np.ndarray, py: np.ndarray, labels: list[str], mean_label: str, axis_labels: tuple[str, str], file: str | Path
) -> None:
    """One line per row of `py` and a thick one for their mean, both axes from 0 to 1."""
    figure, ((ax,),) = new_figure()
    if len(labels) == len(py) <= MAX_LEGEND_CLASSES:
        for i, (row, label) in enumerate(zip(py, labels)):
            ax.plot(px, row, linewidth=1, color=np.divide(colors(i), 255), label=label)
    else:
        ax.plot(px, py.T, linewidth=1, color='grey')
    mean = py.mean(0) if len(py) else np.zeros(len(px))
    ax.plot(px, mean, linewidth=3, color='black', label=mean_label)
    ax.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xlim=(0, 1), ylim=(0, 1))
    ax.legend(bbox_to_anchor=(1.04, 1), loc='upper left', prop=font_for([*labels, mean_label]))
    save_figure(figure, file, 250)


def plot_confusion_matrix(
    matrix: np.ndarray, save_dir: str | Path = '', names: Names = (), normalize: bool = True
) -> None:
    """Write confusion_matrix.png.

    Args:
        matrix: (classes + 1, classes + 1) counts; rows are predicted, columns true, the last is background.
        save_dir: folder to write into.
        names: of the classes.
        normalize: show shares of each column, so of the objects of each true class.
    """
    names, nc = name_list(names), len(matrix) - 1
    shown = matrix / (matrix.sum(0, keepdims=True) + 1e-9) if normalize else matrix.astype(float)
    shown = np.where(shown < 0.005, np.nan, shown)  # an empty cell is easier to read over than 0.00

    figure, ((ax,),) = new_figure(size=(12, 9))
    picture = ax.imshow(shown, cmap='Blues', vmin=0.0, aspect='auto')
    figure.colorbar(picture, ax=ax)
    if nc < MAX_CELLS_WITH_NUMBERS:
        _write_cells(ax, shown, '.2f' if normalize else '.0f')
    if 0 < len(names) == nc < MAX_NAMED_TICKS:
        ticks, font = [*names, 'background'], font_for(names)
        font.set_size(float(np.clip(500 / nc, 5, 11)))
        ax.set_xticks(range(nc + 1), ticks, rotation=90, fontproperties=font)
        ax.set_yticks(range(nc + 1), ticks, fontproperties=font)
    ax.set(xlabel='True', ylabel='Predicted')
    save_figure(figure, Path(save_dir) / 'confusion_matrix.png', 250)


def _write_cells(ax: Axes, values: np.ndarray, form: str) -> None:
    dark, size = 0.6 * np.nanmax(values, initial=0), 12 if len(values) < 12 else 8
    for y, x in np.argwhere(~np.isnan(values)):
        color = 'white' if values[y, x] > dark else 'black'
        ax.text(x, y, f'{values[y, x]:{form}}', ha='center', va='center', fontsize=size, color=color)
