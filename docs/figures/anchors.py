"""The sizes of a data set's boxes, the default anchors, and those that AutoAnchor finds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from docs.figures.style import BLUE, GREY, ORANGE, canvas, save
from docs.tools.numbers import write_numbers
from utils.anchors import anchor_metric, box_sizes, kmean_anchors
from utils.data.labels import read_labels
from utils.data.shapes import make_shapes
from utils.paths import read_yaml

PICTURES, SIZE, SMALL = 64, 640, 16


def make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_shapes(Path(folder, 'shapes'), train=PICTURES, val=1)
        labels = read_labels([str(Path(folder, 'shapes/images/train'))], None)
        anchors = np.array(read_yaml(Path(__file__).parents[2] / 'models/yolov5n.yaml')['anchors'], float).reshape(
            -1, 2
        )
        figure, axes = canvas(1, 2, height=3.6)
        rows = []
        for axis, size in zip(axes[0], (SIZE, SMALL)):
            wh, found = box_sizes(labels, size), kmean_anchors(labels, 9, size, verbose=False)
            axis.scatter(*wh.T, s=5, color=GREY)
            axis.scatter(*anchors.T, marker='s', color=BLUE, label='yolov5n.yaml')
            axis.scatter(*found.T, marker='D', color=ORANGE, label='kmean_anchors')
            axis.set(xscale='log', yscale='log', xlabel='w', ylabel='h', title=f'--img {size}')
            for fit, name in (
                (anchor_metric(wh, anchors), '`yolov5n.yaml`'),
                (anchor_metric(wh, found), '`kmean_anchors`'),
            ):
                rows.append(
                    [f'`--img {size}`', name, f'{fit.recall:.3f}', f'{fit.per_target:.2f}', f'{fit.fitness:.3f}']
                )
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    save(figure, 'anchors.svg')
    write_numbers('anchors', {'pictures': PICTURES, 'boxes': len(wh), 'table': rows})
