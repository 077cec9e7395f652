"""For owners of a GPU: what works on it, in one command of under ten minutes.

    python -m tools.gpu_check               # on the first card
    python -m tools.gpu_check --device cpu  # a dry run that compares the CPU with itself

Each comparison runs in a process of its own with a time limit, for OneFlow may abort a process. What comes out, with
card, driver and speed, is written to gpu_check.md, to be attached to a report. Exit code 0 if none failed or ran out of
time, else 1; what needs more cards than there are does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from utils.paths import ROOT, atomic_write, increment_path

LOWEST, HIGHEST = (6, 0), (8, 9)  # compute capabilities that the wheel's code runs on; it has no PTX for others
LIMIT = 90  # seconds for one comparison
IN_ALL = 320  # seconds in which comparisons begin; after that the speed on both devices takes up to 2 x 90
LATE = 'out of time'
REPORT = 'gpu_check.md'
CHILD = 'tools.gpu_checks'  # the module that runs one comparison


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi tells of it; `capability` is None where it doesn't tell."""

    name: str
    driver: str
    memory: str
    capability: tuple[int, int] | None

    @property
    def covered(self) -> bool:
        return self.capability is None or LOWEST <= self.capability <= HIGHEST

    def __str__(self) -> str:
        capability = '.'.join(map(str, self.capability)) if self.capability else 'not told'
        return f'{self.name}, {self.memory}, driver {self.driver}, compute capability {capability}'


@dataclass(frozen=True)
class Result:
    """What came of a comparison: passed, failed, or not run."""

    name: str
    verdict: str
    detail: str
    seconds: float = 0.0


def find_cards() -> list[Card]:
    """The machine's NVIDIA GPUs, by their place on the bus; none without nvidia-smi."""
    for fields in ('name,driver_version,memory.total,compute_cap', 'name,driver_version,memory.total'):
        command = ['nvidia-smi', f'--query-gpu={fields}', '--format=csv,noheader']
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return []
        rows = [[cell.strip() for cell in line.split(',')] for line in done.stdout.strip().splitlines()]
        if done.returncode == 0 and rows and all(len(row) == fields.count(',') + 1 for row in rows):
            return [Card(*row[:3], _capability(*row[3:])) for row in rows]
    return []


def _capability(text: str = '') -> tuple[int, int] | None:
    parts = text.split('.')
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(p.isdigit() for p in parts) else None


def missing(device: str, cards: list[Card]) -> str:
    """Why nothing can be compared on the device; '' if it can."""
    if device == 'cpu':
        return ''
    if not cards:
        return 'no NVIDIA GPU here (nvidia-smi names none)'
    if int(device) >= len(cards):
        return f'--device {device}: there are {len(cards)} GPUs, numbered from 0'
    if not cards[int(device)].covered:
        span = '{}.{} to {}.{}'.format(*LOWEST, *HIGHEST)
        return f"{cards[int(device)]}: OneFlow 0.9.0's wheel has code for {span} only"
    return ''


def child(name: str, device: str, limit: float, exact: bool = True) -> tuple[int | None, str]:
    """The exit code (None: it ran out of time) and the output of one comparison, in a process of its own.

    Args:
        exact: without TF32, which rounds to eleven bits.
    """
    environment = {**os.environ, 'CUDA_DEVICE_ORDER': 'PCI_BUS_ID'} | ({'NVIDIA_TF32_OVERRIDE': '0'} if exact else {})
    words = [sys.executable, '-m', CHILD, name, '--device', device]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, text=True, errors='replace', start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ''
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)  # its own processes, too
            process.communicate()


def run_check(name: str, device: str, limit: float = LIMIT) -> Result:
    """One comparison, whatever becomes of its process."""
    began = time.monotonic()
    code, output = child(name, device, limit)
    seconds = time.monotonic() - began
    last = output.strip().splitlines()[-1] if output.strip() else 'no output'
    if code is None:
        return Result(name, 'failed', f'still running after {limit:g} s', seconds)
    if code < 0:
        return Result(name, 'failed', f'its process was ended by signal {-code} ({last})', seconds)
    return Result(name, 'failed' if code else 'passed', last, seconds)


def run_all(names: list[str], needs: dict[str, int], device: str, cards: int, limit: float) -> list[Result]:
    """All comparisons one after the other, a line each; those that lack time or cards are not run."""
    results, began = [], time.monotonic()
    for name in names:
        if device != 'cpu' and needs[name] > cards:
            result = Result(name, 'not run', f'needs {needs[name]} cards')
        elif time.monotonic() - began >= IN_ALL:
            result = Result(name, 'not run', LATE)
        else:
            result = run_check(name, device, limit)
        print(f'{result.verdict:8} {name}: {result.detail}', flush=True)
        results.append(result)
    return results


def speeds(device: str, limit: float) -> list[str]:
    """A table of seconds on the device and on the CPU; lines that say so where they can't be measured."""
    found = {}
    for where in dict.fromkeys((device, 'cpu')):
        code, output = child('speed', where, limit, exact=False)
        last = output.strip().splitlines()[-1] if output.strip() else ''
        if code != 0:
            return [f'Not measured on {where}: {last or "no output"}']
        found[where] = json.loads(last)
    lines = ['| | this device | CPU | times as fast |', '| --- | --- | --- | --- |']
    for what, seconds in found[device].items():
        cpu = found['cpu'][what]
        lines.append(f'| {what} | {seconds:.4f} s | {cpu:.4f} s | {cpu / seconds:.1f} |')
    return lines


def report(about: list[str], results: list[Result], speed: list[str]) -> str:
    """The file's text, Markdown."""
    rows = [f'| {r.name} | {r.verdict} | {r.seconds:.0f} s | {r.detail.replace("|", "/")} |' for r in results]
    table = ['| comparison | | time | |', '| --- | --- | --- | --- |', *rows]
    return '\n'.join(['# GPU check', '', *(f'- {line}' for line in about), '', *table, '', *speed, ''])


def versions() -> list[str]:
    """Of the software."""
    from importlib.metadata import version

    packages = ', '.join(f'{name} {version(name)}' for name in ('oneflow', 'numpy', 'onnxruntime'))
    commit = 'not known'
    if shutil.which('git'):
        done = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True)
        commit = done.stdout.strip() or commit
    return [f'Python {platform.python_version()}, {packages}', f'commit {commit}']


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser('python -m tools.gpu_check', description='Compare a GPU with the CPU.')
    parser.add_argument(
        '--device', default='0', help="a GPU's number; cpu: a dry run that compares the CPU with itself"
    )
    parser.add_argument('--only', nargs='+', help='names of comparisons; by default all')
    parser.add_argument('--limit', type=float, default=LIMIT, help='seconds for one comparison')
    parser.add_argument('--no-speed', action='store_true', help='measure no speed')
    opt = parser.parse_args(argv)
    if opt.device != 'cpu' and not opt.device.isdigit():
        parser.error(f"--device {opt.device}: give a GPU's number or cpu")
    cards = find_cards() if shutil.which('nvidia-smi') else []
    if reason := missing(opt.device, cards):
        print(f'GPU check: {reason}; --device cpu is a dry run')
        return 1
    from tools.gpu_checks import CHECKS

    names = opt.only or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f'--only {unknown[0]}: there are {", ".join(CHECKS)}')
    dry = ['a dry run: the CPU is compared with itself'] if opt.device == 'cpu' else []
    about = [*dry, *(f'card {i}: {card}' for i, card in enumerate(cards)), *versions()]
    usable = sum(card.covered for card in cards)
    results = run_all(names, {n: c.cards for n, c in CHECKS.items()}, opt.device, usable, opt.limit)
    speed = [] if opt.no_speed else speeds(opt.device, opt.limit)
    path = increment_path(Path(REPORT).resolve())
    with atomic_write(path) as f:
        f.write(report(about, results, speed).encode())
    failed = sum(result.verdict == 'failed' for result in results)
    passed = sum(result.verdict == 'passed' for result in results)
    print('\n'.join(speed))
    print(f'{passed} passed, {failed} failed, {len(results) - passed - failed} not run. Written to {path}')
    late = [result.name for result in results if result.detail == LATE]
    if late:
        print(f'To run what lacked time: python -m tools.gpu_check --device {opt.device} --only {shlex.join(late)}')
    return 1 if failed or late else 0


if __name__ == '__main__':
    sys.exit(main())
