"""The structure of a model as the graph that TensorBoard draws.

OneFlow has no tracer that TensorBoard reads, and none is needed: the rows of a model name their sources.
"""

from __future__ import annotations

from typing import Any

INPUT = 'images'


def model_graph(model: Any) -> Any:
    """A GraphDef with a node for each row of a `models.yolo.Model` and one for its input.

    The rows of the backbone and those of the head make two groups. A node carries the row's parameters (their number),
    repeats and arguments.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    backbone = len(model.yaml['backbone'])
    kinds = [row.type.rsplit('.', 1)[-1] for row in model.model]
    names = [f'{"backbone" if i < backbone else "head"}/{i}_{kind}' for i, kind in enumerate(kinds)]
    nodes = [NodeDef(name=INPUT, op='Placeholder')]
    for row, kind, name in zip(model.model, kinds, names):
        inputs = [INPUT if source < 0 else names[source] for source in _sources(row)]
        attributes = {'parameters': row.np, 'repeats': row.n, 'arguments': row.args}
        nodes.append(NodeDef(name=name, op=kind, input=inputs, attr={k: _text(v) for k, v in attributes.items()}))
    return GraphDef(node=nodes, versions=VersionDef(producer=22))


def _sources(row: Any) -> list[int]:
    """The numbers of the rows that a row reads; -1 is the model's input."""
    sources = row.f if isinstance(row.f, list) else [row.f]
    return [source if source >= 0 else row.i + source for source in sources]


def _text(value: Any) -> Any:
    from tensorboard.compat.proto.attr_value_pb2 import AttrValue

    return AttrValue(s=str(value).encode())
