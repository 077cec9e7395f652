"""Numbers of long runs come from the files that these leave."""

from __future__ import annotations

import json
import os
import re

import pytest

from benchmarks.results import Row, write_csv, write_markdown
from docs.tools import numbers, results
from docs.tools.pages import ROOT
from utils.errors import DataError
from utils.paths import write_yaml

HEADER = ' epoch, metrics/precision, metrics/recall, metrics/mAP_0.5,metrics/mAP_0.5:0.95, x/lr0\n'


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Call the program and read what it has written."""
    monkeypatch.setattr(numbers, 'NUMBERS', tmp_path / 'numbers')

    def call(*words) -> dict:
        results.main([str(word) for word in (*words, '--commit', 'abc1234')])
        return json.loads((tmp_path / f'numbers/{words[0]}.json').read_text('utf-8'))

    return call


def run(folder, *scores, **options):
    folder.mkdir(parents=True)
    write_yaml(folder / 'opt.yaml', {'epochs': 2, 'batch_size': 16, 'imgsz': 320, 'seed': 0} | options)
    rows = [f' {i}, 0.5, 0.6, {a}, {b}, 0.01\n' for i, (a, b) in enumerate(scores)]
    (folder / 'results.csv').write_text(HEADER + ''.join(rows))
    return folder


def test_benchmarks(written, tmp_path):
    rows = [
        Row('training step', 'yolov5n, batch 4 at 64', 's', 'PyTorch', 0.51234, 0.6, 0.8539, 0.8, 0.9, 0.8, 3, 1.0),
        Row('training step', 'yolov5n, batch 4 at 64', 's', 'reference', 0.51234, 1.0, 0.51, 0.5, 0.6, 0.5, 3, 1.0),
        Row('start-up', 'import', 's', '', 1.5, None, None, 0.9, 1.1, None, 3),
    ]
    write_csv(rows, tmp_path / 'results.csv')
    sides = ['ours: OneFlow 0.9.0, 2 cores', 'PyTorch: PyTorch 2.14.1+cpu, 2 threads', 'reference: PyTorch 1.13.1']
    machine = ['2026-01-02 03:04', 'a CPU, 2 cores used', 'Python 3.10.13, numpy 1.26.4', *sides]
    write_markdown(rows, machine, ['one-yolov5 (no --one-yolov5)'], tmp_path / 'results.md')
    found = written('benchmarks', tmp_path)
    assert (found['date'], found['commit'], found['machine']) == ('2026-01-02', 'abc1234', 'a CPU, 2 cores used')
    assert (found['pytorch'], found['reference']) == ('2.14', '1.13')
    setting = found['training_step']['yolov5n_batch_4_at_64']
    assert setting['ours'] == 0.512
    assert setting['pytorch'] == {'theirs': 0.6, 'ratio': '0.85', 'low': '0.80', 'high': '0.90'}
    assert setting['reference']['ratio'] == '0.51'
    assert found['start_up']['import'] == {'ours': 1.5, 'unit': 's'}


def test_trainings(written, tmp_path):
    one = run(tmp_path / 'one', (0.7, 0.4), (0.9, 0.3))  # the best is the first: 0.43 against 0.36
    two = run(tmp_path / 'two', (0.5, 0.2), (0.6, 0.3), seed=1)
    band = tmp_path / 'band.json'
    measured = {'s0_best': {'mAP50': 0.72378, 'mAP50_95': 0.3937}, 's0_last': {'mAP50': 0, 'mAP50_95': 0}}
    band.write_text(json.dumps({'revalidated_val_img320_iou0.60': measured}))
    found = written('bccd', '--ours', one, two, '--reference', band, one)
    assert found['ours'] == [{'map50': '0.700', 'map': '0.400'}, {'map50': '0.600', 'map': '0.300'}]
    assert found['reference'] == [{'map50': '0.724', 'map': '0.394'}, {'map50': '0.700', 'map': '0.400'}]
    assert (found['seeds'], found['epochs'], found['two']) == ([0, 1], 2, [])
    other = run(tmp_path / 'other', (0.5, 0.2), epochs=3)
    with pytest.raises(DataError, match='other: was trained with'):
        results.bccd([one, other], [], [], 'abc1234')


def test_demo(written, tmp_path):
    folder = run(tmp_path / 'demo/train', (0.1, 0.1), (0.871, 0.5)).parent
    os.utime(folder / 'train/opt.yaml', (1000, 1000))
    os.utime(folder / 'train/results.csv', (1330, 1330))
    found = written('demo', folder)
    assert (found['minutes'], found['map50'], found['epochs']) == ('5.5', '0.87', 2)


def test_the_readme_rounds_the_minutes_of_the_demo():
    """Inside a block of commands no number can be marked."""
    minutes = round(float(numbers.number('demo.minutes')))
    english, chinese = {5: ('five', '五'), 6: ('six', '六'), 7: ('seven', '七')}[minutes]
    for name, words in (('README.md', f'about {english} minutes'), ('README.zh.md', f'约{chinese}分钟')):
        assert re.search(rf'make demo .*{words}', (ROOT / name).read_text('utf-8')), name
