"""`make demo`: a detector from nothing to annotated pictures in about six minutes on two CPU cores.

Draws the shapes data set, trains yolov5n on it from scratch, evaluates the best checkpoint, and runs it on pictures it
has not seen.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from utils.errors import run_main
from utils.paths import ROOT

TRAINING = {'imgsz': 128, 'batch_size': 16, 'epochs': 40, 'optimizer': 'AdamW', 'noval': True, 'cache': 'ram'}

# The recipe is made for hundreds of thousands of steps, and this run has about a thousand. Warming up for the whole of
# it makes the learning rate rise and fall in one arc, a quarter of lr0 at its top (the one-cycle policy,
# https://arxiv.org/abs/1708.07120), and lets the optimiser step more often, since accumulation grows with the warm-up.
# Classes count for more, because their loss is scaled to 80 of them. Mosaics are left out: in so short a training they
# cost 8 points of mAP50.
DEMO_HYP = {
    'lr0': 0.016, 'lrf': 0.01, 'momentum': 0.9, 'warmup_momentum': 0.9, 'warmup_bias_lr': 0.0, 'cls': 4.0,
    'scale': 0.3, 'mosaic': 0.0, 'flipud': 0.5,
}  # fmt: skip


def demo_hyp(epochs: int) -> dict:
    """The hyper-parameters of a training of so many epochs."""
    from utils.hyps import load_hyp

    return load_hyp('hyp.scratch-low.yaml') | DEMO_HYP | {'warmup_epochs': epochs}


def demo(folder: Path, training: dict, data: str = 'shapes.yaml', cfg: str = 'yolov5n.yaml') -> tuple[float, Path]:
    """Train, evaluate, detect below `folder`, which is emptied; returns mAP50 and the folder of annotated pictures."""
    import detect
    import train
    import val
    from utils.data.shapes import draw_unseen

    shutil.rmtree(folder, ignore_errors=True)
    hyp = demo_hyp(training['epochs'])
    train.run(data=data, weights='', cfg=cfg, hyp=hyp, project=str(folder), name='train', **training)
    best = folder / 'train' / 'weights' / 'best.safetensors'
    (_, _, map50, *_), _, _ = val.run(
        data=data, weights=[best], imgsz=training['imgsz'], project=str(folder), name='val'
    )
    pictures = draw_unseen(folder / 'unseen')
    found = detect.run(
        weights=[best], source=str(pictures[0].parent), imgsz=[training['imgsz']], project=str(folder), name='detect'
    )
    return map50, found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser('python -m tools.demo', description='Train, evaluate and run a small detector.')
    parser.add_argument('--epochs', type=int, default=TRAINING['epochs'], help='epochs to train')
    parser.add_argument('--folder', type=Path, default=ROOT / 'runs' / 'demo', help='where everything goes')
    parser.add_argument('--debug', action='store_true', help='show the traceback of errors')
    options = parser.parse_args(argv)
    began = time.time()
    map50, found = demo(options.folder, TRAINING | {'epochs': options.epochs})
    print(
        f'\nDone in {(time.time() - began) / 60:.1f} minutes: mAP50 {map50:.3f} on the validation pictures.\n'
        f'Plots of the training:     {options.folder / "train"}\n'
        f'Plots of the evaluation:   {options.folder / "val"}\n'
        f'Annotated unseen pictures: {found}\n'
        'Next: train on your own data, see README.md'
    )


if __name__ == '__main__':
    sys.exit(run_main(main))
