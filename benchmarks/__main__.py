"""Measure everything, ours against others where they are at hand.

    python -m benchmarks                                              # ours by itself
    python -m benchmarks --torch-python ~/torch/bin/python            # and against PyTorch
    python -m benchmarks --torch-python ... --reference ~/yolov5      # and against the original
    python -m benchmarks --torch-python ... --sections train infer    # parts of it

The sides run in turns, A B A B ..., in processes of their own. The machine should have nothing else to do.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.gpu import count_gpus, on_gpu
from benchmarks.plan import ONE_YOLOV5, OURS, PLAIN, PYTORCH, REFERENCE, SECTIONS, SMALL, Figure, Job, Sizes
from benchmarks.results import Row, make_rows, markdown_table, plot, write_csv, write_markdown
from benchmarks.sides import Race, Side, race
from utils.cpu import cores
from utils.errors import UsageError, run_main
from utils.hyps import load_hyp
from utils.log import LOGGER, set_logging
from utils.options import option, parse_options
from utils.paths import increment_path

ALL = [*SECTIONS, 'gpu']


@dataclass
class Options:
    """Of the command line."""

    sections: list = option(ALL, '--sections', nargs='+', choices=ALL, help='what to measure')
    torch_python: str = option('', help='interpreter of an environment with PyTorch')
    reference: str = option('', help='checkout of the original YOLOv5, run by that interpreter')
    one_yolov5: str = option('', help="checkout of the OneFlow team's one-yolov5, run by this interpreter")
    plain: bool = option(False, help="also this project on OneFlow's own CPU kernels, which takes long")
    data: str = option('shapes.yaml', help='data set for loading, evaluation and epochs')
    weights: str = option('', help='checkpoint for that data set; without one, random weights')
    files: int = option(5000, help='label files to scan; COCO has 120,000')
    rounds: int = option(10, help='how often each side has its turn')
    threads: int = option(0, help='cores to use; 0: all')
    small: bool = option(False, help='everything tiny: shows that it runs, the numbers mean nothing')
    project: str = option('runs/benchmarks', help='folder of runs')
    name: str = option('exp', help='name of this run; a number is added if it is taken')


def main(argv: list[str] | None = None) -> None:
    set_logging()
    opt = parse_options(Options, argv, __doc__.splitlines()[0], '-m benchmarks')
    check(opt)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: opt.threads or cores()])  # for the child processes
    folder = increment_path(Path(opt.project) / opt.name, mkdir=True)
    with tempfile.TemporaryDirectory() as temporary:
        rows, left_out, about = measure(opt, prepare(opt, Path(temporary)))
    write_csv(rows, folder / 'results.csv')
    write_markdown(rows, [*machine(), *about], left_out, folder / 'results.md')
    plot(rows, folder)
    LOGGER.info('\n'.join(['', *markdown_table(rows), '', *left_out, f'Results saved to {folder}']))


def check(opt: Options) -> None:
    """Refuse what can't work before anything is measured."""
    if opt.reference and not opt.torch_python:
        raise UsageError('--reference without --torch-python', 'name an interpreter that has PyTorch')
    for name in ('torch_python', 'reference', 'one_yolov5'):
        path = getattr(opt, name)
        if path and not Path(path).expanduser().exists():
            raise UsageError(f'--{name.replace("_", "-")} {path}: is not there', 'check its path')
        # Not resolved: an environment's interpreter is a link, which tells Python where its packages are.
        setattr(opt, name, str(Path(path).expanduser().absolute()) if path else '')
    if opt.rounds < 1 or opt.threads < 0 or opt.files < 1:
        raise UsageError('--rounds, --threads or --files: too small', 'give 1 or more')


def prepare(opt: Options, folder: Path) -> Job:
    """The data set, weights and sides."""
    from utils.data.shapes import make_shapes
    from utils.data.yaml import load_data

    data = load_data(make_shapes(folder / 'shapes', train=8, val=4, size=64) / 'shapes.yaml' if opt.small else opt.data)
    sizes = replace(SMALL, models=(str(tiny_model(folder)),)) if opt.small else Sizes()
    weights = str(Path(opt.weights).absolute()) if opt.weights else str(folder / 'random.safetensors')
    if not opt.weights:
        words = [sys.executable, '-m', 'benchmarks.weights', weights, sizes.models[0], *data.names]
        subprocess.run(words, check=True)
    return Job(
        find_sides(opt), load_hyp('hyp.scratch-low.yaml') | {'label_smoothing': 0.0}, str(data.file),
        [str(path) for path in data.train], list(data.names), weights, folder, opt.files, sizes,
    )  # fmt: skip


def find_sides(opt: Options) -> dict[str, Side]:
    """Those that the options give."""
    sides = {OURS: Side(OURS, sys.executable, 'ours')}
    if opt.torch_python:
        sides[PYTORCH] = Side(PYTORCH, opt.torch_python, 'pytorch')
    if opt.reference:
        sides[REFERENCE] = Side(REFERENCE, opt.torch_python, 'reference', opt.reference)
    if opt.one_yolov5:
        sides[ONE_YOLOV5] = Side(ONE_YOLOV5, sys.executable, 'one-yolov5', opt.one_yolov5)
    if opt.plain:
        sides[PLAIN] = Side(PLAIN, sys.executable, 'plain')
    return sides


def tiny_model(folder: Path) -> Path:
    from utils.paths import ROOT, read_yaml, write_yaml

    path = folder / 'tiny.yaml'
    write_yaml(path, read_yaml(ROOT / 'models/yolov5n.yaml') | {'depth_multiple': 0.1, 'width_multiple': 0.02})
    return path


def measure(opt: Options, job: Job) -> tuple[list[Row], list[str], list[str]]:
    """All figures of the sections: their rows, what was left out and why, and what the sides say of themselves."""
    rows: list[Row] = []
    left_out = missing_sides(job)
    about: dict[str, str] = {}
    for figure in all_figures(opt, job, left_out):
        label = f'{figure.name}, {figure.setting}'
        LOGGER.info(label)
        result = race(figure.sides, min(opt.rounds, figure.rounds), figure.warm_up, same=figure.same)
        left_out += [f'{label}: {name} ({reason})' for name, reason in result.dropped.items()]
        about |= {name: text for name, text in result.about.items() if text}
        if OURS in result.values:
            new = rows_of(figure, result)
            rows += new
            LOGGER.info('\n'.join(markdown_table(new)[2:]))
    return rows, left_out, [f'{name}: {text}' for name, text in about.items()]


def all_figures(opt: Options, job: Job, left_out: list[str]) -> Iterator[Figure]:
    for name in opt.sections:
        if name in SECTIONS:
            yield from SECTIONS[name](job)
        elif count := count_gpus():
            yield from on_gpu(job, count)
        else:
            left_out.append('everything on a GPU (OneFlow sees none on this machine)')


def rows_of(figure: Figure, result: Race) -> list[Row]:
    """The rows of times, and of peak memory where the figure asks for it. Goals hold against PyTorch's code alone."""
    rows = make_rows(figure.name, figure.setting, figure.unit, result.values, x=figure.x)
    if figure.memory:
        peaks = {name: [float(peak)] for name, peak in result.peaks.items()}
        memory = make_rows('peak memory, ' + figure.name, figure.setting, 'bytes', peaks)
        rows += [replace(row, goal=figure.memory if has_goal(row) else None) for row in memory]
    goals = {'bytes': figure.memory, figure.unit: figure.goal}
    rows = [replace(row, goal=goals[row.unit]) if has_goal(row) else row for row in rows]
    if figure.limit is not None:
        rows = make_rows(figure.name, figure.setting, figure.unit, {OURS: result.values[OURS]}, figure.limit) + [
            row for row in rows if row.against
        ]
    return rows


def has_goal(row: Row) -> bool:
    return row.against in (PYTORCH, REFERENCE, 'whole step')


def missing_sides(job: Job) -> list[str]:
    """A line for each side that was not given."""
    options = {PYTORCH: '--torch-python', REFERENCE: '--reference', ONE_YOLOV5: '--one-yolov5', PLAIN: '--plain'}
    return [f'{name} (no {flag})' for name, flag in options.items() if name not in job.sides]


def machine() -> list[str]:
    """On what was measured."""
    names = re.findall(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text(errors='replace'))
    packages = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in ('oneflow', 'onnxruntime', 'numpy'))
    return [
        f'{datetime.now():%Y-%m-%d %H:%M}',
        f'{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores used',
        f'Python {platform.python_version()}, {packages}',
    ]


if __name__ == '__main__':
    sys.exit(run_main(main))
