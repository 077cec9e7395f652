"""Each augmentation before and after, on drawn pictures, with the boxes that are left; and what a mosaic is made of."""

from __future__ import annotations

import cv2
import numpy as np

from docs.figures.style import BLUE, GREEN, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.boxes import xywhn2xyxy, xyxy2xywhn
from utils.data.augment import apply_hsv, draw_hsv, flip_left_right, flip_up_down, hist_equalize
from utils.data.mix import apply_copy_paste, apply_cutout, apply_mixup, apply_replicate, draw_cutout, draw_replicate
from utils.data.mosaic import Mosaic, Tile, mosaic4, mosaic9
from utils.data.perspective import Warp, apply_warp, box_candidates, draw_warp
from utils.data.shapes import draw_picture
from utils.hyps import load_hyp

SIZE = 320
CENTRE = 280, 380  # where the four tiles of the mosaic meet
DRAWS = 400

Picture = tuple[np.ndarray, np.ndarray]  # (h, w, 3) BGR and (n, 5) [class, xyxy in pixels]


def picture(seed: int, size: int = SIZE) -> Picture:
    image, labels = draw_picture(np.random.default_rng([7, seed]), size)
    return image, np.column_stack((labels[:, :1], xywhn2xyxy(labels[:, 1:], size, size))).astype(np.float32)


def tile(seed: int) -> Tile:
    return Tile(*draw_picture(np.random.default_rng([7, seed]), SIZE))


def make() -> None:
    _figure('augment_colour.png', colours())
    _figure('augment_warp.png', warps())
    _figure('augment_mix.png', mixes())
    _mosaic_figure()
    write_numbers('augmentation', {'hsv': _hsv_rows(), **_mosaic_numbers(), 'size': SIZE, 'draws': f'{DRAWS}'})


# Panels ---------------------------------------------------------------------------------------------------------------


def colours() -> dict[str, Picture]:
    image, labels = picture(2)
    panels = {'before': (image, labels)}
    for name, factors in (('hue 1.2', (1.2, 1, 1)), ('saturation 1.7', (1, 1.7, 1)), ('saturation 0.3', (1, 0.3, 1))):
        panels[name] = _recoloured(image, factors), labels
    for name, factors in (('value 1.4', (1, 1, 1.4)), ('value 0.6', (1, 1, 0.6))):
        panels[name] = _recoloured(image, factors), labels
    hyp, rng = load_hyp({}), np.random.default_rng(1)
    factors = draw_hsv(rng, hyp['hsv_h'], hyp['hsv_s'], hyp['hsv_v'])
    return panels | {
        'augment_hsv': (_recoloured(image, factors), labels),
        'hist_equalize': (hist_equalize(image, bgr=True), labels),
    }


def _recoloured(image: np.ndarray, factors) -> np.ndarray:
    image = image.copy()
    apply_hsv(image, np.array(factors, float))
    return image


def warps() -> dict[str, Picture]:
    image, labels = picture(2)
    middle = {'translate': (SIZE / 2, SIZE / 2)}
    drawn = {
        'translate': Warp(translate=(0.6 * SIZE, 0.42 * SIZE)), 'scale 1.5': Warp(scale=1.5, **middle),
        'scale 0.5': Warp(scale=0.5, **middle), 'degrees 20': Warp(angle=20, **middle),
        'shear 15': Warp(shear=(15, 0), **middle), 'perspective': Warp(perspective=(0.001, 0.001), **middle),
    }  # fmt: skip
    panels = {'before': (image, labels)}
    panels |= {name: apply_warp(image, labels, (), warp) for name, warp in drawn.items()}
    normal = np.column_stack((labels[:, :1], xyxy2xywhn(labels[:, 1:].copy(), SIZE, SIZE)))
    flipped, rows = flip_left_right(image, normal)
    return panels | {'fliplr': (flipped, np.column_stack((rows[:, :1], xywhn2xyxy(rows[:, 1:], SIZE, SIZE))))}


def mixes() -> dict[str, Picture]:
    image, labels = picture(2)
    other, other_labels = picture(5)
    normal = np.column_stack((labels[:, :1], xyxy2xywhn(labels[:, 1:].copy(), SIZE, SIZE)))
    polygons = [_ellipse(row[1:]) for row in labels]
    pasted = apply_copy_paste(image, labels, polygons, range(len(labels)))
    holes = image.copy()
    left = apply_cutout(holes, normal, draw_cutout(np.random.default_rng(3), SIZE, SIZE))
    copies = draw_replicate(np.random.default_rng(0), labels, SIZE, SIZE)
    upside, rows = flip_up_down(image, normal)
    return {
        'before': (image, labels), 'second': (other, other_labels),
        'mixup': apply_mixup(image, labels, other, other_labels, 0.5), 'copy_paste': pasted[:2],
        'flipud': (upside, np.column_stack((rows[:, :1], xywhn2xyxy(rows[:, 1:], SIZE, SIZE)))),
        'cutout': (holes, np.column_stack((left[:, :1], xywhn2xyxy(left[:, 1:], SIZE, SIZE)))),
        'replicate': apply_replicate(image.copy(), labels, copies),
    }  # fmt: skip


def _ellipse(xyxy: np.ndarray) -> np.ndarray:
    """A polygon inside a box: the outline of an object, near enough for a picture."""
    x1, y1, x2, y2 = xyxy.tolist()
    angles = np.linspace(0, 2 * np.pi, 40)
    return np.stack(((x1 + x2 + (x2 - x1) * np.cos(angles)) / 2, (y1 + y2 + (y2 - y1) * np.sin(angles)) / 2), 1)


# Drawing --------------------------------------------------------------------------------------------------------------


def _figure(name: str, panels: dict[str, Picture]) -> None:
    figure, axes = canvas(2, 4, height=5.0)
    for axis in axes.ravel():
        picture_axes(axis)
    for axis, (title, content) in zip(axes.ravel(), panels.items()):
        _panel(axis, title, *content, color=BLUE if title in ('before', 'second') else RED)
    save(figure, name, dpi=76)


def _panel(axis, title: str, image: np.ndarray, labels: np.ndarray, color: str) -> None:
    height, width = image.shape[:2]
    axis.imshow(image[..., ::-1], extent=(0, width, height, 0), interpolation='bilinear')
    for row in labels:
        box(axis, row[1:], color)
    axis.set(xlim=(-1, width + 1), ylim=(height + 1, -1))
    axis.set_title(title, pad=5)


def _mosaic_figure() -> None:
    figure, axes = canvas(1, 3, height=3.5)
    four = mosaic4([tile(i) for i in range(4)], SIZE, CENTRE)
    nine = mosaic9([tile(i) for i in range(9)], SIZE, (SIZE // 2, SIZE // 2))
    warp = draw_warp(np.random.default_rng(2), SIZE, SIZE, 0, 0.1, 0.5, 0)
    _canvas_panel(axes[0, 0], 'mosaic4', four, warp)
    cut = apply_warp(four.image, four.labels, (), warp, (-SIZE // 2, -SIZE // 2))
    _panel(picture_axes(axes[0, 1]), f'random_perspective: {SIZE}×{SIZE}', *cut, color=RED)
    _canvas_panel(axes[0, 2], 'mosaic9', nine, None)
    save(figure, 'augment_mosaic.png', dpi=80)


def _canvas_panel(axis, title: str, mosaic: Mosaic, warp: Warp | None) -> None:
    _panel(picture_axes(axis), f'{title}: {mosaic.side}×{mosaic.side}', mosaic.image, mosaic.labels, BLUE)
    if warp:
        back = cv2.invertAffineTransform(warp.matrix(mosaic.side, mosaic.side)[:2])
        corners = np.array([(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE), (0, 0)]) @ back[:, :2].T + back[:, 2]
        axis.plot(*corners.T, color=GREEN, linewidth=2.2)


# Numbers --------------------------------------------------------------------------------------------------------------


def _hsv_rows() -> list[list[str]]:
    hyp = load_hyp({})
    gains = [hyp[key] for key in ('hsv_h', 'hsv_s', 'hsv_v')]
    names = ('`hsv_h`', '`hsv_s`', '`hsv_v`')
    return [[name, f'{gain:g}', f'{1 - gain:.3g}–{1 + gain:.4g}'] for name, gain in zip(names, gains)]


def _mosaic_numbers() -> dict[str, str]:
    """How many labels a sample of one picture and of a mosaic has, on average, and how many the warp drops."""
    rng, hyp = np.random.default_rng(0), load_hyp({})
    tiles = [tile(i) for i in range(40)]
    placed = shown = 0
    for _ in range(DRAWS):
        chosen = [tiles[i] for i in rng.integers(0, len(tiles), 4)]
        y, x = rng.uniform(SIZE // 2, 2 * SIZE - SIZE // 2, 2).astype(int).tolist()
        mosaic = mosaic4(chosen, SIZE, (x, y))
        warp = draw_warp(rng, SIZE, SIZE, hyp['degrees'], hyp['translate'], hyp['scale'], hyp['shear'])
        matrix = warp.matrix(mosaic.side, mosaic.side)
        corners = mosaic.labels[:, 1:].reshape(-1, 2) @ matrix[:2, :2].T + matrix[:2, 2]
        boxes = corners.reshape(-1, 4).clip(0, SIZE)
        placed += len(boxes)
        shown += int(box_candidates(mosaic.labels[:, 1:].T * warp.scale, boxes.T, area_thr=0.1).sum())
    single = np.mean([len(t.labels) for t in tiles])
    count = DRAWS
    return {'single': f'{single:.1f}', 'placed': f'{placed / count:.1f}', 'shown': f'{shown / count:.1f}'}
