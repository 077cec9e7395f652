"""How this process works on the CPU: on how many cores, and whether by the fast paths."""

from __future__ import annotations

import os


def threads() -> int:
    """Computing threads for this process: its share of the cores that it may use, beside the launcher's others."""
    sharing = os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('WORLD_SIZE') or '1'
    return max(1, len(os.sched_getaffinity(0)) // int(sharing))


def fast() -> bool:
    """Whether oneDNN, onnxruntime and NumPy may do what plain OneFlow does slowly: not with YOLOV5_CPU_ENGINE=0."""
    return os.environ.get('YOLOV5_CPU_ENGINE') != '0'
