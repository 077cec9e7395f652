"""OneFlow's fused CUDA operators for the box loss, the optimiser's step and the moving average; flat gradients.

Each does in one kernel what otherwise takes many small ones. On a GPU training uses them, unless `--no-fused` is given,
but only after they have given the same numbers as plain operations on the device at hand; otherwise one line says so
and plain operations are used. OneFlow 0.9.0 has them for CUDA only, and documents only the optimisers' `fused`. None of
this has been run by us on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import oneflow as torch
from oneflow import nn

from utils.boxes import bbox_iou
from utils.log import LOGGER

Tensors = Sequence[torch.Tensor]
ALIGNED = 128  # numbers: CUDA's operators want memory that begins at a multiple of 512 bytes
TOLERANCE = 1e-4  # relative to the largest number of a tensor: both sides round in float32


def ciou(box1: torch.Tensor, box2: torch.Tensor) -> torch.Tensor:
    """CIoU of boxes row by row: xywh (n, 4), (n, 4) -> (n, 1). Differentiable."""
    return bbox_iou(box1, box2, CIoU=True)


def fused_ciou(box1: torch.Tensor, box2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """`ciou` by OneFlow's seven operators, which the OneFlow team made for YOLOv5."""
    op = torch._C
    columns = [[boxes[:, i : i + 1].contiguous() for i in range(4)] for boxes in (box1, box2)]
    (x1, y1, w1, h1), (x2, y2, w2, h2) = columns
    names = ('b1_x1', 'b1_x2', 'b1_y1', 'b1_y2', 'b2_x1', 'b2_x2', 'b2_y1', 'b2_y2')
    corners = dict(zip(names, op.fused_get_boundding_boxes_coord(x1, y1, w1, h1, x2, y2, w2, h2)))
    iou = op.fused_get_iou(w1, h1, w2, h2, op.fused_get_intersection_area(**corners), eps)
    diagonal = op.fused_get_convex_diagonal_squared(**corners, eps=eps)
    difference = op.fused_get_ciou_diagonal_angle(w1, h1, w2, h2, eps)
    return op.fused_get_ciou_result(difference, iou, op.fused_get_center_dist(**corners), diagonal, eps)[0]


def choose_ciou(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """`fused_ciou` where it gives the values and gradients of `ciou`, else that."""

    def with_gradients(function: Callable) -> Tensors:
        boxes = [_numbers(64, 4, device=device, low=0.2, place=place) for place in (0, 1)]
        boxes[0].requires_grad = True
        values = function(*boxes)
        values.sum().backward()
        return values.detach(), boxes[0].grad

    same = agree('fused box loss', device, lambda: with_gradients(fused_ciou), lambda: with_gradients(ciou))
    return fused_ciou if same else ciou


def may_fuse_optimizer(make: Callable[..., torch.optim.Optimizer], device: torch.device) -> bool:
    """Whether an optimiser steps with `fused=True` as it does without.

    Args:
        make: (groups, fused=...) -> optimiser, such as `functools.partial(torch.optim.SGD, nesterov=True)`.
    """

    def three_steps(fused: bool) -> Tensors:
        parameters = [_numbers(*shape, device=device, place=i) for i, shape in enumerate(((3, 4), (70, 9)))]
        leaves = [torch.nn.Parameter(values) for values in parameters]
        groups = [{'params': leaves[:1], 'weight_decay': 0.0}, {'params': leaves[1:], 'weight_decay': 0.01}]
        optimizer = make(groups, fused=fused)
        for step in range(3):
            for group in optimizer.param_groups:
                group['lr'] = 0.01 * (step + 1)
            for i, leaf in enumerate(leaves):
                (leaf * _numbers(*leaf.shape, device=device, place=10 * step + i)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [leaf.detach() for leaf in leaves]

    return agree('fused optimizer', device, lambda: three_steps(True), lambda: three_steps(False))


def average(averages: Tensors, values: Tensors, decay: float) -> None:
    """Move each average towards its value, in place: decay * average + (1 - decay) * value."""
    for mean, value in zip(averages, values):
        mean.mul_(decay).add_(value * (1 - decay))


def fused_average(averages: Tensors, values: Tensors, decay: float) -> None:
    """`average` of all tensors in one kernel."""
    torch._C.multi_tensor_yolov5_weight_update(model=list(averages), model_update=list(values), d=decay)


def choose_average(device: torch.device) -> Callable[[Tensors, Tensors, float], None]:
    """`fused_average` where it gives what `average` gives, else that."""

    def averaged(function: Callable) -> Tensors:
        means, values = ([_numbers(n, 5, device=device, place=place + n) for n in (1, 30)] for place in (0, 50))
        function(means, values, 0.9)
        return means

    same = agree('fused moving average', device, lambda: averaged(fused_average), lambda: averaged(average))
    return fused_average if same else average


def flatten_gradients(model: nn.Module) -> list[torch.Tensor]:
    """Let all gradients of a model lie in few buffers, so that clipping and zeroing them takes few launches.

    To be called before the first backward, for that adds to a gradient in its place. The gradients of OneFlow's
    DistributedDataParallel lie in such buffers already, from its first backward on: it exchanges them so.

    Returns:
        The buffers, (n,) each, zeros; among the gradients they have gaps, which stay zero.
    """
    buckets = getattr(model, '_bucket_tensors', None)
    if buckets is not None:
        return list(buckets)
    trained = [p for p in model.parameters() if p.requires_grad]
    room = [-(-p.numel() // ALIGNED) * ALIGNED for p in trained]
    starts = np.cumsum([0, *room])
    flat = torch.zeros(int(starts[-1]), device=trained[0].device)
    for parameter, start in zip(trained, starts):
        parameter.grad = flat.narrow(0, int(start), parameter.numel()).view(*parameter.shape)
    return [flat]


def may_flatten_gradients(device: torch.device) -> bool:
    """Whether gradients that lie in a buffer are added to in their place, as `flatten_gradients` needs it."""

    def gradients(flat: bool) -> Tensors:
        layer = nn.Linear(5, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(np.arange(15, dtype=np.float32).reshape(3, 5)))
            layer.bias.zero_()
        layer = layer.to(device)
        buffers = flatten_gradients(layer) if flat else []
        for place in (0, 1):
            layer(_numbers(2, 5, device=device, place=place)).square().sum().backward()
        for buffer in buffers:
            buffer.mul_(0.5)
        return [p.grad if flat else p.grad * 0.5 for p in layer.parameters()]

    return agree('flat gradients', device, lambda: gradients(True), lambda: gradients(False))


def agree(what: str, device: torch.device, fused: Callable[[], Tensors], plain: Callable[[], Tensors]) -> bool:
    """Whether both give the same numbers on the device; if not, or if the first fails, one line says so."""
    if device.type != 'cuda':
        LOGGER.warning(f'WARNING: {what}: not used, it needs a GPU')
        return False
    try:
        apart = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(fused(), plain())]
    except Exception as error:  # OneFlow raises many kinds for an operator that it can't run
        last = [type(error).__name__, *str(error).strip().splitlines()][-1]  # a message may be empty
        LOGGER.warning(f'WARNING: {what}: not used, it fails on this GPU ({last})')
        return False
    if not all(difference <= TOLERANCE for difference in apart):  # a NaN is not
        LOGGER.warning(f'WARNING: {what}: not used, its results differ on this GPU ({apart}, relative)')
        return False
    return True


def _numbers(*shape: int, device: torch.device, low: float = -1.0, place: int = 0) -> torch.Tensor:
    """The same numbers each time for a place, uniformly from `low` to 1."""
    values = np.random.default_rng(place).uniform(low, 1, shape).astype(np.float32)
    return torch.tensor(values, device=device)
