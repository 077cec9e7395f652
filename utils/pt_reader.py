"""PyTorch's .pt files without PyTorch, as plain data: dicts, lists, numbers, text, numpy arrays and `Bag`s.

Such a file is a zip holding a pickle (`data.pkl`) and the raw bytes of every tensor storage (`data/0`, `data/1`, ...).
A pickle is a program, so a hostile one can run any code in a plain unpickler. This one runs nothing: a name in the
pickle is looked up in a table of a dozen functions of ours, classes of the network become inert `Bag`s whatever they
are, and every other name is refused. Sizes are bounded too: what a file makes us allocate is proportional to the file.
A pickle may put one object in many places, so what is read may be a graph whose tree is endless: walk it with a budget
(`utils.pt_model`).

Format: https://pytorch.org/docs/stable/notes/serialization.html and the modules `pickle` and `pickletools`.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError

MAX_PICKLE = 8 << 20  # bytes; that of yolov5n has 82 kB, a training checkpoint of the largest model under 2 MB
OBJECT = 128  # bytes that a list, dict, tuple or `Bag` takes, about
MAX_INFLATION = 20  # the contents may be this many times larger than the file
MAX_DIMENSIONS = 8

_DTYPES = {
    'Float': '<f4', 'Double': '<f8', 'Half': '<f2', 'BFloat16': '<u2',
    'Long': '<i8', 'Int': '<i4', 'Short': '<i2', 'Char': '|i1', 'Byte': '|u1', 'Bool': '|u1',
}  # fmt: skip
_DTYPE_NAMES = ('float16', 'float32', 'float64', 'bfloat16', 'uint8', 'int8', 'int16', 'int32', 'int64', 'bool')
_BAG_CLASSES = re.compile(r'(models|torch\.nn\.modules)(\.\w+)*\.[A-Z]\w*')


@dataclass(eq=False)
class Bag:
    """An object of the file whose class is known to be harmless: the class's full name and the attributes as stored."""

    kind: str
    attrs: dict[str, Any] = field(default_factory=dict)


def read_pt(path: str | Path) -> Any:
    """The contents of a .pt file written by torch.save, PyTorch 1.6 or later.

    Tensors become numpy arrays (read-only, possibly views of one storage, bfloat16 widened to float32), OrderedDicts
    become dicts, objects of `models.*` and `torch.nn.modules.*` become `Bag`s.

    Raises:
        WeightsError: no such file, damaged, of another format, or it names something that is not on the list; the
            message has the file and the name.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            contents = _Contents(archive, path)
            return _Unpickler(contents).load()
    except WeightsError:
        raise
    except OSError as problem:
        raise WeightsError(f'{path}: cannot be read ({problem.strerror or problem})', 'check the path') from None
    except Exception as problem:
        # A damaged or hostile file can make the zip reader and the unpickler stumble in any of their ways.
        if not zipfile.is_zipfile(path):
            raise WeightsError(f'{path}: {_not_a_zip(path)}') from None
        what = f'{type(problem).__name__}: {str(problem)[:100]}'
        raise WeightsError(f'{path}: damaged ({what})', 'download or copy it again') from problem


def _not_a_zip(path: Path) -> str:
    with open(path, 'rb') as f:
        start = f.read(2)
    if start[:1] == b'\x80':
        return (
            'an old PyTorch file (before 1.6) or a bare pickle, which cannot be read safely; '
            'save it again with a newer PyTorch'
        )
    return 'damaged or cut short: download or copy it again' if start == b'PK' else 'not a PyTorch file'


class _Contents:
    """The zip: its one pickle, its storages, and a budget for the tensors made from them."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self.archive, self.path = archive, path
        self.sizes = {info.filename: info.file_size for info in archive.infolist()}
        self.storages: dict[tuple[str, str], np.ndarray] = {}
        file_size = path.stat().st_size
        if sum(self.sizes.values()) > MAX_INFLATION * file_size + (1 << 16):
            raise WeightsError(f'{path}: claims contents {MAX_INFLATION} times larger than itself; refused')
        # Shared weights and expanded views make more bytes of tensors than there are in the file, but not many more.
        self.budget = 6 * sum(self.sizes.values()) + (64 << 20)
        pickles = [name for name in self.sizes if re.fullmatch(r'[^/]+/data\.pkl', name)]
        if len(pickles) != 1:
            raise WeightsError(f'{path}: not a file of torch.save (it has no single data.pkl)')
        self.prefix = pickles[0].removesuffix('data.pkl')
        if self.prefix + 'constants.pkl' in self.sizes:
            raise WeightsError(f'{path}: a TorchScript program, not weights', 'pass the .pt file it was exported from')
        self.big_endian = self._small(self.prefix + 'byteorder').strip() == b'big'

    def pickle(self) -> bytes:
        name = self.prefix + 'data.pkl'
        if self.sizes[name] > MAX_PICKLE:
            raise WeightsError(f'{self.path}: its pickle has {self.sizes[name]} bytes, over {MAX_PICKLE}; refused')
        return self._read(name)

    def _small(self, name: str) -> bytes:
        return self._read(name) if 0 < self.sizes.get(name, 0) < 64 else b''

    def _read(self, name: str) -> bytes:
        """A file of the archive, of the size that it claims.

        ZipFile.read unpacks the whole stream before it cuts off what is over that size.
        """
        size, info = self.sizes[name], self.archive.getinfo(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # unpacked in steps of any size
            raise WeightsError(f'{self.path}: compressed in a way that PyTorch does not use; refused')
        with self.archive.open(info) as f:
            data = f.read(size)
            if len(data) < size:
                raise zipfile.BadZipFile(f'{name[:40]} is not of the size it claims')
            return data

    def storage(self, kind: str, key: str, count: int) -> np.ndarray:
        """One storage as a flat array of `count` elements; each is read once."""
        if (kind, key) not in self.storages:
            dtype = np.dtype(_DTYPES[kind])
            name = f'{self.prefix}data/{key}'
            if self.sizes.get(name, -1) != count * dtype.itemsize:
                raise WeightsError(f'{self.path}: storage {key[:40]!r} is missing or not of the size it claims')
            self.spend(count * max(dtype.itemsize, 4))
            self.storages[kind, key] = self._decode(kind, dtype, self._read(name))
        values = self.storages[kind, key]
        if len(values) != count:
            raise ValueError(f'storage {key[:40]!r} has two sizes')
        return values

    def _decode(self, kind: str, dtype: np.dtype, data: bytes) -> np.ndarray:
        values = np.frombuffer(data, dtype.newbyteorder('>') if self.big_endian else dtype).astype(dtype, copy=False)
        if kind == 'BFloat16':  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values != 0 if kind == 'Bool' else values

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise WeightsError(f'{self.path}: its contents claim far more memory than the file has; refused')


@dataclass(frozen=True)
class _Function:
    """A function that the pickle may call: one of ours, under the name of the original."""

    name: str
    call: Callable[..., Any]


@dataclass(frozen=True)
class _Class:
    """A class that the pickle may instantiate: always as a `Bag`."""

    kind: str


@dataclass(frozen=True)
class _StorageType:
    kind: str


class _Dispatch(dict):
    def __missing__(self, code: int) -> Callable:
        raise ValueError(f'pickle opcode {code:#04x} is not used by torch.save')


# What makes an object of some hundred bytes out of one or a few bytes of the pickle.
_MAKERS = (
    *(pickle.MARK, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.MEMOIZE, pickle.LONG_BINPUT),
)


def _loader(code: bytes) -> Callable[[_Unpickler], None]:
    """Python's own function for an opcode, paid for where it makes much of little."""
    load = pickle._Unpickler.dispatch[code[0]]

    def paid(unpickler: _Unpickler) -> None:
        unpickler.contents.spend(OBJECT)
        load(unpickler)

    return paid if code in _MAKERS else load


class _Unpickler(pickle._Unpickler):
    """The interpreter of Python's own pickle module with a list of opcodes, and with nothing to call but our table.

    It is the module's Python version because that one can be narrowed: its memo is a dict (no allocation at a huge
    index), its opcodes a table.
    """

    dispatch = _Dispatch(
        (code[0], _loader(code))
        for code in (
            *(pickle.PROTO, pickle.STOP, pickle.FRAME, pickle.MARK, pickle.GLOBAL, pickle.STACK_GLOBAL),
            *(pickle.BINPERSID, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD, pickle.NONE, pickle.NEWTRUE),
            *(pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
            *(pickle.STRING, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINBYTES, pickle.SHORT_BINBYTES),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
            *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
            *(pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.POP),
        )
    )

    def __init__(self, contents: _Contents) -> None:
        self.contents, self.program = contents, contents.pickle()
        super().__init__(io.BytesIO(self.program))
        self.functions = {
            'torch._utils._rebuild_tensor_v2': self._tensor,
            'torch._utils._rebuild_parameter': lambda data, requires_grad, hooks: data,
            'torch.Size': lambda items=(): tuple(self._paid(items)),
            'torch.device': lambda kind, index=None: kind,
            'collections.OrderedDict': self._ordered_dict,
            **{f'{module}.set': self._set for module in ('__builtin__', 'builtins')},
            **{f'pathlib.{kind}Path': self._path for kind in ('Posix', 'Windows', 'Pure', '')},
            # A number that numpy computed, such as best_fitness, is stored by these:
            '_codecs.encode': lambda text, encoding: self._paid(text).encode('latin1'),
            'numpy.dtype': lambda code, *flags: Bag('numpy.dtype', {'code': code}),
            **{f'numpy.{core}.multiarray.scalar': _numpy_scalar for core in ('core', '_core')},
            **{f'numpy.{core}.multiarray._reconstruct': lambda *a: Bag('numpy.ndarray') for core in ('core', '_core')},
        }

    def load(self) -> Any:
        try:
            return super().load()
        except WeightsError:
            raise
        except Exception:
            self._name_what_it_asks_for()
            raise

    def _name_what_it_asks_for(self) -> None:
        # A hostile file of another make stops at an opcode of its time: the user should hear what it was up to.
        with contextlib.suppress(ValueError, IndexError):
            for opcode, argument, _ in pickletools.genops(self.program):
                if opcode.name in ('GLOBAL', 'INST'):
                    self.find_class(*argument.split(' ', 1))

    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'
        if full in self.functions:
            return _Function(full, self.functions[full])
        if module == 'torch' and name.removesuffix('Storage') in _DTYPES and name.endswith('Storage'):
            return _StorageType(name.removesuffix('Storage'))
        if module == 'torch' and name in _DTYPE_NAMES:
            return name
        if full == 'numpy.ndarray' or _BAG_CLASSES.fullmatch(full):
            return _Class(full)
        raise WeightsError(
            f'{self.contents.path}: refused, because it asks for {full[:100]!r}, which is not part of a YOLOv5 model',
            'the file may try to run code: take weights from a source you trust, or export them as safetensors',
        )

    def persistent_load(self, reference: Any) -> np.ndarray:
        """A storage: ('storage', its type, key, location, number of elements); the location does not matter here."""
        tag, kind, key, _, count = reference
        if tag != 'storage' or not isinstance(kind, _StorageType) or type(key) is not str or not _is_count(count):
            raise ValueError('malformed storage reference')
        return self.contents.storage(kind.kind, key, count)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Function) or type(arguments) is not tuple:
            raise ValueError('calls something that is no function')
        self.stack[-1] = function.call(*arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        kind = self.stack[-1]
        if not isinstance(kind, _Class) or type(arguments) is not tuple or arguments:
            raise ValueError('makes an object of something that is no class of a network')
        self.contents.spend(4 * OBJECT)  # with its attributes
        self.stack[-1] = Bag(kind.kind)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Bag) and target.kind.startswith('numpy.'):
            _build_numpy(target, state, self.contents)
        elif isinstance(target, Bag) and type(state) is dict and all(type(k) is str for k in self._paid(state)):
            target.attrs.update(state)
        elif not (type(target) is dict and type(state) is dict):  # an OrderedDict's own attributes: not needed
            raise ValueError('gives a state to something that takes none')

    dispatch[pickle.BUILD[0]] = load_build

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [(key, value)])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], zip(items[::2], items[1::2]))

    dispatch[pickle.SETITEMS[0]] = load_setitems

    @staticmethod
    def _fill(target: Any, items: Any) -> None:
        for key, value in items:
            if type(target) is not dict or not _is_plain_key(key):
                raise ValueError(f'a {type(key).__name__} as the key of a {type(target).__name__}')
            target[key] = value

    def _paid(self, items: Any) -> Any:
        """A list, tuple, set, dict, text or bytes whose copy the budget has room for."""
        self.contents.spend(OBJECT + len(items) * (1 if isinstance(items, (str, bytes)) else OBJECT))
        return items

    def _ordered_dict(self, items: Any = ()) -> dict:
        result: dict = {}
        self._fill(result, self._paid(items))
        return result

    def _set(self, items: Any = ()) -> set:
        if not all(map(_is_plain_key, self._paid(items))):
            raise ValueError('a set of something that is no plain value')
        return set(items)

    def _path(self, *parts: str) -> str:
        return '/'.join(map(self._paid, parts))

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
        """A tensor of a storage; offset and stride count elements. Every element must lie inside the storage."""
        shape_is_sane = type(size) is type(stride) is tuple and len(size) == len(stride) <= MAX_DIMENSIONS
        if (
            not isinstance(storage, np.ndarray)
            or not shape_is_sane
            or not all(map(_is_count, (offset, *size, *stride)))
        ):
            raise ValueError('malformed tensor')
        count = math.prod(size)
        if count == 0:
            return np.empty(size, storage.dtype)
        if offset + sum((n - 1) * step for n, step in zip(size, stride)) >= storage.size:
            raise WeightsError(f'{self.contents.path}: a tensor reaches outside its storage; damaged or refused')
        self.contents.spend(count * (4 if storage.dtype.kind == 'f' else 8))  # as a checkpoint has them
        strides = tuple(step * storage.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


def _is_plain_key(value: Any) -> bool:
    # Hashing a tuple nested a million deep overflows the C stack, and large integers can be made to collide.
    return type(value) in (str, bool, bytes, type(None)) or (type(value) is int and abs(value) < 1 << 48)


def _numpy_type(kind: Any) -> np.dtype:
    code, order = kind.attrs['code'], kind.attrs.get('order', '|')
    if kind.kind != 'numpy.dtype' or order not in '<>|=' or not re.fullmatch('[iuf][1248]|b1', code):
        raise ValueError('numpy values of an unusual type')
    return np.dtype(order + code)


def _numpy_scalar(kind: Bag, data: bytes) -> int | float | bool:
    return np.frombuffer(data, _numpy_type(kind), count=1)[0].item()


def _build_numpy(target: Bag, state: Any, contents: _Contents) -> None:
    """Finish a numpy dtype (version, byte order, ...) or array (version, shape, dtype, Fortran order, bytes)."""
    if target.kind == 'numpy.dtype':
        target.attrs['order'] = state[1]
        return
    _, shape, kind, fortran, data = state
    contents.spend(len(data))
    target.attrs['value'] = np.frombuffer(data, _numpy_type(kind)).reshape(shape, order='F' if fortran else 'C')
