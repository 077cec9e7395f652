"""train.py in two processes, through OneFlow's own launcher: started, compared with one process, stopped and killed."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import train
from tests import launcher
from tests.tiny import SIZE, Tiny
from tests.waiting import alive, children, wait_until
from utils.callbacks import Callbacks
from utils.checkpoint import load_checkpoint
from utils.data.loader import create_dataloader
from utils.distributed import is_main
from utils.hyps import load_hyp
from utils.paths import ROOT, write_yaml

TRAIN = ROOT / 'train.py'
LAST = 'runs/exp/weights/last.safetensors'


@contextmanager
def training(tiny: Tiny, folder: Path, *resume: str, **changes: object) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """A run without end that has just written a checkpoint, and its two processes' numbers, by rank."""
    words = resume or tiny.words('runs', epochs=100_000, noval=True, workers=1, **changes)
    last = folder / LAST
    before = last.stat().st_mtime_ns if resume else 0
    process = launcher.start(folder, TRAIN, *words)
    try:
        wait_until(lambda: process.poll() is not None or (last.exists() and last.stat().st_mtime_ns > before))
        assert process.poll() is None, (folder / 'err.txt').read_text()
        yield process, sorted(children(process.pid), key=rank_of)
    finally:
        launcher.end(process)


def rank_of(pid: int) -> int:
    return int(re.search(rb'\0RANK=(\d+)', Path(f'/proc/{pid}/environ').read_bytes())[1])


def ours(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith('Error: ')]


def test_two_processes_train_as_one(tiny, tmp_path):
    """Twenty steps with augmentation: the same pictures, and the same losses but for rounding (5e-6 at most).

    At the rates of a real run's first steps a new model amplifies rounding, wherever it comes from: yolov5n from
    scratch on BCCD at 320 differs by 1e-4 after four steps between one thread and two of one process, and after six
    between one process and two. From trained weights two processes stay within 1e-6 of one for six steps there, within
    1e-4 for fourteen, and at 160 for all twenty.
    """
    hyp = {'lr0': 0.001, 'warmup_bias_lr': 0.001}
    options = {'epochs': 20, 'batch_size': 8, 'noval': True, 'nosave': True, 'sync_bn': True, 'hyp': hyp}
    one = losses_of_a_run(tiny.options(str(tmp_path), name='one', **options))
    code, said = launcher.run(
        tmp_path, launcher.RANKS, __name__, json.dumps(tiny.options(str(tmp_path), name='two', **options))
    )
    assert code == 0, said
    assert said.count('Starting training for 20 epochs') == said.count('Results saved to') == 1
    assert 'Batch norm over all processes in 51 layers' in said
    np.testing.assert_allclose(json.loads(said.splitlines()[-1]), one, rtol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {'one', 'two', 'err.txt'}
    assert len(list((tmp_path / 'two').glob('events*'))) == 1


def losses_of_a_run(options: dict, stop_after: float = math.inf) -> list[list[float]]:
    """Box, objectness and class loss of each epoch; the run is stopped early after so many."""
    callbacks, rows = Callbacks(), []

    def note(values: list, *_: object) -> None:
        rows.append(list(map(float, values[:3])))
        callbacks.stop_training = len(rows) >= stop_after

    callbacks.register_action('on_fit_epoch_end', callback=note)
    train.run(callbacks, **options)
    return rows


def main() -> None:
    """What the two processes run."""
    rows = losses_of_a_run(*map(json.loads, sys.argv[1:]))
    if is_main():
        print(json.dumps(rows))


def test_an_early_stop_is_one_of_both(tiny, tmp_path):
    options = tiny.options(str(tmp_path), epochs=50, noval=True)
    code, said = launcher.run(tmp_path, launcher.RANKS, __name__, json.dumps(options), '3')
    assert code == 0, said
    assert len(json.loads(said.splitlines()[-1])) == 3
    assert '3 epochs completed' in said


def test_a_loss_that_is_no_number_ends_both(tiny, tmp_path):
    write_yaml(tmp_path / 'hyp.yaml', load_hyp('hyp.scratch-low.yaml') | {'lr0': 1e30, 'warmup_bias_lr': 1e30})
    words = tiny.words('runs', epochs=5, noval=True, nosave=True, hyp=tmp_path / 'hyp.yaml')
    code, said = launcher.run(tmp_path, TRAIN, *words)
    assert code == 1, said
    assert len(ours(said)) == 1, said
    assert 'is not finite' in ours(said)[0]
    assert '.jpg' in ours(said)[0]


def test_two_processes_draw_differently(tiny, tmp_path):
    """One picture eight times over: no two of what they make of it in two epochs are alike."""
    picture = next(tiny.data.parent.glob('images/train/00000.*'))
    (tmp_path / 'list.txt').write_text(f'{picture}\n' * 8)
    hyp = load_hyp('hyp.scratch-low.yaml')
    drawn = []
    for rank in range(2):
        loader, _ = create_dataloader(
            tmp_path / 'list.txt', SIZE, 4, augment=True, hyp=hyp, shuffle=True, workers=rank, rank=rank, world_size=2
        )
        drawn += [image.tobytes() for _ in range(2) for images, *_ in loader for image in images]
        loader.close()
    assert len(drawn) == len(set(drawn)) == 16


def test_a_batch_that_does_not_divide(tiny, tmp_path):
    code, said = launcher.run(tmp_path, TRAIN, *tiny.words('runs', batch_size=7))
    assert code == 1
    assert ours(said) == ['Error: --batch-size 7: not a multiple of the 2 processes. Try 6']
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize('victim', [0, 1])
def test_one_is_killed(tiny, tmp_path, victim):
    with training(tiny, tmp_path) as (process, ranks):
        all_of_them = ranks + [loader for rank in ranks for loader in children(rank)]
        os.kill(ranks[victim], signal.SIGKILL)
        wait_until(lambda: process.poll() is not None and not alive(all_of_them))
    said = (tmp_path / 'err.txt').read_text()
    assert len(ours(said)) == 1, said
    assert ours(said)[0].startswith(f'Error: process {victim} ended without a word')
    assert load_checkpoint(tmp_path / LAST).epoch >= 0


def test_stopped_it_goes_on(tiny, tmp_path):
    """Ctrl-C reaches the launcher and all processes."""
    with training(tiny, tmp_path) as (process, ranks):
        all_of_them = ranks + [loader for rank in ranks for loader in children(rank)]
        os.killpg(process.pid, signal.SIGINT)
        wait_until(lambda: process.poll() is not None and not alive(all_of_them))
    said = (tmp_path / 'err.txt').read_text()
    assert len(ours(said)) == 1, said
    how = re.fullmatch(r'Error: Interrupted in epoch \d+\. To go on: .* train.py (--resume .*)', ours(said)[0])
    assert how, said
    epoch = load_checkpoint(tmp_path / LAST).epoch
    with training(tiny, tmp_path, *how[1].split()) as (process, ranks):
        # Not the head of a group, the launcher leaves its processes behind; they see that it is gone.
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: process.poll() is not None and not alive(ranks))
    assert load_checkpoint(tmp_path / LAST).epoch > epoch


def test_two_machines(tiny, tmp_path):
    """Two launchers of one process each; all is written once."""
    words = tiny.words('runs', epochs=2, patience=1)
    port = launcher.free_port()
    nodes = [
        launcher.start(tmp_path, TRAIN, *words, name=f'{node}.txt', ranks=1, nodes=2, node=node, port=port)
        for node in (1, 0)
    ]
    try:
        codes = [node.wait() for node in nodes]
    finally:
        for node in nodes:
            launcher.end(node)
    said = [(tmp_path / f'{node}.txt').read_text() for node in (0, 1)]
    assert codes == [0, 0], said
    assert 'Results saved to' in said[0]
    assert said[1] == ''
    assert len((tmp_path / 'runs/exp/results.csv').read_text().splitlines()) == 3
    assert sorted(path.name for path in (tmp_path / 'runs').iterdir()) == ['exp']
