"""The results of one image or frame, as a run of detect.py is asked for them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detect import DetectOptions
from utils.annotate import colors
from utils.detect_output import Output, Shot

NAMES = ['cat', 'dog']
FOUND = np.array([[20, 30, 60, 50, 0.9, 0], [100, 110, 140, 150, 0.5, 1]], np.float32)


def shot(**more):
    return Shot('in/a.png', np.full((320, 320, 3), 100, np.uint8), '', 'a', **more)


def test_labels_on_boxes(tmp_path):
    dark = []
    for options in ({}, {'hide_conf': True}, {'hide_labels': True}):
        output = Output(DetectOptions(line_thickness=2, **options), NAMES, tmp_path)
        drawn = output.draw(shot().im0, FOUND[:1])
        dark.append(int((drawn == colors(0, bgr=True)).all(2).sum()))
    assert dark[0] > dark[1] + 100 > dark[2] + 200


def test_a_frame_has_labels_and_crops_of_its_number_and_a_place_in_its_video(tmp_path):
    written = []

    class Sink:
        def write(self, *frame):
            written.append(frame)

    (tmp_path / 'labels').mkdir()
    output = Output(DetectOptions(save_txt=True, save_conf=True, save_crop=True), NAMES, tmp_path)
    output.write(shot(frame=7, fps=25.0), FOUND, Sink())
    rows = np.loadtxt(tmp_path / 'labels' / 'a_7.txt')  # the most confident last
    assert rows == pytest.approx(
        np.array([[1, 0.375, 0.40625, 0.125, 0.125, 0.5], [0, 0.125, 0.125, 0.125, 0.0625, 0.9]])
    )
    assert cv2.imread(str(tmp_path / 'crops' / 'dog' / 'a_7.jpg')).shape == (51, 51, 3)  # 40 * 1.02 + 10 pixels
    [(path, drawn, fps, seconds)] = written
    assert (path, fps, seconds) == (tmp_path / 'a.mp4', 25.0, None)
    assert (drawn != 100).any()
    assert output.videos == {path: 'in/a.png'}
    assert not list(tmp_path.glob('*.*'))
