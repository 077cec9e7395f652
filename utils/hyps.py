"""Hyper-parameter files: which keys there are, what they may be, and reading them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

from utils.errors import ConfigError
from utils.paths import HYP_DIRS, find_file, read_yaml
from utils.terminal import printable
from utils.yaml_text import quoted


class Hyp(NamedTuple):
    default: float | None  # for files older than the key; None: may be absent
    low: float
    high: float


KEYS = {
    'lr0': Hyp(0.01, 0, math.inf),  # first learning rate
    'lrf': Hyp(0.01, 0, math.inf),  # last one, as a fraction of lr0
    'momentum': Hyp(0.937, 0, 1),  # of SGD; beta1 of Adam
    'weight_decay': Hyp(0.0005, 0, math.inf),
    'warmup_epochs': Hyp(3.0, 0, math.inf),
    'warmup_momentum': Hyp(0.8, 0, 1),
    'warmup_bias_lr': Hyp(0.1, 0, math.inf),
    'box': Hyp(0.05, 0, math.inf),  # gains of the three losses
    'cls': Hyp(0.5, 0, math.inf),
    'cls_pw': Hyp(1.0, 0, math.inf),  # weights of the positive term
    'obj': Hyp(1.0, 0, math.inf),
    'obj_pw': Hyp(1.0, 0, math.inf),
    'iou_t': Hyp(0.2, 0, 1),  # of older assigners; kept so that files carry over
    'anchor_t': Hyp(4.0, 1, math.inf),  # largest ratio of a box to its anchor
    'anchors': Hyp(None, 0, 100),  # anchors per level, 0 or absent: the model's own
    'fl_gamma': Hyp(0.0, 0, math.inf),  # focal loss, 0 is off
    'hsv_h': Hyp(0.015, 0, 1),
    'hsv_s': Hyp(0.7, 0, 1),
    'hsv_v': Hyp(0.4, 0, 1),
    'degrees': Hyp(0.0, 0, 180),
    'translate': Hyp(0.1, 0, 1),
    'scale': Hyp(0.5, 0, 1),
    'shear': Hyp(0.0, 0, 90),
    'perspective': Hyp(0.0, 0, 0.01),
    'flipud': Hyp(0.0, 0, 1),
    'fliplr': Hyp(0.5, 0, 1),
    'mosaic': Hyp(1.0, 0, 1),
    'mixup': Hyp(0.0, 0, 1),
    'copy_paste': Hyp(0.0, 0, 1),
    'label_smoothing': Hyp(0.0, 0, 1),  # set from the option; in the files of finished runs
}


def load_hyp(file: str | Path | dict) -> dict[str, float]:
    """Hyper-parameters from a YAML file (bare names are found in data/hyps/) or a dict, completed and checked.

    Raises:
        ConfigError: no such file, an unknown key, a value that is no number or out of its range.
    """
    if isinstance(file, dict):
        name, values = 'hyp', file
    else:
        name = find_file(file, HYP_DIRS, kind='hyper-parameter file')
        values = read_yaml(name)
    if not isinstance(values, dict):
        raise ConfigError(f'{name}: not a list of "key: number"', 'compare with data/hyps/hyp.scratch-low.yaml')
    for key, value in values.items():
        _check(name, key, value)
    defaults = {key: hyp.default for key, hyp in KEYS.items() if hyp.default is not None}
    return defaults | {key: float(value) if key != 'anchors' else value for key, value in values.items()}


def _check(name: str | Path, key: str, value: object) -> None:
    if key not in KEYS:
        raise ConfigError(f'{name}: unknown hyper-parameter "{printable(key, 60)}"', f'known are {", ".join(KEYS)}')
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f'{name}: {key} is {quoted(value)}, not a number', 'write it like 0.001 or 1.0e-3')
    hyp = KEYS[key]
    if not hyp.low <= value <= min(hyp.high, sys.float_info.max):
        raise ConfigError(f'{name}: {key} is {quoted(value)}', f'it has to lie between {hyp.low:g} and {hyp.high:g}')
