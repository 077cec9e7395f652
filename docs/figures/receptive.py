"""Receptive fields: what each layer can see by its geometry, and where a trained detector really looks."""

from __future__ import annotations

import numpy as np
import oneflow as torch

from docs.figures.style import BLUE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from docs.tools.pages import DOCS
from models.yolo import Model
from utils.checkpoint import attempt_load
from utils.data.shapes import draw_picture

ROOM = 4096  # pixels: larger than any receptive field
TILES, TILE, VIEWS = 7, 128, 2  # pictures as the detector was trained on, side by side
SHARE = 0.95  # of the gradient

Span = np.ndarray  # (2, cells): the first and the last pixel of the picture that a cell of a map sees


def spans(model: Model) -> list[int]:
    """The width in pixels of what a cell in the middle of each row's output can see."""
    return [int(row[len(row) // 2]) for row in widths(model)]


def widths(model: Model) -> list[np.ndarray]:
    """The width in pixels of what each cell of a line of each row's output can see, (cells,) each."""
    pixels = np.arange(ROOM)
    outputs, x = [], np.stack((pixels, pixels))
    for layer in model.model:
        sources = layer.f if isinstance(layer.f, list) else [layer.f]
        x = _through(layer, [x if source == -1 else outputs[source] for source in sources])
        outputs.append(x)
    return [x[1] - x[0] + 1 for x in outputs]


def _through(layer, x: list[Span]) -> Span:
    kind = layer.type.rsplit('.', 1)[-1]
    if kind == 'Conv':
        return _slide(x[0], layer.conv.kernel_size[0], layer.conv.stride[0], layer.conv.padding[0])
    if kind == 'C3':
        return _slide(x[0], 1 + 2 * len(layer.m), 1, len(layer.m))  # a 3x3 kernel in each bottleneck
    if kind == 'SPPF':
        reach = 3 * (layer.m.kernel_size[0] // 2)
        return _slide(x[0], 2 * reach + 1, 1, reach)
    if kind == 'Upsample':
        return x[0].repeat(2, axis=1)
    if kind == 'Detect':
        return x[-1]  # of the coarsest level
    return np.stack((np.min([span[0] for span in x], 0), np.max([span[1] for span in x], 0)))


def _slide(span: Span, kernel: int, stride: int, padding: int) -> Span:
    """What a window sees: the first pixel of its first cell to the last one of its last."""
    last = span.shape[1] - 1
    start = np.arange(0, last + 1, stride) - padding
    return np.stack((span[0, start.clip(0, last)], span[1, (start + kernel - 1).clip(0, last)]))


def make() -> None:
    model = attempt_load(DOCS / 'weights/shapes.safetensors', fuse=False).float().eval()
    fields = spans(model)
    figure, axes = canvas(1, 3, height=3.5)
    rows = []
    for level, (axis, row) in enumerate(zip(axes[0], model.model[-1].f)):
        seen = sensitivity(model, level)
        stride, width = int(model.stride[level]), _width_of_share(seen)
        _draw(picture_axes(axis), seen, fields[row], width)
        axis.set_title(f'{row}: /{stride}', pad=12)
        rows.append([f'{row}', str(stride), str(fields[row]), str(width)])
    save(figure, 'receptive.png')
    finest = widths(model)[model.model[-1].f[0]]
    inside = finest[len(finest) // 4 : -len(finest) // 4]  # whose field does not run out of the picture
    write_numbers('receptive', {
        'table': rows, 'share': f'{SHARE:.0%}', 'views': VIEWS, 'tiles': TILES**2, 'others': int(inside.max()),
    })  # fmt: skip


def sensitivity(model: Model, level: int) -> np.ndarray:
    """How much the objectness of a level's middle cell depends on each pixel: mean |gradient|, (height, width)."""
    side, total = TILES * TILE, 0.0
    for view in range(VIEWS):
        rng = np.random.default_rng(view)
        tiles = [[draw_picture(rng, TILE)[0] for _ in range(TILES)] for _ in range(TILES)]
        picture = np.concatenate([np.concatenate(line, 1) for line in tiles])[..., ::-1].transpose(2, 0, 1)
        x = torch.tensor(picture[None].astype(np.float32) / 255, requires_grad=True)
        raw = model(x)[1][level]
        middle = side // int(model.stride[level]) // 2
        raw[0, :, middle, middle, 4].sum().backward()
        total = total + np.abs(x.grad.numpy()[0]).sum(0)
    return total / VIEWS


def _width_of_share(seen: np.ndarray) -> int:
    """The side of the smallest square round the middle that has SHARE of all."""
    middle, whole = len(seen) // 2, seen.sum()
    for half in range(1, middle + 1):
        if seen[middle - half : middle + half, middle - half : middle + half].sum() >= SHARE * whole:
            return 2 * half
    return len(seen)


def _draw(axes, seen: np.ndarray, field: int, width: int) -> None:
    side, middle = len(seen), len(seen) / 2
    # The fourth root makes visible what is a thousandth of the peak.
    axes.imshow((seen / seen.max()) ** 0.25, cmap='Greys', interpolation='bilinear', extent=(0, side, side, 0))
    for size, color in ((field, BLUE), (width, RED)):
        corner, end = middle - size / 2, middle + size / 2
        box(axes, (corner, corner, end, end), color)
        axes.text(middle, corner - 6, str(size), color=color, ha='center', va='bottom', fontsize=9)
    axes.set(xlim=(0, side), ylim=(side, 0))
