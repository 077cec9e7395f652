"""Write what was measured in long runs to docs/numbers, from the files that these runs leave.

    python -m docs.tools.results benchmarks runs/benchmarks/exp
    python -m docs.tools.results bccd --ours runs/train/exp runs/train/exp2 --two runs/train/exp3 --reference band.json
    python -m docs.tools.results demo runs/demo

Afterwards `python -m docs.tools.fill README.md` brings the numbers into README.md and README.zh.md. Each file says
when, where and of which commit: the last one before the run ended, or --commit.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from docs.tools.numbers import write_numbers
from utils.errors import DataError, run_main
from utils.metrics import fitness
from utils.paths import ROOT, read_yaml

COLUMNS = 'metrics/precision', 'metrics/recall', 'metrics/mAP_0.5', 'metrics/mAP_0.5:0.95'
SAME = 'epochs', 'batch_size', 'imgsz'  # options that trainings shown together have to share


def benchmarks(folder: Path, commit: str) -> dict:
    """Of a run of `python -m benchmarks`: by figure, setting and other side."""
    head = [line[2:] for line in (folder / 'results.md').read_text('utf-8').split('\n| ')[0].splitlines() if line]
    date, machine, packages, *sides = head[1:]
    about = {name: re.sub(', /.*', '', text) for name, text in (line.split(': ', 1) for line in sides)}  # no paths
    values: dict = origin(datetime.strptime(date, '%Y-%m-%d %H:%M'), commit, machine) | {
        'packages': packages, 'sides': about, 'pytorch': _version(about.get('PyTorch', '')),
        'reference': _version(about.get('reference', '')),
    }  # fmt: skip
    for row in _table(folder / 'results.csv'):
        place = values.setdefault(slug(row['figure']), {}).setdefault(slug(row['setting']), {})
        place['ours'], place['unit'] = float(f'{float(row["ours"]):.3g}'), row['unit']
        if row['against']:
            ratios = {name: f'{float(row[name]):.2f}' for name in ('ratio', 'low', 'high')}
            place[slug(row['against'])] = {'theirs': float(f'{float(row["theirs"]):.3g}'), **ratios}
    return values


def bccd(ours: list[Path], two: list[Path], reference: list[Path], commit: str) -> dict:
    """Of trainings: the scores of each best checkpoint.

    Raises:
        DataError: they had different options.
    """
    options = {folder: {key: read_yaml(folder / 'opt.yaml')[key] for key in SAME} for folder in [*ours, *two]}
    for folder, given in options.items():
        if given != options[ours[0]]:
            raise DataError(f'{folder}: was trained with {given}, and {ours[0]} with {options[ours[0]]}')
    ended = max((folder / 'results.csv').stat().st_mtime for folder in [*ours, *two])
    return origin(datetime.fromtimestamp(ended), commit, machine()) | options[ours[0]] | {
        'seeds': [read_yaml(folder / 'opt.yaml')['seed'] for folder in ours],
        'ours': [best(folder) for folder in ours], 'two': [best(folder) for folder in two],
        'reference': [scores for path in reference for scores in (_band(path) if path.is_file() else [best(path)])],
    }  # fmt: skip


def demo(folder: Path, commit: str) -> dict:
    """Of `make demo`: minutes from its first file to its last, and the score."""
    times = [path.stat().st_mtime for path in folder.rglob('*') if path.is_file()]
    row = _table(folder / 'train/results.csv')[-1]
    return origin(datetime.fromtimestamp(max(times)), commit, machine()) | {
        'minutes': f'{(max(times) - min(times)) / 60:.1f}', 'map50': f'{float(row["metrics/mAP_0.5"]):.2f}',
        'epochs': int(row['epoch']) + 1,
    }  # fmt: skip


def best(folder: Path) -> dict[str, str]:
    """Of the epoch from which best.safetensors is."""
    rows = [[float(row[name]) for name in COLUMNS] for row in _table(folder / 'results.csv')]
    row = max(rows, key=lambda row: float(fitness([row])[0]))
    return {'map50': f'{row[2]:.3f}', 'map': f'{row[3]:.3f}'}


def _band(path: Path) -> list[dict[str, str]]:
    """The reference's runs, its best checkpoints evaluated again without the time limit of its suppression."""
    measured = json.loads(path.read_text('utf-8'))['revalidated_val_img320_iou0.60']
    rows = [values for name, values in measured.items() if name.endswith('_best')]
    return [{'map50': f'{row["mAP50"]:.3f}', 'map': f'{row["mAP50_95"]:.3f}'} for row in rows]


def origin(ended: datetime, commit: str, machine: str) -> dict[str, str]:
    if not commit:
        words = ['git', 'log', '-1', '--format=%h', f'--before={ended:%Y-%m-%d %H:%M}']
        commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return {'date': f'{ended:%Y-%m-%d}', 'commit': commit, 'machine': machine}


def machine() -> str:
    names = re.findall(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text(errors='replace'))
    return f'{names[0] if names else platform.machine()}, {os.cpu_count()} cores'


def slug(text: str) -> str:
    """'Training step, batch 4' -> 'training_step_batch_4'."""
    return re.sub('[^a-z0-9]+', '_', text.lower()).strip('_')


def _version(about: str) -> str:
    found = re.search(r'PyTorch (\d+\.\d+)', about)
    return found[1] if found else ''


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    return [{key.strip(): value.strip() for key, value in row.items()} for row in rows]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser('python -m docs.tools.results', description=__doc__.splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--commit', default='', help='what was measured')
    common.add_argument('--as', dest='name', default='', help='name of the file in docs/numbers')
    kinds = parser.add_subparsers(dest='kind', required=True)
    for kind, about in (('benchmarks', 'a run of python -m benchmarks'), ('demo', 'a run of make demo')):
        kinds.add_parser(kind, parents=[common], help=about).add_argument('folder', type=Path)
    trainings = kinds.add_parser('bccd', parents=[common], help='trainings: folders of runs')
    for flag in ('--ours', '--two', '--reference'):
        trainings.add_argument(flag, type=Path, nargs='+', default=[], required=flag == '--ours')
    given = vars(parser.parse_args(argv))
    kind, name = given.pop('kind'), given.pop('name')
    print(write_numbers(name or kind, {'benchmarks': benchmarks, 'bccd': bccd, 'demo': demo}[kind](**given)))


if __name__ == '__main__':
    sys.exit(run_main(main))
