from __future__ import annotations

import os

from utils.cpu import fast, threads


def test_threads_are_shared_by_ranks(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1, 2, 3, 4})
    for name in ('WORLD_SIZE', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    assert threads() == 5
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert threads() == 2
    monkeypatch.setenv('WORLD_SIZE', '8')
    assert threads() == 1
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')  # the other six are on other machines
    assert threads() == 2


def test_one_variable_turns_the_fast_paths_off(monkeypatch):
    monkeypatch.delenv('YOLOV5_CPU_ENGINE', raising=False)
    assert fast()
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    assert not fast()
