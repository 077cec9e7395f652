"""Ratios, and the files made of them."""

from __future__ import annotations

import csv

import cv2
import pytest

from benchmarks.results import Row, make_rows, markdown_table, plot, quantity, write_csv, write_markdown

VALUES = {'ours': [1.0, 3.0, 2.0], 'PyTorch': [2.0, 2.0, 5.0], 'reference': [4.0, 4.0, 4.0]}


def test_ratios_are_taken_round_by_round():
    pytorch, reference = make_rows('step', 'n', 's', VALUES, goal=0.5)
    assert (pytorch.against, pytorch.ours, pytorch.theirs) == ('PyTorch', 2.0, 2.0)
    assert (pytorch.ratio, pytorch.low, pytorch.high) == (0.5, 0.4, 1.5)  # of 0.5, 1.5, 0.4
    assert pytorch.best == 1.0 / 2.0
    assert pytorch.reached is True
    assert (reference.ratio, reference.low, reference.high, reference.best) == (0.5, 0.25, 0.75, 0.25)


def test_by_itself_the_goal_is_of_the_value():
    (row,) = make_rows('start', 'x', 's', {'ours': [0.4, 0.6, 0.5]}, goal=0.45)
    assert (row.against, row.ours, row.theirs, row.ratio, row.best) == ('', 0.5, None, None, None)
    assert (row.low, row.high) == (0.8, 1.2)
    assert row.reached is False


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [(0.0123, 's', '12.3 ms'), (2.5, 's', '2.50 s'), (0.123, 'share', '12.3%'), (3 << 20, 'bytes', '3 MiB'),
     (None, 's', ''), (0.95, '', '0.95')],
)  # fmt: skip
def test_quantities(value, unit, text):
    assert quantity(value, unit) == text


def test_csv(tmp_path):
    write_csv(make_rows('step', 'n, batch 2', 's', VALUES, x=2), tmp_path / 'r.csv')
    with open(tmp_path / 'r.csv') as file:
        first, second = csv.DictReader(file)
    assert (first['setting'], first['against'], float(first['ratio']), first['goal']) == (
        'n, batch 2',
        'PyTorch',
        0.5,
        '',
    )
    assert (second['against'], float(second['x']), second['rounds']) == ('reference', 2.0, '3')


def test_markdown(tmp_path):
    rows = make_rows('step', 'n', 's', VALUES, goal=0.4) + make_rows('share', 'v', 'share', {'ours': [0.1]}, goal=0.2)
    write_markdown(rows, ['a machine'], ['one-yolov5 (no --one-yolov5)'], tmp_path / 'r.md')
    text = (tmp_path / 'r.md').read_text()
    assert '| step | n | 2.00 s | PyTorch | 2.00 s | 0.50 | 0.40 to 1.50 | 0.50 | ≤ 0.4, missed |' in text
    assert '| share | v | 10.0% |  |  |  |  |  | ≤ 20.0%, reached |' in text
    assert '- a machine\n' in text
    assert 'Not measured:\n\n- one-yolov5 (no --one-yolov5)\n' in text
    assert all(line.count('|') == 10 for line in markdown_table(rows))


def test_plots(tmp_path):
    rows = make_rows('step', 'n', 's', VALUES)
    for batch in (1, 2):
        rows += make_rows('step by batch', f'n: batch {batch}', 's', VALUES, x=batch)
        rows += make_rows('loading', f'at 64: {batch} workers', 's', {'ours': [1.0]}, x=batch)
    files = plot(rows, tmp_path)
    assert [file.name for file in files] == ['ratios.png', 'scaling.png']
    assert all(cv2.imread(str(file)).std() > 5 for file in files)
    assert plot([], tmp_path) == []
    assert [file.name for file in plot(rows[:2], tmp_path)] == ['ratios.png']


def test_rows_can_be_compared():
    assert make_rows('a', 'b', 's', {'ours': [1.0]}) == [Row('a', 'b', 's', '', 1.0, None, None, 1.0, 1.0, None, 1)]
