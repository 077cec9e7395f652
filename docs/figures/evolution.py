"""Evolution on a made-up training whose best hyper-parameters are known."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from docs.figures.style import BLUE, GREY, ORANGE, RED, canvas, save
from docs.tools.numbers import write_numbers
from train import TrainOptions
from utils.evolve import GENES, History, evolve, first_hyp, mutation

GENERATIONS = 200
BEST = {'lr0': 0.004, 'momentum': 0.9, 'scale': 0.7}


def pretend(opt, callbacks) -> tuple:
    """In place of a training: the mAP falls off with the distance of three genes from their best."""
    away = sum(math.log(opt.hyp[gene] / best) ** 2 for gene, best in BEST.items())
    score = 0.6 * math.exp(-away)
    return 0.5, 0.5, score, 0.6 * score, 0.0, 0.0, 0.0


def make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        opt = TrainOptions(evolve=GENERATIONS, project=folder, name='exp', noplots=True, noautoanchor=True)
        evolve(opt, pretend)
        history = History(next(Path(folder).rglob('evolve.csv')), first_hyp(opt.hyp, False))
    fit, genes = history.fitness(), [history.hyp(i) for i in range(GENERATIONS)]
    figure, axes = canvas(1, 3, height=3.0)
    axes[0, 0].plot(fit, '.', color=GREY, markersize=4)
    axes[0, 0].plot(np.maximum.accumulate(fit), color=BLUE, label='best')
    axes[0, 0].set(xlabel='generation', ylabel='fitness')
    axes[0, 0].legend(fontsize=8)
    axes[0, 1].scatter([g['lr0'] for g in genes], fit, s=8, c=np.arange(GENERATIONS), cmap='viridis')
    axes[0, 1].axvline(BEST['lr0'], color=RED, linestyle=':')
    axes[0, 1].set(xlabel='lr0')
    rng = np.random.default_rng(0)
    factors = np.concatenate([mutation([gene.gain for gene in GENES.values()], rng) for _ in range(2000)])
    axes[0, 2].hist(factors[factors != 1], np.linspace(0.5, 1.5, 51), color=ORANGE)
    axes[0, 2].set(xlabel='factor', ylabel='how often')
    figure.tight_layout()
    save(figure, 'evolution.svg')
    best, first = history.hyp(history.best()), genes[0]
    write_numbers('evolution', {
        'generations': GENERATIONS, 'first': f'{fit[0]:.3f}', 'best': f'{fit.max():.3f}', 'number': history.best() + 1,
        'genes': sum(gene.gain > 0 for gene in GENES.values()),
        'within': f'{100 * np.mean(np.abs(factors[factors != 1] - 1) < 0.2):.0f}%',
        'table': [[f'`{gene}`', f'{first[gene]:g}', f'{best[gene]:.4g}', f'{BEST[gene]:g}'] for gene in BEST],
    })  # fmt: skip
