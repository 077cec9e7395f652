import os

import cv2
import numpy as np
import pytest

from utils.data.video import (
    breaks_off,
    count_frames,
    frame_count,
    frame_rate,
    is_webcam,
    next_frame,
    open_capture,
)


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
    clip(tmp_path)
    capture, seen = open_capture(str(tmp_path / 'v.avi')), []
    while (im := next_frame(capture, stride)) is not None:
        seen.append(im.mean())
    assert seen == pytest.approx(shades, abs=2)


@pytest.mark.parametrize('name', [
    b'12:30:00.avi', b'file:x.avi', b'concat:a.avi', b'http:a.avi', b'a%03d.avi', b'a*[1].avi', b'-x.avi', b'a\nb.avi',
    b'\xb2\xe2.avi', b'\xff.\xfe',
])  # fmt: skip
@pytest.mark.parametrize('bare', [False, True])
def test_videos_of_any_name(tmp_path, monkeypatch, name, bare):
    folder = os.path.join(os.fsencode(tmp_path), b'\xe4')  # not UTF-8 either
    os.mkdir(folder)
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(clip(tmp_path))
    if bare:
        monkeypatch.chdir(os.fsdecode(folder))
    path = os.fsdecode(name if bare else os.path.join(folder, name))
    capture = open_capture(path)
    assert next_frame(capture).mean() == pytest.approx(20, abs=2)
    assert count_frames(path, 100) == 5
    assert count_frames(path, 3) == 3


def clip(folder):
    file = folder / 'v.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for i in range(5):
        writer.write(np.full((48, 64, 3), 20 * i + 20, np.uint8))
    writer.release()
    return file.read_bytes()


@pytest.mark.parametrize(('source', 'webcam'), [
    ('0', True), ('12', True), ('²', False), ('٣', False), ('1_0', False), ('-1', False), ('0x1', False), ('', False),
])  # fmt: skip
def test_webcams_have_plain_numbers(source, webcam):
    assert is_webcam(source) == webcam


def test_what_is_not_there_is_not_open(tmp_path):
    for source in (str(tmp_path / 'gone.mp4'), '97', 'http://127.0.0.1:9/x', '\udcb2.mp4', 'rtsp://\udcb2'):
        capture = open_capture(source)
        assert not capture.isOpened()
        assert next_frame(capture) is None
