"""Comparisons of a GPU with the CPU, each a function of the device: for `python -m tools.gpu_check` and tests/cuda.

    python -m tools.gpu_checks 'loss and gradients' --device 0   # one, in this process; exit code 0 or 1

With the device 'cpu' the CPU is compared with itself, or its fast paths with the plain ones: so the code of the
comparisons is tested without a GPU. They are meant for NVIDIA_TF32_OVERRIDE=0, set before CUDA starts: from Ampere on,
convolutions round to eleven bits otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import oneflow as torch

from models.backend import wrap
from models.yolo import Model
from tools import gpu_commands, gpu_numbers
from tools.gpu_base import CHECKS, HYP, Mismatch, images, labels
from utils.device import select_device, time_sync

KINDS = gpu_numbers, gpu_commands  # importing them fills CHECKS

SPEED = 'speed'  # in place of a comparison's name


def speed(name: str, sizes: tuple[int, int] = (16, 320)) -> dict[str, float]:
    """Seconds of a training step (batch and size given) and of a pass over one image of 640 pixels, of yolov5n."""
    device, (batch, size) = select_device(name), sizes
    model, on_gpu = Model('yolov5n.yaml').to(device).train(), device.type == 'cuda'
    model.hyp = HYP
    step = gpu_numbers.training_step(model, device, buffers=on_gpu)
    train = partial(step, images(batch, size, size), labels(batch))
    backend = wrap(Model('yolov5n.yaml').to(device).eval().fuse(), frozen=True)
    one = images(1, 2 * size, 2 * size)
    rounds = 20 if on_gpu else 2
    return {
        f'training step, yolov5n, batch {batch} at {size}': _seconds(train, device, rounds),
        f'inference, yolov5n, one image at {2 * size}': _seconds(lambda: backend.predict(one), device, rounds),
    }


def _seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    for _ in range(max(rounds // 4, 1)):
        work()
    began = time_sync(device)
    for _ in range(rounds):
        work()
    return (time_sync(device) - began) / rounds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser('python -m tools.gpu_checks', description='One comparison, in this process.')
    parser.add_argument('name', choices=[*CHECKS, SPEED])
    parser.add_argument('--device', default='0')
    options = parser.parse_args(argv)
    if options.name == SPEED:
        print(json.dumps(speed(options.device)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(CHECKS[options.name].run(options.device, Path(folder)))
        except Mismatch as problem:
            print(problem)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
