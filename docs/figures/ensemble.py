"""Three damaged copies of a detector, and all of them as one."""

from __future__ import annotations

import numpy as np
import oneflow as torch
from oneflow import nn

from docs.figures.pruning import PICTURES, SIZE, detector, evaluate
from docs.figures.style import canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from models.autoshape import AutoShape
from models.ensemble import Ensemble
from utils.data.shapes import draw_picture

NOISE, MORE = 0.04, 0.08  # for the figure; for the table as well
LOOSE, STRICT = 0.6, 0.4  # --iou-thres of an evaluation, and one with which more boxes go


def shaken(seed: int, amount: float):
    """The shapes detector with noise on its convolutions' weights, relative to each layer's spread."""
    model, rng = detector(), np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().numpy()
            noise = rng.standard_normal(weight.shape) * weight.std() * amount
            module.weight.data.copy_(torch.tensor((weight + noise).astype(np.float32)))
    return model


def make() -> None:
    models = [shaken(seed, NOISE) for seed in (1, 2, 3)]
    together = Ensemble(models)
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    figure, axes = canvas(1, 4, height=2.6)
    for axis, model, title in zip(axes[0], [*models, together], ['1', '2', '3', 'Ensemble']):
        shape = AutoShape(model)
        shape.conf = 0.25
        picture_axes(axis).imshow(shape(np.ascontiguousarray(picture[..., ::-1]), size=SIZE).render()[0])
        axis.set_title(title)
    figure.tight_layout()
    save(figure, 'ensemble.png')
    rows = [row for noise, iou in ((NOISE, LOOSE), (NOISE, STRICT), (MORE, LOOSE)) for row in scores(noise, iou)]
    write_numbers('ensemble', {
        'pictures': PICTURES, 'size': SIZE, 'noise': f'{NOISE:.0%}', 'more': f'{MORE:.0%}', 'table': rows,
    })  # fmt: skip


def scores(noise: float, iou_thres: float) -> list[list[str]]:
    """Rows of the table: of each member and of the ensemble."""
    models = [shaken(seed, noise) for seed in (1, 2, 3)]
    found = evaluate([*models, Ensemble(models)], iou_thres=iou_thres)
    names = ['1', '2', '3', '`Ensemble`']
    return [[f'{noise:.0%}', f'{iou_thres}', name, *(f'{v:.3f}' for v in s)] for name, s in zip(names, found)]
