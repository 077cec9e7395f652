"""Every command of the README runs, on small data in place of the large."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from utils.data.shapes import make_shapes

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
# What sets the machine up, which a test must not do again; what they name is checked below.
SETUP = ('make ', 'python3.10 -m venv', 'pip install', 'python -m utils.runtime', '. .venv/bin/activate')
# Servers (ours: tests/examples); downloads (tests/utils/data/test_fetch.py); a stopped run (tests/test_resume.py);
# minutes of measuring (tests/benchmarks).
ELSEWHERE = (
    'tensorboard',
    'python -m utils.data.fetch',
    'python train.py --resume',
    'python -m examples.server',
    'python -m benchmarks --',
    'curl',
)


def commands() -> list[str]:
    blocks = re.findall(r'```sh\n(.*?)```', README, re.DOTALL)
    lines = [line.split(' #')[0].strip() for block in blocks for line in block.splitlines()]
    inline = [c for c in re.findall(r'`([^`\n]+)`', README) if c.startswith(('python ', 'tensorboard '))]
    return [line for line in lines + inline if line and not line.startswith('#')]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A working directory with the data sets that the README speaks of, each a few small pictures."""
    folder = tmp_path_factory.mktemp('readme')
    for name in ('datasets/shapes', 'mydata'):
        made = make_shapes(folder / name, train=8, val=4, size=64)
        (made / 'shapes.yaml').rename(made / f'{made.name}.yaml')
    return folder


def small(word: str) -> str:
    """The word of a command, with what is large made small."""
    return {
        'shapes.yaml': 'datasets/shapes/shapes.yaml',
        'python': sys.executable,
        'yolov5n.pt': 'runs/train/exp/weights/best.safetensors',  # official weights need a network
        'FILE': 'runs/train/exp/weights/best.safetensors',
        '100': '1',
        '16': '4',
        '320': '64',
        '640': '64',
    }.get(word, word)


def test_all_commands_in_order(place):
    ran = []
    for command in commands():
        if command.startswith((*SETUP, *ELSEWHERE)):
            continue
        words = [small(word) for word in shlex.split(command)]
        if words[1].endswith('.py'):
            words[1] = str(ROOT / words[1])
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f'{command}\n{done.stderr}'
        ran.append(words[1].rsplit('/', 1)[-1])
    assert {'train.py', 'val.py', 'detect.py'} <= set(ran)
    assert (place / 'runs/train/exp2/results.csv').is_file()
    assert list((place / 'runs/detect/exp').glob('*.jpg'))


def test_the_python_api(place):
    """Its chapter's blocks in one process, with the weights that the commands have trained."""
    chapter = README.split('\n## Python API\n')[1].split('\n## ')[0]
    blocks = re.findall(r'```python\n(.*?)```', chapter, re.DOTALL)
    code = ''.join(blocks).replace("load('.'", f'load({str(ROOT)!r}')
    assert code.count('hub.load') == 1
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=place, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('image 1/1: 64x64 ')
    assert done.stdout.count(', 6)\n') == 2
    assert (place / 'runs/detect/api/00000.jpg').is_file()


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'make (\w+)', ' '.join(c for c in commands() if c.startswith('make '))):
        assert f'\n{target}:' in makefile


@pytest.mark.parametrize('path', sorted(set(re.findall(r'\]\(([^)h][^)]*)\)', README))))
def test_links(path):
    assert (ROOT / path).exists()


def test_the_layout_names_what_is_there():
    layout = re.search(r'## Layout\n+```\n(.*?)```', README, re.DOTALL)[1]
    for line in layout.splitlines():
        for name in re.split(r'\s{2,}', line)[0].split():
            assert (ROOT / name).exists(), name
