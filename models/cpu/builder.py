"""What all operations of a plan share: parameters, layout changes, and how the parts of a gradient come together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oneflow as torch

from models.cpu import dnnl as d
from models.cpu.dnnl import Arg, Descriptor, Dnnl, Primitive
from models.cpu.plan import Buffer, External, Place, Recorder, Value


@dataclass(eq=False)
class Parameter:
    """A parameter's numbers and, unless it is frozen, its gradient; both arrays are given at run time.

    `tensors` of one name, from layers that work as one, lie behind each other along the first dimension.
    """

    layers: tuple[Any, ...]
    name: str
    value: External
    gradient: External | None

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [getattr(layer, self.name) for layer in self.layers]


@dataclass(eq=False)
class Statistics:
    """Batch norms that work as one, and their channels' means and biased variances over `count` numbers each."""

    layers: tuple[Any, ...]
    count: int
    mean: np.ndarray
    variance: np.ndarray


class Builder(Recorder):
    """A recorder with the network's doors: its input, its outputs, its parameters, its batch statistics."""

    def __init__(self, dnnl: Dnnl) -> None:
        super().__init__(dnnl)
        self.parameters: list[Parameter] = []
        self.statistics: list[Statistics] = []
        self.outputs: list[tuple[External, External]] = []  # each map and its gradient

    def input(self, shape: tuple[int, int, int, int]) -> Value:
        """The pictures, given as (n, c, h, w) at run time."""
        _, c, h, w = shape
        self.pictures = External(shape)
        x = self.value(shape, needs_gradient=False)
        self.reorder((self.dnnl.descriptor(shape, (c * h * w, h * w, w, 1)), self.pictures), (x.descriptor, x.buffer))
        return x

    def parameter(self, layers: tuple[Any, ...], name: str) -> Parameter:
        """Register the parameter `name` of layers that work as one; frozen or not, they must be it alike."""
        tensors = [getattr(layer, name) for layer in layers]
        shape = sum(t.shape[0] for t in tensors), *tensors[0].shape[1:]
        found = Parameter(layers, name, External(shape), External(shape) if tensors[0].requires_grad else None)
        self.parameters.append(found)
        return found

    def reorder(self, source: Place, target: Place, add: bool = False) -> None:
        """Copy numbers from one layout to another, or add them to what is there."""
        engine = self.dnnl.engine
        primitive = self.dnnl.primitive('reorder', source[0], engine, target[0], engine, add=add)
        self.step(primitive, {Arg.SRC: source, Arg.DST: target})

    def in_layout(self, source: Place, wanted: Descriptor) -> Place:
        """These numbers in the wanted layout: as they are, or copied."""
        if source[0].same(wanted):
            return source
        copy = wanted, Buffer(wanted.size)
        self.reorder(source, copy)
        return copy

    def add_gradient(self, x: Value, primitive: Primitive, places: dict[int, Place]) -> None:
        """Record a primitive whose DIFF_SRC is the gradient of `x`, or a part of it that is added to the others."""
        part = Buffer(x.descriptor.size)
        self.step(primitive, {**places, Arg.DIFF_SRC: (x.descriptor, part)})
        if x.gradient is None:
            x.gradient = part
            return
        self.add_part(x, part)

    def add_part(self, x: Value, part: Buffer) -> None:
        """Add numbers in the layout of `x` to its gradient, which has a part already."""
        layout, whole = x.descriptor, self.own_gradient(x)
        add = self.dnnl.primitive('binary', d.ADD, layout, layout, layout)
        self.step(add, {Arg.SRC: whole, Arg.SRC_1: (layout, part), Arg.DST: whole})

    def pass_on(self, x: Value, primitive: Primitive, places: dict[int, Place]) -> None:
        """As `add_gradient`, but the result, if it is the first part, goes where `places` says."""
        if x.gradient is not None:
            self.add_gradient(x, primitive, places)
            return
        self.step(primitive, places)
        x.gradient = places[Arg.DIFF_SRC][1]

    def own_gradient(self, x: Value) -> Place:
        """The gradient of `x` for more parts to be added; a copy of it if another value holds it too."""
        shared = x.gradient
        x.gradient = self._let_go(shared)
        if x.gradient is not shared:
            self.reorder((x.descriptor, shared), (x.descriptor, x.gradient))
        return x.descriptor, x.gradient

    def take_gradient(self, y: Value) -> tuple[Place, Place]:
        """The gradient of `y`, complete by now, and a place of that layout for what follows from it.

        They are one and the same place, unless another value still holds the gradient.
        """
        return (y.descriptor, y.gradient), (y.descriptor, self._let_go(y.gradient))

    def share_gradient(self, y: Value, x: Value) -> None:
        """Let `x`, whose gradient has no part yet, hold that of `y` as well."""
        y.gradient.holders += 1
        x.gradient = y.gradient

    @staticmethod
    def _let_go(gradient: Buffer) -> Buffer:
        """A buffer to write on for one of the holders: the gradient itself if it was the last, else a new one."""
        gradient.holders -= 1
        if gradient.holders:
            return Buffer(gradient.size)
        gradient.holders = 1
        return gradient

    def backward(self, y: Value, record: Callable[[], None]) -> None:
        """Put an operation's backward on the tape, for the case that a gradient of `y` is wanted and arrives."""
        if y.needs_gradient:
            self.tape.append(lambda: record() if y.gradient is not None else None)
