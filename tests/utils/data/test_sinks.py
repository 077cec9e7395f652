import resource

import cv2
import numpy as np
import pytest

from utils.data.sinks import VideoSink, asked_to_end, can_show
from utils.errors import ResourceError

GREY = np.full((48, 64, 3), 100, np.uint8)


def facts(path):
    capture = cv2.VideoCapture(str(path))
    asked = (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    return [capture.get(what) for what in asked]


def test_one_video_after_another(tmp_path):
    with VideoSink() as sink:
        for _ in range(3):
            sink.write(tmp_path / 'a.mp4', GREY, 12.5)
        sink.write(tmp_path / 'b.mp4', GREY[:32], 30)
        assert facts(tmp_path / 'a.mp4') == [12.5, 3, 64, 48]  # finished as soon as the next one begins
    assert facts(tmp_path / 'b.mp4') == [30, 1, 64, 32]


def shades(path):
    capture, seen = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        seen.append(round(read[1].mean()))
    return seen


def test_several_at_once_and_one_too_many_closes_that_which_waited_longest(tmp_path):
    with VideoSink(2) as sink:
        for name in ('a', 'b', 'a', 'c'):
            sink.write(tmp_path / f'{name}.mp4', GREY, 10)
        assert facts(tmp_path / 'b.mp4')[1] == 1
        sink.write(tmp_path / 'a.mp4', GREY, 10)
    assert [facts(tmp_path / f'{name}.mp4')[1] for name in 'abc'] == [3, 1, 1]


def test_a_streams_video_lasts_as_long_as_the_stream(tmp_path):
    with VideoSink() as sink:
        for shade, seconds in ((20, 7.0), (60, 7.1), (100, 7.5), (140, 7.52), (180, 7.6)):  # at 10 a second
            sink.write(tmp_path / 'a.mp4', np.full_like(GREY, shade), 10, seconds)
    assert shades(tmp_path / 'a.mp4') == pytest.approx([20, 60, 60, 60, 60, 100, 180], abs=5)


def test_a_frame_of_another_size_is_fitted_in(tmp_path):
    with VideoSink() as sink:
        for im in (GREY, np.full((20, 64, 3), 200, np.uint8)):
            sink.write(tmp_path / 'a.mp4', im, 10)
    assert facts(tmp_path / 'a.mp4') == [10, 2, 64, 48]
    assert shades(tmp_path / 'a.mp4') == pytest.approx([100, (200 * 20 + 114 * 28) / 48], abs=5)


def test_a_video_is_finished_when_the_run_breaks_off(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoSink() as sink:
        sink.write(tmp_path / 'a.mp4', GREY, 10)
        raise KeyboardInterrupt
    assert facts(tmp_path / 'a.mp4')[1] == 1


def test_a_video_that_can_not_be_made_is_named(tmp_path):
    with pytest.raises(ResourceError, match=r'nowhere/a\.mp4: OpenCV can not make it'), VideoSink() as sink:
        sink.write(tmp_path / 'nowhere' / 'a.mp4', GREY, 10)


def test_without_a_display_there_is_no_window_which_is_said(monkeypatch, messages):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    assert not can_show()
    assert '--view-img: no display' in messages()


@pytest.mark.parametrize(('key', 'end'), [(ord('q'), True), (27, True), (-1, False), (ord('w'), False)])
def test_q_and_escape_end(monkeypatch, key, end):
    monkeypatch.setattr(cv2, 'waitKey', lambda ms: key)
    assert asked_to_end() == end


def test_a_full_disk_is_not_passed_over(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 96, 128, 3), np.uint8)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))  # no file may be larger: what a full disk is like
    try:
        with (
            pytest.raises(ResourceError, match=r'a\.mp4: only \d+ of 20 frames are in it'),
            VideoSink() as sink,
        ):
            for im in noise:
                sink.write(tmp_path / 'a.mp4', im, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
