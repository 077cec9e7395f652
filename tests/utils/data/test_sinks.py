import cv2
import numpy as np
import pytest

from utils.data.sinks import VideoSink, write_picture
from utils.errors import ResourceError

GREY = np.full((48, 64, 3), 100, np.uint8)


def facts(path):
    capture = cv2.VideoCapture(str(path))
    asked = (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    return [capture.get(what) for what in asked]


@pytest.mark.parametrize(
    ('name', 'written'), [('a.png', 'a.png'), ('a.JPG', 'a.JPG'), ('a.dng', 'a.jpg'), ('a', 'a.jpg')]
)
def test_pictures_are_written_in_a_format_that_can_be(tmp_path, name, written):
    assert write_picture(tmp_path / name, GREY) == tmp_path / written
    assert np.abs(cv2.imread(str(tmp_path / written)).astype(int) - 100).max() <= 1


def test_a_picture_that_can_not_be_written_raises(tmp_path):
    with pytest.raises(OSError, match='No such file'):
        write_picture(tmp_path / 'nowhere' / 'a.png', GREY)


def test_one_video_after_another(tmp_path):
    with VideoSink() as sink:
        for _ in range(3):
            sink.write(tmp_path / 'a.mp4', GREY, 12.5)
        sink.write(tmp_path / 'b.mp4', GREY[:32], 0)
        assert facts(tmp_path / 'a.mp4') == [12.5, 3, 64, 48]  # finished as soon as the next one begins
    assert facts(tmp_path / 'b.mp4') == [30, 1, 64, 32]


def test_a_video_is_finished_when_the_run_breaks_off(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoSink() as sink:
        sink.write(tmp_path / 'a.mp4', GREY, 10)
        raise KeyboardInterrupt
    assert facts(tmp_path / 'a.mp4')[1] == 1


def test_a_video_that_can_not_be_made_is_named(tmp_path):
    with pytest.raises(ResourceError, match=r'nowhere/a\.mp4: OpenCV can not make it'), VideoSink() as sink:
        sink.write(tmp_path / 'nowhere' / 'a.mp4', GREY, 10)
