import cv2
import numpy as np
import pytest

from utils.data.video import breaks_off, frame_count, frame_rate, next_frame, open_capture


class Capture:
    """A video that says of itself what it is told to."""

    def __init__(self, value):
        self.value = value

    def get(self, what):
        return self.value


@pytest.mark.parametrize(('said', 'fps'), [
    (25, 25), (29.97, 29.97), (0, 30), (-1, 30), (float('nan'), 30), (float('inf'), 30), (90000, 30), (240, 240),
])  # fmt: skip
def test_frame_rate(said, fps):
    assert frame_rate(Capture(said)) == fps
    assert frame_rate(Capture(said), 3) == fps / 3


@pytest.mark.parametrize(('said', 'frames'), [(7, 7), (0, 0), (-1, 0), (-9.2e18, 0), (9.2e18, 0), (float('nan'), 0)])
def test_frame_count(said, frames):
    assert frame_count(Capture(said)) == frames


@pytest.mark.parametrize(('frames', 'stride', 'announced', 'early'), [
    (10, 1, 10, False), (9, 1, 10, False), (8, 1, 10, True), (3, 3, 10, False), (2, 3, 10, True), (5, 1, 0, False),
])  # fmt: skip
def test_breaks_off(frames, stride, announced, early):
    assert breaks_off(frames, stride, announced) == early


@pytest.mark.parametrize(('stride', 'shades'), [(1, [20, 40, 60, 80, 100]), (2, [40, 80]), (5, [100]), (6, [])])
def test_every_nth_frame(tmp_path, stride, shades):
    file = str(tmp_path / 'v.avi')
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for i in range(5):
        writer.write(np.full((48, 64, 3), 20 * i + 20, np.uint8))
    writer.release()
    capture, seen = open_capture(file), []
    while (im := next_frame(capture, stride)) is not None:
        seen.append(im.mean())
    assert seen == pytest.approx(shades, abs=2)


def test_what_is_not_there_is_not_open(tmp_path):
    for source in (str(tmp_path / 'gone.mp4'), '97', 'http://127.0.0.1:9/x'):
        capture = open_capture(source)
        assert not capture.isOpened()
        assert next_frame(capture) is None
