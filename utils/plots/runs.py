"""What a run looks like over time: results.png, LR.png, evolve.png, study.png."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from utils.errors import DataError
from utils.log import LOGGER
from utils.plots.figure import new_figure, save_figure
from utils.plots.labels import hist2d

# Column numbers of results.csv in the order of its ten panels: training losses, P, R, validation losses, mAPs.
RESULT_PANELS = (1, 2, 3, 4, 5, 8, 9, 10, 6, 7)
EVALUATION = list(range(4, 11))  # columns of results.csv that come of an evaluation
N_RESULTS = 7  # columns of evolve.csv before its hyper-parameters


def plot_results(file: str | Path = 'path/to/results.csv', dir: str | Path = '') -> None:
    """Draw losses and metrics by epoch as results.png beside the file.

    Args:
        file: a results.csv.
        dir: instead, a folder whose results*.csv are drawn over each other.

    Raises:
        DataError: there is no such file, or it has no epochs.
    """
    folder = Path(dir) if dir else Path(file).parent
    files = sorted(folder.glob('results*.csv')) if dir else [Path(file)]
    tables = [table for table in map(_read_table, files) if len(table.columns) > max(RESULT_PANELS)]
    if not tables:
        raise DataError(f'{folder}: no results.csv with its columns', 'give the folder of a training run')

    figure, axes = new_figure(2, 5, (12, 6))
    for table, path in zip(tables, files):
        # Epochs that --noval left without an evaluation have zeros in all of its columns.
        evaluated = (table.iloc[:, EVALUATION] != 0).any(axis=1)
        for ax, column in zip(axes.flat, RESULT_PANELS):
            rows = table[evaluated] if column in EVALUATION else table
            ax.plot(rows.iloc[:, 0], rows.iloc[:, column], marker='.', label=path.stem, linewidth=2, markersize=8)
            ax.set_title(table.columns[column], fontsize=12)
    if len(files) > 1:
        axes[0, 1].legend()
    save_figure(figure, folder / 'results.png')


def _read_table(path: Path):
    """A CSV whose columns are padded with spaces, as a pandas table."""
    import pandas  # half a second: not at import

    try:
        table = pandas.read_csv(path, skipinitialspace=True)
    except FileNotFoundError:
        raise DataError(f'{path}: no such file', 'check the path') from None
    except (pandas.errors.EmptyDataError, pandas.errors.ParserError) as error:
        raise DataError(f'{path}: not a table ({error})', 'mend or remove the file') from None
    return table.rename(columns=str.strip)


def plot_lr_scheduler(optimizer, scheduler, epochs: int = 300, save_dir: str | Path = '') -> None:
    """Draw the learning rate by epoch as LR.png; the optimiser and the schedule are only read.

    Args:
        optimizer: its first group's initial rate is scaled.
        scheduler: a LambdaLR, or the function from epoch to factor itself.
        epochs: how many.
        save_dir: folder to write into.
    """
    factor: Callable[[int], float] = scheduler if callable(scheduler) else scheduler.lr_lambdas[0]
    group = optimizer.param_groups[0]
    start = group['initial_lr'] if 'initial_lr' in group else group['lr']
    rates = [start * factor(epoch) for epoch in range(epochs)]
    figure, ((ax,),) = new_figure(size=(6.4, 4.8))
    ax.plot(rates, '.-', label='LR')
    ax.set(xlabel='epoch', ylabel='LR', xlim=(0, epochs), ylim=(0, None))
    ax.grid()
    save_figure(figure, Path(save_dir) / 'LR.png')


def plot_evolve(evolve_csv: str | Path = 'path/to/evolve.csv') -> None:
    """Draw fitness over each hyper-parameter as evolve.png beside the file; the best value is marked and logged.

    Args:
        evolve_csv: the seven result columns, then one per hyper-parameter.
    """
    from utils.metrics import fitness

    table = _read_table(Path(evolve_csv))
    values = table.to_numpy(dtype=float)
    scores = fitness(values)
    best = int(scores.argmax())
    genes = list(table.columns[N_RESULTS:])
    rows = max(-(-len(genes) // 5), 1)
    figure, axes = new_figure(rows, 5, (10, 2.2 * rows))
    LOGGER.info(f'Best results from row {best} of {evolve_csv}:')
    for ax in axes.flat[len(genes) :]:
        ax.axis('off')
    for i, (ax, gene) in enumerate(zip(axes.flat, genes)):
        gene_values = values[:, N_RESULTS + i]
        ax.scatter(gene_values, scores, c=hist2d(gene_values, scores, 20), cmap='viridis', alpha=0.8, s=12)
        ax.plot(gene_values[best], scores[best], 'k+', markersize=15)
        ax.set_title(f'{gene} = {gene_values[best]:.3g}', fontsize=9)
        ax.tick_params(labelsize=7)
        ax.locator_params(axis='x', nbins=3)  # numbers such as 0.000469 would run into each other
        LOGGER.info(f'{gene:>15}: {gene_values[best]:.3g}')
    save_figure(figure, Path(evolve_csv).with_suffix('.png'))
    LOGGER.info(f'Saved {Path(evolve_csv).with_suffix(".png")}')


def plot_val_study(file: str | Path = '', dir: str | Path = '', x: np.ndarray | None = None) -> None:
    """Draw mAP over inference time as study.png, from `val.py --task study`.

    Args:
        file: one study_*.txt: rows of P, R, mAP50, mAP50-95, three losses, milliseconds of preprocessing, inference
            and NMS, one row per picture size.
        dir: instead, a folder whose study*.txt are drawn together.
        x: the picture sizes of the rows, by default their numbers.

    Raises:
        DataError: there is no such file.
    """
    folder = Path(dir) if dir else Path(file).parent
    files = sorted(folder.glob('study*.txt')) if dir else [Path(file)]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        what = f'{missing[0]}: no such file' if missing else f'{folder}: no study*.txt'
        raise DataError(what, 'run val.py --task study first')
    studies = {path.stem.replace('study_', '', 1): np.loadtxt(path, ndmin=2) for path in files}

    figure, axes = new_figure(2, 4, (14, 7))
    titles = ('P', 'R', 'mAP@.5', 'mAP@.5:.95', 't_preprocess (ms/img)', 't_inference (ms/img)', 't_NMS (ms/img)')
    for name, rows in studies.items():
        sizes = np.arange(len(rows)) if x is None else np.asarray(x)[: len(rows)]
        for ax, title, values in zip(axes.flat, titles, rows.T[[0, 1, 2, 3, 7, 8, 9]]):
            ax.plot(sizes, values, '.-', linewidth=2, markersize=12, label=name)
            ax.set_title(title)
        _plot_speed(axes.flat[7], rows, name)
    axes[0, 0].legend()
    save_figure(figure, folder / 'study.png')


def _plot_speed(ax: Axes, rows: np.ndarray, name: str) -> None:
    """mAP50-95 over the time of preprocessing, inference and NMS, up to the best of the sizes."""
    best = int(rows[:, 3].argmax()) + 1
    ax.plot(rows[:best, 7:10].sum(1), rows[:best, 3] * 100, '.-', linewidth=2, markersize=8, label=name)
    ax.set(xlabel='ms/img, all steps', ylabel='mAP@.5:.95 (%)')
    ax.grid(True, alpha=0.3)


def butter_lowpass_filtfilt(data: np.ndarray, cutoff: float = 1500, fs: float = 50000, order: int = 5) -> np.ndarray:
    """A series smoothed by a Butterworth low-pass filter run forwards and backwards, so without a delay.

    Args:
        data: (n,) samples.
        cutoff, fs: the filter's edge and the sampling rate, both in Hz.
        order: of the filter.
    """
    from scipy.signal import butter, filtfilt

    b, a = butter(order, cutoff / (0.5 * fs), btype='low', analog=False)
    return filtfilt(b, a, data)
