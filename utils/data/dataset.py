"""Training and validation samples: pictures with their labels, loaded, augmented and put into the network's shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np

from utils.boxes import xyn2xy, xywhn2xyxy, xyxy2xywhn
from utils.data.augment import (
    Albumentations,
    augment_hsv,
    flip_left_right,
    flip_up_down,
    letterbox,
    mixup,
    random_perspective,
)
from utils.data.collate import Batch, Sample, collate_fn, collate_fn4
from utils.data.images import read_image
from utils.data.labelset import LabelSet
from utils.data.letterbox import rect_batch_shapes, rect_order, resize_longest, resized_shape
from utils.data.mix import apply_copy_paste, draw_copy_paste
from utils.data.mosaic import Later, Mosaic, Tile, draw_centre, draw_corner, mosaic4, mosaic9
from utils.data.order import QUAD, SampleKey, stream
from utils.data.perspective import apply_warp, draw_warp
from utils.data.picture_cache import DiskCache, fits
from utils.data.ram_cache import RamCache
from utils.errors import UsageError
from utils.hyps import load_hyp
from utils.memory import available_memory

CLIP_EPS = 1e-3  # pixels by which boxes stay inside the picture's right and lower edge


class LoadImagesAndLabels:
    """The samples of a split.

    Args:
        labels: pictures and labels.
        img_size: side of the network's input in pixels, a multiple of `stride`.
        batch_size: for `rect`, whose shapes are chosen batch by batch.
        augment: draw mosaics, warps, mixups, colours and flips by `hyp`.
        hyp: hyper-parameters; missing ones have the values of `utils.hyps`.
        rect: order the pictures by aspect ratio and give each batch the smallest shape; without mosaics.
        image_weights: pictures will be drawn by weight, so `rect` is off.
        cache_images: keep decoded pictures in 'ram' or on 'disk'.
        single_cls: make every class 0.
        pad: strides to add around rect batches; validation takes 0.5.
        seed: of all random numbers.
        prefix: of progress bars.

    Attributes:
        im_files, labels, shapes, segments: per picture its path, (n, 5) labels, (width, height), polygons.
        indices: pictures to draw mosaic partners from; the loader sets it where pictures are drawn by weight.
    """

    collate_fn = staticmethod(collate_fn)
    collate_fn4 = staticmethod(collate_fn4)

    def __init__(
        self,
        labels: LabelSet,
        img_size: int = 640,
        batch_size: int = 16,
        augment: bool = False,
        hyp: dict | None = None,
        rect: bool = False,
        image_weights: bool = False,
        cache_images: str | None = None,
        single_cls: bool = False,
        stride: int = 32,
        pad: float = 0.0,
        seed: int = 0,
        prefix: str = '',
    ) -> None:
        self.img_size, self.augment, self.stride, self.seed, self.prefix = img_size, augment, stride, seed, prefix
        self.hyp = load_hyp(hyp or {})
        self.rect = rect and not image_weights
        self.mosaic = augment and not self.rect
        self.mosaic_border = (-img_size // 2, -img_size // 2)
        self.albumentations = Albumentations() if augment else None
        self.batch_shapes = None
        if self.rect:
            labels = labels.select(rect_order(labels.shapes))
            self.batch_shapes = rect_batch_shapes(labels.shapes, batch_size, img_size, stride, pad)
        self.batch = np.arange(len(labels)) // batch_size  # of each picture
        self.label_set = labels.as_single_class() if single_cls else labels
        self.im_files, self.labels = self.label_set.images, self.label_set.labels
        self.shapes, self.segments = self.label_set.shapes, self.label_set.segments
        self.n = len(labels)
        self.indices = np.arange(self.n)
        self.ram: RamCache | None = None
        self.disk: DiskCache | None = None
        if cache_images:
            self.cache_images(cache_images)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: int | SampleKey) -> Sample:
        """The sample of a key; a plain number is that picture in epoch 0."""
        key = key if isinstance(key, SampleKey) else SampleKey(0, key, key)
        if not 0 <= key.index < self.n:
            raise IndexError(f'picture {key.index} of {self.n}')
        rng = stream(self.seed, *key[:2])
        if self.mosaic and rng.random() < self.hyp['mosaic']:
            image, labels, shapes = *self._mixed_mosaic(key.index, rng), None
        else:
            image, labels, shapes = self._letterboxed(key.index, rng)
        height, width = image.shape[:2]
        boxes = xyxy2xywhn(labels[:, 1:5], w=width, h=height, clip=True, eps=CLIP_EPS)
        labels = np.concatenate((labels[:, :1], boxes), 1)
        if self.augment:
            image, labels = self._recolour_and_flip(image, labels, rng)
        labels = np.concatenate((np.zeros((len(labels), 1)), labels), 1, dtype=np.float32)
        return to_network_order(image), labels, self.im_files[key.index], shapes

    def load_batch(self, keys: Sequence[SampleKey], quad: bool = False) -> Batch:
        """The samples of the keys as one batch."""
        samples = [self[key] for key in keys]
        if not quad:
            return collate_fn(samples)
        return collate_fn4(samples, stream(self.seed, *keys[0][:2], purpose=QUAD))

    # Pictures ---------------------------------------------------------------------------------------------------------

    def load_image(self, index: int) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """The picture (h, w, 3) uint8 BGR with its longer side scaled to img_size, (h0, w0) before, (h, w) now.

        Raises:
            DataError: it can't be decoded.
        """
        if self.ram:
            width, height = self.shapes[index].tolist()
            image, original = self.ram[index], (height, width)
        else:
            image = self.disk.read(index) if self.disk else read_image(self.im_files[index])
            original = image.shape[:2]
            image = resize_longest(image, self.img_size, self.augment)
        return image, original, image.shape[:2]

    def cache_images(self, where: str, world_size: int = 1) -> None:
        """Decode all pictures now and keep them in 'ram' (scaled) or on 'disk' (as they are), if there is room.

        Args:
            world_size: processes that will do the same on this machine.

        Raises:
            UsageError: neither ram nor disk.
            DataError: a picture can't be decoded.
        """
        if where == 'ram':
            ram = RamCache([self._shape(i) for i in range(self.n)])
            if fits(ram.nbytes * world_size, available_memory(), 'ram', 'the machine'):
                ram.fill(self._scaled, f'{self.prefix}caching {ram.nbytes / 2**30:.1f} GiB in ram')
                self.ram = ram
        elif where == 'disk':
            disk = DiskCache(self.im_files)
            needed = 3 * int(self.shapes.astype(np.int64).prod(1).sum())
            if disk.fill(needed, f'{self.prefix}caching {needed / 2**30:.1f} GiB on disk'):
                self.disk = disk
        else:
            raise UsageError(f'--cache {where}: no such cache', 'give ram or disk')

    # Samples ----------------------------------------------------------------------------------------------------------

    def _letterboxed(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple]:
        """One picture in the shape of its batch: it, its labels [class, xyxy pixels], how to get back to the original.

        The way back is ((h0, w0), ((ratio_h, ratio_w), (pad_w, pad_h))), the ratios being those of `load_image`.
        """
        image, (h0, w0), (h, w) = self.load_image(index)
        shape = self.img_size if self.batch_shapes is None else self.batch_shapes[self.batch[index]].tolist()
        image, ratio, pad = letterbox(image, shape, auto=False, scaleup=self.augment)
        labels = self.labels[index]
        boxes = xywhn2xyxy(labels[:, 1:], ratio[0] * w, ratio[1] * h, *pad)
        labels = np.concatenate((labels[:, :1], boxes), 1)
        if self.augment:
            segments = [xyn2xy(polygon, ratio[0] * w, ratio[1] * h, *pad) for polygon in self.segments[index]]
            image, labels = random_perspective(image, labels, segments, **self._warp_limits(), rng=rng)
        return image, labels, ((h0, w0), ((h / h0, w / w0), pad))

    def load_mosaic(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The picture with three others as a mosaic, warped: (img_size, img_size, 3), labels [class, xyxy pixels]."""
        centre = draw_centre(rng, self.img_size)
        return self._warped(mosaic4(self._tiles(index, 3, rng), self.img_size, centre), rng)

    def load_mosaic9(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Like `load_mosaic` with eight others; not part of the recipe, for those who want to try."""
        corner = draw_corner(rng, self.img_size)
        return self._warped(mosaic9(self._tiles(index, 8, rng), self.img_size, corner), rng)

    def _mixed_mosaic(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self.load_mosaic(index, rng)
        if rng.random() < self.hyp['mixup']:
            other = self.load_mosaic(int(rng.integers(self.n)), rng)
            image, labels = mixup(image, labels, *other, rng=rng)
        return image, labels

    def _tiles(self, index: int, partners: int, rng: np.random.Generator) -> list[Tile]:
        """The picture and `partners` drawn ones, in random order."""
        chosen = np.append(rng.choice(self.indices, partners), index)
        rng.shuffle(chosen)
        return [
            Tile(Later(self._shape(i), partial(self._scaled, i)), self.labels[i], self.segments[i])
            for i in chosen.tolist()
        ]

    def _shape(self, index: int) -> tuple[int, int, int]:
        """Of a picture once it is scaled."""
        width, height = resized_shape(*self.shapes[index].tolist(), self.img_size)
        return height, width, 3

    def _scaled(self, index: int) -> np.ndarray:
        """A picture in its `_shape`, whatever its file has become since the labels were checked."""
        image, (height, width, _) = self.load_image(index)[0], self._shape(index)
        return image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height))

    def _warped(self, mosaic: Mosaic, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        pasted = draw_copy_paste(rng, mosaic.segments, self.hyp['copy_paste'])
        warp = draw_warp(rng, self.img_size, self.img_size, **self._warp_limits())
        # A mirrored object may come from anywhere; without any, only what the warp shows is drawn.
        image = mosaic.image if pasted else mosaic.draw(warp.window(mosaic.side, self.img_size))
        mixed = apply_copy_paste(image, mosaic.labels, mosaic.segments, pasted)
        return apply_warp(*mixed, warp, self.mosaic_border)

    def _warp_limits(self) -> dict[str, float]:
        return {key: self.hyp[key] for key in ('degrees', 'translate', 'scale', 'shear', 'perspective')}

    def _recolour_and_flip(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self.albumentations(image, labels, rng=rng)
        augment_hsv(image, self.hyp['hsv_h'], self.hyp['hsv_s'], self.hyp['hsv_v'], rng)
        if rng.random() < self.hyp['flipud']:
            image, labels = flip_up_down(image, labels)
        if rng.random() < self.hyp['fliplr']:
            image, labels = flip_left_right(image, labels)
        return image, labels


def to_network_order(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) BGR -> contiguous (3, h, w) RGB. cv2.split does in a tenth of the time what transposing does."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, [planes[2], planes[1], planes[0]])
    return planes
