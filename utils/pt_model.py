"""From the contents of an official .pt file to the parts of a checkpoint: description, state, names, anchors.

A pickle can put one list, module or tensor in any number of places, so that a kilobyte of it reads as a tree of
billions. Whatever is walked or copied here is paid for from a budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError
from utils.pt_reader import Bag

MAX_MODULES = 20_000  # yolov5x6 has 733
MAX_ITEMS = 1_000_000  # parameters, buffers, values and characters of names; yolov5x6 has some 100,000
MAX_SHARED = 64 << 20  # bytes of tensors that are in two places; honest models have none
MAX_DEPTH = 8
_PLAIN = (str, int, float, bool, type(None))


@dataclass
class _Budget:
    """What is left to spend on one file."""

    items: int = MAX_ITEMS
    shared: int = MAX_SHARED

    def spend(self, items: int, shared: int = 0) -> None:
        self.items -= items
        self.shared -= shared
        if min(self.items, self.shared) < 0:
            raise ValueError('the same things in millions of places')


def checkpoint_parts(data: Any, path: Path) -> dict[str, Any]:
    """The fields of a `Checkpoint` that a .pt file of the original YOLOv5 holds.

    Args:
        data: what `utils.pt_reader.read_pt` returned.
        path: the file, for messages.

    Floating point tensors are widened to float32 (the official files hold float16, so the values are exact). The
    optimiser's state is not taken: it belongs to PyTorch's optimiser, and training starts a new one.

    Raises:
        WeightsError: no YOLOv5 detection model inside, or one whose layers differ from what its description builds.
    """
    data = {'model': data} if isinstance(data, Bag) else data
    if not isinstance(data, dict):
        raise WeightsError(f'{path}: holds no YOLOv5 model')
    model, ema = data.get('model'), data.get('ema')
    model = model if isinstance(model, Bag) else ema
    if not isinstance(model, Bag):
        tensors_only = any(isinstance(value, np.ndarray) for value in data.values())
        what = 'only tensors, without the model they belong to' if tensors_only else 'no YOLOv5 model'
        raise WeightsError(f'{path}: holds {what}', 'pass a .pt file as YOLOv5 itself saves it')
    try:
        budget = _Budget()
        parts = _model_parts(model, path, budget)
        parts['ema'] = _state(ema, budget) if isinstance(ema, Bag) and ema is not model else None
        parts['best_fitness'] = _number(data.get('best_fitness'))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as problem:
        what = f'{type(problem).__name__}: {str(problem)[:100]}'
        raise WeightsError(f'{path}: its model is incomplete or malformed ({what})') from problem
    parts['epoch'] = data['epoch'] if type(data.get('epoch')) is int else -1
    parts['ema_updates'] = data['updates'] if parts['ema'] and type(data.get('updates')) is int else 0
    parts['date'] = data['date'] if type(data.get('date')) is str else ''
    return parts


def _model_parts(model: Bag, path: Path, budget: _Budget) -> dict[str, Any]:
    kind = model.kind.rpartition('.')[2]
    detect = list(_children(_children(model)['model']).values())[-1]
    if kind not in ('Model', 'DetectionModel') or not detect.kind.endswith('.Detect'):
        raise WeightsError(f'{path}: a {kind} with a head {detect.kind}', 'only YOLOv5 detection models can be used')
    _check_layers(model, path, budget)
    config, names = _plain(model.attrs['yaml'], budget), _plain(model.attrs['names'], budget)
    names, nc = list(names.values() if isinstance(names, dict) else names), config['nc']
    hyp, file, stride = model.attrs.get('hyp'), model.attrs.get('yaml_file'), detect.attrs['stride']
    anchors = detect.attrs['_buffers']['anchors']
    if not (isinstance(stride, np.ndarray) and isinstance(anchors, np.ndarray) and type(nc) is int and nc < MAX_ITEMS):
        raise ValueError('the head has no strides, anchors or classes')
    budget.spend(nc)
    if len(names) != nc or any(isinstance(name, (list, dict)) for name in names):
        names = [f'class{i}' for i in range(nc)]
    return {
        'config': config,
        'config_name': file if type(file) is str else '',
        'state': _state(model, budget),
        'names': [str(name) for name in names],
        'stride': [float(v) for v in stride.ravel()[:MAX_MODULES]],
        'anchors': np.array(anchors, np.float32),
        'hyp': _plain(hyp, budget) if isinstance(hyp, dict) else None,
    }


def _children(module: Bag) -> dict[str, Bag]:
    """The submodules of a module, as torch.nn.Module keeps them; slots that hold None are left out."""
    return {name: child for name, child in module.attrs['_modules'].items() if isinstance(child, Bag)}


def _modules(module: Bag, budget: _Budget) -> Iterator[tuple[str, Bag]]:
    """All modules with their dotted names, depth first, in the order of torch's state_dict."""
    stack, count = [('', module)], 0
    while stack:
        name, module = stack.pop()
        count += 1
        if count > MAX_MODULES:  # a module that holds itself, or shared ones nested to make billions
            raise ValueError(f'over {MAX_MODULES} modules')
        yield name, module
        budget.spend(sum(len(name) + len(str(key)) + 1 for key in module.attrs['_modules']))
        children = [(f'{name}.{key}' if name else key, child) for key, child in _children(module).items()]
        stack.extend(reversed(children))


def _state(model: Bag, budget: _Budget) -> dict[str, np.ndarray]:
    """Parameters and persistent buffers by their dotted names, in order; floats as float32, integers as int64."""
    state, seen = {}, set()
    for prefix, module in _modules(model, budget):
        buffers, skipped = module.attrs['_buffers'], module.attrs.get('_non_persistent_buffers_set', ())
        budget.spend(len(skipped))
        skipped = set(skipped)
        for name, value in [*module.attrs['_parameters'].items(), *buffers.items()]:
            budget.spend(1 + len(prefix) + len(str(name)))
            # Up to release 5 the anchors were stored a second time, in pixels, as anchor_grid.
            if value is None or name == 'anchor_grid' or (name in skipped and name in buffers):
                continue
            dtype = np.dtype(np.float32 if np.issubdtype(value.dtype, np.floating) else np.int64)
            if id(value) in seen:
                budget.spend(0, value.size * dtype.itemsize)
            seen.add(id(value))
            state[f'{prefix}.{name}' if prefix else name] = np.array(value, dtype)
    return state


def _check_layers(model: Bag, path: Path, budget: _Budget) -> None:
    """Refuse what the description does not tell and would give wrong numbers silently: old releases' activations."""
    for name, module in _modules(model, budget):
        kind = module.kind.rpartition('.')[2]
        activation = module.kind.startswith('torch.nn.modules.activation.')
        if activation and kind not in ('SiLU', 'MultiheadAttention'):
            raise WeightsError(f'{path}: {name} is a {kind}, from a release before 4.0', 'take a newer release')
        if kind == 'BatchNorm2d' and abs(module.attrs['eps'] - 1e-3) > 1e-9:
            raise WeightsError(f'{path}: {name} has eps {module.attrs["eps"]:g} instead of 0.001')


def _plain(value: Any, budget: _Budget, depth: int = MAX_DEPTH) -> Any:
    """A copy of nested plain data, tuples as lists."""
    budget.spend(1 + len(value) if isinstance(value, (str, dict, list, tuple)) else 1)
    if type(value) in _PLAIN:
        return value
    if depth and type(value) is dict and all(type(key) in (str, int) for key in value):
        return {key: _plain(item, budget, depth - 1) for key, item in value.items()}
    if depth and type(value) in (list, tuple):
        return [_plain(item, budget, depth - 1) for item in value]
    raise ValueError(f'{type(value).__name__} in the description')


def _number(value: Any) -> float | None:
    """A number that may have been computed by numpy (then it is an array of one)."""
    if isinstance(value, Bag):
        value = value.attrs.get('value')
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    return float(value) if type(value) in (int, float) else None
