"""A state as a .pt file for PyTorch, without PyTorch: what torch.save writes of an OrderedDict of tensors.

The file is a zip with a pickle (`data.pkl`) that says how to put the tensors together, and the raw numbers of each
(`data/0`, `data/1`, ...). The pickle is written opcode by opcode, in the small language that
torch.load(weights_only=True) understands. Format: https://pytorch.org/docs/stable/notes/serialization.html and Python's
pickletools.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from utils.paths import atomic_write

# The name of PyTorch's storage class by numpy's name of the type.
STORAGES = {
    'float32': 'FloatStorage', 'float64': 'DoubleStorage', 'float16': 'HalfStorage', 'int64': 'LongStorage',
    'int32': 'IntStorage', 'int16': 'ShortStorage', 'int8': 'CharStorage', 'uint8': 'ByteStorage',
    'bool': 'BoolStorage',
}  # fmt: skip


def write_pt(path: str | Path, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, whole or not at all; `torch.load(path)` gives tensors by name, in the same order.

    Raises:
        TypeError: an array of a type that PyTorch does not have.
    """
    arrays = [np.asarray(array) for array in state.values()]
    files = {'data.pkl': _pickle(dict(zip(state, arrays))), 'byteorder': b'little', 'version': b'3\n'}
    for i, array in enumerate(arrays):
        files[f'data/{i}'] = array.astype(array.dtype.newbyteorder('<')).tobytes()
    with atomic_write(path) as f, zipfile.ZipFile(f, 'w', zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f'archive/{name}'), data)  # without the time: equal states, equal files


def _pickle(state: Mapping[str, np.ndarray]) -> bytes:
    items = b''.join(_text(name) + _tensor(str(i), array) for i, (name, array) in enumerate(state.items()))
    return pickle.PROTO + b'\x02' + _ordered_dict() + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(key: str, array: np.ndarray) -> bytes:
    """A call of _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)."""
    if array.dtype.name not in STORAGES:
        raise TypeError(f'PyTorch has no tensors of {array.dtype.name}')
    storage = _tuple(
        _text('storage'), _name('torch', STORAGES[array.dtype.name]), _text(key), _text('cpu'), _integer(array.size)
    )
    strides = np.cumprod([1, *array.shape[:0:-1]])[::-1] if array.ndim else []
    arguments = _tuple(
        storage + pickle.BINPERSID, _integer(0), _tuple(*map(_integer, array.shape)), _tuple(*map(_integer, strides)),
        pickle.NEWFALSE, _ordered_dict(),
    )  # fmt: skip
    return _name('torch._utils', '_rebuild_tensor_v2') + arguments + pickle.REDUCE


def _ordered_dict() -> bytes:
    return _name('collections', 'OrderedDict') + pickle.EMPTY_TUPLE + pickle.REDUCE


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f'{module}\n{name}\n'.encode()


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b''.join(items) + pickle.TUPLE


def _text(value: str) -> bytes:
    data = value.encode()
    return pickle.BINUNICODE + struct.pack('<I', len(data)) + data


def _integer(value: int) -> bytes:
    return pickle.BININT + struct.pack('<i', int(value))
