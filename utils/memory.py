"""How much memory there is: what does not fit is refused before it is asked for, since OneFlow and the kernel end a
process that asks for too much."""

from __future__ import annotations

from pathlib import Path

from utils.errors import ResourceError

WORTH_A_LOOK = 1 << 28  # bytes


def available_memory() -> int:
    """Bytes that can still be taken: what the machine has free, or less if the process's control group allows less."""
    with open('/proc/meminfo') as f:
        fields = dict(line.split(':') for line in f)
    free = int(fields['MemAvailable'].split()[0]) * 1024
    for limit, used in (
        ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
        ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # other version of control groups, or "max"
            continue
    return max(free, 0)


def check_memory(needed: int, what: str, hint: str) -> None:
    """Refuse what takes more bytes than there are.

    Args:
        needed: bytes, at the least.
        what: takes them, beginning with the option at fault.

    Raises:
        ResourceError: there are fewer.
    """
    if needed < WORTH_A_LOOK:
        return
    free = available_memory()
    if needed > free:
        sizes = f'{needed / 1e9:,.1f} GB at the least, and {free / 1e9:,.1f} GB are free'
        raise ResourceError(f'{what} takes {sizes}', hint)
