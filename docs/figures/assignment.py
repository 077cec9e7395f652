"""Which cells answer for a centre, which anchors fit a box, and what the decoder makes of a logit's sigmoid."""

from __future__ import annotations

import numpy as np

from docs.figures.style import BLUE, DARK, GREEN, GREY, ORANGE, RED, SKY, box, canvas, picture_axes, save
from utils.assigner import build_targets, fits_anchor

CELLS = 4
CENTRES = ((1.3, 1.25), (2.7, 1.3), (1.6, 2.7))  # in cells
TARGET = np.float32([[36, 60]])
ANCHORS = np.float32([[10, 13], [16, 30], [33, 23], [30, 61], [62, 45], [59, 119], [116, 90], [156, 198], [373, 326]])
SHOWN = slice(0, 8)


def make() -> None:
    figure, axes = canvas(1, 3, height=3.3)
    _cells(picture_axes(axes[0, 0]))
    _anchors(picture_axes(axes[0, 1]))
    _decoder(axes[0, 2])
    save(figure, 'assignment.svg')


def _cells(axes) -> None:
    """Three centres, and the cells that `build_targets` gives each."""
    for (x, y), color in zip(CENTRES, (BLUE, ORANGE, RED)):
        row = np.float32([[0, 0, x / CELLS, y / CELLS, 1 / CELLS, 1 / CELLS]])
        matches = build_targets(row, [(CELLS, CELLS)], np.float32([[[1, 1]]]))[0]
        for gi, gj in zip(matches.gi, matches.gj):
            box(axes, (gi, gj, gi + 1, gj + 1), color, fill=True, facecolor=color, alpha=0.25, linewidth=0)
        axes.plot(x, y, 'o', color=color, markersize=6)
    for i in range(CELLS + 1):
        axes.plot([i, i], [0, CELLS], color=DARK, linewidth=1)
        axes.plot([0, CELLS], [i, i], color=DARK, linewidth=1)
    for i in range(CELLS):
        axes.plot([i + 0.5] * 2, [0, CELLS], ':', color=GREY, linewidth=0.8)
        axes.plot([0, CELLS], [i + 0.5] * 2, ':', color=GREY, linewidth=0.8)
    axes.set(xlim=(-0.1, CELLS + 0.1), ylim=(CELLS + 0.1, -0.1))


def _anchors(axes) -> None:
    """The target, filled, and the anchors around its centre, blue where they fit."""
    (w, h), fits = TARGET[0], fits_anchor(TARGET, ANCHORS, 4.0)[:, 0]
    box(axes, (-w / 2, -h / 2, w / 2, h / 2), GREEN, fill=True, facecolor='#009e7330', linewidth=2)
    for (aw, ah), fit in list(zip(ANCHORS, fits))[SHOWN]:
        style = {'linewidth': 1.6} if fit else {'linestyle': '--', 'linewidth': 1.2}
        box(axes, (-aw / 2, -ah / 2, aw / 2, ah / 2), BLUE if fit else GREY, **style)
    axes.set(xlim=(-105, 105), ylim=(105, -105))


def _decoder(axes) -> None:
    logit = np.linspace(-6, 6, 121)
    sigma = 1 / (1 + np.exp(-logit))
    axes.plot(logit, 2 * sigma - 0.5, color=BLUE, linewidth=2, label='2σ - 0.5')
    axes.plot(logit, (2 * sigma) ** 2, color=RED, linewidth=2, label='(2σ)²')
    axes.plot(logit, np.exp(logit), '--', color=SKY, linewidth=1.5, label='exp')
    axes.set(ylim=(-0.7, 4.4), xlim=(-6, 6), xlabel='logit')
    axes.legend(loc='upper left')
