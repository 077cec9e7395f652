"""Hyper-parameter evolution, `train.py --evolve N`.

Every generation trains with a mutated copy of one of the five fittest sets of hyper-parameters so far, and what came
out becomes a row of evolve.csv. A generation is drawn from the seed, its number and the rows before it, so that an
evolution goes on from the file as if it had not been interrupted.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from utils.distributed import world_size
from utils.errors import ConfigError, TrainingError, UsageError, check_range
from utils.hyps import load_hyp
from utils.log import LOGGER, colorstr
from utils.loggers import RESULT_COLUMNS
from utils.metrics import fitness
from utils.paths import atomic_write, run_folder

if TYPE_CHECKING:
    from utils.callbacks import Callbacks

    Train = Callable[[Any, Callbacks | None], tuple]

RESULTS = RESULT_COLUMNS[3:10]  # P, R, mAP50, mAP50-95 and the three validation losses
PARENTS = 5
MUTATION_PROBABILITY, SIGMA = 0.8, 0.2
SMALLEST_FACTOR, LARGEST_FACTOR = 0.3, 3.0
DEFAULT_ANCHORS = 3.0  # anchors per level to begin with
WIDTH = 20  # of a column in evolve.csv


class Gene(NamedTuple):
    gain: float  # scales the mutation; 0 never mutates
    low: float
    high: float


GENES = {
    'lr0': Gene(1, 1e-5, 1e-1),
    'lrf': Gene(1, 0.01, 1.0),
    'momentum': Gene(0.3, 0.6, 0.98),
    'weight_decay': Gene(1, 0.0, 0.001),
    'warmup_epochs': Gene(1, 0.0, 5.0),
    'warmup_momentum': Gene(1, 0.0, 0.95),
    'warmup_bias_lr': Gene(1, 0.0, 0.2),
    'box': Gene(1, 0.02, 0.2),
    'cls': Gene(1, 0.2, 4.0),
    'cls_pw': Gene(1, 0.5, 2.0),
    'obj': Gene(1, 0.2, 4.0),
    'obj_pw': Gene(1, 0.5, 2.0),
    'iou_t': Gene(0, 0.1, 0.7),
    'anchor_t': Gene(1, 2.0, 8.0),
    'anchors': Gene(2, 2.0, 10.0),
    'fl_gamma': Gene(0, 0.0, 2.0),
    'hsv_h': Gene(1, 0.0, 0.1),
    'hsv_s': Gene(1, 0.0, 0.9),
    'hsv_v': Gene(1, 0.0, 0.9),
    'degrees': Gene(1, 0.0, 45.0),
    'translate': Gene(1, 0.0, 0.9),
    'scale': Gene(1, 0.0, 0.9),
    'shear': Gene(1, 0.0, 10.0),
    'perspective': Gene(0, 0.0, 0.001),
    'flipud': Gene(1, 0.0, 1.0),
    'fliplr': Gene(0, 0.0, 1.0),
    'mosaic': Gene(1, 0.0, 1.0),
    'mixup': Gene(1, 0.0, 1.0),
    'copy_paste': Gene(1, 0.0, 1.0),
}


class History:
    """The generations so far, as evolve.csv has them: a row of RESULTS and then of hyper-parameters for each.

    Args:
        file: evolve.csv; read if it is there.
        genes: names of the hyper-parameters.

    Raises:
        ConfigError: the file is of other hyper-parameters, or damaged.
    """

    def __init__(self, file: Path, genes: Sequence[str]) -> None:
        self.file, self.genes = file, list(genes)
        self.columns = [*RESULTS, *genes]
        self.rows: list[list[float]] = self._read() if file.is_file() else []

    def _read(self) -> list[list[float]]:
        header, *lines = self.file.read_text(encoding='utf-8').splitlines() or ['']
        if [name.strip() for name in header.split(',')] != self.columns:
            raise ConfigError(
                f'{self.file}: has other columns than {", ".join(self.columns)}',
                'go on with the same --noautoanchor as before, or take another --name',
            )
        try:
            rows = [[float(cell) for cell in line.split(',')] for line in lines]
            np.array(rows).reshape(len(rows), len(self.columns))
        except ValueError as error:
            raise ConfigError(f'{self.file}: damaged ({error})', 'mend it or take another --name') from None
        return rows

    def add(self, results: Sequence[float], hyp: dict[str, float]) -> None:
        """Write one more generation, with 5 significant digits: what is drawn next depends on the file alone."""
        row = [float(f'{value:.5g}') for value in [*results, *(hyp[gene] for gene in self.genes)]]
        self.rows.append(row)
        lines = [','.join(f'{value:>{WIDTH}.5g}' for value in row) for row in self.rows]
        with atomic_write(self.file, 'w') as file:
            file.write('\n'.join([','.join(f'{name:>{WIDTH}}' for name in self.columns), *lines]) + '\n')

    def fitness(self) -> np.ndarray:
        """Of each generation."""
        return fitness(np.array(self.rows))

    def best(self) -> int:
        """The number of the fittest generation, the first among equals."""
        return int(self.fitness().argmax())

    def results(self, generation: int) -> list[float]:
        return self.rows[generation][: len(RESULTS)]

    def hyp(self, generation: int) -> dict[str, float]:
        return dict(zip(self.genes, self.rows[generation][len(RESULTS) :]))


def evolve(opt: Any, train: Train, callbacks: Callbacks | None = None) -> tuple:
    """Train generation after generation until there are `opt.evolve` of them.

    Writes evolve.csv, hyp_evolve.yaml (the fittest) and evolve.png into runs/evolve/NAME; the files of a single
    training are not kept. With `opt.exist_ok` an evolution that is there goes on.

    Args:
        opt: a `train.TrainOptions`.
        train: trains with such options and gives P, R, mAP50, mAP50-95 and the three validation losses.
        callbacks: hooks for every training.

    Returns:
        What `train` gave for the fittest generation, to 5 digits.

    Raises:
        UserError: as `train`, but for a loss that is no number: that generation's fitness is 0.
        KeyboardInterrupt: Ctrl-C; the text says how to go on.
    """
    check_options(opt)
    project = 'runs/evolve' if str(opt.project) == 'runs/train' else opt.project
    with run_folder(Path(project) / str(opt.name).strip(), opt.exist_ok) as folder:
        return evolve_in(folder, opt, train, callbacks)


def evolve_in(folder: Path, opt: Any, train: Train, callbacks: Callbacks | None) -> tuple:
    """The generations of one folder, those that are there already included."""
    first = first_hyp(opt.hyp, not opt.noautoanchor)
    history = History(folder / 'evolve.csv', first)
    if history.rows:
        _log(f'going on after the {len(history.rows)} generations of {history.file}')
    while (generation := len(history.rows)) < opt.evolve:
        rng = np.random.default_rng([opt.seed, generation])
        hyp = next_hyp(history, rng) if generation else first
        try:
            history.add(train_generation(opt, hyp, folder / 'generation', train, callbacks), hyp)
        except KeyboardInterrupt as stop:
            again = f'the same command with --name {shlex.quote(folder.name)} --exist-ok'
            stop.args = (f'Interrupted in generation {generation + 1} of {opt.evolve}. To go on: {again}',)
            raise
        write_best(history, folder / 'hyp_evolve.yaml')
        best = history.best()
        _log(
            f'generation {generation + 1} of {opt.evolve}: fitness {history.fitness()[generation]:.5g}, '
            f'the best so far {history.fitness()[best]:.5g} in generation {best + 1}\n'
        )
    return finish(history, folder, plot=not opt.noplots)


def check_options(opt: Any) -> None:
    """Refuse what can't be evolved with.

    Raises:
        UsageError: no generations, several processes, or --resume.
    """
    check_range('evolve', opt.evolve, 1)
    if world_size() > 1:
        raise UsageError(f'--evolve: is for one process, and this is one of {world_size()}', 'start without a launcher')
    if opt.resume:
        raise UsageError('--evolve: does not go with --resume', 'give the --name to go on with, and --exist-ok')


def first_hyp(file: str | Path | dict, anchors: bool) -> dict[str, float]:
    """The genes of the first generation: the file's values, brought into the genes' limits.

    Args:
        file: as `load_hyp` takes it.
        anchors: whether the number of anchors evolves too. It makes AutoAnchor compute new ones, so that without
            AutoAnchor the model has to keep its own.

    Raises:
        ConfigError: as `load_hyp`.
    """
    hyp = load_hyp(file)
    hyp['anchors'] = hyp.get('anchors') or DEFAULT_ANCHORS
    genes = [gene for gene in GENES if gene != 'anchors' or anchors]
    limited = {gene: limit(gene, hyp[gene]) for gene in genes}
    for gene, value in limited.items():
        if not np.isclose(value, hyp[gene], rtol=1e-4):
            _log(f'WARNING: {gene} is {hyp[gene]:g}, beginning with {value:g}, the limit')
    return limited


def next_hyp(history: History, rng: np.random.Generator) -> dict[str, float]:
    """A mutated copy of one of the fittest, the fitter the likelier."""
    scores = history.fitness()
    fittest = np.argsort(-scores, kind='stable')[:PARENTS]
    weights = scores[fittest] - scores[fittest].min() + 1e-6  # so that none is ruled out
    parent = history.hyp(rng.choice(fittest, p=weights / weights.sum()))
    factors = mutation([GENES[gene].gain for gene in parent], rng)
    return {gene: limit(gene, value * factor) for (gene, value), factor in zip(parent.items(), factors)}


def mutation(gains: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Factors (genes,) from SMALLEST_FACTOR to LARGEST_FACTOR, of which at least one is not 1.

    Most genes are struck, all with the same random strength. A gene that is 0 stays 0, whatever its factor.
    """
    gains = np.array(gains, float)
    while True:
        struck = rng.random(len(gains)) < MUTATION_PROBABILITY
        change = gains * struck * rng.standard_normal(len(gains)) * rng.random() * SIGMA
        factors = (1 + change).clip(SMALLEST_FACTOR, LARGEST_FACTOR)
        if (factors != 1).any():
            return factors


def limit(gene: str, value: float) -> float:
    """The value within the gene's limits, to 5 significant digits."""
    _, low, high = GENES[gene]
    return float(f'{min(max(value, low), high):.5g}')


def train_generation(
    opt: Any,
    hyp: dict[str, float],
    folder: Path,
    train: Train,
    callbacks: Callbacks | None,
) -> Sequence[float]:
    """Train once, evaluating and saving at the end alone; returns RESULTS, zeros if the loss was no number.

    Args:
        folder: for the run's files; removed before and afterwards.
    """
    options = replace(
        opt, evolve=None, hyp=hyp, project=str(folder.parent), name=folder.name, exist_ok=True,
        noval=True, nosave=True, noplots=True, save_period=-1,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)  # of a generation that was interrupted
    try:
        return train(options, callbacks)
    except TrainingError as error:
        _log(f'WARNING: fitness 0, since {error}')
        return (0.0,) * len(RESULTS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_best(history: History, file: Path) -> None:
    """The fittest generation's hyper-parameters as a file for --hyp, its results in the comment at the head."""
    best = history.best()
    results = [f'# {name:>22}: {value:.5g}' for name, value in zip(RESULTS, history.results(best))]
    head = [f'# The fittest of {len(history.rows)} generations of hyper-parameter evolution: number {best + 1}']
    with atomic_write(file, 'w') as f:
        f.write('\n'.join([*head, *results, '', yaml.safe_dump(history.hyp(best), sort_keys=False)]))


def finish(history: History, folder: Path, plot: bool) -> tuple:
    """Draw evolve.png, say where the results are, and return those of the fittest."""
    from utils.plots import plot_evolve

    if plot:
        plot_evolve(history.file)
    _log(
        f'{len(history.rows)} generations, results saved to {colorstr("bold", str(folder))}\n'
        f'Train with the fittest: python train.py --hyp {shlex.quote(str(folder / "hyp_evolve.yaml"))}'
    )
    return tuple(history.results(history.best()))


def _log(text: str) -> None:
    LOGGER.info(colorstr('evolve: ') + text)
