"""Pictures of what a layer sees."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from utils.log import LOGGER
from utils.plots.figure import new_figure, save_figure


def feature_visualization(
    x, module_type: str, stage: int, n: int = 32, save_dir: str | Path = 'runs/detect/exp'
) -> None:
    """Draw the first channels of a feature map and keep the map itself.

    Writes stage<stage>_<type>_features.png and .npy; a map of one pixel, or the Detect layer's output, is left out.

    Args:
        x: (batch, channels, h, w) tensor or array; the first picture of the batch is drawn.
        module_type: the layer's type, as `models.common.Conv` or `Conv`.
        stage: the layer's number.
        n: channels to draw at most.
        save_dir: folder to write into.
    """
    if 'Detect' in module_type:
        return
    maps = np.asarray(x[0].detach().cpu().numpy() if hasattr(x, 'detach') else x[0])
    channels, height, width = maps.shape
    if height == 1 or width == 1:
        return
    file = Path(save_dir) / f'stage{stage}_{module_type.split(".")[-1]}_features.png'
    n = min(n, channels)
    figure, axes = new_figure(math.ceil(n / 8), min(n, 8), (8, math.ceil(n / 8)))
    for ax in axes.flat:
        ax.axis('off')
    for ax, channel in zip(axes.flat, maps[:n]):
        ax.imshow(channel)
    LOGGER.info(f'Saving {file}... ({n}/{channels})')
    save_figure(figure, file, 300)
    np.save(file.with_suffix('.npy'), maps)
