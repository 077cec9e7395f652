"""train.py as its users start it, stop it and kill it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.waiting import alive, children, wait_until
from train import TrainOptions
from utils.checkpoint import load_checkpoint
from utils.paths import ROOT

LAST = 'runs/exp/weights/last.safetensors'
COMMAND = [sys.executable, str(ROOT / 'train.py')]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True)


@contextmanager
def training(tiny, folder: Path, *resume: str) -> Iterator[subprocess.Popen]:
    """A run without end, with two loader processes, that has written its second checkpoint: since it was begun, or
    since it was resumed with the words given. (After the first, the run may not yet know that it can be resumed.)
    """
    words = resume or tiny.words('runs', epochs=100_000, workers=2, noval=True)
    first = epoch_of(folder) + 1 if resume else 0
    with open(folder / 'err.txt', 'w') as err:
        process = subprocess.Popen([*COMMAND, *words], cwd=folder, stderr=err, start_new_session=True)
    try:
        wait_until(lambda: process.poll() is not None or epochs_saved(folder) > first + 1)
        assert process.poll() is None, (folder / 'err.txt').read_text()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def epochs_saved(folder: Path) -> int:
    """How many epochs the last checkpoint has seen."""
    return load_checkpoint(folder / LAST).epoch + 1 if (folder / LAST).exists() else 0


def epoch_of(folder: Path) -> int:
    """The last epoch saved, by a checkpoint that is whole; results.csv has the epochs up to there."""
    last = load_checkpoint(folder / LAST)
    assert last.epoch >= 0
    assert all(np.isfinite(array).all() for array in (last.ema | last.state).values())
    assert last.optimizer['state']
    rows = [row.split(',') for row in (folder / 'runs' / 'exp' / 'results.csv').read_text().splitlines()[1:]]
    assert len({len(row) for row in rows}) == 1
    # Its row comes before its checkpoint.
    assert [int(row[0]) for row in rows] in (list(range(last.epoch + 1)), list(range(last.epoch + 2)))
    return last.epoch


def test_a_run_from_another_folder(tiny, tmp_path):
    words = [word.replace('--batch-size', '--batch').replace('--imgsz', '--img') for word in tiny.words('runs')]
    del words[words.index('--project') : words.index('--project') + 2]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ''
    assert 'Traceback' not in done.stderr
    assert done.stderr.rstrip().endswith('Results saved to runs/train/exp')
    assert 'Starting training for 1 epochs...' in done.stderr
    assert load_checkpoint(tmp_path / 'runs/train/exp/weights/best.safetensors').epoch == -1
    assert len((tmp_path / 'runs/train/exp/results.csv').read_text().splitlines()) == 2


def test_help_names_every_option_and_imports_nothing_slow(tmp_path):
    command = [sys.executable, '-X', 'importtime', *COMMAND[1:], '--help']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    for field in fields(TrainOptions):
        assert f'--{field.name}' in done.stdout.replace('-', '_').replace('___', '--').replace('__', '--'), field.name
    imported = {line.rsplit('|', 1)[-1].strip().split('.')[0] for line in done.stderr.splitlines()}
    assert {'argparse', 'utils'} <= imported
    assert not imported & {'oneflow', 'cv2', 'matplotlib', 'numpy', 'pandas', 'scipy', 'tensorboard'}


@pytest.mark.parametrize(('words', 'code', 'said'), [
    (['--nonsense'], 2, 'train.py: unrecognized arguments: --nonsense'),
    (['--data', 'gone.yaml'], 1, 'gone.yaml: no such data set YAML'),
])  # fmt: skip
def test_bad_input_is_one_line_and_an_exit_code(tmp_path, words, code, said):
    done = run(*words, cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith('Error: ')]
    assert done.returncode == code
    assert len(errors) == 1
    assert said in errors[0]
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'runs').exists()


def test_killed_at_any_moment_it_goes_on(tiny, tmp_path):
    words: tuple[str, ...] = ()
    epoch = -1
    for seconds in np.random.default_rng(0).uniform(0, 0.6, 3):
        with training(tiny, tmp_path, *words) as process:
            loaders = children(process.pid)
            time.sleep(seconds)
            process.kill()
            process.wait()
        assert epoch_of(tmp_path) > epoch
        epoch, words = epoch_of(tmp_path), ('--resume', 'runs/exp')
        assert loaders  # one for each core, two at most
        wait_until(lambda pids=loaders: not alive(pids))


@pytest.mark.parametrize(('number', 'word'), [(signal.SIGINT, 'Interrupted'), (signal.SIGTERM, 'Terminated')])
def test_stopped_it_says_how_to_go_on(tiny, tmp_path, number, word):
    with training(tiny, tmp_path) as process:
        loaders = children(process.pid)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to all processes of the group
        else:
            process.send_signal(number)
        assert process.wait() == 128 + number
        assert not alive(loaders)
    lines = (tmp_path / 'err.txt').read_text().splitlines()
    how = re.fullmatch(rf'Error: {word} in epoch (\d+)\. To go on: python train.py (.*)', lines[-1])
    assert how, lines[-1]
    assert not any('Traceback' in line or 'KeyboardInterrupt' in line for line in lines)
    epoch = epoch_of(tmp_path)
    assert int(how[1]) - epoch in (0, 1)  # but for the epoch it was in, all is saved
    assert how[2] == f'--resume {LAST}'
    with training(tiny, tmp_path, *how[2].split()):
        assert epoch_of(tmp_path) > epoch
