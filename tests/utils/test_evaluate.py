from __future__ import annotations

import numpy as np
import pytest

from utils.evaluate import HEADER, Tally, in_picture, known_boxes, labels_in_picture, save_one_txt

# A picture 100 high, 200 wide in a 320 x 320 input: ratio 1.6, 80 px of grey above and below.
SHAPES = ((100, 200), ((1.6, 1.6), (0.0, 80.0)))


def test_detections_and_labels_meet_in_the_pictures_pixels():
    detections = np.float32([[32, 96, 160, 160, 0.9, 2], [-16, 80, 336, 400, 0.8, 1]])
    before = detections.copy()
    moved = in_picture(detections, (320, 320), SHAPES)
    np.testing.assert_allclose(moved, [[20, 10, 100, 50, 0.9, 2], [0, 0, 200, 100, 0.8, 1]], atol=1e-4)
    np.testing.assert_array_equal(detections, before)
    # The first box again, as a label: centre and size over 320.
    label = np.float32([[2, 96 / 320, 128 / 320, 128 / 320, 64 / 320]])
    np.testing.assert_allclose(labels_in_picture(label, (320, 320), SHAPES), [[2, 20, 10, 100, 50]], atol=1e-3)


def test_known_boxes_by_picture():
    targets = np.float32([[0, 5, 0.5, 0.5, 0.1, 0.2], [2, 6, 0.25, 0.5, 1, 1]])
    first, second, third = known_boxes(targets, 3, (100, 200))
    np.testing.assert_allclose(first, [[5, 100, 50, 20, 20]], atol=1e-4)
    assert second.shape == (0, 5)
    np.testing.assert_allclose(third, [[6, 50, 50, 200, 100]], atol=1e-4)


def test_a_tally_of_two_pictures():
    tally, box = Tally(nc=3), [10.0, 10, 50, 50]
    tally.add(np.float32([[*box, 0.9, 1], [*box, 0.1, 2]]), np.float32([[1, *box], [0, *box]]))
    tally.add(np.zeros((0, 6), np.float32), np.zeros((0, 5), np.float32))
    scores = tally.scores()
    assert scores.seen == 2
    assert scores.labels.tolist() == [1, 1, 0]
    assert scores.classes.tolist() == [0, 1]
    assert scores.means() == pytest.approx((0.5, 0.5, 0.995 / 2, 0.995 / 2))
    assert scores.maps() == pytest.approx([0, 0.995, 0.995 / 2])
    assert (
        scores.total_line() == '                 all          2          2        0.5        0.5      0.497      0.497'
    )
    lines = scores.class_lines(['a', 'b', 'c'])
    assert [line.split()[0] for line in lines] == ['a', 'b']
    assert len(HEADER) == len(scores.total_line()) == len(lines[0])


def test_an_empty_tally():
    scores = Tally(nc=2).scores()
    assert scores.means() == (0, 0, 0, 0)
    assert scores.maps().tolist() == [0, 0]
    assert scores.class_lines(['a', 'b']) == []


def test_label_lines(tmp_path):
    rows = np.float32([[20, 10, 100, 50, 0.876543, 2]])
    save_one_txt(rows, False, (100, 200), tmp_path / 'a.txt')
    assert (tmp_path / 'a.txt').read_text() == '2 0.3 0.3 0.4 0.4\n'
    save_one_txt(rows, True, (100, 200), tmp_path / 'a.txt')
    assert (tmp_path / 'a.txt').read_text() == '2 0.3 0.3 0.4 0.4 0.876543\n'
