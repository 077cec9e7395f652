"""The network drawn from its model file, its bricks, and tables of its layers and of the five sizes."""

from __future__ import annotations

import oneflow as torch
from matplotlib.patches import FancyBboxPatch

from docs.figures.receptive import spans
from docs.figures.style import BLUE, DARK, GREEN, GREY, ORANGE, PURPLE, RED, canvas, save
from docs.tools.numbers import write_numbers
from models.summary import count_flops
from models.yolo import Model

SIZE = 640
COLORS = {'Conv': BLUE, 'C3': GREEN, 'SPPF': PURPLE, 'Upsample': ORANGE, 'Concat': GREY, 'Detect': RED}
STRIDES = 2, 4, 8, 16, 32
HEIGHT = {2: 0.0, 4: 1.4, 8: 3.0, 16: 6.2, 32: 9.4}  # where the rows of a stride begin
COLUMN = ((0, 9, 0.0), (10, 17, 4.2), (18, 23, 8.4), (24, 24, 12.6))  # first row, last row, x: backbone, up, down, head
WIDE, HIGH, STEP = 3.0, 0.56, 0.72


def make() -> None:
    model = Model('yolov5s.yaml').eval()
    shapes = output_shapes(model)
    _draw_network(model, shapes)
    _draw_bricks()
    write_numbers('network', {'layers': _layer_rows(model, shapes), 'sizes': _size_rows()})


def output_shapes(model: Model) -> list[tuple[int, int]]:
    """(channels, height) of each row's output, for a picture of SIZE; Detect's is (outputs a cell, 0)."""
    shapes: list[tuple[int, int]] = []

    def see(x, _type: str, _row: int) -> None:
        shapes.append(tuple(x.shape[1:3]) if isinstance(x, torch.Tensor) else (model.detect.na * model.detect.no, 0))

    small = SIZE // 5  # the shapes grow with the picture, the time too
    with torch.no_grad():
        model(torch.zeros(1, 3, small, small), visualize=see)
    return [(channels, 5 * height) for channels, height in shapes]


# Tables ---------------------------------------------------------------------------------------------------------------


def _layer_rows(model: Model, shapes: list[tuple[int, int]]) -> list[list[str]]:
    fields = spans(model)
    rows = []
    for layer, (channels, height), field in zip(model.model, shapes, fields):
        name = layer.type.rsplit('.', 1)[-1]
        name += f' ×{layer.n}' if layer.n > 1 else ''
        size = f'{channels}×{height}×{height}' if height else f'{channels} × 3'
        stride = str(SIZE // height) if height else '8, 16, 32'
        sources = ', '.join(map(str, layer.f)) if isinstance(layer.f, list) else str(layer.f)
        rows.append([str(layer.i), sources, name, size, stride, f'{layer.np:,}', str(field) if height else ''])
    return rows


def _size_rows() -> list[list[str]]:
    rows = []
    for size in 'nsmlx':
        model = Model(f'yolov5{size}.yaml')
        parameters = sum(p.numel() for p in model.parameters())
        channels = [layer.conv.out_channels for layer in model.model if layer.type.endswith('.Conv')]
        repeats = sum(len(layer.m) for layer in model.model if layer.type.endswith('.C3'))
        depth, width = (model.yaml[f'{key}_multiple'] for key in ('depth', 'width'))
        cells = [f'YOLOv5{size}', f'{depth:g}', f'{width:g}', repeats, f'{min(channels)}–{max(channels)}']
        rows.append([*map(str, cells), f'{parameters / 1e6:.1f}\u00a0M', f'{count_flops(model):.1f}'])
    return rows


# Drawing --------------------------------------------------------------------------------------------------------------


def _places(model: Model, shapes: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Centre of each row's box: columns are the way through the network, heights the strides."""
    places, used = [], {}
    for layer, (_, height) in zip(model.model, shapes):
        x = next(x for first, last, x in COLUMN if first <= layer.i <= last)
        stride = SIZE // height if height else 16
        upward = 10 <= layer.i <= 17
        number = used.get((x, stride), 0)
        used[x, stride] = number + 1
        # Going up, the rows of a stride are filled from below.
        places.append((x, HEIGHT[stride] + STEP * ((2.9 - number) if upward else number)))
    return places


def _draw_network(model: Model, shapes: list[tuple[int, int]]) -> None:
    figure, axes = canvas(height=7.6)
    axis = axes[0, 0]
    places = _places(model, shapes)
    for stride in STRIDES:
        y = HEIGHT[stride] - 0.46
        axis.plot([-2.4, 14.4], [y, y], color='#e4e4e4', linewidth=1, zorder=0)
        axis.text(-2.4, y + 0.14, f'/{stride}', color=GREY, va='top', fontsize=9)
    for layer in model.model:
        for source in layer.f if isinstance(layer.f, list) else [layer.f]:
            if layer.i + source >= 0 or source >= 0:
                _connect(axis, places, source if source >= 0 else layer.i + source, layer.i)
    for layer, shape, place in zip(model.model, shapes, places):
        _draw_row(axis, layer, shape, place)
    axis.set(xlim=(-2.5, 14.6), ylim=(12.0, -0.6))
    axis.axis('off')
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    save(figure, 'network.svg')


def _draw_row(axis, layer, shape: tuple[int, int], place: tuple[float, float]) -> None:
    name = layer.type.rsplit('.', 1)[-1]
    x, y = place
    if name == 'Detect':
        _block(axis, x + 0.2, y, 1.9, 1.0, f'{layer.i} {name}', COLORS[name])
        return
    repeats = f'×{layer.n}' if layer.n > 1 else ''
    _block(axis, x, y, WIDE, HIGH, f'{layer.i} {name}{repeats} {shape[0]}×{shape[1]}²', COLORS[name])


def _connect(axis, places: list[tuple[float, float]], start: int, end: int) -> None:
    (x1, y1), (x2, y2) = places[start], places[end]
    style = {'arrowstyle': '-|>', 'color': DARK, 'linewidth': 1.0, 'shrinkA': 0, 'shrinkB': 0, 'mutation_scale': 9}
    if x1 == x2:
        down = 1 if y2 > y1 else -1
        begin, finish = (x1, y1 + down * HIGH / 2), (x2, y2 - down * HIGH / 2)
    else:
        side = 1.9 / 2 - 0.2 if end == len(places) - 1 else WIDE / 2
        begin, finish = (x1 + WIDE / 2, y1), (x2 - side, y2)
    axis.annotate('', finish, begin, arrowprops=style, zorder=1)


def _block(axis, x: float, y: float, width: float, height: float, text: str, color: str, fontsize: float = 9) -> None:
    style = {'boxstyle': 'round,pad=0,rounding_size=0.12', 'facecolor': f'{color}30', 'edgecolor': color}
    for look in (style | {'facecolor': 'white', 'edgecolor': 'white'}, style):  # no line shows through
        axis.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, linewidth=1.3, zorder=2, **look))
    axis.text(x, y, text, ha='center', va='center', fontsize=fontsize, color=DARK, zorder=3)


BRICKS = {  # name: boxes (text, x, y, colour of), arrows between (x, y) and (x, y)
    'Conv': (
        [('Conv2d', 1, 0, 'Conv'), ('BatchNorm2d', 3, 0, 'Conv'), ('SiLU', 5, 0, 'Conv')],
        [((-0.5, 0), (1, 0)), ((1, 0), (3, 0)), ((3, 0), (5, 0)), ((5, 0), (6.2, 0))],
    ),
    'Bottleneck': (
        [('Conv 1', 1, 0, 'Conv'), ('Conv 3', 3, 0, 'Conv'), ('+', 5, 0, 'Concat')],
        [((-0.5, 0), (1, 0)), ((1, 0), (3, 0)), ((3, 0), (5, 0)), ((5, 0), (6.2, 0)), ((-0.5, 0), (5, 0))],
    ),
    'C3': (
        [
            ('cv1', 1, -0.45, 'Conv'), ('m: n × Bottleneck', 3, -0.45, 'C3'), ('cv2', 1, 0.45, 'Conv'),
            ('cat', 5, 0, 'Concat'), ('cv3', 7, 0, 'Conv'),
        ],
        [
            ((-0.5, 0), (-0.2, 0)), ((-0.2, 0), (0.13, -0.45)), ((1, -0.45), (3, -0.45)), ((3, -0.45), (5, 0)),
            ((-0.2, 0), (0.13, 0.45)), ((1, 0.45), (5, 0)), ((5, 0), (7, 0)), ((7, 0), (8.2, 0)),
        ],
    ),
    'SPPF': (
        [
            ('cv1', 1, 0, 'Conv'), ('m 5', 2.4, 0, 'SPPF'), ('m 5', 3.8, 0, 'SPPF'), ('m 5', 5.2, 0, 'SPPF'),
            ('cat', 6.6, 0, 'Concat'), ('cv2', 8, 0, 'Conv'),
        ],
        [((-0.5, 0), (1, 0)), *(((x, 0), (x + 1.4, 0)) for x in (1, 2.4, 3.8, 5.2, 6.6)), ((8, 0), (9.2, 0))],
    ),
}  # fmt: skip
OVER = {'Bottleneck': [(-0.1, 5)], 'SPPF': [(1.75, 6.6), (3.15, 6.45), (4.55, 6.3)]}  # arcs over the row, x from and to


def _draw_bricks() -> None:
    figure, axes = canvas(4, 1, height=4.6)
    for axis, (name, (boxes, arrows)) in zip(axes[:, 0], BRICKS.items()):
        axis.text(-2.0, 0, name, ha='left', va='center', fontsize=11, fontweight='bold', color=DARK)
        line = {'arrowstyle': '-', 'color': DARK, 'linewidth': 1.1, 'shrinkA': 0, 'shrinkB': 0}
        for start, end in arrows[:-1] if name == 'Bottleneck' else arrows:
            axis.annotate('', end, start, arrowprops=line, zorder=1)
        axis.plot(max(end[0] for _, end in arrows), 0, '>', color=DARK, markersize=5)
        for number, (start, end) in enumerate(OVER.get(name, [])):
            top = -0.62 - 0.13 * number if name == 'Bottleneck' else -0.86 + 0.16 * number
            axis.plot([start, start, end, end], [0, top, top, 0], color=DARK, linewidth=1.0, zorder=1)
        for text, x, y, kind in boxes:
            width = 0.7 if text == '+' else 1.75 if name != 'SPPF' else 0.95
            _block(axis, x, y, width, 0.62, text, COLORS[kind], fontsize=9.5)
        axis.set(xlim=(-2.1, 9.6), ylim=(0.95, -0.95))
        axis.axis('off')
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    save(figure, 'network_bricks.svg')
