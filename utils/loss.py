"""YOLOv5's training loss: CIoU for boxes, binary cross entropy for objectness and classes.

Every part is a mean over one level, levels are summed. The work is done on all levels at once, in few large
operations, and nothing is read back from the device: indices are made on the host and sent up. On a CPU loss_cpu.py
does the same in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import oneflow as torch
from oneflow import nn

from utils import fused
from utils.assigner import Matches, build_targets, last_in_cell
from utils.cpu import fast
from utils.loss_cpu import numpy_loss

# Weight of each level's objectness, finest level first: fine maps have few positives in many cells.
_BALANCE_3_LEVELS = (4.0, 1.0, 0.4)
_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02)


def smooth_BCE(eps: float = 0.1) -> tuple[float, float]:
    """Targets of the positive and the negative classes under label smoothing: 1 - eps/2 and eps/2."""
    return 1.0 - 0.5 * eps, 0.5 * eps


class BCEBlurWithLogitsLoss(nn.Module):
    """Mean binary cross entropy that forgives confident answers where the label may be missing.

    Elements whose prediction exceeds the target by much weigh less: factor 1 - exp((p - t - 1) / alpha).
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        self.loss_fcn = nn.BCEWithLogitsLoss(reduction='none')
        self.alpha = alpha

    def forward(self, pred: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Logits and targets of one shape -> scalar."""
        excess = torch.sigmoid(pred) - true
        factor = 1 - torch.exp((excess - 1) / (self.alpha + 1e-4))
        return (self.loss_fcn(pred, true) * factor).mean()


class FocalLoss(nn.Module):
    """Focal loss (Lin et al., 2017) around a BCE: elements already answered well weigh less.

    Args:
        loss_fcn: a BCEWithLogitsLoss; its `reduction` is applied to the modulated elements.
        gamma: exponent of the modulating factor.
        alpha: weight of positives, 1 - alpha that of negatives.
    """

    def __init__(self, loss_fcn: nn.BCEWithLogitsLoss, gamma: float = 1.5, alpha: float = 0.25) -> None:
        super().__init__()
        self.loss_fcn, self.gamma, self.alpha = loss_fcn, gamma, alpha
        self.reduction = loss_fcn.reduction
        loss_fcn.reduction = 'none'

    def forward(self, pred: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        """Logits and targets of one shape -> scalar, or that shape with reduction 'none'."""
        weight = true * self.alpha + (1 - true) * (1 - self.alpha)
        loss = self.loss_fcn(pred, true) * weight * self._modulation(torch.sigmoid(pred), true)
        return {'mean': torch.mean, 'sum': torch.sum}.get(self.reduction, lambda elements: elements)(loss)

    def _modulation(self, prob: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        right = true * prob + (1 - true) * (1 - prob)
        return (1.0 - right) ** self.gamma


class QFocalLoss(FocalLoss):
    """Quality focal loss (Li et al., 2020): the modulating factor is the distance to a soft target."""

    def _modulation(self, prob: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        return torch.abs(true - prob) ** self.gamma


class ComputeLoss:
    """The loss of a `Model`, by its Detect layer and `model.hyp`.

    Anchors, strides and hyper-parameters (box, obj, cls, obj_pw, cls_pw, anchor_t, fl_gamma and, if there,
    label_smoothing) are read once, here: build it after AutoAnchor and on the final device.

    Args:
        autobalance: let each level's objectness weight follow the inverse of its loss, the stride-16 level being 1.
        ranks: of more than one, every process calls it with its part of a batch, and the mean of their losses is the
            loss of the whole. Means over matches divide by the mean of all processes' counts for that: as many
            boxes count as much wherever they are.
        ciou: CIoU of boxes xywh (n, 4), (n, 4) -> (n, 1): `fused.ciou` or what `fused.choose_ciou` chose.

    Attributes:
        balance: (3 or 5,) objectness weights of the levels.
    """

    def __init__(
        self,
        model: nn.Module,
        autobalance: bool = False,
        ranks: int = 1,
        ciou: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = fused.ciou,
    ) -> None:
        detect, hyp = model.detect, model.hyp
        self.device, self.ciou = next(model.parameters()).device, ciou
        self.hyp, self.autobalance, self.nc, self.ranks = hyp, autobalance, detect.nc, ranks
        self.anchors = detect.anchors.cpu().numpy().copy()
        self.positive, self.negative = smooth_BCE(hyp.get('label_smoothing', 0.0))
        self.class_numbers = self._upload(np.arange(self.nc))
        self.bce_cls = self._make_bce(hyp['cls_pw'])
        self.bce_obj = self._make_bce(hyp['obj_pw'])
        self.balance = self._upload(np.float32(_BALANCE_3_LEVELS if detect.nl == 3 else _BALANCE))
        self.middle = int(np.abs(detect.stride.cpu().numpy() - 16).argmin())

    def __call__(
        self, maps: Sequence[torch.Tensor], targets: np.ndarray | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch.

        Args:
            maps: per level (batch, anchors, ny, nx, 5 + classes) logits.
            targets: (n, 6) image, class, x, y, w, h; normalised. An array on the host saves waiting for the device.

        Returns:
            The scalar to go backward from (sum of the parts times the batch size), and the parts box, objectness
            and class after their gains, (3,), detached.

        Raises:
            ValueError: a target's class is not below the model's number of classes.
        """
        targets = targets.cpu().numpy() if isinstance(targets, torch.Tensor) else np.asarray(targets)
        if len(targets) and not 0 <= targets[:, 1].min() <= targets[:, 1].max() < self.nc:
            raise ValueError(f'a target has a class outside 0..{self.nc - 1}')
        matches = build_targets(targets, [p.shape[2:4] for p in maps], self.anchors, self.hyp['anchor_t'])
        divisors = self._mean_counts(matches)
        plain = self.device.type != 'cpu' or not fast() or self.hyp['fl_gamma'] > 0 or self.ciou is not fused.ciou
        if not plain:
            divisors = list(map(len, matches)) if divisors is None else divisors.numpy()
            loss, parts, levels = numpy_loss(self, maps, matches, divisors)
            if self.autobalance:
                self._rebalance(levels)
            return loss, parts

        flat = [p.reshape(-1, p.shape[-1]) for p in maps]
        cells = [m.cells(*p.shape[1:4]) for m, p in zip(matches, maps)]
        box = cls = torch.zeros((), device=self.device)
        overlap = None
        if any(map(len, matches)):  # OneFlow ends the process on backward through a cat of nothing
            predicted = torch.cat([p[self._upload(c)] for p, c in zip(flat, cells) if len(c)])
            counts = {i: len(c) for i, c in enumerate(cells) if len(c)}
            loss, overlap = self._box_loss(predicted[:, :4], matches)
            box = _sum_of_level_means(loss, counts, divisors)
            if self.nc > 1:
                cls = _sum_of_level_means(self._class_loss(predicted[:, 5:], matches), counts, divisors)
        obj = self._objectness_loss(flat, cells, overlap)

        parts = torch.stack([box * self.hyp['box'], obj * self.hyp['obj'], cls * self.hyp['cls']])
        return parts.sum() * maps[0].shape[0], parts.detach()

    def _make_bce(self, positive_weight: float) -> nn.Module:
        # A weight of 1 is left out: the weighted kernel takes more passes.
        weight = None if positive_weight == 1 else self._upload(np.float32([positive_weight]))
        bce = nn.BCEWithLogitsLoss(pos_weight=weight, reduction='none')
        gamma = self.hyp['fl_gamma']
        return FocalLoss(bce, gamma) if gamma > 0 else bce

    def _mean_counts(self, matches: list[Matches]) -> torch.Tensor | None:
        """By level, the mean number of matches of all processes; None where there is only one. It waits for nothing."""
        if self.ranks == 1:
            return None
        counts = self._upload(np.float32([len(m) for m in matches]) / self.ranks)
        torch.comm.all_reduce(counts)
        return counts

    def _box_loss(self, logits: torch.Tensor, matches: list[Matches]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) 1 - CIoU, and (n,) the CIoU cut at 0 without gradient: the objectness the matched cells should have."""
        target = self._upload(np.concatenate([m.box for m in matches]))
        anchor_wh = self._upload(np.concatenate([m.anchor_wh for m in matches]))
        doubled = torch.sigmoid(logits) * 2
        box = torch.cat([doubled[:, :2] - 0.5, doubled[:, 2:] ** 2 * anchor_wh], dim=1)
        ciou = self.ciou(box, target).squeeze(-1)
        return 1.0 - ciou, ciou.detach().clamp(min=0)

    def _class_loss(self, logits: torch.Tensor, matches: list[Matches]) -> torch.Tensor:
        numbers = self._upload(np.concatenate([m.cls for m in matches]))  # 8 bytes for each: the device makes the rest
        mine = (numbers.unsqueeze(1) == self.class_numbers).float()
        return self.bce_cls(logits, mine * (self.positive - self.negative) + self.negative)

    def _objectness_loss(
        self, flat: list[torch.Tensor], cells: list[np.ndarray], overlap: torch.Tensor | None
    ) -> torch.Tensor:
        """BCE over every cell of every level; the target is the overlap where something matched, 0 elsewhere."""
        sizes = [len(p) for p in flat]
        logits = torch.cat([p[:, 4] for p in flat])
        target = torch.zeros_like(logits)
        if overlap is not None:
            starts = np.cumsum([0, *sizes[:-1]])
            places = np.concatenate([start + c for start, c in zip(starts, cells)])
            last = last_in_cell(places)
            target[self._upload(places[last])] = overlap[self._upload(last)]
        levels = torch.stack([part.mean() for part in self.bce_obj(logits, target).split(sizes)])
        balance = self.balance[: len(sizes)]
        if self.autobalance:
            self._rebalance(levels.detach())
        return (levels * balance).sum()

    def _rebalance(self, levels: torch.Tensor) -> None:
        followed = self.balance[: len(levels)] * 0.9999 + 0.0001 / levels
        unused = self.balance[len(levels) :]
        balance = torch.cat([followed, unused]) if len(unused) else followed
        self.balance = balance / balance[self.middle]

    def _upload(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)


def _sum_of_level_means(
    values: torch.Tensor, counts: dict[int, int], divisors: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum over levels of the mean of their rows; the rows of (n, ...) `values` lie level by level.

    Args:
        counts: rows by level, where there are any.
        divisors: by level, by what to divide in place of the number of rows.
    """
    levels = values.split(list(counts.values()))
    if divisors is None:
        return sum(level.mean() for level in levels)
    columns = values.numel() // len(values)
    return sum(level.sum() / (divisors[i] * columns) for i, level in zip(counts, levels))
