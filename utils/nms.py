"""Non-maximum suppression: from the network's raw rows to the detections of each picture.

OneFlow 0.9.0 has no NMS kernel for the CPU, so there NumPy picks the candidates and onnxruntime's operator suppresses:
boxes of different classes never each other. On a GPU all of it is done on the device, where classes are kept apart by
moving them away from each other, and the host waits once for an image; but only after the device has found what the CPU
does in an image that is made up.

Unlike the reference there is no time limit: the result does not depend on how busy the machine is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.boxes import xywh2xyxy
from utils.errors import check_range
from utils.values import items, number, whole_number

if TYPE_CHECKING:
    import oneflow as torch

    Array = np.ndarray | torch.Tensor

MAX_CANDIDATES = 30_000  # of a picture; the best enter
FIRST = 2048  # of a picture's candidates, best first; most often as many boxes stay among them as are wanted
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
    classes: Iterable[int] | int | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    labels: Sequence[Array] = (),
    max_det: int = 300,
    arrays: bool = False,
) -> list[Array]:
    """The detections of each picture, best first.

    Args:
        prediction: (pictures, rows, 5 + classes): xywh in pixels, objectness, class scores. A model's pair
            (prediction, maps) will do.
        conf_thres: objectness, and objectness times class score, must exceed it.
        iou_thres: a box that overlaps a better one by more is dropped.
        classes: keep only these class numbers, or this one; None keeps all.
        agnostic: boxes suppress each other across classes.
        multi_label: every class above the limit makes a detection, not just a row's best one.
        labels: known boxes for each picture, (n, 5): class, xywh in pixels. They join with a score of 1.
        max_det: detections to keep a picture.
        arrays: give NumPy arrays for a tensor, too: where the host goes on with them.

    Returns:
        For each picture (n, 6): x1, y1, x2, y2 in pixels, score, class. NumPy float32 for a NumPy prediction;
        tensors on its own device for a tensor, unless `arrays`.

    Raises:
        UsageError: a threshold outside 0 to 1, or what should be a number is none.
    """
    conf_thres, iou_thres = number('--conf-thres', conf_thres), number('--iou-thres', iou_thres)
    check_range('conf_thres', conf_thres, 0, 1)
    check_range('iou_thres', iou_thres, 0, 1)
    classes, max_det = class_numbers(classes), whole_number('--max-det', max_det)
    if isinstance(prediction, (list, tuple)):
        prediction = prediction[0]
    several = multi_label and prediction.shape[2] > 6
    limits = _Limits(conf_thres, iou_thres, classes, agnostic, several, max_det)
    known = list(labels) if len(labels) else [None] * len(prediction)

    if isinstance(prediction, np.ndarray):
        return [_suppress(rows, boxes, limits) for rows, boxes in zip(prediction, known)]
    prediction = prediction.detach()
    if prediction.is_cuda and works_on(prediction.device):
        found = _suppress_on_device(prediction, known, limits)
    else:
        found = [_suppress(rows, boxes, limits) for rows, boxes in zip(prediction.cpu().numpy(), known)]
    if arrays:
        return found
    import oneflow as torch

    return [torch.from_numpy(rows).to(prediction.device) for rows in found]


def class_numbers(classes: Iterable[int] | int | None) -> list[int] | None:
    """Class numbers to keep as a list: of a list, tuple, set, array or tensor, or a single one. None stays None.

    Raises:
        UsageError: one of them is no whole number.
    """
    return None if classes is None else [whole_number('--classes', one) for one in items('--classes', classes)]


# NumPy ----------------------------------------------------------------------------------------------------------------


def _suppress(rows: np.ndarray, known: Any, limits: _Limits) -> np.ndarray:
    """One picture: (rows, 5 + classes), known boxes (n, 5) or None -> (n, 6)."""
    found = np.concatenate((_candidates(rows, limits), _known_detections(known, limits)))
    found = found[np.argsort(-found[:, 4], kind='stable')[:MAX_CANDIDATES]]
    group = np.zeros(len(found)) if limits.agnostic else found[:, 5]
    return found[greedy_nms(found[:, :4], group, limits.iou_thres, limits.max_det)]


def _known_detections(known: Any, limits: _Limits) -> np.ndarray:
    """Known boxes (n, 5) or None -> (m, 6) float32: those that are wanted, with a score of 1."""
    if known is None or not len(known):
        return np.zeros((0, 6), np.float32)
    known = known if isinstance(known, np.ndarray) else known.cpu().numpy()
    if limits.classes is not None:
        known = known[np.isin(known[:, 0], limits.classes)]
    return np.hstack((xywh2xyxy(known[:, 1:5]), np.ones((len(known), 1)), known[:, :1])).astype(np.float32)


def _candidates(rows: np.ndarray, limits: _Limits) -> np.ndarray:
    """Rows (n, 5 + classes) -> (m, 6) float32: xyxy, score, class, of what is wanted and may enter, in row order."""
    rows = rows[rows[:, 4] > limits.conf_thres].astype(np.float32, copy=False)
    scores = rows[:, 5:] * rows[:, 4:5]
    if limits.multi_label:
        row, label = np.divmod(
            np.flatnonzero(scores > limits.conf_thres), max(scores.shape[1], 1)
        )  # 4x faster than 2-D
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

    What stays among the best depends on nothing behind them: so the first few are settled by themselves, and if fewer
    stay than are wanted, four times as many.
    """
    boxes, count = np.ascontiguousarray(boxes, np.float32), FIRST
    while True:
        kept = _settle(boxes[:count], group[:count], iou_thres, max_det)
        if len(kept) >= max_det or count >= len(boxes):
            return kept[:max_det]
        count *= 4


def _settle(boxes: np.ndarray, group: np.ndarray, iou_thres: float, max_det: int) -> np.ndarray:
    """Indices, ascending, of all boxes that stay, but at most `max_det` of a group."""
    groups, mine = np.unique(group, return_inverse=True)
    scores = np.zeros((1, len(groups), len(boxes)), np.float32)
    scores[0, mine, np.arange(len(boxes))] = np.arange(len(boxes), 0, -1)  # their order; 0 is no candidate
    limits = {'max_det': np.array([max_det]), 'iou_thres': np.array([iou_thres], np.float32)}
    (kept,) = _kernel().run(None, {'boxes': boxes[None], 'scores': scores, **limits})
    return np.sort(kept[:, 2])


@cache
def _kernel() -> Any:
    """onnxruntime's session of its one operator."""
    import onnxruntime
    from onnx import TensorProto, helper

    shapes = {'boxes': [1, None, 4], 'scores': [1, None, None], 'max_det': [1], 'iou_thres': [1]}
    kinds = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT]
    inputs = [helper.make_tensor_value_info(name, kind, shapes[name]) for name, kind in zip(shapes, kinds)]
    node = helper.make_node('NonMaxSuppression', [*shapes, 'zero'], ['kept'])
    zero = helper.make_tensor('zero', TensorProto.FLOAT, [1], [0.0])
    kept = helper.make_tensor_value_info('kept', TensorProto.INT64, [None, 3])  # picture, group, box
    graph = helper.make_graph([node], 'nms', inputs, [kept], [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 11)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ['CPUExecutionProvider'])


# CUDA -----------------------------------------------------------------------------------------------------------------


@cache
def works_on(device: torch.device) -> bool:
    """Whether a GPU finds what the CPU does in one image. If not, one line says so, and the CPU is used."""
    import oneflow as torch

    from utils.fused import agree

    rng = np.random.default_rng(0)
    centres = np.repeat(rng.uniform(0, 640, (25, 2)), 8, 0) + rng.normal(0, 8, (200, 2))
    rows = np.hstack((centres, rng.uniform(30, 60, (200, 2)), rng.uniform(0, 1, (200, 5)))).astype(np.float32)
    tasks = [_Limits(0.25, 0.45, None, False, multi_label, max_det=20) for multi_label in (False, True)]

    def on_device() -> list[torch.Tensor]:
        return [torch.tensor(_suppress_on_device(_upload(rows[None], device), [None], task)[0]) for task in tasks]

    def on_cpu() -> list[torch.Tensor]:
        return [torch.tensor(_suppress(rows, None, task)) for task in tasks]

    return agree('NMS on the GPU', device, on_device, on_cpu)


def _suppress_on_device(prediction: torch.Tensor, known: Sequence[Any], limits: _Limits) -> list[np.ndarray]:
    """`_suppress` of every image with OneFlow's operators and its CUDA kernel for NMS.

    To learn how many boxes there are, the host would have to wait for the device. So shapes are fixed: as many of the
    best candidates as the CPU settles first, with what is none among them at a score of 0. All images are asked for
    before the first is waited for, and each comes in one copy; few need a second round with more candidates.
    """
    if not prediction.shape[1]:
        return [np.zeros((0, 6), np.float32)] * len(prediction)
    asked = [_best_on_device(rows, boxes, limits, FIRST) for rows, boxes in zip(prediction, known)]
    return [_settle_on_device(*image, limits) for image in zip(prediction, known, asked)]


def _settle_on_device(rows: torch.Tensor, known: Any, best: torch.Tensor, limits: _Limits) -> np.ndarray:
    """The detections (n, 6) of an image from its best candidates, or of more where too few of those stay."""
    count = FIRST
    while True:
        table = best.cpu().numpy()
        kept = table[(table[:, 6] > 0) & (table[:, 4] > 0)]
        all_seen = table[-1, 4] == 0 or count >= min(rows.shape[0] * (rows.shape[1] - 5), MAX_CANDIDATES)
        if len(kept) >= limits.max_det or all_seen:
            return np.ascontiguousarray(kept[: limits.max_det, :6])
        count = min(4 * count, MAX_CANDIDATES)
        best = _best_on_device(rows, known, limits, count)


def _best_on_device(rows: torch.Tensor, known: Any, limits: _Limits, count: int) -> torch.Tensor:
    """The known boxes, then the `count` best candidates, and which of them stay: (n, 7) xyxy, score, class, 0 or 1."""
    import oneflow as torch

    found = _candidates_on_device(rows, limits, count)
    sure = _known_detections(known, limits)
    found = torch.cat((_upload(sure, rows.device), found), 0) if len(sure) else found
    apart = found[:, :4] if limits.agnostic else found[:, :4] + found[:, 5:6] * CLASS_OFFSET
    keep = torch._C.nms(apart, limits.iou_thres)  # torch.nms sorts first, and counts on the host
    return torch.cat((found, keep.float().unsqueeze(1)), 1)


def _candidates_on_device(rows: torch.Tensor, limits: _Limits, count: int) -> torch.Tensor:
    """The best of `_candidates` with OneFlow's operators: (n, 6), n at most `count`; a score of 0 is none."""
    import oneflow as torch

    rows = rows.float()
    objectness, classes, best = rows[:, 4:5], rows.shape[1] - 5, None
    scores = rows[:, 5:] * objectness
    if not limits.multi_label:
        scores, best = scores.max(1, keepdim=True)
    enters = (scores > limits.conf_thres) & (objectness > limits.conf_thres)
    if limits.classes is not None:
        wanted = _upload(np.isin(np.arange(classes), limits.classes), rows.device)
        enters = enters & (wanted.unsqueeze(0) if best is None else wanted[best.squeeze(1)].unsqueeze(1))
    scores = torch.where(enters, scores, torch.zeros_like(scores)).reshape(-1)
    score, place = scores.topk(min(count, scores.numel()), dim=0)
    if best is None:
        row = (place.double() / classes).floor().long()
        label = place - row * classes
    else:
        row, label = place, best.squeeze(1)[place]
    return torch.cat((xywh2xyxy(rows[row][:, :4]), score.unsqueeze(1), label.unsqueeze(1).float()), 1)


def _upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    import oneflow as torch

    return torch.from_numpy(array).to(device)
