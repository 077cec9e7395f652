"""Run the code of pages in a copy of the checkout that is as a reader has it, with little data.

`make_place` makes that folder; `run_page` starts this file as a program there: one process for all blocks and commands
of a page, in their order, so that OneFlow is imported once. A command that is a Python program runs inside it as well;
others get a process of their own.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from docs.tools.small import small, small_code

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ('models', 'utils', 'tools', 'examples', 'benchmarks')
PICTURES = {'train': 8, 'val': 4}
DOTS = 25  # an inch, of figures
RUNS, KEPT = ('train/exp', 'demo/train'), ('best', 'last')
DETECTOR = 'docs/weights/shapes.safetensors'
# Three levels, a neck and six convolutions. OneFlow's share of a step grows with the number of tensors, not their size;
# eleven rows, so that --freeze 10 leaves one to train.
TINY = {
    'nc': 4, 'depth_multiple': 1.0, 'width_multiple': 1.0, 'anchors': [[10, 13], [30, 61], [116, 90]],
    'backbone': [[-1, 1, 'Conv', [8, 3, 2]] for _ in range(5)],
    'head': [
        [-1, 1, 'nn.Upsample', [None, 2, 'nearest']], [[-1, 3], 1, 'Concat', [1]],
        [-1, 1, 'nn.Upsample', [None, 2, 'nearest']], [[-1, 2], 1, 'Concat', [1]], [-1, 1, 'Conv', [8, 1, 1]],
        [[9, 6, 4], 1, 'Detect', ['nc', 'anchors']],
    ],
}  # fmt: skip


def make_place(folder: Path) -> Path:
    """A checkout in `folder`, with little data and with weights.

    The data set of shapes (its first pictures) and the same as `mydata`; a trained detector where the first training
    and `make demo` leave theirs, and in place of official weights; tiny.yaml, a network that trains in no time.
    """
    from utils.data.shapes import make_shapes
    from utils.paths import write_yaml

    for path in [*ROOT.glob('*.py'), *(ROOT / room for room in ROOMS)]:
        (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / 'data', folder / 'data')
    (folder / DETECTOR).parent.mkdir(parents=True)
    for checkpoint in (DETECTOR, *(f'runs/{run}/weights/{which}.safetensors' for run in RUNS for which in KEPT)):
        (folder / checkpoint).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / DETECTOR, folder / checkpoint)
    for size in 'nsmlx':
        (folder / f'yolov5{size}.pt').symlink_to(ROOT / DETECTOR)
    make_shapes(folder / 'datasets/shapes', size=320, **PICTURES)
    shutil.copytree(folder / 'datasets/shapes', folder / 'mydata')
    (folder / 'mydata/shapes.yaml').rename(folder / 'mydata/mydata.yaml')
    write_yaml(folder / 'tiny.yaml', TINY)
    return folder


def run_page(page, place: Path) -> list[dict]:
    """Run what a page has to run; a record for each piece: line, code, output, error (empty if all went well)."""
    steps = list(_steps(page))
    (place / 'steps.json').write_text(json.dumps(steps))
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'GLOG_minloglevel': '2',
        'MPLBACKEND': 'agg',
        'COLUMNS': '120',
    }
    program = [sys.executable, '-m', 'docs.tools.runner', 'steps.json']
    done = subprocess.run(program, cwd=place, env=environment, capture_output=True, text=True)
    finished = place / 'done.json'
    records = json.loads(finished.read_text()) if finished.is_file() else []
    if done.returncode:
        ended = steps[min(len(records), len(steps) - 1)]
        records.append({**ended, 'output': '', 'error': f'exit code {done.returncode}\n{done.stderr[-3000:]}'})
    return records


def _steps(page) -> Iterator[dict]:
    for block in page.blocks:
        if 'skip' in block.marks:
            continue
        if 'file' in block.marks:
            yield {'kind': 'file', 'line': block.line, 'code': block.code, 'name': block.marks['file']}
        elif block.language == 'python':
            yield {'kind': 'python', 'line': block.line, 'code': small_code(block.code)}
        else:
            yield from _commands(page, block)
    yield from _commands(page, None)


def _commands(page, block) -> Iterator[dict]:
    fails = block is not None and 'fails' in block.marks
    for command, of in page.commands:
        if of is block and (words := small(command, always=fails)):
            line = block.line if block else 0
            yield {'kind': 'command', 'line': line, 'code': command, 'words': words, 'fails': fails}


def _run_step(step: dict, names: dict) -> None:
    if step['kind'] == 'file':
        Path(step['name']).parent.mkdir(parents=True, exist_ok=True)
        Path(step['name']).write_text(step['code'], 'utf-8')
    elif step['kind'] == 'python':
        exec(compile(step['code'], f'line {step["line"]}', 'exec'), names)
    else:
        if 'val.py' in step['words']:
            draw_coarsely()
        _run_command(step['words'])


def _run_command(words: list[str]) -> None:
    if words[0] != 'python' or 'oneflow.distributed.launch' in words:
        words = [sys.executable if word == 'python' else word for word in words]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'exit code {done.returncode}\n{done.stderr[-3000:]}')
        return
    sys.argv = words[2:] if words[1] == '-m' else words[1:]
    try:
        if words[1] == '-m':
            runpy.run_module(words[2], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(words[1], run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f'exit code {end.code}') from None


def draw_coarsely() -> None:
    """Figures of an evaluation with few pixels: drawing and packing them takes longer than the rest of it."""
    from matplotlib.figure import Figure

    savefig = inspect.unwrap(Figure.savefig)
    Figure.savefig = functools.wraps(savefig)(lambda figure, path, **_: savefig(figure, path, dpi=DOTS))


def _make_tiny_weights() -> None:
    """tiny.safetensors: tiny.yaml with weights that have learnt nothing, for trainings to start from."""
    from models.yolo import Model
    from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays

    model = Model('tiny.yaml')
    strides, anchors = model.stride.tolist(), model.detect.anchors.numpy()
    save_checkpoint('tiny.safetensors', Checkpoint(model.yaml, state_arrays(model), list('abcd'), strides, anchors))


def main() -> None:
    steps, names = json.loads(Path(sys.argv[1]).read_text()), {'__name__': '__main__'}
    records = []
    if any('tiny.safetensors' in str(step) for step in steps):
        _make_tiny_weights()
    for step in steps:
        start = time.perf_counter()
        records.append(step | _record(step, names) | {'seconds': time.perf_counter() - start})
        Path('done.json').write_text(json.dumps(records))


def _record(step: dict, names: dict) -> dict:
    """What a step prints, and the error if it goes otherwise than it should."""
    output, errors, error = io.StringIO(), io.StringIO(), ''
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            _run_step(step, names)
        except (Exception, KeyboardInterrupt):
            error = traceback.format_exc(limit=-3) + errors.getvalue()[-2000:]
    printed = output.getvalue()
    if step.get('fails'):
        said = [line for line in errors.getvalue().splitlines() if line.startswith('Error: ')]
        error = '' if error and said else f'it should fail, but:\n{error}{printed}'
        printed = '\n'.join(said) + '\n'
    for folder in (Path.cwd(), ROOT):
        printed = printed.replace(f'{folder}/', '')
    return {'output': printed, 'error': error}


if __name__ == '__main__':
    main()
