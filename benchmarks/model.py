"""Our network's speed as a ratio to OneFlow's own layers: python -m benchmarks.model --cfg yolov5n.yaml

Both train and infer in turns, in one process: A B A B ..., so that a busy machine slows both alike. "Plain" is the same
network of nn.Conv2d, nn.SiLU and so on, as the OneFlow team's one-yolov5 builds it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import oneflow as torch
from oneflow import nn

from models import ops
from models.yolo import Model


class PlainAnchorConv2d(nn.Conv2d):
    """A detection convolution as it is usually written: convolution, view, permute."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, ny, nx = x.shape
        return super().forward(x).view(b, self.anchors, self.values, ny, nx).permute(0, 1, 3, 4, 2).contiguous()


def plain_layers(model: nn.Module) -> nn.Module:
    """A copy of the network whose layers are OneFlow's own."""
    model = deepcopy(model)
    for module in model.modules():
        if isinstance(module, ops.AnchorConv2d):
            module.__class__ = PlainAnchorConv2d
        elif type(module).__module__ == ops.__name__:
            module.__class__ = type(module).__base__
    return model


def training_step(model: Model, images: torch.Tensor) -> Callable[[], object]:
    """Forward and backward of the network, the loss left out; returns when the gradients are there."""
    model.train()

    def step() -> None:
        sum((level * level).mean() for level in model(images)).backward()
        for parameter in model.parameters():
            parameter.grad.numpy()
            break

    return step


def plain_training_step(model: Model, images: torch.Tensor) -> Callable[[], object]:
    """The same on plain layers: layer by layer, without the CPU engine."""
    model.forward = model._forward_once
    return training_step(model, images)


def inference(model: Model, images: torch.Tensor) -> Callable[[], object]:
    """One pass of the folded network."""
    model = model.eval().fuse()

    def step() -> None:
        with torch.no_grad():
            model(images)[0].numpy()

    return step


def compare(ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> tuple[float, float, list[float]]:
    """Median seconds of both, and their ratios round by round."""
    ours(), plain()
    times = []
    for _ in range(rounds):
        marks = [time.perf_counter()]
        for step in (ours, plain):
            step()
            marks.append(time.perf_counter())
        times.append(np.diff(marks))
    a, b = np.median(times, 0)
    return a, b, sorted(x / y for x, y in times)


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    rng = np.random.default_rng(0)
    cases = [('train', options.batch_size, options.imgsz), ('infer', 1, 2 * options.imgsz)]
    for kind, batch, size in cases:
        images = torch.from_numpy(rng.random((batch, 3, size, size), np.float32))
        model = Model(options.cfg)
        plain = plain_layers(model)
        if kind == 'train':
            pair = training_step(model, images), plain_training_step(plain, images)
        else:
            pair = inference(model, images), inference(plain, images)
        ours, theirs, ratios = compare(*pair, options.rounds)
        print(
            f'{kind} batch {batch} at {size}: ours {ours * 1e3:.0f} ms, plain layers {theirs * 1e3:.0f} ms, ratio '
            f'{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})'
        )


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser('python -m benchmarks.model', description=__doc__.splitlines()[0])
    parser.add_argument('--cfg', default='yolov5n.yaml', help='model YAML')
    parser.add_argument('--imgsz', type=int, default=320, help='size when training; twice that when inferring')
    parser.add_argument('--batch-size', type=int, default=16, help='pictures in a training step')
    parser.add_argument('--rounds', type=int, default=5, help='how often each is timed')
    return parser.parse_args(argv)


if __name__ == '__main__':
    main()
