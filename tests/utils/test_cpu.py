from __future__ import annotations

import os
from pathlib import Path

import pytest

from utils import cgroups, cpu
from utils.cpu import cores, fast, threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight cores and no launcher; a function that writes files of /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
    for module in (cgroups, cpu):
        monkeypatch.setattr(module, 'PROC', tmp_path / 'proc')
    monkeypatch.setattr(cgroups, 'CGROUPS', tmp_path / 'cgroup')
    for name in ('WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'OMP_NUM_THREADS', 'MASTER_ADDR'):
        monkeypatch.delenv(name, raising=False)

    def put(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return put


def test_threads_are_shared_by_ranks(machine, monkeypatch):
    assert threads() == 8
    monkeypatch.setenv('WORLD_SIZE', '3')
    assert threads() == 2
    monkeypatch.setenv('WORLD_SIZE', '32')
    assert threads() == 1
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')  # the others are on other machines
    assert threads() == 4


@pytest.mark.parametrize(('group', 'files', 'expected'), [
    ('0::/', {'cpu.max': '200000 100000'}, 2),  # version 2, inside a container
    ('0::/', {'cpu.max': '150000 100000'}, 2),  # a core and a half
    ('0::/', {'cpu.max': '50000 100000'}, 1),
    ('0::/', {'cpu.max': 'max 100000'}, 8),
    ('0::/', {'cpu.max': '6400000 100000'}, 8),  # more than it is bound to
    ('0::/', {}, 8),
    ('0::/slice/box', {'slice/box/cpu.max': 'max 100000', 'slice/cpu.max': '300000 100000'}, 3),  # of a group above
    ('0::/docker/12ab', {'cpu.max': '300000 100000'}, 3),  # named as outside, mounted as inside
    ('4:cpu,cpuacct:/', {'cpu,cpuacct/cpu.cfs_quota_us': '400000', 'cpu,cpuacct/cpu.cfs_period_us': '100000'}, 4),
    ('4:cpu:/box', {'cpu/box/cpu.cfs_quota_us': '100000', 'cpu/box/cpu.cfs_period_us': '50000'}, 2),
    ('4:cpu:/box', {'cpu/box/cpu.cfs_quota_us': '-1', 'cpu/box/cpu.cfs_period_us': '100000'}, 8),
    ('4:cpu:/box\n0::/', {'cpu/box/cpu.cfs_quota_us': '-1', 'cpu.max': 'nonsense'}, 8),
])  # fmt: skip
def test_a_containers_quota(machine, group, files, expected):
    machine('proc/self/cgroup', f'9:memory:/\n{group}\n')
    for name, text in files.items():
        machine(f'cgroup/{name}', text + '\n')
    assert (cores(), threads()) == (expected, expected)


def test_omp_num_threads(machine, monkeypatch):
    for text, expected in (('3', 3), ('2,4', 2), ('64', 8), ('', 8), ('many', 8), ('0', 8)):
        monkeypatch.setenv('OMP_NUM_THREADS', text)
        assert threads() == expected
    assert cores() == 8  # loader processes are counted by --workers


def test_the_launchers_own_omp_num_threads_does_not_count(machine, monkeypatch):
    for name, value in {'OMP_NUM_THREADS': '1', 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1'}.items():
        monkeypatch.setenv(name, value)
    environ = f'proc/{os.getppid()}/environ'
    machine(environ, 'HOME=/root\0PATH=/bin\0')
    assert threads() == 4
    machine(environ, 'HOME=/root\0OMP_NUM_THREADS=1\0')
    assert threads() == 1


def test_on_this_machine():
    assert 1 <= cores() <= len(os.sched_getaffinity(0))
    assert Path('/proc/self/cgroup').is_file()


def test_one_variable_turns_the_fast_paths_off(monkeypatch):
    monkeypatch.delenv('YOLOV5_CPU_ENGINE', raising=False)
    assert fast()
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', '0')
    assert not fast()
