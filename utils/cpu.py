"""How this process works on the CPU: on how many cores, and whether by the fast paths."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress

from utils.cgroups import PROC, control_groups


def cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where its container's CPU quota allows fewer."""
    bound = len(os.sched_getaffinity(0))
    return max(1, min([bound, *(math.ceil(quota) for quota in _quotas())]))


def threads() -> int:
    """Computing threads for this process: OMP_NUM_THREADS, or its share of the cores beside the launcher's others."""
    asked = _omp_num_threads()
    if asked:
        return min(asked, cores())
    sharing = os.environ.get('LOCAL_WORLD_SIZE') or os.environ.get('WORLD_SIZE') or '1'
    return max(1, cores() // int(sharing))


def fast() -> bool:
    """Whether oneDNN, onnxruntime and NumPy may do what plain OneFlow does slowly: not with YOLOV5_CPU_ENGINE=0."""
    return os.environ.get('YOLOV5_CPU_ENGINE') != '0'


def _omp_num_threads() -> int:
    """What the user set, 0 for nothing.

    OneFlow's launcher sets 1 for each of its processes where the user set nothing; its own environment tells.
    """
    text = os.environ.get('OMP_NUM_THREADS', '').split(',')[0].strip()  # further numbers are for nested loops
    if 'MASTER_ADDR' in os.environ and int(os.environ.get('WORLD_SIZE', 1)) > 1:
        with suppress(OSError):
            if b'OMP_NUM_THREADS=' not in (PROC / str(os.getppid()) / 'environ').read_bytes():
                return 0
    return int(text) if text.isdigit() else 0


def _quotas() -> Iterator[float]:
    """CPU quotas, in cores, of this process's control group and those above it, of version 2 and 1."""
    for folder in control_groups('cpu'):
        for files in (('cpu.max',), ('cpu.cfs_quota_us', 'cpu.cfs_period_us')):
            with suppress(OSError, ValueError):  # no such file; 'max': no limit
                quota, period = (int(word) for name in files for word in (folder / name).read_text().split())
                if quota > 0 and period > 0:  # version 1 has -1 for no limit
                    yield quota / period
