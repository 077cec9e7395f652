"""Non-maximum suppression: from the network's raw rows to the detections of each picture.

OneFlow 0.9.0 has no NMS kernel for the CPU, so there the work is done in NumPy, one class at a time: boxes of
different classes never suppress each other, and a kept box is compared only with the lower-scoring boxes of its own
class. On a GPU it stays on the device, where classes are kept apart by moving them away from each other.

Unlike the reference there is no time limit: the result does not depend on how busy the machine is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.boxes import xywh2xyxy
from utils.errors import UsageError

if TYPE_CHECKING:
    import oneflow as torch

    Array = np.ndarray | torch.Tensor

MAX_CANDIDATES = 30_000  # of a picture; the best enter
CLASS_OFFSET = 7680  # pixels between the classes on a GPU, more than any picture's side


@dataclass(frozen=True)
class _Limits:
    """What `non_max_suppression` was asked for."""

    conf_thres: float
    iou_thres: float
    classes: Sequence[int] | None
    agnostic: bool
    multi_label: bool
    max_det: int


def non_max_suppression(
    prediction: Array,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    labels: Sequence[Array] = (),
    max_det: int = 300,
) -> list[Array]:
    """The detections of each picture, best first.

    Args:
        prediction: (pictures, rows, 5 + classes): xywh in pixels, objectness, class scores. A model's pair
            (prediction, maps) will do.
        conf_thres: objectness, and objectness times class score, must exceed it.
        iou_thres: a box that overlaps a better one by more is dropped.
        classes: keep only these class numbers.
        agnostic: boxes suppress each other across classes.
        multi_label: every class above the limit makes a detection, not just a row's best one.
        labels: known boxes for each picture, (n, 5): class, xywh in pixels. They join with a score of 1.
        max_det: detections to keep a picture.

    Returns:
        For each picture (n, 6): x1, y1, x2, y2 in pixels, score, class. NumPy float32 for a NumPy prediction;
        tensors on its own device for a tensor.

    Raises:
        UsageError: a threshold outside 0 to 1.
    """
    for name, value in (('--conf-thres', conf_thres), ('--iou-thres', iou_thres)):
        if not 0 <= value <= 1:
            raise UsageError(f'{name} {value}: not between 0 and 1', 'use for example 0.25 and 0.45')
    if isinstance(prediction, (list, tuple)):
        prediction = prediction[0]
    several = multi_label and prediction.shape[2] > 6
    limits = _Limits(conf_thres, iou_thres, classes, agnostic, several, max_det)
    known = list(labels) if len(labels) else [None] * len(prediction)

    if isinstance(prediction, np.ndarray):
        return [_suppress(rows, boxes, limits) for rows, boxes in zip(prediction, known)]
    prediction = prediction.detach()
    if prediction.is_cuda:
        return [_suppress_on_device(rows, boxes, limits) for rows, boxes in zip(prediction, known)]
    import oneflow as torch

    return [torch.from_numpy(_suppress(rows, boxes, limits)) for rows, boxes in zip(prediction.numpy(), known)]


# NumPy ----------------------------------------------------------------------------------------------------------------


def _suppress(rows: np.ndarray, known: Any, limits: _Limits) -> np.ndarray:
    """One picture: (rows, 5 + classes), known boxes (n, 5) or None -> (n, 6)."""
    found = _candidates(rows, limits)
    if known is not None and len(known):
        known = known if isinstance(known, np.ndarray) else known.numpy()
        if limits.classes is not None:
            known = known[np.isin(known[:, 0], limits.classes)]
        ones = np.ones((len(known), 1), np.float32)
        found = np.concatenate((found, np.hstack((xywh2xyxy(known[:, 1:5]), ones, known[:, :1])).astype(np.float32)))
    found = found[np.argsort(-found[:, 4], kind='stable')[:MAX_CANDIDATES]]
    group = np.zeros(len(found)) if limits.agnostic else found[:, 5]
    return found[greedy_nms(found[:, :4], group, limits.iou_thres, limits.max_det)]


def _candidates(rows: np.ndarray, limits: _Limits) -> np.ndarray:
    """Rows (n, 5 + classes) -> (m, 6) float32: xyxy, score, class, of what is wanted and may enter, in row order."""
    rows = rows[rows[:, 4] > limits.conf_thres].astype(np.float32, copy=False)
    scores = rows[:, 5:] * rows[:, 4:5]
    if limits.multi_label:
        row, label = np.nonzero(scores > limits.conf_thres)
    else:
        label = scores.argmax(1) if len(scores) else np.zeros(0, np.intp)
        row = np.arange(len(rows))
    score = scores[row, label]
    wanted = score > limits.conf_thres
    if limits.classes is not None:
        wanted &= np.isin(label, limits.classes)
    if len(score) > MAX_CANDIDATES:  # an untrained model makes millions: sort only those that can enter
        score = np.where(wanted, score, 0)
        wanted &= score >= np.partition(score, -MAX_CANDIDATES)[-MAX_CANDIDATES]
    row, label, score = row[wanted], label[wanted], score[wanted]
    return np.hstack((xywh2xyxy(rows[row, :4]), score[:, None], label[:, None].astype(np.float32)))


def greedy_nms(boxes: np.ndarray, group: np.ndarray, iou_thres: float, max_det: int) -> np.ndarray:
    """Indices (k,) of the boxes that stay, at most `max_det`, in the order given.

    Args:
        boxes: (n, 4) xyxy, best first.
        group: (n,) only boxes of the same group suppress each other.

    A group's boxes are laid side by side, best first, so that one kept box is compared with one slice. Work stops
    at `max_det`, so the cost is about (boxes kept) x (boxes of a group) whatever the overlaps.
    """
    grouped = np.argsort(group, kind='stable')
    place = np.empty(len(boxes), np.intp)
    place[grouped] = np.arange(len(boxes))
    end = np.searchsorted(group[grouped], group, side='right')
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[grouped].T)
    area = (x2 - x1) * (y2 - y1)
    gone = np.zeros(len(boxes), bool)
    keep: list[int] = []
    for i, p in enumerate(place):
        if len(keep) == max_det:
            break
        if gone[p]:
            continue
        keep.append(i)
        rest = slice(p + 1, end[i])
        overlap = np.minimum(x2[rest], x2[p]) - np.maximum(x1[rest], x1[p])
        height = np.minimum(y2[rest], y2[p]) - np.maximum(y1[rest], y1[p])
        np.maximum(overlap, 0, out=overlap)
        overlap *= np.maximum(height, 0, out=height)
        with np.errstate(invalid='ignore'):  # two boxes without area: 0 / 0 is above no limit, so both stay
            overlap /= area[rest] + area[p] - overlap
        gone[rest] |= overlap > iou_thres
    return np.array(keep, np.intp)


# CUDA -----------------------------------------------------------------------------------------------------------------


def _suppress_on_device(rows: torch.Tensor, known: Any, limits: _Limits) -> torch.Tensor:
    """`_suppress` with OneFlow's operators and its CUDA kernel for NMS. Nothing but row counts reaches the host."""
    import oneflow as torch

    found = _candidates_on_device(rows, limits)
    if known is not None and len(known):
        known = torch.as_tensor(known, dtype=torch.float32, device=rows.device)
        ones = torch.ones(len(known), 1, dtype=torch.float32, device=rows.device)
        found = torch.cat((found, torch.cat((xywh2xyxy(known[:, 1:5]), ones, known[:, :1]), 1)), 0)
    if limits.classes is not None and len(found):
        wanted = torch.tensor(list(limits.classes), dtype=torch.float32, device=rows.device)
        found = found[(found[:, 5:6] == wanted).sum(1) > 0]
    if len(found) == 0:  # OneFlow's argsort of nothing ends the process
        return found
    found = found[torch.argsort(found[:, 4], descending=True)[:MAX_CANDIDATES]]
    apart = found[:, :4] if limits.agnostic else found[:, :4] + found[:, 5:6] * CLASS_OFFSET
    return found[torch.nms(apart, found[:, 4], limits.iou_thres)[: limits.max_det]]


def _candidates_on_device(rows: torch.Tensor, limits: _Limits) -> torch.Tensor:
    """`_candidates` with OneFlow's operators."""
    import oneflow as torch

    rows = rows[rows[:, 4] > limits.conf_thres].float()
    if len(rows) == 0:
        return rows.new_zeros(0, 6)
    scores = rows[:, 5:] * rows[:, 4:5]
    boxes = xywh2xyxy(rows[:, :4])
    if limits.multi_label:
        row, label = (index.squeeze(1) for index in torch.nonzero(scores > limits.conf_thres).chunk(2, 1))
        return torch.cat((boxes[row], scores[row, label].unsqueeze(1), label.unsqueeze(1).float()), 1)
    score, label = scores.max(1, keepdim=True)
    found = torch.cat((boxes, score, label.float()), 1)
    return found[score.squeeze(1) > limits.conf_thres]
