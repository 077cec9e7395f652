"""Batches for training and evaluation, loaded ahead by worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.cpu import cores
from utils.data.collate import Batch
from utils.data.dataset import LoadImagesAndLabels
from utils.data.labels import labels_to_class_weights, labels_to_image_weights, read_labels
from utils.data.labelset import LabelSet
from utils.data.order import SampleKey, epoch_order, rank_batches
from utils.data.workers import WorkerPool
from utils.distributed import local_world_size
from utils.errors import check_range
from utils.log import LOGGER


@dataclass(frozen=True)
class LoaderOptions:
    """What a loader can be asked for; see `LoadImagesAndLabels` for what is not said here.

    Attributes:
        cache: keep decoded pictures in 'ram' or on 'disk'.
        rank, world_size: this process's number and their count; each gets its part of every epoch.
        workers: processes that load ahead, at most; there are no more than the machine has cores for each rank.
        image_weights: draw pictures by weight, at first by how rare their classes are.
        quad: give a quarter of the pictures at twice the size.
        shuffle: another order in every epoch; not with `rect`.
        nc: number of classes, for checking labels that are still to be read.
    """

    single_cls: bool = False
    hyp: dict | None = None
    augment: bool = False
    cache: str | None = None
    pad: float = 0.0
    rect: bool = False
    rank: int = 0
    world_size: int = 1
    workers: int = 8
    image_weights: bool = False
    quad: bool = False
    prefix: str = ''
    shuffle: bool = False
    seed: int = 0
    nc: int | None = None


def create_dataloader(
    path: str | Path | Sequence[str | Path] | LabelSet,
    imgsz: int,
    batch_size: int,
    stride: int = 32,
    single_cls: bool = False,
    **options,
) -> tuple[DataLoader, LoadImagesAndLabels]:
    """A loader and its data set.

    Args:
        path: a split's folder, list file or several of them, or its labels already read.
        imgsz: side of the network's input in pixels, a multiple of `stride`.
        batch_size: of this rank.
        single_cls: make every class 0.
        options: the others of `LoaderOptions`.

    Raises:
        DataError: nothing usable is there.
        UsageError: an option's value is out of range.
    """
    options = LoaderOptions(single_cls, **options)
    check_range('seed', options.seed, 0)
    if not isinstance(path, LabelSet):
        nc, name = None if options.single_cls else options.nc, options.prefix.strip(' :')
        path = read_labels(path, nc, name=name, need_labels=options.augment)
    if options.rect and options.shuffle:
        LOGGER.warning('Rectangular batches keep the order of aspect ratios: they are not shuffled')
    batch_size = min(batch_size, math.ceil(len(path) / options.world_size))
    dataset = LoadImagesAndLabels(
        path,
        imgsz,
        batch_size,
        augment=options.augment,
        hyp=options.hyp,
        rect=options.rect,
        image_weights=options.image_weights,
        single_cls=options.single_cls,
        stride=stride,
        pad=options.pad,
        seed=options.seed,
        prefix=options.prefix,
    )
    if options.cache:
        dataset.cache_images(options.cache, local_ranks(options))
    return DataLoader(dataset, batch_size, options), dataset


def local_ranks(options: LoaderOptions) -> int:
    """How many processes of this machine load alike."""
    return min(options.world_size, local_world_size())


class DataLoader:
    """Iterating gives one epoch of batches: pictures (b, 3, h, w) uint8 RGB, targets (n, 6) float32 [picture of the
    batch, class, x, y, w, h normalised], paths, shapes. All are NumPy arrays of their own.

    The workers start with the first epoch and are kept. Each iteration is the epoch after the previous one unless
    `set_epoch` says otherwise; what an epoch contains depends on the seed and its number alone.

    Attributes:
        epoch: the one that comes next.
        weights: how often to draw each picture, (pictures,), from the next epoch on; None draws each once.
    """

    def __init__(self, dataset: LoadImagesAndLabels, batch_size: int, options: LoaderOptions) -> None:
        self.dataset, self.batch_size, self.options = dataset, batch_size, options
        self.epoch = 0
        self.weights: np.ndarray | None = None
        self.pool: WorkerPool | None = None
        share = max(cores() // local_ranks(options), 1)
        self.workers = min(options.workers, share, len(self))
        if options.image_weights:
            classes = 1 + max((int(labels[:, 0].max()) for labels in dataset.labels if len(labels)), default=0)
            class_weights = labels_to_class_weights(dataset.labels, classes)
            self.weights = labels_to_image_weights(dataset.labels, classes, class_weights)

    def __len__(self) -> int:
        """Batches in an epoch of this rank."""
        n, ranks = len(self.dataset), self.options.world_size
        if self.dataset.rect:
            return math.ceil(math.ceil(n / self.batch_size) / ranks)
        return math.ceil(math.ceil(n / ranks) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = self._batches(epoch)
        if self.workers == 0:
            return (self._load(keys) for keys in batches)
        if self.pool is None or not self.pool.alive:
            self.pool = WorkerPool(self._load, self.workers, self._batch_bytes(), self._set_partners)
        if self.weights is not None:
            self.pool.tell(self.dataset.indices)
        return self.pool.run(batches)

    def set_epoch(self, epoch: int) -> None:
        """The number of the next epoch, for resuming."""
        self.epoch = epoch

    def close(self) -> None:
        """End the workers; the next iteration would start new ones. Happens by itself when the loader goes away."""
        if self.pool is not None:
            self.pool.close()

    def _batches(self, epoch: int) -> list[list[SampleKey]]:
        options, n = self.options, len(self.dataset)
        shuffle = options.shuffle and not self.dataset.rect
        order = epoch_order(n, options.seed, epoch, shuffle, self.weights)
        if self.weights is not None:
            self._set_partners(order)
        return rank_batches(order, epoch, self.batch_size, options.rank, options.world_size, whole=self.dataset.rect)

    def _set_partners(self, indices: np.ndarray) -> None:
        self.dataset.indices = indices  # mosaics, too, show pictures as often as their weights say

    def _load(self, keys: list[SampleKey]) -> Batch:
        return self.dataset.load_batch(keys, self.options.quad)

    def _batch_bytes(self) -> int:
        """Of the largest batch's pictures; a board of four counts as four even if it is not full."""
        pictures = math.ceil(self.batch_size / 4) * 4 if self.options.quad else self.batch_size
        shapes = self.dataset.batch_shapes
        pixels = self.dataset.img_size**2 if shapes is None else int(shapes.prod(1).max())
        return pictures * 3 * pixels
