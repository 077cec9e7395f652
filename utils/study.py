"""Evaluations in a row: `val.py --task study` and `--task speed`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from utils.log import LOGGER, colorstr
from utils.paths import Distinct, increment_path

SIZES = range(256, 1536 + 128, 128)


def speed(opt: Any, run: Callable[..., tuple]) -> None:
    """Time each checkpoint at detection's thresholds on square pictures; arguments as for `study`."""
    for weights in opt.weights:
        thresholds = {'conf_thres': 0.25, 'iou_thres': 0.45}
        run(**asdict(opt) | thresholds | {'weights': [weights], 'save_json': False}, plots=False)


def study(opt: Any, run: Callable[..., tuple]) -> Path:
    """Accuracy and speed of each checkpoint over picture sizes.

    Args:
        opt: a `val.ValOptions`.
        run: `val.run`.

    Returns:
        The folder with study_<data>_<weights>.txt for each (a row a size: the seven results, then milliseconds for
        preparing, inference and NMS) and their plot, study.png.
    """
    from utils.plots import plot_val_study

    folder = increment_path(Path(opt.project) / opt.name, opt.exist_ok, mkdir=True)
    distinct = Distinct()  # the weights of most runs are called best
    for weights in opt.weights:
        rows = []
        for size in SIZES:
            LOGGER.info(f'\n{weights} at --img {size}')
            results, _, milliseconds = run(
                **asdict(opt) | {'weights': [weights], 'imgsz': size, 'save_json': False}, save_dir=folder, plots=False
            )
            rows.append([*results, *milliseconds])
        np.savetxt(folder / distinct(f'study_{Path(opt.data).stem}_{Path(weights).stem}.txt'), rows, fmt='%10.4g')
    plot_val_study(dir=folder, x=np.array(SIZES))
    LOGGER.info(f'Study saved to {colorstr("bold", str(folder))}')
    return folder
