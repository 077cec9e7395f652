"""A detector whose smallest weights are set to zero: how good it is still, and after some more training."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from oneflow import nn

import train
import val
from docs.figures.style import BLUE, GREY, ORANGE, RED, canvas, save
from docs.tools.numbers import write_numbers
from models.surgery import prune, sparsity
from utils.checkpoint import attempt_load, load_checkpoint, save_checkpoint, state_arrays
from utils.data.loader import create_dataloader
from utils.data.shapes import make_shapes
from utils.data.yaml import load_data

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = ROOT / 'docs/weights/shapes.safetensors'
SIZE, PICTURES = 128, 48
AMOUNTS = 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7
MENDED, EPOCHS, LESSONS = (0.0, 0.5), 5, 256  # shares of those that train on, for how long, on how many pictures


def detector(amount: float = 0.0):
    """The shapes detector, pruned."""
    model = attempt_load(DETECTOR, 'cpu')
    if amount:
        prune(model, amount)
    return model.eval()


def evaluate(models: list, pictures: int = PICTURES, **options) -> list[tuple]:
    """P, R, mAP50, mAP50-95 of each on the same drawn pictures, the first ones of the shapes data set."""
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(make_shapes(Path(folder, 'shapes'), train=1, val=pictures) / 'shapes.yaml')
        options |= {'imgsz': SIZE, 'batch_size': 16, 'plots': False, 'save_dir': folder}
        found = []
        for model in models:
            loader, _ = create_dataloader(data.val, SIZE, 16, stride=32, rect=True, pad=0.5, workers=0, prefix='val: ')
            found.append(val.run(data, model=model, dataloader=loader, **options)[0][:4])
    return found


def trained_on(amount: float):
    """The shapes detector, pruned, then trained for some epochs as anyone would."""
    with tempfile.TemporaryDirectory() as folder:
        weights, state = Path(folder, 'pruned.safetensors'), state_arrays(detector(amount))
        save_checkpoint(weights, replace(load_checkpoint(DETECTOR), state=state, ema=None))
        data = make_shapes(Path(folder, 'shapes'), train=LESSONS, val=1) / 'shapes.yaml'
        options = {'imgsz': SIZE, 'epochs': EPOCHS, 'workers': 0, 'noval': True, 'noplots': True, 'project': folder}
        train.run(weights=str(weights), data=str(data), loggers=['csv'], **options)
        return attempt_load(Path(folder, 'exp/weights/last.safetensors'), 'cpu', fuse=False).eval()


def make() -> None:
    models = [detector(amount) for amount in AMOUNTS]
    scores = evaluate(models)
    shares = [sparsity(model) for model in models]
    mended = [trained_on(amount) for amount in MENDED]
    after = [scores[3] for scores in evaluate(mended)]
    figure, axes = canvas(1, 2, height=3.2)
    weights = np.concatenate([m.weight.numpy().ravel() for m in models[0].modules() if isinstance(m, nn.Conv2d)])
    axes[0, 0].hist(np.abs(weights), np.linspace(0, 0.6, 61), color=GREY)
    for amount, color in ((0.3, BLUE), (0.5, ORANGE), (0.7, RED)):
        axes[0, 0].axvline(np.quantile(np.abs(weights), amount), color=color, label=f'amount={amount}')
    axes[0, 0].set(xlabel='|w|')
    axes[0, 0].legend(fontsize=8)
    axes[0, 1].plot(AMOUNTS, [s[2] for s in scores], 'o-', color=BLUE, label='mAP50')
    axes[0, 1].plot(AMOUNTS, [s[3] for s in scores], 's-', color=ORANGE, label='mAP50-95')
    axes[0, 1].set(xlabel='amount', ylim=(0, 1))
    axes[0, 1].legend(fontsize=8)
    figure.tight_layout()
    save(figure, 'pruning.svg')
    write_numbers('pruning', {
        'pictures': PICTURES, 'size': SIZE, 'epochs': EPOCHS, 'lessons': LESSONS,
        'after': {f'{a:g}'.replace('.', '_'): f'{score:.3f}' for a, score in zip(MENDED, after)},
        'zeros_after': f'{100 * sparsity(mended[-1]):.1f}%',
        'table': [[f'{a:.1f}', f'{share:.3f}', f'{s[2]:.3f}', f'{s[3]:.3f}']
                  for a, share, s in zip(AMOUNTS, shares, scores)],
    })  # fmt: skip
