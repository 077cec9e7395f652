"""Pictures of what a layer sees."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from utils.data.images import write_image
from utils.log import LOGGER

COLUMNS = 8
TILE = 200  # longer side of a channel's picture, pixels
GAP = 6


def feature_visualization(
    x, module_type: str, stage: int, n: int = 32, save_dir: str | Path = 'runs/detect/exp'
) -> None:
    """Draw the first channels of a feature map and keep the map itself.

    Writes stage<stage>_<type>_features.png and .npy; a map of one pixel, or the Detect layer's output, is left out.
    Each channel is coloured from its own least to its own greatest value.

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
    LOGGER.info(f'Saving {file}... ({n}/{channels})')
    file.parent.mkdir(parents=True, exist_ok=True)
    # By hand: matplotlib needs a second for 32 axes, and a network has two dozen layers.
    write_image(file, _mosaic([_colored(channel) for channel in maps[:n]]))
    np.save(file.with_suffix('.npy'), maps)


def _colored(channel: np.ndarray) -> np.ndarray:
    """One channel (h, w) as a picture (h', w', 3) BGR whose longer side is TILE."""
    span = np.ptp(channel) or 1
    grey = ((channel - channel.min()) / span * 255).round().astype(np.uint8)
    scale = TILE / max(grey.shape)
    size = [max(round(side * scale), 1) for side in grey.shape[::-1]]
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    return cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)


def _mosaic(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles of one size, row by row, on white."""
    height, width = (side + GAP for side in tiles[0].shape[:2])
    rows, columns = math.ceil(len(tiles) / COLUMNS), min(len(tiles), COLUMNS)
    canvas = np.full((rows * height + GAP, columns * width + GAP, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // COLUMNS * height + GAP, i % COLUMNS * width + GAP
        canvas[y : y + height - GAP, x : x + width - GAP] = tile
    return canvas
