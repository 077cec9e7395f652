"""Comparisons of whole commands: training, resuming, evaluating, exporting, two cards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.backend import load_backend
from tools.gpu_base import Mismatch, check, checkpoint, need, rows_of, same
from utils.paths import ROOT, read_yaml, write_yaml

# Commands -------------------------------------------------------------------------------------------------------------


def command(*words: str, launcher: int = 0) -> str:
    """Run a command of the toolkit; its output.

    Raises:
        Mismatch: it fails.
    """
    launch = ['-m', 'oneflow.distributed.launch', '--nproc_per_node', str(launcher)] if launcher else []
    done = subprocess.run([sys.executable, *launch, *words], cwd=ROOT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in output.strip().splitlines() if 'Error' in line] or output.strip().splitlines()[-1:]
        raise Mismatch(f'{words[0]}: exit code {done.returncode}: {" ".join(lines[:1])}')
    return output


def train_words(folder: Path, device: str, **changes: Any) -> list[str]:
    """train.py on eight drawn images, one epoch of two batches."""
    from utils.data.shapes import make_shapes

    if not (folder / 'tiny.yaml').exists():
        make_shapes(folder / 'shapes', train=8, val=4, size=64)
        config = read_yaml(ROOT / 'models/yolov5n.yaml') | {'depth_multiple': 0.1, 'width_multiple': 0.02}
        write_yaml(folder / 'tiny.yaml', config)
    options = {
        'data': folder / 'shapes/shapes.yaml', 'weights': '', 'cfg': folder / 'tiny.yaml', 'epochs': 1, 'img': 64,
        'batch-size': 4, 'device': device, 'workers': 0, 'project': folder / 'train', 'name': 'exp', 'seed': 0,
    }  # fmt: skip
    words = [word for name, value in (options | changes).items() for word in (f'--{name}', str(value))]
    return ['train.py', *words, '--noplots']


def losses(folder: Path, run: str = 'exp') -> np.ndarray:
    """The columns of losses in results.csv, (epochs, 6): of training and validation."""
    lines = (folder / 'train' / run / 'results.csv').read_text().splitlines()
    columns = [i for i, name in enumerate(lines[0].split(',')) if 'loss' in name]
    return np.array([[float(line.split(',')[i]) for i in columns] for line in lines[1:]])


@check('an epoch of training')
def epoch(name: str, folder: Path) -> str:
    """Training, evaluation, checkpoints; the losses are the CPU's."""
    for run, device in (('exp', name), ('cpu', 'cpu')):
        command(*train_words(folder, device, name=run))
    return same([losses(folder)], [losses(folder, 'cpu')], 0.02)


@check('resuming')
def resuming(name: str, folder: Path) -> str:
    """A run that is ended after its first epoch goes on with the second one."""
    code = (
        'import sys, train; from utils.callbacks import Callbacks; from utils.options import parse_options\n'
        'def end(*_): raise KeyboardInterrupt\n'
        "callbacks = Callbacks(); callbacks.register_action('on_model_save', callback=end)\n"
        "train.start_training(parse_options(train.TrainOptions, sys.argv[1:], '', 'train.py'), callbacks)"
    )
    _, *words = train_words(folder, name, epochs=2)
    subprocess.run([sys.executable, '-c', code, *words], cwd=ROOT, capture_output=True)
    need(len(losses(folder)) == 1, f'the first run has {len(losses(folder))} epochs')
    command('train.py', '--resume', str(folder / 'train/exp'), '--device', name)
    need(len(losses(folder)) == 2, 'has no second epoch')
    need(bool(np.isfinite(losses(folder)).all()), 'its losses are no numbers')
    return 'goes on with epoch 2'


@check('AutoBatch, then an evaluation')
def autobatch(name: str, folder: Path) -> str:
    command(*train_words(folder, name, **{'batch-size': -1, 'cfg': 'yolov5n.yaml', 'img': 320}))
    need(bool(np.isfinite(losses(folder)).all()), 'the losses are no numbers')
    return 'trains and evaluates'


@check('evaluation')
def evaluation(name: str, folder: Path) -> str:
    """val.py's detections as label files."""
    train_words(folder, name)
    found = []
    for run, device in (('device', name), ('cpu', 'cpu')):
        words = ['--weights', 'docs/weights/shapes.safetensors', '--img', '64', '--conf-thres', '0.1']
        words += ['--device', device, '--data', str(folder / 'shapes/shapes.yaml')]
        places = ['--project', str(folder / 'val'), '--name', run]
        command('val.py', *words, *places, '--save-txt', '--save-conf')
        files = sorted((folder / 'val' / run / 'labels').glob('*.txt'))
        rows = [row for file in files for row in np.loadtxt(file, ndmin=2).tolist()]
        found.append(np.array(sorted(rows)).reshape(-1, 6))
    return f'{len(found[0])} boxes, ' + same([found[0]], [found[1]], 1e-2)


@check('export')
def export(name: str, folder: Path) -> str:
    """With a GPU named, the exported file is compared with the checkpoint, and gives what the GPU gives."""
    file = checkpoint(folder)
    command('export.py', '--weights', str(file), '--img', '64', '128', '--device', name, '--include', 'onnx')
    return same([rows_of(load_backend(file, name))], [rows_of(load_backend(file.with_suffix('.onnx'), 'cpu'))])


def beyond_the_first(name: str) -> str:
    """The device that is named, or the second card in place of the first."""
    return '1' if name == '0' else name


@check('another card than the first', cards=2)
def another_card(name: str, folder: Path) -> str:
    command(*train_words(folder, beyond_the_first(name)))
    need(bool(np.isfinite(losses(folder)).all()), 'the losses are no numbers')
    return 'trains and evaluates'


@check('two processes', cards=2)
def two_processes(name: str, folder: Path) -> str:
    """Under the launcher, a card each."""
    command(*train_words(folder, 'cpu' if name == 'cpu' else f'0,{beyond_the_first(name)}'), launcher=2)
    need(bool(np.isfinite(losses(folder)).all()), 'the losses are no numbers')
    return 'train and evaluate'
