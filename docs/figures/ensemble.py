"""Three detectors that were trained from different seeds, all of them as one, and one of twice their width."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import train
from docs.figures.pruning import SIZE, evaluate
from docs.figures.style import canvas, picture_axes, save
from docs.tools.numbers import write_numbers
from models.autoshape import AutoShape
from models.ensemble import Ensemble
from models.summary import count_flops
from tools.demo import TRAINING, demo_hyp
from utils.checkpoint import attempt_load
from utils.data.shapes import draw_picture
from utils.paths import ROOT, read_yaml, write_yaml

MEASURES = True  # four trainings, a quarter of an hour: again only when named
SEEDS, WIDTH = (1, 2, 3), 0.125
PICTURES, THRESHOLDS = 128, (0.6, 0.45)  # the whole validation split; evaluation's and detection's --iou-thres


def trained(seed: int, width: float):
    """A YOLOv5n of another width, trained by the recipe of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder, 'network.yaml')
        write_yaml(network, read_yaml(ROOT / 'models/yolov5n.yaml') | {'width_multiple': width})
        options = TRAINING | {'noplots': True, 'loggers': ['csv'], 'project': folder, 'seed': seed}
        hyp = demo_hyp(TRAINING['epochs'])
        train.run(data='shapes.yaml', weights='', cfg=str(network), hyp=hyp, **options)
        return attempt_load(Path(folder, 'exp/weights/best.safetensors'), 'cpu').eval()


def make() -> None:
    members = [trained(seed, WIDTH) for seed in SEEDS]
    together, wide = Ensemble(members), trained(SEEDS[0], 2 * WIDTH)  # YOLOv5n's own width
    names = [*map(str, SEEDS), '`Ensemble`', 'YOLOv5n']
    models = [*members, together, wide]
    rows = []
    for iou_thres in THRESHOLDS:
        found = evaluate(models, PICTURES, iou_thres=iou_thres)
        rows += [[f'{iou_thres}', name, *(f'{v:.3f}' for v in scores)] for name, scores in zip(names, found)]
    write_numbers('ensemble', {
        'pictures': PICTURES, 'size': SIZE, 'width': WIDTH, 'epochs': TRAINING['epochs'],
        'cost': f'{len(SEEDS) * count_flops(members[0]) / count_flops(wide):.2f}', 'table': rows,
    })  # fmt: skip
    draw(members, together)


def draw(members: list, together: Ensemble) -> None:
    picture, _ = draw_picture(np.random.Generator(np.random.PCG64(21)), 320)
    figure, axes = canvas(1, 4, height=2.6)
    for axis, model, title in zip(axes[0], [*members, together], ['1', '2', '3', 'Ensemble']):
        shape = AutoShape(model)
        shape.conf = 0.25
        picture_axes(axis).imshow(shape(np.ascontiguousarray(picture[..., ::-1]), size=SIZE).render()[0])
        axis.set_title(title)
    figure.tight_layout()
    save(figure, 'ensemble.png')
