"""Files as torch.save writes them, made without PyTorch: a small pickler and a zip."""

from __future__ import annotations

import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.pt_reader import Bag

KINDS = {'<f4': 'Float', '<f8': 'Double', '<f2': 'Half', '<i8': 'Long', '<i4': 'Int', '<i2': 'Short',
         '|i1': 'Char', '|u1': 'Byte', '|b1': 'Bool'}  # fmt: skip


@dataclass
class Global:
    """A name, such as os.system."""

    name: str


@dataclass
class Call:
    """A call of a name, as a hostile file would make it."""

    name: str
    args: tuple = ()


@dataclass
class Stored:
    """A tensor; what it claims about itself can be set to lies."""

    array: np.ndarray
    kind: str = ''
    count: Any = None
    offset: Any = 0
    size: tuple | None = None
    stride: tuple | None = None
    key: str = ''


@dataclass
class Writer:
    """Pickles a value in protocol 2 and collects its storages."""

    storages: dict[str, bytes] = field(default_factory=dict)

    def pickle(self, value: Any) -> bytes:
        return b'\x80\x02' + self.encode(value) + b'.'

    def encode(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return self.encode(Stored(value))
        for kind, encode in {Global: self._global, Call: self._call, Stored: self._tensor, Bag: self._bag}.items():
            if isinstance(value, kind):
                return encode(value)
        if isinstance(value, dict):
            return b'}(' + b''.join(self.encode(k) + self.encode(v) for k, v in value.items()) + b'u'
        if isinstance(value, list):
            return b'](' + b''.join(map(self.encode, value)) + b'e'
        if isinstance(value, tuple):
            return b'(' + b''.join(map(self.encode, value)) + b't'
        return pickle.dumps(value, 2)[2:-1]

    def _global(self, value: Global) -> bytes:
        return f'c{value.name.rpartition(".")[0]}\n{value.name.rpartition(".")[2]}\n'.encode()

    def _call(self, value: Call) -> bytes:
        return self._global(Global(value.name)) + self.encode(value.args) + b'R'

    def _bag(self, value: Bag) -> bytes:
        return self._global(Global(value.kind)) + b')\x81' + self.encode(value.attrs) + b'b'

    def _tensor(self, value: Stored) -> bytes:
        data = value.array.copy(order='C')
        key = value.key or str(len(self.storages))
        self.storages[key] = data.tobytes()
        kind = Global(f'torch.{value.kind or KINDS[data.dtype.str]}Storage')
        count = data.size if value.count is None else value.count
        reference = self.encode(('storage', kind, key, 'cpu', count)) + b'Q'
        size = value.array.shape if value.size is None else value.size
        stride = tuple(s // data.itemsize for s in data.strides) if value.stride is None else value.stride
        arguments = b'(' + reference + b''.join(map(self.encode, (value.offset, size, stride, False)))
        hooks = self.encode(Call('collections.OrderedDict'))
        return self._global(Global('torch._utils._rebuild_tensor_v2')) + arguments + hooks + b'tR'


def write_pt(path: Path, value: Any, compression: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    """Write `value` as torch.save would; `more` are further files of the archive."""
    writer = Writer()
    files = {'data.pkl': writer.pickle(value), 'version': b'3\n'}
    files |= {f'data/{key}': data for key, data in writer.storages.items()} | more
    return write_zip(path, {f'archive/{name}': data for name, data in files.items()}, compression)


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def raw_pickle(path: Path, data: bytes) -> Path:
    """A file of torch.save with this pickle in it."""
    return write_zip(path, {'archive/data.pkl': data, 'archive/version': b'3\n'})


def nested(depth: int, opcode: bytes = b'\x85') -> bytes:
    """A pickle of tuples in tuples."""
    return b'\x80\x02)' + opcode * depth + b'.'


def short(value: int) -> bytes:
    """The opcode that pushes a small integer."""
    return b'J' + struct.pack('<i', value)
