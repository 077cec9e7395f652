"""A plan: primitives in the order they run, forward and back, and where in one arena their numbers lie.

`Recorder` collects the steps while a network is lowered (see `ops.py`). Each operation leaves a function on the tape
that will record its backward steps; `finish` calls those from last to first, so a gradient's steps stand in the order
they must run. Then every buffer's first and last use are known, and buffers whose lives don't meet share a place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from models.cpu.dnnl import Descriptor, Dnnl, Memory, Primitive

ALIGNMENT = 64  # bytes: one cache line


@dataclass(eq=False)
class Buffer:
    """A stretch of the arena, alive from step `first` to step `last`.

    A gradient that two values share (both sides of a sum) has two holders: it must not be overwritten meanwhile.
    """

    size: int  # bytes
    first: int = -1
    last: int = -1
    offset: int = 0
    holders: int = 1


@dataclass(eq=False)
class External:
    """An array that is not the plan's own: the input, an output, a parameter or one of their gradients."""

    shape: tuple[int, ...]
    memories: list[Memory] = field(default_factory=list)
    array: np.ndarray | None = None

    @classmethod
    def of(cls, array: np.ndarray) -> External:
        """One that stays with this array."""
        made = cls(array.shape)
        made.give(array)
        return made

    def give(self, array: np.ndarray) -> None:
        """Use this array (contiguous float32 of `shape`) from now on."""
        if array is self.array:
            return
        if array.shape != self.shape or not array.flags.c_contiguous or array.dtype != np.float32:
            raise ValueError(f'the plan wants contiguous float32 numbers {self.shape}, not {array.dtype} {array.shape}')
        self.array = array
        for memory in self.memories:
            memory.point_to(array.ctypes.data)


Place = tuple[Descriptor, Buffer | External]  # how numbers are laid out, and where


@dataclass(eq=False)
class Value:
    """A map (n, c, h, w) that flows between operations, laid out NHWC."""

    shape: tuple[int, int, int, int]
    descriptor: Descriptor
    buffer: Buffer
    needs_gradient: bool
    gradient: Buffer | None = None


@dataclass(eq=False)
class Step:
    primitive: Primitive
    places: dict[int, Place]


@dataclass(eq=False)
class Call:
    function: Callable[..., None]
    buffers: tuple[Buffer, ...]


class Recorder:
    """Collects steps; the operations of `ops.py` write to it."""

    def __init__(self, dnnl: Dnnl) -> None:
        self.dnnl = dnnl
        self.steps: list[Step | Call] = []
        self.tape: list[Callable[[], None]] = []

    def step(self, primitive: Primitive, places: dict[int, Place]) -> None:
        """Record a primitive and where its arguments lie."""
        self.steps.append(Step(primitive, places))
        for _, place in places.values():
            self._use(place)

    def call(self, function: Callable[..., None], *buffers: Buffer) -> None:
        """Record a call of Python with the float32 numbers of buffers."""
        self.steps.append(Call(function, buffers))
        for buffer in buffers:
            self._use(buffer)

    def _use(self, place: Buffer | External) -> None:
        if isinstance(place, Buffer):
            place.last = len(self.steps) - 1
            place.first = place.last if place.first < 0 else place.first

    def nhwc(self, shape: tuple[int, int, int, int]) -> Descriptor:
        _, c, h, w = shape
        return self.dnnl.descriptor(shape, (h * w * c, 1, w * c, c))

    def value(self, shape: tuple[int, int, int, int], needs_gradient: bool) -> Value:
        descriptor = self.nhwc(shape)
        return Value(shape, descriptor, Buffer(descriptor.size), needs_gradient)

    def finish(self) -> Plan:
        """Record the backward steps, and place the buffers."""
        forward = len(self.steps)
        while self.tape:
            self.tape.pop()()
        return Plan(self.dnnl, self.steps, forward)


class Plan:
    """Steps bound to an arena: `forward()`, then `backward()`."""

    def __init__(self, dnnl: Dnnl, steps: Sequence[Step | Call], forward: int) -> None:
        self.dnnl, self.steps, self.boundary = dnnl, steps, forward
        self.size = _place([buffer for step in steps for buffer in _buffers(step)])
        self.memories: dict[Buffer, list[Memory]] = {}
        self.calls: list[Callable[[], None]] = []
        self.arena: np.ndarray | None = None
        for step in steps:
            if isinstance(step, Step):
                step.primitive.bind({arg: self._memory(*place) for arg, place in step.places.items()})

    def _memory(self, descriptor: Descriptor, place: Buffer | External) -> Memory:
        memory = Memory(self.dnnl, descriptor)
        known = place.memories if isinstance(place, External) else self.memories.setdefault(place, [])
        known.append(memory)
        if isinstance(place, External) and place.array is not None:
            memory.point_to(place.array.ctypes.data)
        return memory

    def bind(self, arena: np.ndarray) -> None:
        """Let the buffers lie in this arena: at least `size` bytes of uint8, aligned."""
        if arena is self.arena:
            return
        self.arena = arena
        for buffer, memories in self.memories.items():
            for memory in memories:
                memory.point_to(arena.ctypes.data + buffer.offset)
        self.calls = [self._call(step) for step in self.steps]

    def release(self) -> None:
        """Let go of the arena; `bind` takes up another."""
        self.arena, self.calls = None, []

    def _call(self, step: Step | Call) -> Callable[[], None]:
        if isinstance(step, Step):
            return step.primitive.run
        return partial(
            step.function, *(self.arena[b.offset : b.offset + b.size].view(np.float32) for b in step.buffers)
        )

    def forward(self) -> None:
        for call in self.calls[: self.boundary]:
            call()

    def backward(self) -> None:
        for call in self.calls[self.boundary :]:
            call()


def _buffers(step: Step | Call) -> list[Buffer]:
    if isinstance(step, Call):
        return list(step.buffers)
    return [place for _, place in step.places.values() if isinstance(place, Buffer)]


def _place(buffers: Sequence[Buffer]) -> int:
    """Set the offsets so that buffers alive at one time don't overlap; returns the bytes that takes.

    Largest first, each at the lowest offset that is free for all its life: a greedy that comes near the optimum
    (Pisarchyk and Lee, https://arxiv.org/abs/2001.03288).
    """
    placed: list[Buffer] = []
    for buffer in sorted(set(buffers), key=lambda b: (-b.size, b.first)):
        room = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        neighbours = [b for b in placed if b.first <= buffer.last and buffer.first <= b.last]
        offset = 0
        for other in sorted(neighbours, key=lambda b: b.offset):
            if other.offset - offset >= room:
                break
            offset = max(offset, -(-(other.offset + other.size) // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        placed.append(buffer)
    return max((b.offset + b.size for b in placed), default=0)


def aligned(size: int) -> np.ndarray:
    """An uninitialised uint8 array of `size` bytes that begins on a cache line."""
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]
