"""Which process of how many this is, as OneFlow's launcher tells through the environment.

`python -m oneflow.distributed.launch --nproc_per_node N train.py ...` sets RANK, LOCAL_RANK and WORLD_SIZE;
without the launcher a process is the only one.
"""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number among all, from 0. Without the launcher OneFlow sets RANK to -1 when it is imported."""
    return max(int(os.environ.get('RANK', 0)), 0)


def local_rank() -> int:
    """This process's number on its own machine, from 0: the index of its GPU."""
    return int(os.environ.get('LOCAL_RANK', 0))


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get('WORLD_SIZE', 1))


def local_world_size() -> int:
    """The number of processes that share this one's cores; set where they meet (`utils.peers`)."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', world_size()))


def is_main() -> bool:
    """Whether this process writes files, downloads and prints."""
    return rank() == 0
