"""Figures that need a GPU: training over the batch size on one card, and epochs on one and two cards.

Written without a GPU at hand: these have never been run by us. All sides compute in float32 here, their convolutions in
TF32 from Ampere on, as both libraries have it by default (NVIDIA_TF32_OVERRIDE=0 switches it off); the reference's own
training also mixes in half precision, which shows in its epochs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.plan import ONE_YOLOV5, OURS, PYTORCH, REFERENCE, Figure, Job, epoch_words
from benchmarks.sides import TF32, Command, Contestant, Worker

BATCHES = (4, 8, 16, 32, 64)
MODEL, SIZE = 'yolov5s.yaml', 640
LAUNCHERS = {
    OURS: 'oneflow.distributed.launch',
    REFERENCE: 'torch.distributed.run',
    ONE_YOLOV5: 'oneflow.distributed.launch',
}


def count_gpus() -> int:
    """How many GPUs OneFlow can use; asked in a process of its own, for it may end where there is none."""
    code = 'import oneflow as f; print(f.cuda.device_count() if f.cuda.is_available() else 0)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    return int(done.stdout.strip() or 0) if done.returncode == 0 else 0


def on_gpu(job: Job, count: int) -> Iterator[Figure]:
    """The figures for so many cards, one at least."""
    for batch in BATCHES:
        case = {'kind': 'train', 'cfg': MODEL, 'batch': batch, 'size': SIZE, 'hyp': job.hyp}
        names = [name for name in (OURS, PYTORCH, REFERENCE, ONE_YOLOV5) if name in job.sides]
        sides = {name: Worker(job.sides[name], case, 'cuda') for name in names}
        setting = f'yolov5s at {SIZE}: batch {batch}'
        yield Figure('training step on a GPU by batch', setting, sides, x=batch, warm_up=5, same=TF32)
    for cards in (1, 2)[:count]:
        for batch in BATCHES:
            devices = ','.join(str(i) for i in range(cards))
            words = epoch_words(job, batch * cards, SIZE, devices, MODEL)
            setting = f'yolov5s at {SIZE}: batch {batch} a card'
            yield Figure(
                f'an epoch on {cards} GPU{"s" * (cards > 1)}', setting, launched(job, words, cards), x=batch, rounds=3,
                warm_up=0,
            )  # fmt: skip


def launched(job: Job, words: list[str], cards: int) -> dict[str, Contestant]:
    """One command of each code base, and ours without fused operators; on several cards by its library's launcher."""
    sides: dict[str, Contestant] = {}
    for name, launcher in LAUNCHERS.items():
        if name in job.sides:
            side = job.sides[name]
            launch = ['-m', launcher, '--nproc_per_node', str(cards)] if cards > 1 else []
            sides[name] = Command([side.python, *launch, *words], cwd=side.checkout)
            if name == OURS:
                plain = Command([side.python, *launch, *words, '--no-fused'], cwd=side.checkout)
                sides['ours, plain operators'] = plain
    return sides
