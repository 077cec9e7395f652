"""How much memory there is, and what is refused for want of it."""

from __future__ import annotations

import os

import pytest

from utils import cgroups, memory
from utils.errors import ResourceError


def test_available_memory_is_no_more_than_the_machine_has():
    total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    assert 0 < memory.available_memory() <= total


V1 = ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'memory.stat')
V2 = ('memory.max', 'memory.current', 'memory.stat')


@pytest.mark.parametrize(('group', 'folder', 'names', 'texts', 'expected'), [
    ('0::/', '.', (), (), 8192),
    ('0::/', '.', V2, ('max', '7000', 'anon 7000'), 8192),
    ('0::/', '.', V2, ('5000', '2000', 'anon 2000'), 3000),
    ('0::/', '.', V2, ('5000', '5000', 'active_file 900\ninactive_file 3100'), 4000),  # by reading a data set
    ('0::/', '.', V2, ('5000', '6000', 'anon 6000'), 0),
    ('0::/a/b', 'a', V2, ('5000', '1', 'anon 1'), 4999),  # of a group above
    ('4:memory:/a', 'memory/a', V1, ('5000', '4500', 'active_file 7\ntotal_active_file 9\ntotal_inactive_file 1'), 510),
    ('4:memory:/', 'memory', V1, (str((1 << 63) - 4096), '1', 'cache 1'), 8192),  # no limit
])  # fmt: skip
def test_a_containers_limit(tmp_path, monkeypatch, group, folder, names, texts, expected):
    for module in (cgroups, memory):
        monkeypatch.setattr(module, 'PROC', tmp_path)
    monkeypatch.setattr(cgroups, 'CGROUPS', tmp_path / 'cgroup')
    files = {f'cgroup/{folder}/{name}': text for name, text in zip(names, texts)}
    files |= {'self/cgroup': f'9:cpu:/\n{group}', 'meminfo': 'MemTotal: 99 kB\nMemAvailable: 8 kB\nHugePages_Free: 0'}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + '\n')
    assert memory.available_memory() == expected


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, 'available_memory', lambda: 8_000_000_000)
    memory.check_memory(8_000_000_000, '--img 9', '')
    with pytest.raises(ResourceError) as refused:
        memory.check_memory(12_000_000_000_000, '--img 1000000', 'take a smaller one')
    text = '--img 1000000 takes 12,000.0 GB at the least, and 8.0 GB are free. Take a smaller one'
    assert str(refused.value) == text
