"""What comparisons of a GPU with the CPU are made of: their registry, the same inputs each time, and the measure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as torch

from models.yolo import Model
from utils.device import copy_module
from utils.paths import ROOT, read_yaml

CPU = torch.device('cpu')
HYP = {'box': 0.05, 'obj': 1.0, 'cls': 0.5, 'obj_pw': 1.0, 'cls_pw': 1.0, 'anchor_t': 4.0, 'fl_gamma': 0.0}
CLASSES, SIDE = 4, 64


class Mismatch(Exception):
    """The device gives something else than the CPU; the text says by how much."""


@dataclass(frozen=True)
class Check:
    """A comparison: `run(device as --device names it, an empty folder)` gives what it found, or raises."""

    run: Callable[[str, Path], str]
    cards: int = 1


CHECKS: dict[str, Check] = {}


def check(name: str, cards: int = 1) -> Callable:
    def register(function: Callable[[str, Path], str]) -> Callable[[str, Path], str]:
        CHECKS[name] = Check(function, cards)
        return function

    return register


# What is compared -----------------------------------------------------------------------------------------------------


def small_network(layers: str = 'C3', seed: int = 0) -> Model:
    """yolov5n with few channels and running statistics that are not those of the start; `layers` in place of its C3."""
    config = read_yaml(ROOT / 'models/yolov5n.yaml') | {'width_multiple': 0.125, 'depth_multiple': 0.1, 'nc': CLASSES}
    for row in config['backbone'] + config['head']:
        row[2] = layers if row[2] == 'C3' else row[2]
        if layers == 'MixConv2d' and row[2] == layers:
            row[1], row[3] = 1, row[3][:1]
    torch.manual_seed(seed)
    model, rng = Model(config), np.random.default_rng(seed)
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.copy_(torch.tensor(rng.uniform(0.5, 1.5, tuple(buffer.shape)).astype(np.float32)))
    model.hyp = HYP
    return model


def images(batch: int = 2, height: int = SIDE, width: int = SIDE + 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (batch, 3, height, width), np.uint8)


def labels(batch: int = 2) -> np.ndarray:
    """(n, 6) image, class, x, y, w, h."""
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(batch), 5)
    boxes = np.column_stack([rng.uniform(0.2, 0.8, (len(image), 2)), rng.uniform(0.05, 0.4, (len(image), 2))])
    return np.column_stack([image, rng.integers(0, CLASSES, len(image)), boxes]).astype(np.float32)


def crowd(rows: int) -> np.ndarray:
    """Rows (2, rows, 5 + classes) in heaps, as a network gives them."""
    rng = np.random.default_rng(3)
    heap = rng.integers(0, max(rows // 8, 1), (2, rows))
    centre, size = rng.uniform(0, 640, (rows, 2)), rng.uniform(10, 150, (rows, 2))
    boxes = np.concatenate([centre[heap] + rng.normal(0, 4, (2, rows, 2)), size[heap]], -1)
    return np.concatenate([boxes, rng.uniform(0, 1, (2, rows, 1 + CLASSES))], -1).astype(np.float32)


def compare(found: Any, expected: Any, tolerance: float = 1e-3) -> float:
    """The largest difference of two lists of arrays or tensors, each relative to the largest number of its array.

    Raises:
        Mismatch: it exceeds the tolerance or is no number, or shapes differ.
    """
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = (
            np.asarray(a if isinstance(a, np.ndarray) else a.detach().cpu().numpy(), float) for a in (ours, theirs)
        )
        if ours.shape != theirs.shape:
            raise Mismatch(f'shapes {ours.shape} and {theirs.shape}')
        if ours.size:
            apart = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12)
            worst = max(worst, apart) if np.isfinite(apart) else np.inf
    if worst > tolerance:
        raise Mismatch(f'differs by {worst:.2g}, more than {tolerance:g} (relative)')
    return worst


def same(found: Any, expected: Any, tolerance: float = 1e-3) -> str:
    return f'largest difference {compare(found, expected, tolerance):.2g} (relative)'


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Mismatch(what)


@contextmanager
def plain_paths() -> Iterator[None]:
    """A CPU goes the way of a GPU, through OneFlow's operators."""
    before = os.environ.get('YOLOV5_CPU_ENGINE')
    os.environ['YOLOV5_CPU_ENGINE'] = '0'
    try:
        yield
    finally:
        os.environ.pop('YOLOV5_CPU_ENGINE')
        if before is not None:
            os.environ['YOLOV5_CPU_ENGINE'] = before


def on(device: torch.device, model: Model) -> Model:
    return copy_module(model).to(device)


def rows_of(backend: Any, **options: Any) -> np.ndarray:
    output = backend(backend.prepare(images()), **options)
    return output if isinstance(output, np.ndarray) else output.cpu().numpy()


def checkpoint(folder: Path) -> Path:
    """A checkpoint of the small network."""
    from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays

    model, path = small_network(), folder / 'small.safetensors'
    anchors = model.detect.anchors.numpy().copy()
    names = [f'class{i}' for i in range(CLASSES)]
    save_checkpoint(path, Checkpoint(model.yaml, state_arrays(model), names, model.stride.numpy().tolist(), anchors))
    return path
