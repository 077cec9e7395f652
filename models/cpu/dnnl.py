"""oneDNN's C interface (version 3, https://oneapi-src.github.io/oneDNN) through ctypes: what training needs.

The library is PyPI's `onednn-cpu-gomp` (Apache-2.0): one shared object that needs no compiler. `load()` gives it, or
None where it is not installed. Objects of the library live as long as the Python object that holds them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int64, c_size_t, c_uint, c_void_p
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path

from utils.log import LOGGER

# Values of dnnl_types.h
F32 = 3
ANY = 1  # a format tag: the primitive chooses its layout
FORWARD_TRAINING, BACKWARD = 64, 128
CONVOLUTION_DIRECT, POOLING_MAX, NEAREST, ADD = 1, 511, 196592, 131056
RELU, SWISH, MISH, HARDSWISH = 32, 44, 51, 52
GIVEN_STATISTICS, USE_SCALE, USE_SHIFT = 1, 2, 4
IMPLEMENTATION, SRC, DIFF_SRC, WEIGHTS, DIFF_WEIGHTS, WORKSPACE = 8, 129, 130, 131, 132, 135  # queries


class Arg:
    """Which argument of a primitive a memory is (DNNL_ARG_*)."""

    SRC, SRC_1, DST, WEIGHTS, BIAS = 1, 2, 17, 33, 41
    MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE = 49, 50, 51, 52, 64
    DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 169, 255, 256


class _ExecArg(ctypes.Structure):
    _fields_ = (('arg', c_int), ('memory', c_void_p))


class DnnlError(RuntimeError):
    """The library refused a call: a shape or layout it has no kernel for."""


@lru_cache
def load() -> Dnnl | None:
    """The library, loaded once a process; None (and one debug line) where it is missing or will not load."""
    try:
        return Dnnl(_library_file())
    except (OSError, metadata.PackageNotFoundError, StopIteration) as error:
        LOGGER.debug('No oneDNN (%r): training on the CPU uses plain OneFlow', error)
        return None


def _library_file() -> Path:
    files = metadata.files('onednn-cpu-gomp') or ()
    installed = next(f for f in files if f.name == 'libdnnl.so.3')
    found = Path(installed.locate())
    return found if found.is_file() else Path(sys.prefix, 'lib', 'libdnnl.so.3')


class Dnnl:
    """The loaded library with one CPU engine and one stream."""

    def __init__(self, path: Path) -> None:
        # Read by libgomp when it loads: without it the threads of oneDNN and OneFlow spin against each other.
        os.environ.setdefault('GOMP_SPINCOUNT', '20000')
        self.openmp = ctypes.CDLL('libgomp.so.1')
        # DEEPBIND: OneFlow carries an older oneDNN whose symbols must not answer for this one's.
        self.lib = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL | os.RTLD_DEEPBIND)
        self.lib.dnnl_memory_desc_get_size.restype = c_size_t
        self.lib.dnnl_primitive_desc_query_md.restype = c_void_p
        self.engine = self._create('engine_create', c_int(1), c_size_t(0))
        self.stream = self._create('stream_create', self.engine, c_uint(1))
        self.process = os.getpid()

    def call(self, name: str, *args: object) -> None:
        """Call `dnnl_<name>`; raise DnnlError unless it returns success."""
        status = getattr(self.lib, f'dnnl_{name}')(*args)
        if status:
            raise DnnlError(f'dnnl_{name} failed with status {status}')

    def _create(self, name: str, *args: object) -> c_void_p:
        handle = c_void_p()
        self.call(name, ctypes.byref(handle), *args)
        return handle

    def set_threads(self, number: int) -> None:
        self.openmp.omp_set_num_threads(number)

    def descriptor(self, shape: Sequence[int], strides: Sequence[int] | None = None) -> Descriptor:
        """A memory descriptor; shape in oneDNN's logical order (N, C, H, W), strides in elements; None: 'any'."""
        args = (len(shape), dims(shape), F32)
        if strides is None:
            return Descriptor(self, self._create('memory_desc_create_with_tag', *args, ANY))
        return Descriptor(self, self._create('memory_desc_create_with_strides', *args, dims(strides)))

    def primitive(self, kind: str, *args: object, add: bool = False, prefer: str = '') -> Primitive:
        """A primitive from the arguments of `dnnl_<kind>_primitive_desc_create` that follow the engine.

        Args:
            add: the result is added to what the destination holds (a 'sum' post-op).
            prefer: the beginning of the name of an implementation to take if there is one.

        Raises:
            DnnlError: there is no kernel for it, or only the reference one, which is a hundred times slower.
        """
        plain = [a.handle if isinstance(a, (Descriptor, Primitive)) else a for a in args]
        engine = () if kind == 'reorder' else (self.engine,)
        attributes = self._adding if add else None

        def create() -> Primitive:
            return Primitive(self, kind, self._create(f'{kind}_primitive_desc_create', *engine, *plain, attributes))

        made = create()
        while prefer and not made.implementation.startswith(prefer):
            if self.lib.dnnl_primitive_desc_next_impl(made.handle):
                made = create()
                break
        if made.implementation.startswith('ref'):
            raise DnnlError(f'oneDNN has only its reference kernel for a {kind}')
        return made

    @cached_property
    def _adding(self) -> c_void_p:
        operations, attributes = self._create('post_ops_create'), self._create('primitive_attr_create')
        self.call('post_ops_append_sum', operations, c_float(1), 0, 0)
        self.call('primitive_attr_set_post_ops', attributes, operations)
        return attributes


def dims(values: Sequence[int]) -> ctypes.Array:
    return (c_int64 * len(values))(*values)


def floats(values: Sequence[float]) -> ctypes.Array:
    return (c_float * len(values))(*values)


class Descriptor:
    """Shape and layout of float32 numbers."""

    def __init__(self, dnnl: Dnnl, handle: c_void_p) -> None:
        self.dnnl, self.handle = dnnl, handle

    def __del__(self) -> None:
        self.dnnl.lib.dnnl_memory_desc_destroy(self.handle)

    def part(self, shape: Sequence[int], offsets: Sequence[int]) -> Descriptor:
        """A block of this memory, at these offsets along its dimensions."""
        make = self.dnnl._create
        return Descriptor(self.dnnl, make('memory_desc_create_submemory', self.handle, dims(shape), dims(offsets)))

    def same(self, other: Descriptor) -> bool:
        return bool(self.dnnl.lib.dnnl_memory_desc_equal(self.handle, other.handle))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.dnnl.lib.dnnl_memory_desc_get_size(self.handle)


class Memory:
    """A descriptor and the address where its numbers lie; whoever sets the address keeps the array alive."""

    def __init__(self, dnnl: Dnnl, descriptor: Descriptor) -> None:
        self.dnnl = dnnl
        self.handle = dnnl._create('memory_create', descriptor.handle, dnnl.engine, c_void_p())

    def point_to(self, address: int) -> None:
        self.dnnl.call('memory_set_data_handle', self.handle, c_void_p(address))

    def __del__(self) -> None:
        self.dnnl.lib.dnnl_memory_destroy(self.handle)


class Primitive:
    """A compiled operation; `bind` names its memories, then `run` computes."""

    def __init__(self, dnnl: Dnnl, kind: str, handle: c_void_p) -> None:
        self.dnnl, self.kind, self.handle = dnnl, kind, handle
        self.executable: c_void_p | None = None

    @property
    def implementation(self) -> str:
        name = ctypes.c_char_p()
        self.dnnl.call('primitive_desc_query', self.handle, IMPLEMENTATION, 0, ctypes.byref(name))
        return name.value.decode()

    def chosen(self, query: int) -> Descriptor:
        """The descriptor that the primitive chose for one of its memories (a copy)."""
        found = c_void_p(self.dnnl.lib.dnnl_primitive_desc_query_md(self.handle, query, 0))
        return Descriptor(self.dnnl, self.dnnl._create('memory_desc_clone', found))

    def bind(self, memories: dict[int, Memory]) -> None:
        self.executable = self.dnnl._create('primitive_create', self.handle)
        self.memories = memories  # kept alive
        self.arguments = (_ExecArg * len(memories))(*((arg, m.handle) for arg, m in memories.items()))

    def run(self) -> None:
        self.dnnl.call('primitive_execute', self.executable, self.dnnl.stream, len(self.memories), self.arguments)

    def __del__(self) -> None:
        if self.executable is not None:
            self.dnnl.lib.dnnl_primitive_destroy(self.executable)
        self.dnnl.lib.dnnl_primitive_desc_destroy(self.handle)
