"""Comparisons of what is computed: loss, steps, fused operators, suppression, inference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oneflow as torch

from models.backend import load_backend, wrap
from models.yolo import Model
from tools.gpu_base import (
    CLASSES,
    CPU,
    check,
    checkpoint,
    compare,
    crowd,
    images,
    labels,
    need,
    on,
    plain_paths,
    rows_of,
    same,
    small_network,
)
from utils import fused
from utils.device import select_device, time_sync, to_input
from utils.ema import ModelEMA
from utils.loss import ComputeLoss
from utils.nms import non_max_suppression, works_on
from utils.optim import clipped_step, smart_optimizer

# Network, loss, step --------------------------------------------------------------------------------------------------


def gradients_of(model: Model, device: torch.device) -> list[torch.Tensor]:
    """Loss parts, then the gradient of each parameter, after one batch."""
    loss, parts = ComputeLoss(model)(model(to_input(images(), device)), labels())
    loss.backward()
    return [parts, *(p.grad for p in model.parameters())]


@check('loss and gradients')
def loss_and_gradients(name: str, folder: Path) -> str:
    device, model = select_device(name), small_network().train()
    expected = gradients_of(on(CPU, model), CPU)
    with plain_paths():
        return same(gradients_of(on(device, model), device), expected, 5e-3)


@check('layers')
def layers(name: str, folder: Path) -> str:
    """Blocks beyond C3, in evaluation mode."""
    device, worst = select_device(name), 0.0
    for block in ('BottleneckCSP', 'MixConv2d', 'C3Ghost', 'C3TR'):
        model = small_network(block).eval()
        with torch.no_grad(), plain_paths():
            maps = [on(where, model)(to_input(images(), where))[1] for where in (device, CPU)]
        worst = max(worst, compare(*maps))
    return f'largest difference {worst:.2g} (relative)'


def training_step(
    model: Model, device: torch.device, buffers: bool, name: str = 'SGD'
) -> Callable[[np.ndarray, np.ndarray], None]:
    """A function that takes a clipped step on images and labels, by the operators that training would choose.

    Args:
        buffers: the gradients are flat, as in training on a GPU.
    """
    optimizer = smart_optimizer(model, name, 0.01, 0.9, 5e-4, fused=device.type == 'cuda')
    compute_loss = ComputeLoss(model, ciou=fused.choose_ciou(device) if device.type == 'cuda' else fused.ciou)
    flat = fused.flatten_gradients(model) if buffers else None

    def step(pixels: np.ndarray, targets: np.ndarray) -> None:
        compute_loss(model(to_input(pixels, device)), targets)[0].backward()
        clipped_step(optimizer, model, 1.0, flat)

    return step


def updates_after(device: torch.device, model: Model, buffers: bool, name: str = 'SGD') -> np.ndarray:
    """What two training steps changed in all of a model's parameters, (n,)."""
    model = on(device, model)
    before, step = parameters_of(model), training_step(model, device, buffers, name)
    for _ in range(2):
        step(images(), labels())
    return parameters_of(model) - before


def parameters_of(model: Model) -> np.ndarray:
    return np.concatenate([p.detach().cpu().numpy().ravel() for p in model.parameters()])


def same_updates(found: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """By their lengths as vectors: rounding decides on the sign of many small numbers."""
    apart = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    need(apart <= tolerance, f'differ by {apart:.2g}, more than {tolerance:g} (relative)')
    return f'updates differ by {apart:.2g} (relative)'


@check('training steps')
def training_steps(name: str, folder: Path) -> str:
    model = small_network().train()
    expected = updates_after(CPU, model, buffers=False)
    with plain_paths():
        return same_updates(updates_after(select_device(name), model, buffers=True), expected, 2e-2)


@check('training steps by AdamW')
def training_steps_by_adamw(name: str, folder: Path) -> str:
    """Adam divides by tiny gradients at first, which enlarges rounding."""
    model = small_network().train()
    expected = updates_after(CPU, model, False, 'AdamW')
    with plain_paths():
        return same_updates(updates_after(select_device(name), model, True, 'AdamW'), expected, 0.5)


# Fused operators against plain ones on the device ---------------------------------------------------------------------


@check('fused box loss')
def fused_box_loss(name: str, folder: Path) -> str:
    device = select_device(name)
    chosen = fused.choose_ciou(device) if device.type == 'cuda' else fused.ciou
    need(device.type == 'cpu' or chosen is fused.fused_ciou, 'is not used: see the line above')
    boxes = [np.random.default_rng(i).uniform(0.2, 9, (500, 4)).astype(np.float32) for i in (0, 1)]
    results = []
    for function, where in ((chosen, device), (fused.ciou, CPU)):
        first, second = (torch.tensor(b, device=where) for b in boxes)
        first.requires_grad = True
        value = function(first, second)
        value.sum().backward()
        results.append([value, first.grad])
    return same(*results)


@check('fused optimizer')
def fused_optimizer(name: str, folder: Path) -> str:
    device, model = select_device(name), torch.nn.Linear(3, 2)
    optimizer = smart_optimizer(model.to(device), fused=device.type == 'cuda')
    used = [group['fused'] for group in optimizer.param_groups]
    need(device.type == 'cpu' or all(used), 'is not used: see the line above')
    return 'agrees with the plain one'


@check('fused moving average')
def fused_moving_average(name: str, folder: Path) -> str:
    device = select_device(name)
    chosen = fused.choose_average(device) if device.type == 'cuda' else fused.average
    need(device.type == 'cpu' or chosen is fused.fused_average, 'is not used: see the line above')
    return 'agrees with the plain one'


@check('flat gradients')
def flat_gradients(name: str, folder: Path) -> str:
    device = select_device(name)
    need(device.type == 'cpu' or fused.may_flatten_gradients(device), 'are not used: see the line above')
    model = small_network().train()
    with plain_paths():
        return same_updates(updates_after(device, model, True), updates_after(device, model, False), 1e-2)


@check('moving average of the weights')
def moving_average(name: str, folder: Path) -> str:
    device, model, averages = select_device(name), small_network(), []
    for where in (device, CPU):
        own = on(where, model)
        ema = ModelEMA(own, fused=where.type == 'cuda')
        for _ in range(3):
            with torch.no_grad():
                for parameter in own.parameters():
                    parameter.mul_(1.5)
            ema.update(own)
        need(all(p.device == where for p in ema.ema.parameters()), 'the average is on another device')
        averages.append(list(ema.ema.parameters()))
    return same(*averages, 1e-4)


# Inference ------------------------------------------------------------------------------------------------------------


@check('suppression')
def suppression(name: str, folder: Path) -> str:
    """NMS: single and several labels, across classes, a choice of classes, few and many candidates."""
    device, worst = select_device(name), 0.0
    need(device.type == 'cpu' or works_on(device), 'is not done by the GPU: see the line above')
    several = {'multi_label': True, 'conf_thres': 0.001, 'iou_thres': 0.6}
    for rows in (crowd(300), crowd(20_000)):
        for options in ({}, several, {'agnostic': True}, {'classes': [1, 3]}, {'conf_thres': 1.0}):
            found = non_max_suppression(torch.tensor(rows).to(device), arrays=True, **options)
            worst = max(worst, compare(found, non_max_suppression(rows, **options)))
    return f'the same boxes, largest difference {worst:.2g}'


@check('inference')
def inference(name: str, folder: Path) -> str:
    device, model = select_device(name), small_network().eval().fuse()
    return same([rows_of(wrap(on(device, model)))], [rows_of(wrap(on(CPU, model), frozen=True))])


@check('test-time augmentation')
def augmentation(name: str, folder: Path) -> str:
    device, model = select_device(name), small_network().eval().fuse()
    backends = wrap(on(device, model)), wrap(on(CPU, model))
    return same(*([rows_of(backend, augment=True)] for backend in backends))


@check('half precision')
def half_precision(name: str, folder: Path) -> str:
    """--half as detect.py has it, against float32; a CPU stays in float32, which is said."""
    file = checkpoint(folder)
    return same([rows_of(load_backend(file, name, fp16=True))], [rows_of(load_backend(file, 'cpu'))], 3e-2)


@check('half precision, norms not folded')
def half_norms(name: str, folder: Path) -> str:
    device, worst = select_device(name), 0.0
    for block in ('BottleneckCSP', 'MixConv2d'):
        model = small_network(block).eval()
        halved = on(device, model).half() if device.type == 'cuda' else on(device, model)
        worst = max(worst, compare([rows_of(wrap(halved))], [rows_of(wrap(on(CPU, model)))], 3e-2))
    return f'largest difference {worst:.2g} (relative)'


@check('boxes decoded in float32')
def decoding(name: str, folder: Path) -> str:
    """Maps in float16 of an image of 2560 pixels."""
    device, head = select_device(name), small_network().eval().detect
    raw = np.random.default_rng(0).standard_normal((1, 3, 4, 80, 5 + CLASSES)).astype(np.float16)
    boxes = [on(where, head).half().decode(2, torch.tensor(raw).to(where)) for where in (device, CPU)]
    need(boxes[0].dtype == torch.float32, f'boxes are {boxes[0].dtype}')
    return same([boxes[0]], [boxes[1]], 1e-5)


@check('a float32 tensor into a half model')
def float_into_half(name: str, folder: Path) -> str:
    backend = load_backend(checkpoint(folder), name, fp16=True)
    x = torch.tensor(images().astype(np.float32) / 255).to(backend.device)
    output = backend(x)
    return same([output if isinstance(output, np.ndarray) else output.cpu().numpy()], [rows_of(backend)], 3e-2)


@check('upload')
def upload(name: str, folder: Path) -> str:
    """From page-locked memory, while the array's own memory is used again."""
    device, array = select_device(name), images(4)
    expected, sent = [], []
    for i in range(8):
        array[:] = np.random.default_rng(i).integers(0, 256, array.shape, np.uint8)
        expected.append(array.astype(np.float32) / 255)
        sent.append(to_input(array.copy(), device, half=i % 2 == 1))
    return same([x.float() for x in sent], expected, 1e-3)


@check('waiting for the device')
def waiting(name: str, folder: Path) -> str:
    """`time_sync` takes the device in use and gives a clock that goes on."""
    device = select_device(name)
    x = torch.ones(500, 500).to(device)
    clock = [time_sync(device)]
    for _ in range(3):
        x = torch.matmul(x, x) / 500
        clock.append(time_sync(device))
    need(all(b > a for a, b in itertools.pairwise(clock)), f'the clock stands still: {clock}')
    return same([x], [np.ones((500, 500))])
