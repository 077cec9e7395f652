"""How much memory there is: what does not fit is refused before it is asked for, since OneFlow and the kernel end a
process that asks for too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from utils.cgroups import PROC, control_groups
from utils.errors import ResourceError

WORTH_A_LOOK = 1 << 28  # bytes


def available_memory() -> int:
    """Bytes that can still be taken: what the machine has free, or less where the process's container allows less."""
    fields = _numbers(PROC / 'meminfo')
    return max(0, min([fields['MemAvailable'] * 1024, *_left_to_groups()]))


def _left_to_groups() -> Iterator[int]:
    """What the limits of this process's control group and those above it leave, of version 2 and 1.

    Files that the kernel keeps in memory count as used there, although they give way, as in MemAvailable.
    """
    for folder in control_groups('memory'):
        for limit, used, prefix in (
            ('memory.max', 'memory.current', ''),
            ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_'),
        ):
            with suppress(OSError, ValueError):  # no such file; 'max': no limit
                left = int((folder / limit).read_text()) - int((folder / used).read_text())
                kept = _numbers(folder / 'memory.stat')
                yield left + sum(kept.get(f'{prefix}{kind}_file', 0) for kind in ('active', 'inactive'))


def _numbers(file: Path) -> dict[str, int]:
    """Names and numbers of a file of the kernel that has one of each to a line."""
    rows = (line.replace(':', ' ').split() for line in file.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows}


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
