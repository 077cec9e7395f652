"""A network of a few thousand parameters with YOLOv5's parts, for tests."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    'nc': 4,
    'depth_multiple': 0.33,
    'width_multiple': 0.125,
    'anchors': [[10, 13, 16, 30], [30, 61, 62, 45]],
    'backbone': [
        [-1, 1, 'Conv', [64, 6, 2, 2]],
        [-1, 1, 'Conv', [64, 3, 2]],
        [-1, 3, 'C3', [64]],
        [-1, 1, 'Conv', [128, 3, 2]],
        [-1, 1, 'SPPF', [128, 5]],
    ],
    'head': [
        [-1, 1, 'nn.Upsample', ['None', 2, 'nearest']],
        [[-1, 2], 1, 'Concat', [1]],
        [-1, 1, 'C3', [64, False]],
        [[7, 4], 1, 'Detect', ['nc', 'anchors']],
    ],
}


def deep(halvings: int) -> dict[str, Any]:
    """TINY (strides 4 and 8) with rows below its head's levels, as yolov5-p34 has them: each halves the map again."""
    down = [[-1, 1, 'Conv', [64, 3, 2]]] * halvings
    up = []
    for row in reversed(range(4, 4 + halvings)):
        up += [[-1, 1, 'nn.Upsample', ['None', 2, 'nearest']], [[-1, row], 1, 'Concat', [1]], [-1, 1, 'Conv', [64]]]
    end = 4 + 4 * halvings
    head = [
        *up,
        [-1, 1, 'nn.Upsample', ['None', 2, 'nearest']],
        [[-1, 2], 1, 'Concat', [1]],
        [-1, 1, 'C3', [64, False]],
        [[end + 3, end], 1, 'Detect', ['nc', 'anchors']],
    ]
    return TINY | {'backbone': [*TINY['backbone'], *down], 'head': head}
