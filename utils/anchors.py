"""AutoAnchor: do the anchors fit the data set's boxes, and better ones by k-means and mutation where they do not.

`python -m utils.anchors --data coco128.yaml --img 640` prints anchors for a data set.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from utils.errors import check_range, run_main
from utils.log import LOGGER, colorstr, set_logging
from utils.options import option, parse_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from oneflow import nn

GOOD_RECALL = 0.98  # best possible recall above which anchors are left alone


class Boxes(Protocol):
    """What is needed of a data set: per picture `shapes` (n, 2) width, height and `labels` (boxes, 5) normalised."""

    shapes: np.ndarray
    labels: Sequence[np.ndarray]


class Fit(NamedTuple):
    """How well anchors fit boxes.

    Attributes:
        recall: best possible recall: share of boxes whose best anchor is within the ratio limit.
        per_target: mean number of anchors within the limit.
        fitness: mean ratio to the best anchor, counted as 0 outside the limit.
    """

    recall: float
    per_target: float
    fitness: float

    def __str__(self) -> str:
        return f'{self.per_target:.2f} anchors/target, {self.recall:.3f} Best Possible Recall'


def anchor_metric(wh: np.ndarray, anchors: np.ndarray, thr: float = 4.0) -> Fit:
    """The fit of anchors (k, 2) to boxes (n, 2), both widths and heights in pixels.

    A box fits an anchor as well as the worst of w/aw, aw/w, h/ah, ah/h; the limit is 1 / thr.
    """
    wh, anchors = np.asarray(wh, np.float32), np.asarray(anchors, np.float32)
    worst = np.float32(1)
    with np.errstate(divide='ignore'):
        for side in (0, 1):
            ratio = wh[:, side] / anchors[:, side, None]
            worst = np.minimum(worst, np.minimum(ratio, 1 / ratio))  # (k, n)
    best = worst.max(axis=0)
    within = best > 1 / thr
    return Fit(
        recall=float(within.mean()),
        per_target=float((worst > 1 / thr).sum(axis=0).mean()),
        fitness=float((best * within).mean(dtype=np.float64)),
    )


def check_anchor_order(detect: nn.Module) -> None:
    """Turn a Detect layer's anchors round, in place, where their sizes run against its strides."""
    anchors = detect.anchors.cpu().numpy()
    ordered = _in_stride_order(anchors, detect.stride.cpu().numpy())
    if ordered is not anchors:
        LOGGER.info(f'{colorstr("AutoAnchor:")} reversing the order of the anchors')
        _write(detect, ordered)


def check_anchors(
    dataset: Boxes,
    model: nn.Module,
    thr: float = 4.0,
    imgsz: int = 640,
    rng: np.random.Generator | None = None,
) -> None:
    """Replace the model's anchors, in place, where they fit the data set badly and k-means finds better ones.

    Args:
        dataset: anything with `shapes` and `labels`.
        model: its `detect` layer holds anchors in grid units.
        thr: `anchor_t`, the largest ratio between a box and an anchor that answers for it.
        imgsz: training size; pictures are taken with their longer side at 0.9 to 1.1 times that.
        rng: draws those scales and the mutations; a fixed seed where left out.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    detect, prefix = model.detect, colorstr('AutoAnchor:')
    wh = box_sizes(dataset, imgsz, rng.uniform(0.9, 1.1, size=(len(dataset.shapes), 1)))
    if not len(wh):
        LOGGER.info(f'{prefix} the data set has no boxes, anchors stay as they are')
        return
    strides = detect.stride.cpu().numpy()
    anchors = detect.anchors.cpu().numpy() * strides.reshape(-1, 1, 1)
    fit = anchor_metric(wh, anchors.reshape(-1, 2), thr)
    if fit.recall > GOOD_RECALL:
        LOGGER.info(f'{prefix} {fit}: the anchors fit the data set')
        return
    LOGGER.info(f'{prefix} {fit}: the anchors fit the data set badly, looking for better ones')
    better = kmean_anchors(dataset, anchors.size // 2, imgsz, thr, gen=1000, verbose=False, rng=rng)
    new_fit = anchor_metric(wh, better, thr)
    if new_fit.recall > fit.recall:
        better = _in_stride_order(better.reshape(anchors.shape), strides)
        _write(detect, better / strides.reshape(-1, 1, 1))
        LOGGER.info(f'{prefix} {new_fit} with new anchors, which the model now has (keep them in your model YAML)')
    else:
        LOGGER.info(f'{prefix} {new_fit} with new anchors, which is no better: the old ones stay')


def kmean_anchors(
    dataset: Boxes | str | PathLike = 'coco128.yaml',
    n: int = 9,
    img_size: int = 640,
    thr: float = 4.0,
    gen: int = 1000,
    verbose: bool = True,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Anchors for a data set: k-means over the boxes' sizes, then the fittest of `gen` mutations.

    Args:
        dataset: anything with `shapes` and `labels`, or a data YAML, of which the train split is read.
        n: number of anchors.
        img_size: length that pictures' longer sides are scaled to, pixels.
        verbose: log every mutation that is kept.

    Returns:
        (n, 2) float32 widths and heights in pixels, by growing area.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    if not hasattr(dataset, 'shapes'):
        dataset = _train_labels(dataset)
    prefix = colorstr('AutoAnchor:')
    every = box_sizes(dataset, img_size)
    tiny = int((every < 3.0).any(axis=1).sum())
    if tiny:
        LOGGER.info(f'{prefix} {tiny} of {len(every)} boxes are less than 3 pixels wide or high')
    wh = every[(every >= 2.0).any(axis=1)]
    LOGGER.info(f'{prefix} k-means for {n} anchors on {len(wh)} boxes, then {gen} mutations')
    anchors = _kmeans(wh, n, img_size, rng)
    anchors = _evolve(anchors, wh, thr, gen, rng, verbose)
    LOGGER.info(f'{prefix} {anchor_metric(every, anchors, thr)}: {_as_text(anchors)}')
    return anchors


def box_sizes(dataset: Boxes, imgsz: int, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """(boxes, 2) float32 widths and heights in pixels, every picture's longer side being `imgsz` times `scale`.

    Args:
        scale: one number, or one a picture, (n, 1).
    """
    shapes = np.asarray(dataset.shapes, dtype=np.float64).reshape(-1, 2)
    sizes = imgsz * shapes / shapes.max(axis=1, keepdims=True) * scale
    wh = [labels[:, 3:5] * size for labels, size in zip(dataset.labels, sizes)]
    return np.concatenate([np.zeros((0, 2)), *wh]).astype(np.float32)


def _kmeans(wh: np.ndarray, n: int, img_size: int, rng: np.random.Generator) -> np.ndarray:
    from scipy.cluster.vq import kmeans  # takes a while to import, and good anchors never need it

    centres = np.zeros((0, 2))
    if len(wh) >= n:
        spread = wh.std(axis=0)
        spread[spread == 0] = 1
        centres = kmeans(wh / spread, n, iter=30, seed=rng)[0] * spread
    if len(centres) < n:  # fewer different sizes than anchors: leave it to the mutations
        LOGGER.info(f'{colorstr("AutoAnchor:")} too few different boxes for {n} clusters, starting from random anchors')
        centres = np.sort(rng.random(n * 2)).reshape(n, 2) * img_size
    return _by_area(centres)


def _evolve(
    anchors: np.ndarray, wh: np.ndarray, thr: float, gen: int, rng: np.random.Generator, verbose: bool
) -> np.ndarray:
    best = anchor_metric(wh, anchors, thr).fitness
    for generation in range(gen):
        candidate = (anchors * _mutation(anchors.shape, rng)).clip(min=2.0)
        fitness = anchor_metric(wh, candidate, thr).fitness
        if fitness > best:
            best, anchors = fitness, candidate
            if verbose:
                LOGGER.info(f'generation {generation}: fitness {best:.4f}, {_as_text(_by_area(anchors))}')
    return _by_area(anchors).astype(np.float32)


def _mutation(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Factors around 1, not all of them 1: nine in ten values change, by a strength drawn once for all."""
    while True:
        changed = rng.random(shape) < 0.9
        factors = (changed * rng.random() * rng.standard_normal(shape) * 0.1 + 1).clip(0.3, 3.0)
        if (factors != 1).any():
            return factors


def _by_area(anchors: np.ndarray) -> np.ndarray:
    return anchors[np.argsort(anchors.prod(axis=1), kind='stable')]


def _in_stride_order(anchors: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """(levels, na, 2) anchors, the same array or level by level the other way round, so that sizes follow strides."""
    areas = anchors.prod(axis=-1).mean(axis=-1)
    against = (areas[-1] - areas[0]) * (strides[-1] - strides[0]) < 0
    return anchors[::-1].copy() if against else anchors


def _write(detect: nn.Module, anchors: np.ndarray) -> None:
    import oneflow as torch

    detect.anchors.copy_(torch.tensor(anchors.astype(np.float32), device=detect.anchors.device))


def _as_text(anchors: np.ndarray) -> str:
    return ', '.join(f'{round(w)},{round(h)}' for w, h in anchors.tolist())


def _train_labels(data: str | PathLike) -> Boxes:
    from utils.data.labels import read_labels
    from utils.data.yaml import load_data

    config = load_data(data)
    return read_labels(config.train, config.nc, name='train')


@dataclass
class Options:
    data: str = option('coco128.yaml', help='data set YAML')
    n: int = option(9, help='number of anchors')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='training size in pixels')
    thr: float = option(4.0, help='largest ratio between a box and its anchor')
    gen: int = option(1000, help='mutations to try')
    seed: int = option(0, help='of k-means and mutations')


def main(argv: list[str] | None = None) -> None:
    options = parse_options(Options, argv, 'Find anchors for a data set', 'utils/anchors.py')
    for name, least in {'n': 1, 'imgsz': 1, 'thr': 1, 'gen': 0, 'seed': 0}.items():
        check_range(name, getattr(options, name), least)
    set_logging()
    rng = np.random.default_rng(options.seed)
    anchors = kmean_anchors(options.data, options.n, options.imgsz, options.thr, options.gen, verbose=False, rng=rng)
    print(_as_text(anchors))


if __name__ == '__main__':
    sys.exit(run_main(main))
