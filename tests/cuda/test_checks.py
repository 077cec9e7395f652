"""The comparisons of tools/gpu_checks.py: on a GPU, each in its own process; and their code on the CPU, here."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

import export
import train
import val
from tests.tiny import logged_lines
from tools import gpu_commands, gpu_numbers
from tools.gpu_base import Mismatch, compare
from tools.gpu_check import run_check
from tools.gpu_checks import CHECKS, speed
from utils.errors import UserError

COMMANDS = {'train.py': train.main, 'val.py': val.main, 'export.py': export.main}


@pytest.mark.cuda
@pytest.mark.parametrize('name', [pytest.param(name, marks=pytest.mark.cuda(c.cards)) for name, c in CHECKS.items()])
def test_on_a_gpu(name):
    result = run_check(name, '0')
    assert result.verdict == 'passed', result.detail


@pytest.fixture
def commands_here(monkeypatch):
    """Commands of the toolkit run in this process, which saves their start."""

    def run(script, *words, launcher=0):
        with contextlib.redirect_stdout(io.StringIO()), logged_lines():
            try:
                COMMANDS[script](list(words))
            except UserError as problem:
                raise Mismatch(str(problem)) from problem

    monkeypatch.setattr(gpu_commands, 'command', run)


# On a CPU these are the same as an epoch of training, or take processes of their own.
ELSEWHERE = {'resuming', 'AutoBatch, then an evaluation', 'another card than the first', 'two processes'}


@pytest.mark.parametrize('name', [name for name in CHECKS if name not in ELSEWHERE])
def test_its_code_on_the_cpu(commands_here, tmp_path, name):
    assert CHECKS[name].run('cpu', tmp_path)


@pytest.mark.parametrize(
    ('device', 'other', 'both'), [('0', '1', '0,1'), ('1', '1', '0,1'), ('2', '2', '0,2'), ('cpu', 'cpu', 'cpu')]
)
def test_cards_of_the_checks_that_need_two(monkeypatch, tmp_path, device, other, both):
    """The card that --device names is one of them."""
    used = []
    monkeypatch.setattr(gpu_commands, 'command', lambda *words, launcher=0: used.append(words))
    monkeypatch.setattr(gpu_commands, 'losses', lambda folder: np.ones(6))
    for name in ('another card than the first', 'two processes'):
        CHECKS[name].run(device, tmp_path)
    assert [words[words.index('--device') + 1] for words in used] == [other, both]


@pytest.mark.parametrize('found', [[1.0, 2.01], [1.0, float('nan')], [1.0]])
def test_a_difference_is_one(found):
    with pytest.raises(Mismatch):
        compare([np.array(found)], [np.array([1.0, 2.0])])
    assert compare([np.array([1.0, 2.0])], [np.array([1.0, 2.001])]) == pytest.approx(5e-4, rel=1e-2)


def test_a_check_fails_where_the_numbers_differ(monkeypatch, tmp_path):
    """Suppression that loses a box."""
    plain = gpu_numbers.non_max_suppression

    def lossy(rows, arrays=False, **options):
        return [found[: -1 if arrays else None] for found in plain(rows, arrays=True, **options)]

    monkeypatch.setattr(gpu_numbers, 'non_max_suppression', lossy)
    with pytest.raises(Mismatch, match='shapes'):
        CHECKS['suppression'].run('cpu', tmp_path)


def test_speed():
    found = speed('cpu', (1, 64))
    assert list(found) == ['training step, yolov5n, batch 1 at 64', 'inference, yolov5n, one image at 128']
    assert min(found.values()) > 0
