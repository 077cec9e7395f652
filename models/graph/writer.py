"""An ONNX graph while it is written: operations in order, constants, and the shape of every value as far as known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """What an operation gives: its name in the graph, and its shape; None where only a run knows the number."""

    name: str
    shape: Shape


class Writer:
    """Takes operations one after another.

    Args:
        opset: version of ONNX's operators; emitters use what is the same from 12 on, or ask.
        dtype: of weights and maps, float32 or float16.
    """

    def __init__(self, opset: int, dtype: type = np.float32) -> None:
        self.opset, self.dtype = opset, np.dtype(dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.maps: list[Value] = []  # what Detect decodes, (b, anchors * (5 + nc), ny, nx) a level
        self._known: dict[tuple, Value] = {}  # small constants by content
        self.scope = ''  # goes before the names of what is written now

    def input(self, name: str, shape: Shape, axes: Sequence[str], dtype: Any = None) -> Value:
        self.inputs.append(_info(name, dtype or self.dtype, shape, axes))
        return Value(name, shape)

    def output(self, value: Value, name: str, axes: Sequence[str], dtype: Any = np.float32) -> None:
        """Give a value out under this name; `axes` name the dimensions that a run decides."""
        self.nodes.append(helper.make_node('Identity', [value.name], [name], name))
        self.outputs.append(_info(name, dtype, value.shape, axes))

    def op(self, kind: str, *inputs: Value | np.ndarray | None, shape: Shape = (), **attributes: Any) -> Value:
        """Write an operation of one result. Arrays among its inputs become constants, None leaves an optional one out.

        Args:
            shape: of the result.
        """
        return self.ops(kind, *inputs, shapes=[shape], **attributes)[0]

    def ops(
        self, kind: str, *inputs: Value | np.ndarray | None, shapes: Sequence[Shape], **attributes: Any
    ) -> list[Value]:
        """Write an operation of several results."""
        names = [self._name_of(x) for x in inputs]
        name = f'{self.scope}{kind}_{len(self.nodes)}'
        results = [Value(f'{name}_{i}' if i else name, shape) for i, shape in enumerate(shapes)]
        self.nodes.append(helper.make_node(kind, names, [r.name for r in results], name, **attributes))
        return results

    def constant(self, array: np.ndarray) -> Value:
        """An array as a value; equal small ones are stored once."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in self._known:
            return self._known[key]
        value = Value(f'{self.scope}constant_{len(self.constants)}', array.shape)
        self.constants.append(numpy_helper.from_array(np.array(array, order='C'), value.name))
        if key:
            self._known[key] = value
        return value

    def numbers(self, array: Any) -> np.ndarray:
        """Numbers as an array of the graph's type."""
        return np.asarray(array).astype(self.dtype)

    def shape_of(self, x: Value) -> Value:
        """A value's shape, int64: a constant if it is known, else asked for when the graph runs."""
        if None not in x.shape:
            return self.constant(np.array(x.shape, np.int64))
        return self.op('Shape', x, shape=(len(x.shape),))

    def graph(self, name: str) -> onnx.GraphProto:
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.constants)

    def _name_of(self, x: Value | np.ndarray | None) -> str:
        return '' if x is None else x.name if isinstance(x, Value) else self.constant(x).name


def _info(name: str, dtype: Any, shape: Shape, axes: Sequence[str]) -> onnx.ValueInfoProto:
    sizes = [axis if size is None else size for axis, size in zip(axes, shape)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), sizes)
