import os
import resource
from fractions import Fraction

import cv2
import numpy as np
import pytest

from utils.data.sinks import VideoSink, asked_to_end, can_show, video_fps, video_shape
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


@pytest.mark.parametrize(('fps', 'held'), [
    (119.923, 119.92), (240.123, 240.12), (999.99, 1000), (700.123, 700.12), (700.131, 700.1), (143.857, 143.86),
    (0.001, 0.01), (0.0015, 0.01), (1e-9, 0.01),
    # These are held as they are.
    (29.97, 29.97), (23.976, 23.976), (59.94, 59.94), (65.536, 65.536), (655.36, 655.36), (1000, 1000), (0.0333, 0.033),
])  # fmt: skip
def test_rates_that_mpeg_4_can_hold(tmp_path, messages, fps, held):
    assert video_fps(fps) == pytest.approx(held)
    with VideoSink() as sink:
        for _ in range(2):
            sink.write(tmp_path / 'a.mp4', GREY, fps)
    assert facts(tmp_path / 'a.mp4')[:2] == pytest.approx([held, 2])
    said = f'WARNING: {tmp_path}/a.mp4: written at {held:g} frames a second: MPEG-4 does not hold {fps:g}'
    assert messages() == (said if abs(fps - held) > 1e-3 else '')


def test_any_rate_becomes_a_fraction_that_is_held():
    for fps in np.random.default_rng(0).uniform(0.01, 1000, 2000):
        held = video_fps(fps)
        assert held == pytest.approx(fps, abs=0.06)
        fraction = Fraction(held).limit_denominator(1000)
        assert float(fraction) == held
        assert max(fraction.numerator, fraction.denominator) <= 65535


@pytest.mark.parametrize(('height', 'width', 'held'), [
    (64, 8200, (64, 8190)), (8192, 16, (8190, 16)), (20, 20_000, (8, 8190)), (9000, 9000, (8190, 8190)),
    (1, 48, (2, 48)), (48, 1, (48, 2)), (1, 1, (2, 2)), (1, 20_000, (2, 8190)),
    (49, 65, (49, 65)), (8191, 2, (8191, 2)),
])  # fmt: skip
def test_sizes_that_mpeg_4_can_hold(tmp_path, messages, height, width, held):
    assert video_shape(height, width) == held
    if height * width > 1e7:
        return  # slow
    with VideoSink() as sink:
        for shade in (50, 200):
            sink.write(tmp_path / 'a.mp4', np.full((height, width, 3), shade, np.uint8), 10)
    even = [side // 2 * 2 for side in held]  # OpenCV leaves out an odd pixel
    assert facts(tmp_path / 'a.mp4') == [10, 2, even[1], even[0]]
    said = f'a.mp4: frames of {width}x{height} are written as {held[1]}x{held[0]}: MPEG-4 holds 2 to 8191 pixels a side'
    assert messages().endswith(said) if held != (height, width) else not messages()


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b'\xb2\xe2')
    folder.mkdir()
    with VideoSink() as sink:
        sink.write(folder / os.fsdecode(b'\xff.mp4'), GREY, 10)
    assert os.listdir(os.fsencode(folder)) == [b'\xff.mp4']
    (folder / os.fsdecode(b'\xff.mp4')).rename(tmp_path / 'a.mp4')
    assert facts(tmp_path / 'a.mp4') == [10, 1, 64, 48]


def test_all_videos_are_closed_though_one_is_incomplete(tmp_path):
    faults = []
    with VideoSink(3, lambda path, error: faults.append((path.name, str(error)))) as sink:
        for name in 'abc':
            sink.write(tmp_path / f'{name}.mp4', GREY, 10)
        (tmp_path / 'b.mp4').unlink()
    assert [name for name, _ in faults] == ['b.mp4']
    assert 'b.mp4: only 0 of 1 frames are in it' in faults[0][1]
    assert [facts(tmp_path / f'{name}.mp4')[1] for name in 'ac'] == [1, 1]


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
