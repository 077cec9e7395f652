"""Every command and Python block of the README and the documentation runs, and prints what the page says it prints."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from docs.tools.fill import NUMBER, by_line, words, worth_writing
from docs.tools.pages import DOCS, ROOT, Block, Page, chapters
from docs.tools.runner import DOTS, draw_coarsely, make_place, run_page
from docs.tools.small import ELSEWHERE, small, small_code
from utils.plots import plot_confusion_matrix

README = Page(ROOT / 'README.md')
PAGES = [page for page in [README, *chapters()] if page.commands or any(b.language == 'python' for b in page.blocks)]
TOLERANCE = 2e-3  # of printed numbers, relative or absolute


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_page_runs(page, tmp_path):
    records = run_page(page, make_place(tmp_path))
    for record in records:
        assert not record['error'], f'{page.name}:{record["line"]}: {record["code"]}\n{record["error"]}'
    printed = by_line(records)
    for block in page.blocks:
        if block.output and block.line in printed:
            assert_same_output(
                printed[block.line], block.output.code, 'loose' in block.marks, f'{page.name}:{block.line}'
            )
    if page is README:
        assert (tmp_path / 'runs/train/exp2/results.csv').is_file()
        assert list((tmp_path / 'runs/detect/exp').glob('*.jpg'))
        assert (tmp_path / 'runs/detect/api/00000.jpg').is_file()


def assert_same_output(printed: str, written: str, loose: bool, where: str) -> None:
    refresh = f'{where}\nprinted:\n{printed}\n`python -m docs.tools.fill` writes it into the page'
    assert words(printed) == words(written), refresh
    if not loose:
        pairs = zip(NUMBER.findall(printed), NUMBER.findall(written))
        off = [(a, b) for a, b in pairs if abs(float(a) - float(b)) > TOLERANCE * max(1, abs(float(b)))]
        assert not off, f'{off[:5]}, {refresh}'


def test_output_is_compared():
    assert_same_output('box 1.0004  4\n', 'box 1.0 4\n', False, '')
    assert_same_output('12 ms\n', '15 ms\n', True, '')
    for wrong in ('box 1.01 4', 'box 1.0', 'cat 1.0 4'):
        with pytest.raises(AssertionError):
            assert_same_output('box 1.0 4', wrong, False, '')


def test_new_times_alone_are_not_written():
    shown = Block('text', '12 ms\n', 1, (0, 0))
    timed, exact = (Block('python', '', 1, (0, 0), marks, shown) for marks in ({'loose': ''}, {}))
    assert worth_writing(timed, '15 ms\n') is None
    assert worth_writing(timed, '15 s\n') == '15 s\n'
    assert worth_writing(exact, '15 ms\n') == '15 ms\n'


def test_commands_are_made_small():
    assert small('python train.py --data coco.yaml --weights yolov5s.pt --img=640 --batch 16 --epochs 300') == [
        *('python', 'train.py', '--data', 'datasets/shapes/shapes.yaml', '--weights', 'tiny.safetensors'),
        *('--img', '64', '--batch', '4', '--epochs', '1', '--noplots', '--workers', '0'),
        *('--loggers', 'csv'),
    ]
    assert small('python train.py --cfg yolov5x.yaml')[3] == 'tiny.yaml'
    assert small('python models/yolo.py --cfg yolov5x.yaml')[-1] == 'yolov5x.yaml'
    assert small('make demo') is None
    assert small_code("train.run(weights='yolov5n.pt', epochs=300)").startswith(
        "train.run(weights='tiny.safetensors', epochs=1, **"
    )
    assert small_code('Schedule(epochs=30)') == 'Schedule(epochs=30)', 'only trainings are'


def test_figures_of_evaluations_have_few_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, 'savefig', Figure.savefig)  # put back afterwards
    draw_coarsely()
    draw_coarsely()
    plot_confusion_matrix(np.eye(3), tmp_path, 'ab')
    assert Image.open(tmp_path / 'confusion_matrix.png').size == (12 * DOTS, 9 * DOTS)


def test_what_is_not_run_has_a_reason():
    """The few blocks that are left out say why; a command that is never run has its test elsewhere."""
    for page in PAGES:
        for block in page.blocks:
            assert block.marks.get('skip') != '', f'{page.name}:{block.line}: skip without a reason'
    makefile = (ROOT / 'Makefile').read_text()
    commands = [command for page in PAGES for command, _ in page.commands]
    for command in commands:
        if command.startswith('make '):
            assert re.search(rf'^{command.split()[-1]}:', makefile, re.MULTILINE), command
    ran = [command for command in commands if not command.startswith(ELSEWHERE)]
    assert {'train.py', 'val.py', 'detect.py'} <= {command.split()[1] for command in ran if ' ' in command}


def test_place_is_what_the_pages_speak_of(tmp_path):
    place = make_place(tmp_path)
    assert (place / 'datasets/shapes/images/val/00003.jpg').is_file()
    assert (place / 'mydata/mydata.yaml').is_file()
    assert (place / 'runs/demo/train/weights/best.safetensors').is_file()
    assert not (place / 'data').is_symlink(), 'what a page writes must not reach the checkout'
    assert (DOCS / 'weights/shapes.safetensors').stat().st_size < 4_000_000
