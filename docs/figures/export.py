"""Exported files beside their checkpoint: bytes, and how far their rows are from its own."""

from __future__ import annotations

import numpy as np

from docs.figures.pruning import DETECTOR, SIZE, detector
from docs.figures.style import BLUE, GREEN, ORANGE, canvas, save
from docs.tools.numbers import write_numbers
from models.graph.build import build_onnx
from models.graph.nms import NMSOptions
from models.runners import OnnxRunner
from utils.data.letterbox import letterbox
from utils.data.shapes import draw_picture


def make() -> None:
    import oneflow as torch

    model = detector()
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    image = letterbox(np.ascontiguousarray(picture[..., ::-1]), SIZE, auto=False)[0]
    x = image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    with torch.no_grad():
        expected = model(torch.tensor(x))[0].numpy()
    figure, axes = canvas(1, 1, height=3.2, width=7)
    rows = [['`.safetensors`', f'{DETECTOR.stat().st_size / 1e3:,.0f}', '', '', '']]
    for name, options, color in (
        ('onnx', {}, BLUE),
        ('onnx --dynamic', {'dynamic': True}, GREEN),
        ('onnx --half', {'half': True}, ORANGE),
    ):
        graph = build_onnx(model, (SIZE, SIZE), **options)
        content = graph.SerializeToString()
        away = np.abs(OnnxRunner(f'{name}.onnx', graph=content)(x) - expected)
        axes[0, 0].hist(
            np.log10(away[..., :4].ravel() + 1e-8), np.linspace(-8, 1, 73), color=color, alpha=0.6, label=name
        )
        pixels, scores = away[..., :4].max(), away[..., 4:].max()
        middle = float(np.median(away[..., :4]))  # in the end half precision's
        rows.append(
            [f'`{name}`', f'{len(content) / 1e3:,.0f}', len(graph.graph.node), f'{pixels:.1g}', f'{scores:.1g}']
        )
    graph = build_onnx(model, (SIZE, SIZE), nms=NMSOptions())
    rows.append(['`onnx --nms`', f'{len(graph.SerializeToString()) / 1e3:,.0f}', len(graph.graph.node), '', ''])
    axes[0, 0].set(xlabel='log10 |Δ| (px)')
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    save(figure, 'export.svg')
    write_numbers('export', {'size': SIZE, 'half_median': f'{middle:.1g}', 'table': rows})
