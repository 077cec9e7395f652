"""Several processes through OneFlow's own launcher."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from utils.paths import ROOT

RANKS = 'tests.ranks'


def free_port() -> int:
    """A port for `--master_port`: it and the one 10,000 below are free, and neither is one the system hands out."""
    while True:
        port = random.randint(21_100, 31_900)
        try:
            for number in (port, port - 10_000):
                socket.create_server(('127.0.0.1', number)).close()
            return port
        except OSError:
            continue


def command(script: str | Path, *words: str, ranks: int = 2, nodes: int = 1, node: int = 0, port: int = 0) -> list[str]:
    """The command line of one node's launcher."""
    where = ['--nnodes', nodes, '--node_rank', node, '--nproc_per_node', ranks, '--master_port', port or free_port()]
    where += [] if str(script).endswith('.py') else ['--module']
    return [sys.executable, '-m', 'oneflow.distributed.launch', *map(str, where), str(script), *words]


def start(folder: Path, *args: str, name: str = 'err.txt', **launch: int) -> subprocess.Popen:
    """A launcher that leads a process group of its own, as from a shell; what the processes say goes to a file."""
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    with open(folder / name, 'w') as said:
        return subprocess.Popen(
            command(*args, **launch), cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )


def run(folder: Path, *args: str, **launch: int) -> tuple[int, str]:
    """The exit code, and all that was said."""
    process = start(folder, *args, **launch)
    try:
        code = process.wait()
    finally:
        end(process)
    return code, (folder / 'err.txt').read_text()


def end(process: subprocess.Popen) -> None:
    """Leave nothing behind, however a test ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
