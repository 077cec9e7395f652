"""What changes while training goes on: rates, momentum, batches a step, and the decay of the weights' average."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from docs.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, canvas, save
from docs.tools.numbers import write_numbers
from utils.hyps import load_hyp
from utils.schedule import Schedule

EPOCHS, BATCHES, BATCH = 30, 40, 16


def course(cos: bool) -> tuple[np.ndarray, Schedule]:
    """(batches, 4): rate of biases, rate of the others, momentum, batches a step; and the schedule."""
    groups = [{'lr': 0.0, 'momentum': 0.0} for _ in range(3)]
    schedule = Schedule(
        SimpleNamespace(param_groups=groups), load_hyp('hyp.scratch-low.yaml'), EPOCHS, BATCHES, BATCH, cos
    )
    rows = []
    for batch in range(EPOCHS * BATCHES):
        schedule.before_batch(batch // BATCHES, batch)
        rows.append((groups[0]['lr'], groups[1]['lr'], groups[1]['momentum'], schedule.accumulate))
    return np.array(rows), schedule


def decay(updates: np.ndarray) -> np.ndarray:
    """As `ModelEMA.decay_at`, which wants a model."""
    return 0.9999 * (1 - np.exp(-updates / 2000))


def make() -> None:
    straight, schedule = course(cos=False)
    cosine, _ = course(cos=True)
    figure, axes = canvas(1, 3, height=3.0)
    rates, warm, average = axes[0]
    rates.plot(straight[:, 1], color=BLUE, label='lr')
    rates.plot(cosine[:, 1], color=ORANGE, label='lr, --cos-lr')
    rates.plot(straight[:, 0], color=PURPLE, linewidth=1, label='lr, bias')
    rates.set(xlabel='batch', ylim=(0, 0.03))
    rates.legend(fontsize=8)
    first = schedule.warmup + 30
    warm.plot(straight[:first, 2], color=PURPLE, label='momentum')
    warm.plot(straight[:first, 3] / 4, color=GREEN, drawstyle='steps-post', label='accumulate / 4')
    warm.axvline(schedule.warmup, color=GREY, linestyle=':')
    warm.set(xlabel='batch', ylim=(0, 1.05))
    warm.legend(fontsize=8, loc='lower right')
    updates = np.arange(1, 12000, 20)
    average.plot(updates, decay(updates), color=BLUE, label='decay')
    average.set(xlabel='updates', ylim=(0, 1.05))
    average.legend(fontsize=8, loc='lower right')
    figure.tight_layout()
    save(figure, 'schedule.svg')
    write_numbers('schedule', {
        'epochs': EPOCHS, 'batches': BATCHES, 'batch': BATCH, 'warmup': schedule.warmup,
        'last': f'{straight[-1, 1]:.5f}',
        'decay': [[f'{n:,}', f'{d:.4f}', f'{1 / (1 - d):,.1f}'] for n in (10, 100, 1000, 5000, 10000, 20000)
                  for d in [float(decay(np.array(n)))]],
    })  # fmt: skip
