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
        ('1_0 0.5 0.5 0.2 0.2', 'number', "'1_0' is not a number"),
        ('0 0.5 0.5 0.2 0_1.0', 'number', "'0_1.0' is not a number"),
        ('٣ 0.5 0.5 0.2 0.2', 'number', "'٣' is not a number"),
        ('0 ０.5 0.5 0.2 0.2', 'number', "'０.5' is not a number"),
        ('0 0.5 0.5 0.2 0.2 0.9', 'columns', '6 columns: a box and its confidence, as --save-conf writes them?'),
        ('0 0.5 0.5 0.2 0.2 7', 'columns', '6 columns, not 5'),
        ('0 0.5 0.5 0 0.2', 'area', 'a box of 0 by 0.2 has no area'),
        ('0 0.5 0.5 0.2 1e-9', 'area', 'a box of 0.2 by 1e-09 has no area'),
        ('0 0.5 0.5 -1e-9 0.2', 'area', 'a box of 0 by 0.2 has no area'),
        ('0 0.1 0.1 0.4 0.1 0.3 0.1', 'area', 'a polygon of 0.3 by 0 has no area'),
        ('0 .2 .3 .2 .3 .2 .3', 'area', 'a polygon of 0 by 0 has no area'),
        ('0 1.001 0.5 0.2 0.2', 'range', '1.001 is above 1'),
        ('0 0.5 -0.001 0.2 0.2', 'range', '-0.001 is negative'),
        ('1e300 0.5 0.5 0.2 0.2', 'class', 'class 1e+300 is outside 0..2'),
        ('0 1e400 0.5 0.2 0.2', 'finite', 'infinite'),
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
    (fault,) = parse_labels('100000 0.5 0.5 0.2 0.2').faults  # weights are made for each up to the highest
    assert fault[1:] == ('class', 'class 100000 is outside 0..99999')


def test_coordinates_out_by_rounding_are_clipped_and_counted():
    text = '0 1.000001 0.5 0.2 0.2\n0 0.5 -1e-9 0.2 1.0009\n0 0.1 0.1 1.0005 0.2 0.3 -0.0005\n0 0.3 0.3 0.1 0.1\n'
    parsed = parse_labels(text, 1)
    assert (parsed.faults, parsed.clipped) == ([], 3)
    np.testing.assert_array_equal(parsed.labels[:2, 1:], np.float32([[1, 0.5, 0.2, 0.2], [0.5, 0, 0.2, 1]]))
    np.testing.assert_array_equal(parsed.polygons[2], np.float32([[0.1, 0.1], [1, 0.2], [0.3, 0]]))
    assert parse_labels(BOX, 1).clipped == 0


def test_boxes_mostly_outside_are_kept_and_named():
    parsed = parse_labels('0 0 0 0.2 0.2\n0 0 0.5 0.2 0.2\n0 0.02 0.5 0.2 0.2\n0 1 1 1 1\n0 0 0 0.2 0.2\n')
    assert len(parsed.labels) == 4
    assert [fault.line for fault in parsed.outside] == [1, 4]  # half inside is not mostly outside; nor counted twice
    assert parsed.outside[0][1:] == ('outside', 'only 25% of the box is inside the image')


def test_lines_are_counted_as_editors_do():
    parsed = parse_labels(f'{BOX}\x0b\x0c\r\n{BOX[:-1]}5\x85\u2028\r{BOX[:-1]}6\nx', 1)
    assert [fault.line for fault in parsed.faults] == [4]
    assert parsed.faults[0].detail == "'x' is not a number"


def test_the_span_of_classes_counts_unknown_ones():
    assert parse_labels('3 .5 .5 .2 .2\n1 .5 .5 .1 .1\n7 x\n', 3).classes == (1, 3)
    assert parse_labels('x', 3).classes is None


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
