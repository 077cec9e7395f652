"""Exported files beside their checkpoint: bytes, how far their rows are from its own, and what they score."""

from __future__ import annotations

import numpy as np

from docs.figures.pruning import DETECTOR, SIZE, detector
from docs.figures.style import BLUE, GREEN, ORANGE, canvas, save
from docs.figures.suppression import PICTURES, pictures
from docs.tools.numbers import write_numbers
from models.graph.build import build_onnx
from models.graph.nms import NMSOptions
from models.runners import OnnxRunner
from utils.data.letterbox import letterbox
from utils.data.shapes import draw_picture
from utils.evaluate import Tally
from utils.nms import non_max_suppression

SUPERSCRIPT = str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹')
# Options of `build_onnx`, and how the differences of boxes are drawn.
KINDS = (
    ('onnx', {}, {'color': BLUE, 'linewidth': 3, 'alpha': 0.5}),
    ('onnx --dynamic', {'dynamic': True}, {'color': GREEN, 'linewidth': 1.2}),
    ('onnx --half', {'half': True}, {'color': ORANGE, 'linewidth': 1.5}),
)


def make() -> None:
    import oneflow as torch

    model = detector()
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    image = letterbox(np.ascontiguousarray(picture[..., ::-1]), SIZE, auto=False)[0]
    x = image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    images, labels = pictures()
    many = images.astype(np.float32) / np.float32(255)
    with torch.no_grad():
        expected, rows_of_many = (model(torch.tensor(y))[0].numpy() for y in (x, many))
    figure, axes = canvas(1, 1, height=3.2, width=7)
    rows = [['`.safetensors`', f'{DETECTOR.stat().st_size / 1e3:,.0f}', '', '', '', _map50(rows_of_many, labels)]]
    for name, options, style in KINDS:
        graph = build_onnx(model, (SIZE, SIZE), **options)
        away = np.abs(_run(graph, x) - expected)
        axes[0, 0].hist(
            np.log10(away[..., :4].ravel() + 1e-8), np.linspace(-8, 1, 73),
            histtype='step', label=name, gid='rounding', **style,
        )  # fmt: skip
        pixels, scores = away[..., :4].max(), away[..., 4:].max()
        middle = float(np.median(away[..., :4]))  # in the end half precision's
        found = _run(build_onnx(model, (SIZE, SIZE), PICTURES, **options), many)
        rows.append([*_size(name, graph), _decimal(pixels), _decimal(scores), _map50(found, labels)])
    graph = build_onnx(model, (SIZE, SIZE), nms=NMSOptions())
    found = _run(build_onnx(model, (SIZE, SIZE), PICTURES, nms=NMSOptions()), many)
    rows.append([*_size('onnx --nms', graph), '', '', _map50(found, labels)])
    axes[0, 0].set(xlabel='log10 |Δ| (px)', ylabel='coordinates', ylim=(0, 1500))  # each processor rounds otherwise
    axes[0, 0].legend(fontsize=9)
    figure.tight_layout()
    save(figure, 'export.svg')
    write_numbers('export', {
        'size': SIZE, 'half_median': f'{middle:.1g}', 'pictures': PICTURES, 'map50': rows[0][-1],
        'map50_nms': rows[-1][-1], 'table': rows,
    })  # fmt: skip


def _run(graph, x: np.ndarray):
    return OnnxRunner('exported.onnx', graph=graph.SerializeToString())(x)


def _size(name: str, graph) -> list:
    return [f'`{name}`', f'{graph.ByteSize() / 1e3:,.0f}', len(graph.graph.node)]


def _decimal(value: np.floating) -> str:
    """One digit that counts: 0.4, or 2·10⁻⁶ where it comes late."""
    digit, exponent = f'{value:.0e}'.split('e')
    if int(exponent) > -5:
        return np.format_float_positional(float(f'{value:.0e}'), trim='-')
    return f'{digit}·10{str(int(exponent)).translate(SUPERSCRIPT)}'


def _map50(found: np.ndarray | list[np.ndarray], labels: list[np.ndarray]) -> str:
    """mAP50 of all rows, suppressed as val.py does it, or of the detections of a file that suppresses itself."""
    if isinstance(found, np.ndarray):
        found = non_max_suppression(found, 0.001, 0.6, multi_label=True)
    tally = Tally(4)
    for detections, known in zip(found, labels):
        tally.add(detections, known)
    return f'{tally.scores().means()[2]:.3f}'
