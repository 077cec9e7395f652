"""What changes while training goes on: learning rates, momentum, accumulation, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from utils.log import LOGGER
from utils.optim import NOMINAL_BATCH, accumulation

if TYPE_CHECKING:
    from oneflow.optim import Optimizer

MIN_WARMUP = 100  # batches


def one_cycle(y1: float = 0.0, y2: float = 1.0, steps: int = 100) -> Callable[[float], float]:
    """Half a cosine from y1 at 0 to y2 at `steps` (https://arxiv.org/abs/1812.01187)."""
    return lambda x: (1 - math.cos(x * math.pi / steps)) / 2 * (y2 - y1) + y1


def lr_factor(epochs: int, lrf: float, cos: bool = False) -> Callable[[float], float]:
    """By epoch, the factor on lr0: from 1 down to `lrf` at `epochs`, in a straight line or along half a cosine."""
    if cos:
        return one_cycle(1.0, lrf, epochs)
    return lambda epoch: (1 - epoch / epochs) * (1.0 - lrf) + lrf


class Schedule:
    """Sets rates and momentum before each batch and tells after which batches the optimiser steps.

    Everything follows from the epoch and the batch's number, so a resumed run needs no more than `last_step`.

    Args:
        optimizer: of `smart_optimizer`: its first group are the biases, which warm up from above.
        hyp: lr0, lrf, momentum, warmup_epochs, warmup_momentum, warmup_bias_lr.
        epochs: of the whole run.
        batches: per epoch, a short last one included.
        batch_size: over all ranks.
        cos_lr: cosine in place of the straight line.

    Attributes:
        warmup: the number of the last batch that warms up.
        accumulate: batches per step at the current batch.
        last_step: number of the batch after which the optimiser last stepped, -1 before that.
    """

    def __init__(
        self, optimizer: Optimizer, hyp: dict, epochs: int, batches: int, batch_size: int, cos_lr: bool = False
    ) -> None:
        self.optimizer, self.hyp, self.batch_size = optimizer, hyp, batch_size
        self.factor = lr_factor(epochs, hyp['lrf'], cos_lr)
        self.warmup = max(round(hyp['warmup_epochs'] * batches), MIN_WARMUP)
        self.last_warm_epoch = self.warmup // batches
        self.accumulate = accumulation(batch_size)
        self.last_step = -1

    def before_batch(self, epoch: int, ni: int) -> None:
        """Set what batch `ni` (counted from the start of the run) of `epoch` trains with."""
        # The reference's scheduler runs an epoch late, which shows once warm-up no longer overrules it. Kept, because
        # published results and hyper-parameters come from it.
        lr = self.hyp['lr0'] * self.factor(epoch if epoch <= self.last_warm_epoch else epoch - 1)
        for i, group in enumerate(self.optimizer.param_groups):
            group['lr'] = self._warm(ni, self.hyp['warmup_bias_lr'] if i == 0 else 0.0, lr)
            if ni <= self.warmup and 'momentum' in group:
                group['momentum'] = self._warm(ni, self.hyp['warmup_momentum'], self.hyp['momentum'])
        if ni <= self.warmup:
            self.accumulate = max(1, round(self._warm(ni, 1, NOMINAL_BATCH / self.batch_size)))

    def step_due(self, ni: int) -> bool:
        """Whether the optimiser steps after batch `ni`; a True is taken as done."""
        due = ni - self.last_step >= self.accumulate
        if due:
            self.last_step = ni
        return due

    def rates(self) -> list[float]:
        """The learning rates of the groups as they are now."""
        return [group['lr'] for group in self.optimizer.param_groups]

    def _warm(self, ni: int, start: float, end: float) -> float:
        return float(np.interp(ni, [0, self.warmup], [start, end]))


class EarlyStopping:
    """Stops a run whose fitness has not improved for a number of epochs.

    Args:
        patience: epochs to wait after the best one; 0 waits for ever.

    Attributes:
        best_fitness, best_epoch: an equal fitness counts as a new best.
        possible_stop: the next epoch may be the last, so its evaluation must be a full one.
    """

    def __init__(self, patience: int = 30) -> None:
        self.best_fitness = 0.0
        self.best_epoch = 0
        self.patience = patience or float('inf')
        self.possible_stop = False

    def __call__(self, epoch: int, fitness: float) -> bool:
        """Take in the fitness of an epoch; True when training should stop."""
        if fitness >= self.best_fitness:
            self.best_epoch, self.best_fitness = epoch, fitness
        return self._judge(epoch)

    def resume(self, epoch: int, best_epoch: int, best_fitness: float) -> bool:
        """Take over the state of a run that has finished `epoch`; True when it should train no further."""
        self.best_epoch, self.best_fitness = best_epoch, best_fitness
        return self._judge(epoch)

    def _judge(self, epoch: int) -> bool:
        waited = epoch - self.best_epoch
        self.possible_stop = waited >= self.patience - 1
        stop = waited >= self.patience
        if stop:
            LOGGER.info(
                f'No improvement in {self.patience} epochs, stopping early. The best was epoch {self.best_epoch}. '
                'To wait longer, pass --patience with a larger number; --patience 0 never stops early.'
            )
        return stop
