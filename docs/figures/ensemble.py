"""Two damaged copies of a detector, and both as one."""

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

NOISE = 0.04


def shaken(seed: int):
    """The shapes detector with noise on its convolutions' weights, relative to each layer's spread."""
    model, rng = detector(), np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().numpy()
            noise = rng.standard_normal(weight.shape) * weight.std() * NOISE
            module.weight.data.copy_(torch.tensor((weight + noise).astype(np.float32)))
    return model


def make() -> None:
    models = [shaken(seed) for seed in (1, 2, 3)]
    together = Ensemble(models)
    scores = [*evaluate([*models, together]), *evaluate([together], iou_thres=0.4)]
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    figure, axes = canvas(1, 4, height=2.6)
    for axis, model, title in zip(axes[0], [*models, together], ['1', '2', '3', 'Ensemble']):
        shape = AutoShape(model)
        shape.conf = 0.25
        picture_axes(axis).imshow(shape(np.ascontiguousarray(picture[..., ::-1]), size=SIZE).render()[0])
        axis.set_title(title)
    figure.tight_layout()
    save(figure, 'ensemble.png')
    names = ['1', '2', '3', '`Ensemble`', '`Ensemble`, `--iou-thres 0.4`']
    write_numbers('ensemble', {
        'pictures': PICTURES, 'size': SIZE, 'noise': f'{100 * NOISE:.0f}%',
        'table': [[name, *(f'{v:.3f}' for v in s)] for name, s in zip(names, scores)],
    })  # fmt: skip
