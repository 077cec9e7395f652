"""How much memory there is, and what is refused for want of it."""

from __future__ import annotations

import os

import pytest

from utils import memory
from utils.errors import ResourceError


def test_available_memory_is_no_more_than_the_machine_has():
    total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    assert 0 < memory.available_memory() <= total


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, 'available_memory', lambda: 8_000_000_000)
    memory.check_memory(8_000_000_000, '--img 9', '')
    with pytest.raises(ResourceError) as refused:
        memory.check_memory(12_000_000_000_000, '--img 1000000', 'take a smaller one')
    text = '--img 1000000 takes 12,000.0 GB at the least, and 8.0 GB are free. Take a smaller one'
    assert str(refused.value) == text
