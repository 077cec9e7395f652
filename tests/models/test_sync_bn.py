"""Batch norm over several processes, through OneFlow's launcher: on plain OneFlow and in the engine for CPUs."""

from __future__ import annotations

import json

from tests.launcher import RANKS, run


def test_two_processes_are_one(tiny, tmp_path):
    """Maps of 2 x 2 pixels lose digits in their statistics; statistics of each process alone would be off by 1."""
    code, said = run(tmp_path, RANKS, 'tests.models.sync_bn_ranks', str(tiny.cfg))
    assert code == 0, said
    results = json.loads(said.splitlines()[-1])
    assert [result.keys() for result in results] == [{'engine 2', 'engine 4', 'plain 2', 'plain 4'}] * 2
    assert max(max(result.values()) for result in results) < 1e-3, said
