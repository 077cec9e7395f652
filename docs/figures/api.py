"""Pictures as `Detections.render` draws them."""

from __future__ import annotations

import numpy as np

from docs.figures.pruning import SIZE, detector
from docs.figures.style import canvas, picture_axes, save
from models.autoshape import AutoShape
from utils.data.shapes import draw_picture


def make() -> None:
    pictures = [draw_picture(np.random.Generator(np.random.PCG64(seed)), 320)[0] for seed in (3, 12, 21)]
    results = AutoShape(detector())([np.ascontiguousarray(p[..., ::-1]) for p in pictures], size=SIZE)
    figure, axes = canvas(1, 3, height=3.1)
    for axis, drawn in zip(axes[0], results.render()):
        picture_axes(axis).imshow(drawn)
    figure.tight_layout()
    save(figure, 'api.png', dpi=85)
