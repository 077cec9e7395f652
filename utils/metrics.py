"""How good detections are: average precision, the working point, the confusion matrix, fitness. NumPy throughout."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from utils.boxes import box_iou

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, dtype=np.float32)  # those of mAP50-95
CONFIDENCES = np.linspace(0, 1, 1000)  # where precision, recall and F1 are read
RECALLS = np.linspace(0, 1, 101)  # where the precision over recall is read, as COCO does

Names = dict[int, str] | Iterable[str]


def fitness(x: np.ndarray) -> np.ndarray:
    """What training maximises, 0.1 mAP50 + 0.9 mAP50-95: of (..., 4 or more) P, R, mAP50, mAP50-95 -> (...)."""
    return np.asarray(x)[..., :4] @ np.array([0.0, 0.0, 0.1, 0.9])


def smooth(y: np.ndarray, f: float = 0.05) -> np.ndarray:
    """`y` (n,) averaged over a centred window of about the fraction `f` of 2n points, its ends repeated."""
    taps = round(len(y) * f * 2) // 2 + 1
    padded = np.pad(y, taps // 2, mode='edge')
    return np.convolve(padded, np.full(taps, 1 / taps), mode='valid')


# Average precision ----------------------------------------------------------------------------------------------------


def ap_per_class(
    tp: np.ndarray,
    conf: np.ndarray,
    pred_cls: np.ndarray,
    target_cls: np.ndarray,
    plot: bool = False,
    save_dir: str | Path = '.',
    names: Names = (),
    eps: float = 1e-16,
    prefix: str = '',
) -> tuple[np.ndarray, ...]:
    """Average precision of each class that has labels, and its scores at the best confidence for all of them.

    The working point is the one confidence where F1 at the first IoU threshold, averaged over the classes and
    smoothed, is highest.

    Args:
        tp: (predictions, thresholds) whether a prediction is right at an IoU threshold, the lowest first.
        conf: (predictions,) confidences.
        pred_cls: (predictions,) class numbers.
        target_cls: (labels,) class numbers.
        plot: draw the curves into `save_dir` as `prefix` + PR_curve.png, F1_curve.png, P_curve.png, R_curve.png.
        names: class names, all of them; for the plots.
        eps: keeps divisions defined.

    Returns:
        tp, fp, p, r, f1 at the working point (classes,), ap (classes, thresholds), and the class numbers, ascending.
        A class without predictions scores 0; without any labels all are empty.
    """
    order = np.argsort(-conf, kind='stable')
    tp, conf, pred_cls = tp[order], conf[order], pred_cls[order]
    classes, labels = np.unique(target_cls, return_counts=True)
    ap = np.zeros((len(classes), tp.shape[1]))
    p, r, precision_by_recall = np.zeros((3, len(classes), len(CONFIDENCES)))
    for i, c in enumerate(classes):
        mine = pred_cls == c
        if mine.any():
            curves = _precision_recall(tp[mine], conf[mine], labels[i], eps)
            p[i], r[i], ap[i], precision_by_recall[i] = curves
    f1 = 2 * p * r / (p + r + eps)

    if plot:
        _plot_curves(Path(save_dir), prefix, _names_of(classes, names), p, r, f1, ap, precision_by_recall)
    best = smooth(f1.mean(0), 0.1).argmax() if len(classes) else 0
    p, r, f1 = p[:, best], r[:, best], f1[:, best]
    right = (r * labels).round()
    wrong = (right / (p + eps) - right).round()
    return right, wrong, p, r, f1, ap, classes.astype(int)


def _precision_recall(
    tp: np.ndarray, conf: np.ndarray, labels: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One class, predictions by falling confidence: tp (n, thresholds), conf (n,).

    Returns:
        precision (1000,) and recall (1000,) over CONFIDENCES at the first threshold; AP (thresholds,); precision
        (1000,) over a grid of recalls at the first threshold.
    """
    right = tp.cumsum(0)
    recall = right / (labels + eps)
    precision = right / np.arange(1, len(tp) + 1)[:, None]
    # Falling confidence, so both sides negated: np.interp wants rising points.
    r = np.interp(-CONFIDENCES, -conf, recall[:, 0], left=0)
    p = np.interp(-CONFIDENCES, -conf, precision[:, 0], left=1)
    areas = [compute_ap(recall[:, j], precision[:, j]) for j in range(tp.shape[1])]
    _, envelope, padded_recall = areas[0]
    ap = np.array([area for area, _, _ in areas])
    return p, r, ap, np.interp(CONFIDENCES, padded_recall, envelope)


def compute_ap(recall: np.ndarray, precision: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The area under one precision-recall curve: (n,), (n,) -> AP, the envelope (n + 2,), the padded recall (n + 2,).

    Precision is made non-increasing, read at 101 recalls and integrated by trapezoids, so that a perfect curve has
    0.995 and not 1: the last piece falls from 1 to 0.
    """
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([1.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ap = np.trapz(np.interp(RECALLS, recall, envelope), RECALLS)
    return float(ap), envelope, recall


def _names_of(classes: np.ndarray, names: Names) -> list[str]:
    table = names if isinstance(names, dict) else dict(enumerate(names))
    return [str(table.get(int(c), int(c))) for c in classes]


def _plot_curves(
    folder: Path,
    prefix: str,
    names: list[str],
    p: np.ndarray,
    r: np.ndarray,
    f1: np.ndarray,
    ap: np.ndarray,
    precision_by_recall: np.ndarray,
) -> None:
    from utils.plots import plot_mc_curve, plot_pr_curve  # matplotlib only where something is drawn

    plot_pr_curve(CONFIDENCES, precision_by_recall, ap, folder / f'{prefix}PR_curve.png', names)
    for label, short, curve in (('F1', 'F1', f1), ('Precision', 'P', p), ('Recall', 'R', r)):
        plot_mc_curve(CONFIDENCES, curve, folder / f'{prefix}{short}_curve.png', names, ylabel=label)


# Which detections are right -------------------------------------------------------------------------------------------


def match_detections(detections: np.ndarray, labels: np.ndarray, iouv: np.ndarray = IOU_THRESHOLDS) -> np.ndarray:
    """Whether each detection of a picture finds a label, at each IoU threshold.

    A detection answers for the label of its own class that it overlaps most. Of several that answer for one label
    the earliest row counts, so pass detections by falling confidence.

    Args:
        detections: (n, 6) x1, y1, x2, y2, confidence, class.
        labels: (m, 5) class, x1, y1, x2, y2 in the same pixels.
        iouv: (thresholds,) the least IoU that counts.

    Returns:
        bool (n, thresholds).
    """
    correct = np.zeros((len(detections), len(iouv)), bool)
    if not len(detections) or not len(labels):
        return correct
    iou = box_iou(labels[:, 1:], detections[:, :4])
    iou[labels[:, :1] != detections[:, 5]] = -1
    label, best = iou.argmax(0), iou.max(0)
    for t, threshold in enumerate(iouv):
        near = np.flatnonzero(best >= threshold)
        _, first = np.unique(label[near], return_index=True)
        correct[near[first], t] = True
    return correct


process_batch = match_detections  # its name in the reference's val.py


class ConfusionMatrix:
    """Counts of (predicted class, true class) at one confidence and one IoU.

    The last row counts labels that nothing found, the last column detections of nothing. Where a picture has no
    match at all its detections are counted as well, which the reference forgets; so are those of pictures without
    labels.

    Args:
        nc: number of classes.
        conf: detections must exceed it.
        iou_thres: overlaps must exceed it.

    Attributes:
        matrix: (nc + 1, nc + 1) float64; row: predicted, column: true.
    """

    def __init__(self, nc: int, conf: float = 0.25, iou_thres: float = 0.45) -> None:
        self.matrix = np.zeros((nc + 1, nc + 1))
        self.nc, self.conf, self.iou_thres = nc, conf, iou_thres

    def process_batch(self, detections: np.ndarray | None, labels: np.ndarray) -> None:
        """Add one picture: detections (n, 6) xyxy, confidence, class, or None; labels (m, 5) class, xyxy."""
        detections = np.zeros((0, 6)) if detections is None else detections[detections[:, 4] > self.conf]
        true, predicted = labels[:, 0].astype(int), detections[:, 5].astype(int)
        label, detection = self._pair(labels[:, 1:], detections[:, :4])
        np.add.at(self.matrix, (predicted[detection], true[label]), 1)
        np.add.at(self.matrix, (self.nc, np.delete(true, label)), 1)
        np.add.at(self.matrix, (np.delete(predicted, detection), self.nc), 1)

    def _pair(self, labels: np.ndarray, detections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of labels and of their detections: a detection's best label, then a label's best detection."""
        if not len(labels) or not len(detections):
            return np.zeros((2, 0), int)
        iou = box_iou(labels, detections)
        label, best = iou.argmax(0), iou.max(0)
        near = np.flatnonzero(best > self.iou_thres)
        # Best overlap first; of two classes of one box, the more confident.
        near = near[np.argsort(-best[near], kind='stable')]
        paired, first = np.unique(label[near], return_index=True)
        return paired, near[first]

    def tp_fp(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives of each class (nc,), background left out."""
        tp = self.matrix.diagonal()
        fp = self.matrix.sum(1) - tp
        return tp[:-1], fp[:-1]

    def plot(self, normalize: bool = True, save_dir: str | Path = '', names: Names = ()) -> None:
        """Draw it to `save_dir`/confusion_matrix.png; `normalize` divides each column by its sum."""
        from utils.plots import plot_confusion_matrix

        plot_confusion_matrix(self.matrix, save_dir=save_dir, names=names, normalize=normalize)

    def print(self) -> None:
        """Print the counts, one line for each predicted class."""
        for row in self.matrix:
            print(*(f'{count:.0f}' for count in row))
