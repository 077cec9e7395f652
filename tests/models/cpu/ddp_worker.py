"""One of two ranks: a training step on its half of a batch; rank 0 writes the averaged gradients. For test_ddp.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import oneflow as torch

from models.cpu import engine
from tests.models.cpu.test_engine import loss, pictures, small


def main(output: Path) -> None:
    rank = torch.env.get_rank()
    model = small([-1, 1, 'C3', [16]])
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    for step in range(2):
        parallel.zero_grad()
        maps = parallel(pictures(2, 3, 64, 64, seed=10 * step + rank))
        loss(list(maps)).backward()
    assert any(key[0] == (2, 3, 64, 64) and network for key, network in engine._engines[model].networks.items())
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    if rank == 0:
        np.savez(output, **gradients)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
