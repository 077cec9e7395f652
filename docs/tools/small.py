"""Commands as the pages write them, on data and settings with which they take a second or two."""

from __future__ import annotations

import re
import shlex

SHAPES = 'datasets/shapes/shapes.yaml'
CHECKPOINT = 'runs/train/exp/weights/best.safetensors'

# The word after an option. An option that is written `--img=640` is taken apart first.
AFTER = {
    '--epochs': '1',
    '--batch': '4',
    '--batch-size': '4',
    '--img': '64',
    '--imgsz': '64',
    '--img-size': '64',
    '--evolve': '1',
    '--workers': '0',
    '--save-period': '1',
    '--device': 'cpu',
}
# A word by itself: official data sets need a network.
WORDS = dict.fromkeys(('shapes.yaml', 'coco128.yaml', 'coco.yaml', 'VOC.yaml'), SHAPES) | {'FILE': CHECKPOINT}
TRAINING = '--noplots', '--workers', '0', '--loggers', 'csv'  # added to each training
TRAINING_WORDS = {f'yolov5{size}.{kind}': f'tiny.{of}' for size in 'nsmlx' for kind, of in
                  (('yaml', 'yaml'), ('pt', 'safetensors'))}  # fmt: skip

# What is not run, by its beginning: it sets the machine up, serves for ever, or needs a network.
# Our own servers, downloads, benchmarks, resumed runs and several processes have tests of their own.
ELSEWHERE = (
    'make ', 'git ', 'cd ', 'python3.10 -m venv', 'pip install', 'python -m utils.runtime', '. .venv/bin/activate',
    'tensorboard', 'python -m utils.data.fetch', 'python train.py --resume', 'python -m examples.server',
    'python -m benchmarks', 'python benchmarks.py', 'python -m oneflow.distributed.launch', 'curl',
)  # fmt: skip


def small(command: str, always: bool = False) -> list[str] | None:
    """The words of a command, made small; None for one that is not run, unless `always`."""
    if command.startswith(ELSEWHERE) and not always:
        return None
    words = [part for word in shlex.split(command) for part in _apart(word)]
    table = WORDS | (TRAINING_WORDS if 'train.py' in words else {})
    made: list[str] = []
    option = ''
    for word in words:
        if word.startswith('--'):
            option = word
            made.append(word)
        else:
            made.append(AFTER[option] if option in AFTER else table.get(word, word))
    return [*made, *TRAINING] if 'train.py' in words else made


def small_code(code: str) -> str:
    """A Python block with short trainings."""
    return re.sub(r'\btrain\.run\(([^()]*)\)', _small_training, code)


def _small_training(call: re.Match) -> str:
    arguments = re.sub(r'\bepochs=\d+', 'epochs=1', call[1])
    arguments = re.sub(r"'yolov5\w\.pt'", "'tiny.safetensors'", arguments)
    return f'train.run({arguments}, **dict(imgsz=64, noplots=True, workers=0, loggers=["csv"]))'


def _apart(word: str) -> list[str]:
    return word.split('=', 1) if word.startswith('--') and '=' in word else [word]
