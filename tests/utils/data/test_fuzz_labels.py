"""Label files of any content: sound rows come back as they are, all others are reported, and nothing else happens."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.fuzz import bounded, damaged, fuzzed
from tests.utils.data.conftest import picture
from utils.data.labels import FAULTS_A_FILE, verify_image_label
from utils.data.parse import MOST_CLASSES, NO_SIDE, ROUNDING, Parsed, parse_labels

NC = 5
BOXES = b'0 0.5 0.5 0.25 0.25\n4 0.1 0.2 0.05 0.3\n2 0 1 1 0.5\n'
POLYGONS = b'1 0.1 0.1 0.4 0.2 0.3 0.6\n0 0.5 0.5 0.2 0.4\r\n3 0 0 1 0 1 1 0 1\n'
PIECES = [
    b'\n', b' ', b'\t', b'-', b'.', b'e', b'_', b',', b'nan', b'-inf', b'1e999', b'-0', b'0x1', b'1_0', b'1' * 400,
    b'0.' * 50,
    b'1.000001', b'-1e-9', b'1e-40', b'4.0', b'5', b'\x00', b'\x1a', b'\xef\xbb\xbf', b'\xff\xfe', b'\xc2\x85',
    '٣'.encode(), '０.５'.encode(), '\u2028'.encode(), '猫'.encode('gbk'), b'0 0.5 0.5 0 0\n',
    b'0 0.5 0.5 0.25 0.25 0.9\n',
]  # fmt: skip


def check(parsed: Parsed, text: str, nc: int | None = NC) -> None:
    """What holds for any text."""
    labels, polygons = parsed.labels, parsed.polygons
    rows = {n: line.split() for n, line in enumerate(re.split('\r\n|\n|\r', text), 1) if line.split()}
    assert len(labels) + len(parsed.faults) + len(parsed.duplicates) == len(rows)
    odd = {n for n, words in rows.items() if '_' in ''.join(words) or not ''.join(words).isascii()}
    assert odd <= {fault.line for fault in parsed.faults}
    assert labels.dtype == np.float32
    assert labels.shape == (len(labels), 5)
    assert np.isfinite(labels).all()
    assert ((labels[:, 1:] >= 0) & (labels[:, 1:] <= 1)).all()
    assert (labels[:, 3:] > 0).all()
    assert (labels[:, 0] == labels[:, 0].astype(int)).all()
    assert ((labels[:, 0] >= 0) & (labels[:, 0] < (MOST_CLASSES if nc is None else nc))).all()
    assert len(polygons) in (0, len(labels))
    assert all(((polygon >= 0) & (polygon <= 1)).all() for polygon in polygons if len(polygon) != 4)  # 4: also of boxes
    assert all(len(detail) < 200 and detail.isprintable() for _, _, detail in parsed.faults)
    assert parsed.clipped <= len(rows)


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp('fuzz')
    return picture(root / 'a.jpg'), root / 'a.txt'


@fuzzed(1000, data=damaged([BOXES, POLYGONS], edits=5, inserts=PIECES))
def test_damaged_files(place, data):
    image, file = place
    file.write_bytes(data)
    with bounded(megabytes=32, seconds=5):
        checked = verify_image_label(str(image), str(file), NC)
    kinds = {problem.kind for problem in checked.problems}
    if 'text' in kinds:
        assert checked.shape is None
        return
    text = data.rstrip(b'\x00\x1a').decode('utf-8-sig')
    parsed = parse_labels(text, NC)
    check(parsed, text)
    unreadable = {fault.kind for fault in parsed.faults} - {'range', 'area'}
    if checked.shape is None:
        assert kinds <= {fault.kind for fault in parsed.faults}
        assert len(checked.problems) == min(len(parsed.faults), FAULTS_A_FILE)
    else:
        assert not unreadable
        np.testing.assert_array_equal(checked.labels, parsed.labels)
        assert checked.counts['bad_rows'] == len(parsed.faults)


LIMITS = [0, -0.0, 1, -1e-9, 1 + 1e-9, -0.9 * ROUNDING, -1.1 * ROUNDING, 1 + 0.9 * ROUNDING, 1 + 1.1 * ROUNDING]
LIMITS += [5e-324, 1e-7, 2e-6, 320.0, -0.5, math.nan, math.inf, 1e300]
COORDINATE = st.floats(0, 1, width=32) | st.sampled_from(LIMITS)
INSIDE = st.integers(1, 99).map(lambda n: n / 100)
ROW = st.tuples(
    st.integers(-1, NC),
    st.lists(INSIDE, min_size=4, max_size=4) | st.lists(COORDINATE, min_size=3, max_size=8),
    st.sampled_from([repr, '{:.6f}'.format, '{:e}'.format]),
    st.sampled_from(['\n', '\r\n', '\n\n', ' \n']),
)


def expected(label: int, numbers: list[float]) -> list[float] | None:
    """The row as it has to come back, in plain words; None where it has to be reported."""
    fits = len(numbers) == 4 or (len(numbers) >= 6 and len(numbers) % 2 == 0)
    if not fits or not 0 <= label < NC or not all(-ROUNDING < x < 1 + ROUNDING for x in numbers):  # NaN is not
        return None
    clipped = [min(max(x, 0.0), 1.0) for x in numbers]
    sides = clipped[2:] if len(clipped) == 4 else [max(part) - min(part) for part in (clipped[::2], clipped[1::2])]
    return [label, *clipped] if min(sides) >= NO_SIDE else None


@fuzzed(1000, rows=st.lists(ROW, max_size=5))
def test_rows_are_kept_exactly_when_they_are_sound(rows):
    written = [(label, [write(x) for x in numbers], end) for label, numbers, write, end in rows]
    text = ''.join(f'{label} {" ".join(numbers)}{end}' for label, numbers, end in written)
    want = [expected(label, [float(x) for x in numbers]) for label, numbers, _ in written]
    parsed = parse_labels(text, NC)
    check(parsed, text)
    assert len(parsed.faults) == want.count(None)
    boxes = {tuple(np.float32(row)) for row in want if row and len(row) == 5}
    found = set(map(tuple, parsed.labels))
    assert boxes <= found
    if all(row is None or len(row) == 5 for row in want):
        assert found == boxes
        if not parsed.duplicates:  # in the file's order
            np.testing.assert_array_equal(parsed.labels, np.float32([row for row in want if row]).reshape(-1, 5))
    spans = [(row[0], max(row[1::2]) - min(row[1::2])) for row in want if row and len(row) > 5]
    for label, width in spans:
        assert any(row[0] == label and math.isclose(row[3], width, abs_tol=1e-6) for row in parsed.labels)


@fuzzed(100, text=st.text(st.characters(codec='utf-8') | st.sampled_from('0123456789. -e\n'), max_size=200))
def test_any_text_and_any_number_of_classes(text):
    check(parse_labels(text, None), text, None)
