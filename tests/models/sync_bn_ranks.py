"""What `test_sync_bn.py` runs in two processes: each trains on its part and compares with the whole."""

from __future__ import annotations

import copy
import json
import os
import sys

import numpy as np
import oneflow as torch

from models.common import C3
from models.sync_bn import SyncBatchNorm2d, convert_sync_batchnorm
from models.yolo import Model
from utils.distributed import rank
from utils.peers import exchange


def numbers(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Gradients and running statistics."""
    found = {name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers())
    return {name: t.numpy().astype(np.float64) for name, t in found.items() if t is not None}


def differences(model: torch.nn.Module, x: np.ndarray, cut: int) -> dict[str, float]:
    """By name, how far what two processes get from x[:cut] and x[cut:] is from what one gets from x, relatively.

    The loss weighs every output, so that no gradient vanishes by symmetry.
    """
    weigh = np.random.default_rng(1)
    whole, part = model.train(), copy.deepcopy(model).train()
    assert convert_sync_batchnorm(part)
    maps = whole(torch.from_numpy(x))
    weights = [weigh.standard_normal(m.shape, np.float32) for m in maps]
    sum((m * torch.from_numpy(w)).sum() for m, w in zip(maps, weights)).backward()
    mine = slice(cut, None) if rank() else slice(0, cut)
    maps = part(torch.from_numpy(x[mine].copy()))
    sum((m * torch.from_numpy(w[mine].copy())).sum() for m, w in zip(maps, weights)).backward()
    for parameter in part.parameters():
        if parameter.grad is not None:
            torch.comm.all_reduce(parameter.grad)
    expected, found = numbers(whole), numbers(part)
    assert expected.keys() == found.keys()
    return {name: np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max() for name in expected}


def worst(found: dict[str, float]) -> float:
    return max(found.values())


def main() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((5, 3, 64, 64), np.float32)
    model = Model(sys.argv[1], nc=2)
    layer = SyncBatchNorm2d(4).eval()
    assert np.allclose(layer(torch.ones(1, 4, 2, 2)).numpy(), 1, atol=1e-3)  # evaluation waits for nobody
    assert isinstance(C3(4, 4).cv1.bn, torch.nn.BatchNorm2d)
    results = {}
    for path in ('engine', 'plain'):
        os.environ['YOLOV5_CPU_ENGINE'] = str(int(path == 'engine'))
        for cut in (2, 4):  # batches of unequal size too
            results[f'{path} {cut}'] = worst(differences(copy.deepcopy(model), x, cut))
    found = exchange(results)
    if rank() == 0:
        print(json.dumps(found), flush=True)
