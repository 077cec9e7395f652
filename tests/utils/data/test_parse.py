"""Label text: every fault by line, polygons, duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from utils.data.parse import parse_labels

BOX = '0 0.5 0.5 0.2 0.4'
TRIANGLE = '1 0.1 0.1 0.4 0.2 0.3 0.6'


@pytest.mark.parametrize(
    ('row', 'kind', 'detail'),
    [
        ('0 0.5 0.5 0.2', 'columns', '4 columns'),
        ('0 0.5 0.5 0.2 0.2 0.9', 'columns', '6 columns'),
        ('0 .1 .1 .2 .2 .3 .3 .4', 'columns', '8 columns'),
        ('0', 'columns', '1 columns'),
        ('cat 0.5 0.5 0.2 0.2', 'number', "'cat' is not a number"),
        ('0 0.5 0,5 0.2 0.2', 'number', "'0,5' is not a number"),
        ('0 nan 0.5 0.2 0.2', 'finite', 'NaN'),
        ('0 0.5 0.5 inf 0.2', 'finite', 'infinite'),
        ('0 -0.01 0.5 0.2 0.2', 'range', '-0.01 is negative'),
        ('0 0.5 1.01 0.2 0.2', 'range', '1.01 is above 1'),
        ('0 320 240 50 60', 'range', '320 is above 1'),
        ('0 0.1 0.1 0.4 0.2 0.3 1.6', 'range', '1.6 is above 1'),
        ('3 0.5 0.5 0.2 0.2', 'class', 'class 3 is outside 0..2'),
        ('-1 0.5 0.5 0.2 0.2', 'class', 'class -1 is outside 0..2'),
        ('1.5 0.5 0.5 0.2 0.2', 'number', 'class 1.5 is not a whole number'),
    ],
)
def test_a_fault_is_named_with_its_line(row, kind, detail):
    parsed = parse_labels(f'{BOX}\n\n{row}\n{BOX[:-1]}1\n', nc=3)
    assert [(fault.line, fault.kind) for fault in parsed.faults] == [(3, kind)]
    assert detail in parsed.faults[0].detail


def test_all_faults_are_found():
    parsed = parse_labels('a\n0 1\n0 2 2 2 2\n', nc=1)
    assert [(fault.line, fault.kind) for fault in parsed.faults] == [(1, 'number'), (2, 'columns'), (3, 'range')]


def test_any_class_will_do_without_a_number_of_classes():
    assert parse_labels('365 0.5 0.5 0.2 0.2').labels[0, 0] == 365


def test_what_rounds_to_one_in_single_precision_is_one():
    assert parse_labels('0 1.00000001 0.5 1 1').labels[0, 1] == 1


def test_a_box_among_polygons_stays_a_box():
    parsed = parse_labels(f'{TRIANGLE}\n{BOX}\n')
    np.testing.assert_allclose(parsed.labels, [[1, 0.25, 0.35, 0.3, 0.5], [0, 0.5, 0.5, 0.2, 0.4]], atol=1e-7)
    assert parsed.labels.dtype == np.float32
    np.testing.assert_allclose(parsed.polygons[1], [[0.4, 0.3], [0.6, 0.3], [0.6, 0.7], [0.4, 0.7]], atol=1e-7)
    assert [polygon.shape for polygon in parsed.polygons] == [(3, 2), (4, 2)]


def test_boxes_alone_have_no_polygons():
    assert parse_labels(BOX).polygons == []


def test_duplicates_are_removed_with_their_polygons():
    parsed = parse_labels(f'{TRIANGLE}\n{BOX}\n{TRIANGLE}\n{BOX}\n{TRIANGLE}\n')
    assert parsed.duplicates == [3, 4, 5]
    np.testing.assert_array_equal(parsed.labels[:, 0], [0, 1])  # sorted, for something was removed
    assert [len(polygon) for polygon in parsed.polygons] == [4, 3]


def test_random_bytes_never_escape_as_another_error():
    rng = np.random.default_rng(0)
    alphabet = np.array(list('0123456789.-+eE \t\r\n,xnaif\0é'))
    faults = 0
    for _ in range(300):
        text = ''.join(rng.choice(alphabet, rng.integers(0, 80)))
        parsed = parse_labels(text, nc=10)
        faults += len(parsed.faults)
        assert parsed.labels.shape[1] == 5
        assert np.isfinite(parsed.labels).all()
        assert len(parsed.polygons) in (0, len(parsed.labels))
    assert faults > 300


def test_fuzzed_rows_are_kept_exactly_when_they_are_sound():
    rng = np.random.default_rng(1)
    for _ in range(200):
        width = int(rng.integers(1, 12))
        row = [float(rng.integers(-1, 4)), *rng.uniform(-0.1, 1.1, width - 1).round(2)]
        coordinates = np.array(row[1:])
        sound = (
            (width == 5 or (width >= 7 and width % 2))
            and 0 <= row[0] < 3
            and bool(((coordinates >= 0) & (coordinates <= 1)).all())
        )
        parsed = parse_labels(' '.join(map(str, row)), nc=3)
        assert len(parsed.labels) == sound
        assert len(parsed.faults) == (not sound)
