"""Checkpoints: one file of tensors with a JSON header, data and never code.

The format is safetensors (https://github.com/huggingface/safetensors). Its metadata hold `format`, `version` and
`header`, the JSON of a `Checkpoint` with {"$tensor": name} in the places of its arrays (see utils.trees), so that the
tensors read `state/model.0.conv.weight`, `ema/model.0.conv.weight`, `optimizer/state/0/...`, `anchors`; and `crc32`
over all of that, since safetensors itself does not notice a flipped bit in a tensor.
Official PyTorch .pt files are read too (utils.pt_reader), and told apart by content, not by suffix.

    python -m utils.checkpoint FILE [--tensors]     prints what is inside
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from utils.checkpoint_report import describe
from utils.downloads import attempt_download
from utils.errors import ResourceError, UserError, WeightsError, run_main
from utils.log import LOGGER
from utils.paths import atomic_write
from utils.pt_model import checkpoint_parts
from utils.pt_reader import read_pt
from utils.terminal import printable, shortened
from utils.trees import join_tree, split_tree

if TYPE_CHECKING:
    import oneflow as torch

    from models.yolo import Model

FORMAT, VERSION = 'yolov5-oneflow', '1'
MAX_HEADER = 32 << 20  # bytes; an honest one has under 1 MB, unless the options of a run are huge
MAX_COUNT = 1 << 53  # epochs, updates: what a float holds exactly
_SURROGATE = re.compile('[\ud800-\udfff]')
DAMAGED = 'the file is damaged: take another copy, for example weights/best beside weights/last'


@dataclass
class Checkpoint:
    """A model and, while training goes on, all that is needed to continue it."""

    config: dict[str, Any]  # the model's description (its YAML), with the actual number of classes as nc
    state: dict[str, np.ndarray]  # parameters and buffers by name, float32 or int64
    names: list[str]
    stride: list[float]  # pixels per cell, finest level first
    anchors: np.ndarray  # (levels, anchors, 2) widths and heights in grid cells
    hyp: dict[str, Any] | None = None
    epoch: int = -1  # last finished epoch; -1: training is over, this is a result and nothing to resume
    best_fitness: float | None = None
    ema: dict[str, np.ndarray] | None = None
    ema_updates: int = 0
    optimizer: dict[str, Any] | None = None  # the optimiser's state_dict with arrays for tensors
    trainer: dict[str, Any] = field(default_factory=dict)  # random states, early stopping, options: plain data
    date: str = ''
    config_name: str = ''  # the description's file name, for the summary line
    path: Path | None = None  # the file it came from; not stored


_TYPES = {
    'config': (dict,), 'state': (dict,), 'names': (list,), 'stride': (list,), 'anchors': (np.ndarray,),
    'hyp': (dict, type(None)), 'epoch': (int,), 'best_fitness': (float, int, type(None)), 'ema': (dict, type(None)),
    'ema_updates': (int,), 'optimizer': (dict, type(None)), 'trainer': (dict,), 'date': (str,),
    'config_name': (str,),
}  # fmt: skip


# Files -------------------------------------------------------------------------------------------


def save_checkpoint(path: str | Path, ckpt: Checkpoint) -> None:
    """Write a checkpoint; at any moment `path` is the old file or the new one, whole.

    Half-precision and double arrays of state and EMA are stored as float32; names may be any sequence, strides and
    anchors tensors.

    Raises:
        ResourceError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    ckpt = _normalised(ckpt)
    _validate(ckpt)
    header, arrays = split_tree({name: getattr(ckpt, name) for name in _TYPES})
    # The library stores a transposed view's memory as if it were in order: give it none. (ascontiguousarray would make
    # a scalar one-dimensional.)
    arrays = {name: a.copy(order='C') for name, a in arrays.items()}
    metadata = {'format': FORMAT, 'version': VERSION, 'header': header, 'crc32': _checksum(header, arrays)}
    data = safetensors.numpy.save(arrays, metadata)
    try:
        with atomic_write(path) as f:
            f.write(data)
    except OSError as problem:
        why = problem.strerror or problem
        mend = 'free some space or choose another folder; what was there before is untouched'
        raise ResourceError(f'{path}: the checkpoint could not be written ({why})', mend) from problem


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours or an official PyTorch .pt file, told apart by content. Never runs code of the file.

    Raises:
        WeightsError: no such file, damaged, of an unknown format or version; the message names the file.
    """
    path = Path(path)
    try:
        with open(path, 'rb') as f:
            start = f.read(24)
    except FileNotFoundError:
        raise WeightsError(f'{path}: no such weights file', 'check the path') from None
    except OSError as problem:
        raise WeightsError(f'{path}: cannot be read ({problem.strerror})', 'weights are one file') from None
    except ValueError:
        raise WeightsError(f'{path}: no name that a file can have', 'check the path') from None
    # safetensors first: the length it begins with may happen to read like a zip's or a pickle's first bytes.
    if start[8:9] == b'{':
        if int.from_bytes(start[:8], 'little') > MAX_HEADER:
            raise WeightsError(f'{path}: its header is larger than {MAX_HEADER >> 20} MB, or damaged; refused')
        parts = _read_safetensors(path)
    elif start[:2] == b'PK' or start[:1] == b'\x80':
        parts = checkpoint_parts(read_pt(path), path)
    else:
        raise WeightsError(f'{path}: {_guess(start)}')
    ckpt = Checkpoint(**parts, path=path)
    _validate(ckpt)
    return ckpt


def strip_optimizer(f: str | Path = 'best', s: str | Path = '') -> None:
    """Make a training checkpoint a finished one: the EMA becomes the model, the rest of the training state goes.

    Args:
        f: the checkpoint.
        s: where to write the result; over `f` itself when empty.
    """
    ckpt = load_checkpoint(f)
    finished = Checkpoint(ckpt.config, ckpt.ema or ckpt.state, ckpt.names, ckpt.stride, ckpt.anchors, ckpt.hyp)
    save_checkpoint(s or f, replace(finished, date=ckpt.date, config_name=ckpt.config_name))
    size = Path(s or f).stat().st_size / 1e6
    LOGGER.info(f'Optimizer stripped from {f},{f" saved as {s}," if s else ""} {size:.1f} MB')


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The fields of a `Checkpoint` from a file of ours."""
    try:
        with safetensors.safe_open(path, framework='np') as f:
            metadata = f.metadata() or {}
            _check_version(path, metadata)
            arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (no dict)
        if _checksum(metadata['header'], arrays) != metadata['crc32']:
            raise WeightsError(f'{path}: its contents have changed since it was written', DAMAGED)
        tree = join_tree(metadata['header'], arrays)
    except UserError:
        raise
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError, KeyError, OSError) as problem:
        # TypeError and AttributeError: element types that numpy does not have.
        raise WeightsError(f'{path}: not readable ({printable(problem, 150)})', DAMAGED) from problem
    unknown = sorted(set(tree) ^ set(_TYPES)) if isinstance(tree, dict) else ['header']
    if unknown:
        names = printable(', '.join(unknown), 100)
        raise WeightsError(f'{path}: its header lacks or does not know {names}', DAMAGED)
    return tree


def _check_version(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get('format') != FORMAT:
        raise WeightsError(f'{path}: a safetensors file, but no checkpoint of this project')
    version = metadata.get('version', '')
    if version != VERSION:
        mend = 'update the project' if version.isdecimal() and int(version[:9]) > int(VERSION) else DAMAGED
        raise WeightsError(f'{path}: format version {version[:20]!r}; this code reads version {VERSION}', mend)


def _checksum(header: str, arrays: Mapping[str, np.ndarray]) -> str:
    value = zlib.crc32(header.encode())
    for name in sorted(arrays):
        value = zlib.crc32(arrays[name].reshape(-1).view(np.uint8), zlib.crc32(name.encode(), value))
    return f'{value:08x}'


def _guess(start: bytes) -> str:
    if not start:
        return 'an empty file: take another copy'
    if start.lstrip()[:1] == b'<':
        return 'a web page, not weights: download the file itself'
    if start.startswith(b'version https://git-lfs'):
        return 'a Git LFS pointer, not the weights: run `git lfs pull`'
    return 'neither a checkpoint of this project nor a PyTorch .pt file'


def _normalised(ckpt: Checkpoint) -> Checkpoint:
    """The checkpoint with the types that are stored: lists for tuples and tensors, plain numbers for numpy's."""

    def float32(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(value) for name, value in state.items()}
        return {name: a.astype(np.float32) if a.dtype.kind == 'f' else a for name, a in arrays.items()}

    return replace(
        ckpt,
        state=float32(ckpt.state),
        ema=None if ckpt.ema is None else float32(ckpt.ema),
        names=[_SURROGATE.sub('\ufffd', str(name)) for name in ckpt.names],
        stride=[float(s) for s in ckpt.stride],
        anchors=np.asarray(ckpt.anchors, np.float32),
        best_fitness=None if ckpt.best_fitness is None else float(ckpt.best_fitness),
    )


def _validate(ckpt: Checkpoint) -> None:
    """Raise a WeightsError for a checkpoint whose fields are not of their types or do not fit each other."""
    where = ckpt.path or 'checkpoint'
    for name, types in _TYPES.items():
        value = getattr(ckpt, name)
        if not isinstance(value, types) or isinstance(value, bool):
            raise WeightsError(f'{where}: its {name} is a {type(value).__name__}', DAMAGED)
    nc, nl = ckpt.config.get('nc'), len(ckpt.stride)
    checks = {
        'config': type(nc) is int
        and nc > 0
        and all(isinstance(ckpt.config.get(k), list) for k in ('backbone', 'head')),
        'names': len(ckpt.names) == nc and all(map(_is_text, ckpt.names)),
        'stride': all(type(s) in (int, float) and 0 < s < MAX_COUNT for s in ckpt.stride),
        'epoch': -1 <= ckpt.epoch < MAX_COUNT,
        'ema_updates': 0 <= ckpt.ema_updates < MAX_COUNT,
        'best_fitness': type(ckpt.best_fitness) is not int or abs(ckpt.best_fitness) < MAX_COUNT,
        'anchors': ckpt.anchors.ndim == 3 and ckpt.anchors.shape[0] == nl and ckpt.anchors.shape[2] == 2,
        'state': bool(ckpt.state) and _are_arrays(ckpt.state),
        'ema': ckpt.ema is None or (_are_arrays(ckpt.ema) and ckpt.ema.keys() == ckpt.state.keys()),
    }
    wrong = [name for name, fine in checks.items() if not fine]
    if wrong:
        raise WeightsError(f'{where}: malformed {", ".join(wrong)}', DAMAGED)


def _is_text(name: object) -> bool:
    """Whether this is text that can be written to a file: half of a surrogate pair can't."""
    return isinstance(name, str) and not _SURROGATE.search(name)


def _are_arrays(state: dict) -> bool:
    return all(isinstance(k, str) and isinstance(a, np.ndarray) and a.dtype.kind in 'fiu' for k, a in state.items())


# Models ------------------------------------------------------------------------------------------


def build_model(ckpt: Checkpoint, device: Any = None, fuse: bool = False) -> Model:
    """The checkpoint's model (its EMA where there is one) in float32 and evaluation mode, with .names and .hyp.

    Args:
        device: where it goes, by a name or an object that `select_device` takes; None leaves it on the CPU.

    Raises:
        WeightsError: the state does not fit the model that the description builds.
    """
    from models.limits import parameters_within
    from models.yolo import Model  # brings OneFlow: reading and printing files does without
    from utils.device import select_device

    where = ckpt.path or 'checkpoint'
    held = sum(array.size for array in ckpt.state.values())
    try:
        # Not to the number: where little is wrong, `load_state` can say what.
        with parameters_within(2 * held + (1 << 24), f'the {held:,} numbers that the file holds'):
            model = Model(copy.deepcopy(ckpt.config), ch=ckpt.config.get('ch', 3))
    except UserError as problem:
        raise WeightsError(f'{where}: its model description is wrong: {problem.message}', problem.mend) from problem
    load_state(model, ckpt.ema or ckpt.state, where)
    strides = [float(s) for s in model.stride]
    if strides != ckpt.stride:
        says = shortened(str(ckpt.stride), 100)
        raise WeightsError(f'{where}: says strides {says}, its description makes {strides}', DAMAGED)
    model.names, model.hyp, model.yaml_file = list(ckpt.names), ckpt.hyp, ckpt.config_name
    model = model.to(select_device(device)) if device is not None else model
    model = model.float().eval()
    return model.fuse() if fuse else model


def load_state(
    model: torch.nn.Module, state: Mapping[str, np.ndarray], where: str | Path = 'checkpoint', strict: bool = True
) -> None:
    """Copy arrays into a module's parameters and buffers of the same names and shapes.

    Args:
        where: the file they come from, for messages.
        strict: all entries of the module must be there; otherwise those that are not keep their values.

    Raises:
        WeightsError: they do not fit; the message lists what is missing, left over and of another shape.
    """
    import oneflow as torch

    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    problems = {
        'missing': [name for name in own if strict and name not in state],
        'not in the model': [name for name in state if name not in own],
        'of another shape': [
            f'{n} {state[n].shape} for {own[n]}' for n in own if n in state and state[n].shape != own[n]
        ],
    }
    if any(problems.values()):
        lists = (f'{len(items)} {what} ({_some(items)})' for what, items in problems.items() if items)
        raise WeightsError(f'{where}: does not fit the model: {"; ".join(lists)}')
    tensors = {name: torch.from_numpy(a.copy(order='C')) for name, a in state.items()}
    model.load_state_dict(tensors, strict=strict)


def state_arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """A module's state as arrays, copied: a tensor's own .numpy() shares its memory.

    All tensors of a type cross over as one: each .numpy() waits for OneFlow's threads, up to 4 ms on a busy machine.
    """
    import oneflow as torch

    state, arrays = model.state_dict(), {}
    for dtype in {tensor.dtype for tensor in state.values()}:
        names = [name for name, tensor in state.items() if tensor.dtype == dtype]
        flat = torch.cat([state[name].detach().reshape(-1) for name in names]).numpy().copy()
        ends = np.cumsum([state[name].numel() for name in names])
        arrays |= {name: part.reshape(state[name].shape) for name, part in zip(names, np.split(flat, ends[:-1]))}
    return {name: arrays[name] for name in state}


def attempt_load(
    weights: str | Path | list[str | Path],
    device: Any = None,
    inplace: bool = True,
    fuse: bool = True,
) -> torch.nn.Module:
    """The model of one weights file, or the ensemble of several; missing official files are downloaded.

    Returns:
        Model or Ensemble, float32, evaluation mode, on `device`; `inplace` is accepted for callers of the original and
        has no effect: decoding in place would give wrong gradients on OneFlow.
    """
    from models.ensemble import Ensemble

    files = weights if isinstance(weights, (list, tuple)) else [weights]
    models = [build_model(load_checkpoint(attempt_download(file)), device, fuse) for file in files]
    for model in models:
        LOGGER.info(model.info())
    return models[0] if len(models) == 1 else Ensemble(models).eval()


def intersect_dicts(da: Mapping[str, Any], db: Mapping[str, Any], exclude: Iterable[str] = ()) -> dict[str, Any]:
    """The entries of `da` that `db` has under the same name and in the same shape.

    Args:
        da, db: states: anything with a shape, by name.
        exclude: parts of names; entries that contain one are left out. Fine-tuning leaves out 'anchor'.
    """
    exclude = tuple(exclude)
    return {
        name: value
        for name, value in da.items()
        if name in db and tuple(value.shape) == tuple(db[name].shape) and not any(part in name for part in exclude)
    }


def _some(items: list[str], count: int = 4) -> str:
    return printable(', '.join(items[:count]), 400) + (', ...' if len(items) > count else '')


# The command -------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser('python -m utils.checkpoint', description='Print what a checkpoint holds.')
    parser.add_argument('file', help='a checkpoint of this project or an official .pt file')
    parser.add_argument('--tensors', action='store_true', help='a line for every tensor')
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    options = parser.parse_args(argv)
    ckpt = load_checkpoint(options.file)
    print(f'{options.file}  ({Path(options.file).stat().st_size / 1e6:.1f} MB)')
    print(describe(ckpt, options.tensors))


if __name__ == '__main__':
    sys.exit(run_main(main))
