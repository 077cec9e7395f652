"""What is in a checkpoint, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from utils.terminal import printable
from utils.trees import split_tree

if TYPE_CHECKING:
    from utils.checkpoint import Checkpoint

# Characters of a line and of a name: names and values may come from anywhere and be of any length.
LONGEST_LINE, LONGEST_NAME = 20_000, 100


def describe(ckpt: Checkpoint, tensors: bool = False) -> str:
    """What is in a checkpoint, as text; with `tensors` also a line for every tensor of its state."""
    config, buffers = ckpt.config, ('running_mean', 'running_var', 'num_batches_tracked', 'anchors')
    parameters = sum(a.size for name, a in ckpt.state.items() if not name.endswith(buffers))
    rows = len(config['backbone']) + len(config['head'])
    multiples = f'depth_multiple {config.get("depth_multiple")}, width_multiple {config.get("width_multiple")}'
    entries = {
        'epoch': 'finished (nothing to resume)' if ckpt.epoch < 0 else ckpt.epoch,
        'best fitness': ckpt.best_fitness,
        'date': ckpt.date or None,
        'classes': f'{len(ckpt.names)}: {", ".join(printable(name, LONGEST_NAME) for name in ckpt.names)}',
        'model': f'{ckpt.config_name or "description"}: {rows} rows, {multiples}',
        'strides': ', '.join(f'{s:g}' for s in ckpt.stride),
        'anchors': '  '.join(' '.join(f'{w:g},{h:g}' for w, h in np.round(level * s, 2).tolist())
                             for level, s in zip(ckpt.anchors, ckpt.stride)) + ' pixels',
        'state': f'{len(ckpt.state)} tensors, {parameters:,} parameters',
        'EMA': f'after {ckpt.ema_updates} updates' if ckpt.ema else None,
        'optimizer': f'{len(split_tree(ckpt.optimizer)[1])} tensors' if ckpt.optimizer else None,
        'hyp': ', '.join(f'{k} {v}' for k, v in ckpt.hyp.items()) if ckpt.hyp else None,
        'trainer': ', '.join(map(str, ckpt.trainer)) or None,
    }  # fmt: skip
    lines = [f'{name:<14}{value}' for name, value in entries.items() if value is not None]
    if tensors:
        width = min(max(map(len, ckpt.state)), LONGEST_NAME)
        lines += ['', f'{"tensor":<{width}}  {"type":<8}  {"shape":<18}  {"mean":>11}  {"largest":>11}']
        lines += [_tensor_row(name, a, width) for name, a in ckpt.state.items()]
    return '\n'.join(printable(line, LONGEST_LINE) for line in lines)


def _tensor_row(name: str, a: np.ndarray, width: int) -> str:
    mean, largest = (a.mean(dtype=np.float64), np.abs(a).max()) if a.size else (0, 0)
    shape = 'x'.join(map(str, a.shape)) or 'scalar'
    return f'{printable(name, LONGEST_NAME):<{width}}  {a.dtype.name:<8}  {shape:<18}  {mean:>11.4g}  {largest:>11.4g}'
