"""What the first detector finds on pictures it has not seen, at two confidences, and how it scores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import val
from docs.figures.style import ORANGE, RED, box, canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from docs.tools.pages import DOCS
from models.backend import load_backend
from utils.boxes import scale_coords
from utils.data.images import read_image
from utils.data.letterbox import letterbox
from utils.data.shapes import draw_unseen, make_shapes

SIZE, PICTURES, JUDGED, LOW, HIGH = 128, 4, 128, 0.2, 0.5
WEIGHTS = DOCS / 'weights/shapes.safetensors'


def make() -> None:
    backend = load_backend(str(WEIGHTS), device='cpu')
    with tempfile.TemporaryDirectory() as folder:
        pictures = [read_image(path) for path in draw_unseen(folder, PICTURES, seed=3)]
        scores = _scores(Path(folder))
    figure, axes = canvas(1, PICTURES, height=2.3)
    sure = doubtful = 0
    for axis, picture in zip(axes[0], pictures):
        found = _detect(backend, picture)
        sure, doubtful = sure + int((found[:, 4] >= HIGH).sum()), doubtful + int((found[:, 4] < HIGH).sum())
        _draw(picture_axes(axis), picture, found, backend.names)
    figure.tight_layout(pad=0.4)
    save(figure, 'quickstart.png', dpi=130)
    write_numbers('quickstart', {
        **scores, 'pictures': JUDGED, 'sure': sure, 'doubtful': doubtful, 'low': LOW, 'high': HIGH, 'size': SIZE,
    })  # fmt: skip


def _detect(backend, picture: np.ndarray) -> np.ndarray:
    """(n, 6) xyxy in pixels of the picture, confidence, class."""
    image, ratio, pad = letterbox(picture, SIZE, auto=False)
    pixels = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None])
    found = np.array(backend.predict(pixels, conf_thres=LOW)[0])
    scale_coords(image.shape[:2], found[:, :4], picture.shape[:2], (ratio, pad))
    return found


def _draw(axes, picture: np.ndarray, found: np.ndarray, names) -> None:
    height, width = picture.shape[:2]
    axes.imshow(picture[..., ::-1], extent=(0, width, height, 0))
    for x1, y1, x2, y2, confidence, number in found[found[:, 4].argsort()].tolist():
        color = RED if confidence >= HIGH else ORANGE
        box(axes, (x1, y1, x2, y2), color, linestyle='-' if confidence >= HIGH else ':')
        plate = {'facecolor': color, 'edgecolor': 'none', 'pad': 1, 'alpha': 0.85}
        text = f'{names[int(number)]} {confidence:.2f}' if confidence >= HIGH else f'{confidence:.2f}'
        axes.text(max(x1, 2), max(y1, 14), text, fontsize=7.5, color='white', va='bottom', bbox=plate)
    axes.set(xlim=(0, width), ylim=(height, 0))


def _scores(folder: Path) -> dict[str, str]:
    data = make_shapes(folder / 'shapes', train=1, val=JUDGED) / 'shapes.yaml'
    values, _, _ = val.run(data=str(data), weights=[str(WEIGHTS)], imgsz=SIZE, project=str(folder), plots=False)
    return {name: f'{value:.2f}' for name, value in zip(('p', 'r', 'map50', 'map'), values)}
