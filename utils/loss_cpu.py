"""The loss on a CPU: its value and its gradient in NumPy, as one autograd function.

As OneFlow's operations it is two hundred small ones, each of which costs more than its arithmetic, and some large ones
whose results are mostly zeros. The plain code in loss.py is the path for a GPU, for focal loss, which is rare, and for
YOLOV5_CPU_ENGINE=0; and it is the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import oneflow as torch

from utils.assigner import Matches, last_in_cell
from utils.boxes import bbox_iou

if TYPE_CHECKING:
    from utils.loss import ComputeLoss

_STEP = 1e-20


def numpy_loss(
    settings: ComputeLoss, maps: Sequence[torch.Tensor], matches: Sequence[Matches], divisors: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `ComputeLoss` returns for a batch, and the objectness loss of each level.

    Args:
        divisors: by level, what sums over its matches are divided by.
    """
    hyp, batch = settings.hyp, np.float32(len(maps[0]))
    flat = [p.numpy().reshape(-1, p.shape[-1]) for p in maps]
    sizes = np.array([len(p) for p in flat])
    starts = np.cumsum(sizes) - sizes
    cells = [m.cells(*p.shape[1:4]) for m, p in zip(matches, maps)]
    places = np.concatenate([start + c for start, c in zip(starts, cells)])
    logits = np.concatenate([p[c] for p, c in zip(flat, cells)])
    slopes = np.zeros_like(logits)
    weight = np.repeat([1 / d if d else 0 for d in divisors], [len(c) for c in cells]).astype(np.float32)[:, None]

    target, anchor_wh = (np.concatenate([getattr(m, name) for m in matches]) for name in ('box', 'anchor_wh'))
    overlap, slope = ciou_of_logits(logits[:, :4], target, anchor_wh)
    box = (weight * (1 - overlap)).sum() * hyp['box']
    slopes[:, :4] = slope * -weight * (hyp['box'] * batch)

    cls = 0.0
    if settings.nc > 1:
        target = np.full((len(logits), settings.nc), settings.negative, np.float32)
        target[np.arange(len(logits)), np.concatenate([m.cls for m in matches])] = settings.positive
        loss, slope = bce(logits[:, 5:].copy(), target, hyp['cls_pw'])
        weight *= hyp['cls'] / settings.nc
        cls = (weight * loss).sum()
        slopes[:, 5:] = slope * (weight * batch)

    target, last = np.zeros(sizes.sum(), np.float32), last_in_cell(places)
    target[places[last]] = overlap[last, 0].clip(0)
    loss, objectness = bce(np.concatenate([p[:, 4] for p in flat]), target, hyp['obj_pw'])
    levels = np.add.reduceat(loss, starts) / sizes
    weights = settings.balance.numpy()[: len(sizes)] * hyp['obj']
    objectness *= np.repeat(weights / sizes * batch, sizes).astype(np.float32)

    parts = np.array([box, (levels * weights).sum(), cls], np.float32)
    total = torch.from_numpy(np.array(parts.sum() * batch))
    total = _Known.apply(total, *map(torch.from_numpy, (places, slopes, objectness)), *maps)
    return total, torch.from_numpy(parts), torch.from_numpy(levels.astype(np.float32))


def bce(logits: np.ndarray, target: np.ndarray, positive_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Binary cross entropy of each element, positives weighed, and its slope."""
    above, below = np.maximum(logits, 0), np.minimum(logits, 0)
    yes, no = np.exp(below), np.exp(-above)  # up to their scale the sigmoids of logit and -logit, without overflow
    softplus = np.log1p(yes * no)  # of -|logit|
    scale = 1 / (1 + yes * no)
    positive, negative = np.float32(positive_weight) * target, 1 - target
    loss = positive * (softplus - below) + negative * (softplus + above)
    return loss, (negative * yes - positive * no) * scale


def ciou_of_logits(logits: np.ndarray, target: np.ndarray, anchor_wh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CIoU (n, 1) of targets with the boxes that logits (n, 4) say, and its gradient (n, 4).

    The gradient comes by complex steps: f(x + ih) is f(x) + ih f'(x), exactly where h is tiny. So `bbox_iou` need not
    be written a second time, as its derivative. Each number of a box hangs on one logit.
    """
    doubled = 1 + np.tanh((logits.astype(complex) + 1j * _STEP) / 2)  # twice the sigmoid
    box = np.concatenate([doubled[:, :2] - 0.5, doubled[:, 2:] ** 2 * anchor_wh], 1)
    one_stepped = box.real[:, None] + 1j * box.imag[:, None] * np.eye(4)  # (n, 4, 4)
    with np.errstate(invalid='ignore'):  # of logits that are no numbers: the training loop stops at the loss
        value = bbox_iou(one_stepped, target[:, None], CIoU=True)[..., 0]
    return value.real[:, :1].astype(np.float32), (value.imag / _STEP).astype(np.float32)


class _Known(torch.autograd.Function):
    """A loss whose gradient is known already: `slopes` of the matches' logits, and every cell's objectness."""

    @staticmethod
    def forward(ctx: Any, total: torch.Tensor, *saved: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*saved)
        return total.clone()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *saved, scale = (t.numpy() for t in (*ctx.saved_tensors[:3], scale))
        places, slopes, objectness = saved[0], saved[1] * scale, saved[2] * scale
        gradients = []
        for m in ctx.saved_tensors[3:]:
            gradient = np.empty((m.shape.numel() // m.shape[-1], m.shape[-1]), np.float32)
            gradient.fill(0)  # np.zeros would get small pages of memory: more faults
            here = (places >= 0) & (places < len(gradient))
            np.add.at(gradient, places[here], slopes[here])
            gradient[:, 4], objectness = np.split(objectness, [len(gradient)])
            gradients.append(torch.from_numpy(gradient.reshape(m.shape)))
            places = places - len(gradient)
        return None, None, None, None, *gradients
