"""What a step of training costs on this machine's CPU when layers are frozen."""

from __future__ import annotations

import time
from typing import Any

import oneflow as torch

from docs.tools.numbers import write_numbers
from models.cpu.dnnl import load
from models.cpu.network import Network
from models.yolo import Model
from utils.hyps import load_hyp
from utils.loss import ComputeLoss
from utils.optim import freeze

MEASURES = True  # times differ from run to run: measured again only when named
ROUNDS, BATCH, SIZE = 15, 4, 320
LAYERS = 0, 10, 24


def make() -> None:
    torch.manual_seed(0)
    images = torch.rand(BATCH, 3, SIZE, SIZE)
    targets = torch.tensor([[i, 0, 0.5, 0.5, 0.3, 0.3] for i in range(BATCH)])
    models = [frozen(layers) for layers in LAYERS]
    losses = [ComputeLoss(model) for model in models]
    times: list[list[float]] = [[] for _ in models]
    for _ in range(ROUNDS):
        for model, loss, found in zip(models, losses, times):
            found.append(step(model, loss, images, targets))
    memory = [Network(load(), model, (BATCH, 3, SIZE, SIZE)).plan.size for model in models]
    write_numbers('freezing', {
        'batch': BATCH, 'size': SIZE,
        'table': [[layers, f'{1000 * min(found):.0f}', f'{size / 2**20:.0f}']
                  for layers, found, size in zip(LAYERS, times, memory)],
    })  # fmt: skip


def frozen(layers: int) -> Model:
    """yolov5n with its first layers frozen."""
    model = Model('yolov5n.yaml', nc=4)
    model.hyp = load_hyp('hyp.scratch-low.yaml')
    freeze(model, [layers])
    return model.train()


def step(model: Model, loss: ComputeLoss, images: torch.Tensor, targets: torch.Tensor) -> float:
    """Seconds that forward and backward take; the machine has to be idle otherwise."""
    start = time.perf_counter()
    loss(model(images), targets)[0].backward()
    waited_for: Any = next(p for p in model.parameters() if p.requires_grad).grad
    waited_for.numpy()
    return time.perf_counter() - start
