"""Linux control groups, by which containers limit their processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path('/sys/fs/cgroup')
PROC = Path('/proc')


def control_groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control group and of those above it, of version 2 and 1; not all need to exist.

    Args:
        controller: 'cpu' or 'memory'.
    """
    with suppress(OSError):
        for line in (PROC / 'self/cgroup').read_text().splitlines():
            _, controllers, group = line.split(':', 2)
            if not controllers:
                yield from _and_above(CGROUPS, group)
            elif controller in controllers.split(','):
                for name in dict.fromkeys((controller, controllers)):  # a link, and what it leads to
                    yield from _and_above(CGROUPS / name, group)


def _and_above(root: Path, group: str) -> Iterator[Path]:
    """A group's folder and those above it. Inside a container `root` itself may be its group, whatever its name."""
    folder = root / group.strip('/')
    for place in (folder, *folder.parents):
        yield place
        if place == root:
            return
