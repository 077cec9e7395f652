"""A wide picture fitted into the network's input: into a square, and into the smallest multiple of the stride."""

from __future__ import annotations

import numpy as np

from docs.figures.style import BLUE, DARK, RED, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from utils.data.letterbox import letterbox
from utils.data.shapes import draw_picture

SIZE, STRIDE = 320, 64
CUT = 120, 360  # rows of the drawn 480 x 480 picture


def wide_picture() -> np.ndarray:
    """(240, 480, 3) RGB."""
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(4)), 480)
    return np.ascontiguousarray(picture[slice(*CUT), :, ::-1])


def make() -> None:
    picture = wide_picture()
    square, ratio, pad = letterbox(picture, SIZE, auto=False)
    small, ratio_small, pad_small = letterbox(picture, SIZE, auto=True, stride=STRIDE)
    figure, axes = canvas(1, 3, height=3.5)
    panels = [
        (picture, 'picture', (0, 0)), (square, 'auto=False', pad), (small, f'auto=True, stride={STRIDE}', pad_small),
    ]  # fmt: skip
    for axis, (image, title, (_, border)) in zip(axes[0], panels):
        _draw(picture_axes(axis), image, title, border)
    save(figure, 'letterbox.png')
    height, width = picture.shape[:2]
    shapes = {'square': square.shape, 'rect': small.shape}
    write_numbers('letterbox', {
        'height': height, 'width': width, 'size': SIZE, 'stride': STRIDE,
        'ratio': f'{ratio[0]:.4g}', 'ratio_rect': f'{ratio_small[0]:.4g}',
        'pad': f'{pad[1]:g}', 'pad_rect': f'{pad_small[1]:g}',
        **{name: f'{w}×{h}' for name, (h, w, _) in shapes.items()},
        'saved': f'{100 * (1 - shapes["rect"][0] / shapes["square"][0]):.0f}%',
    })  # fmt: skip


def _draw(axes, image: np.ndarray, title: str, border: float) -> None:
    height, width = image.shape[:2]
    gap = 0.045 * width
    axes.imshow(image, extent=(0, width, height, 0), interpolation='bilinear')
    _measure(axes, (0, -gap), (width, -gap), str(width), DARK)
    _measure(axes, (width + gap, 0), (width + gap, height), str(height), DARK)
    for top in (0, height - border) if border else ():
        _measure(axes, (width / 2, top), (width / 2, top + border), f'{border:g}', RED)
        axes.plot([0, width], [border, border], color=BLUE, linewidth=1)
    if border:
        axes.plot([0, width], [height - border] * 2, color=BLUE, linewidth=1)
    longest = max(image.shape)
    axes.set(xlim=(-0.02 * longest, 1.16 * longest), ylim=(1.02 * longest, -0.13 * longest))
    axes.set_title(title, x=(width / 2 / longest + 0.02) / 1.18, pad=4)


def _measure(axes, start: tuple, end: tuple, text: str, color: str) -> None:
    """A double arrow with a length beside it."""
    arrow = {'arrowstyle': '<->', 'color': color, 'linewidth': 1.2, 'shrinkA': 0, 'shrinkB': 0, 'mutation_scale': 9}
    axes.annotate('', end, start, arrowprops=arrow)
    across = start[1] == end[1]
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    offset, place = ((0, 2), ('center', 'bottom')) if across else ((4, 0), ('left', 'center'))
    axes.annotate(
        text, middle, offset, textcoords='offset points', ha=place[0], va=place[1], color=color, fontsize=9,
        bbox={'facecolor': 'white', 'alpha': 0.8, 'edgecolor': 'none', 'pad': 1},
    )  # fmt: skip
