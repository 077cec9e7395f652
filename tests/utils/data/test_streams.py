import threading
import time
from contextlib import closing

import cv2
import numpy as np
import pytest

from tests.camera import Camera
from tests.waiting import wait_until
from utils.data import streams as module
from utils.data.streams import LoadStreams, clean_names, hide_password, is_stream, read_addresses
from utils.errors import DataError, UsageError
from utils.log import LOGGER


@pytest.fixture(autouse=True)
def heard(monkeypatch, caplog):
    """What is logged; reconnects come quickly."""
    monkeypatch.setattr(LOGGER, 'propagate', True)
    monkeypatch.setattr(module, 'BACK_OFF', (0.05, 0.1))
    with caplog.at_level('INFO', 'yolov5'):
        yield caplog


def video(path, frames=6, height=48, width=64):
    """Frame i is all of grey 20 i + 20."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (width, height))
    for i in range(frames):
        writer.write(np.full((height, width, 3), 20 * i + 20, np.uint8))
    writer.release()
    return str(path)


def readers():
    return [t for t in threading.enumerate() if t.name.startswith('stream ')]


def shade(im):
    return int(im.mean().round())


def test_frames_of_a_camera_come_as_a_letterboxed_batch():
    with Camera() as camera, closing(iter(LoadStreams(camera.address, img_size=96, stride=32))) as items:
        names, im, pictures, capture, text = next(items)
        assert (capture, text) == (None, '')
        assert names == [f'http_//127.0.0.1_{camera.port}/camera']
        assert (im.shape, im.dtype) == ((1, 3, 96, 96), np.uint8)  # 64x48 -> 96x72, 72 up to a multiple of 32
        assert im.flags['C_CONTIGUOUS']
        assert pictures[0].shape == (48, 64, 3)
        assert im[0, :, 0, 0].tolist() == [114, 114, 114]
        assert np.abs(im[0, :, 48, 48].astype(int) - shade(pictures[0])).max() <= 1
    assert readers() == []


def test_the_newest_frame_counts():
    with Camera() as camera:
        sources = LoadStreams(camera.address, 64)
        with closing(iter(sources)) as items:
            next(items)
            stream = sources.streams[0]
            wait_until(lambda: stream.image is not None and shade(stream.image) >= 150)
            assert shade(next(items)[2][0]) >= 150
            assert stream.number == 2
            assert stream.seconds > 0


def test_no_frame_is_given_twice():
    with Camera(frames=12) as camera:
        sources = LoadStreams(camera.address, 64, patience=0)
        shades = [shade(pictures[0]) for _, _, pictures, _, _ in sources]
    assert shades == sorted(set(shades))
    assert len(shades) >= 3
    assert [*map(str, sources.faults)] == [f'{camera.address}: broke off']


def test_videos_run_as_one_batch_and_lose_no_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'GATHER', 1000)
    a, b = video(tmp_path / 'a.avi'), video(tmp_path / 'b.avi', frames=4)
    (tmp_path / 'l.streams').write_text(f'# two\n{a}\n\n{b}\n{a}\n')
    sources, shades, sizes = LoadStreams(tmp_path / 'l.streams', 64), {a: [], b: []}, []
    assert len(sources) == 2
    for names, im, pictures, _, _ in sources:
        time.sleep(0.02)
        sizes.append(len(im))
        for name, picture in zip(names, pictures):
            shades['/' + name.lstrip('/')].append(shade(picture))
    assert shades[a] == pytest.approx([20, 40, 60, 80, 100, 120], abs=2)
    assert shades[b] == pytest.approx([20, 40, 60, 80], abs=2)
    assert sizes == [2, 2, 2, 2, 1, 1]
    assert sources.count == 6
    assert [s.fps for s in sources.streams] == [10, 10]
    assert sources.faults == []


def test_vid_stride(tmp_path):
    sources = LoadStreams([video(tmp_path / 'a.avi')], 64, vid_stride=2)
    assert [shade(p[0]) for _, _, p, _, _ in sources] == pytest.approx([40, 80, 120], abs=2)
    assert sources.streams[0].fps == 5
    assert sources.faults == []


def test_unequal_shapes_are_padded_to_one_which_is_said_once(tmp_path, heard):
    files = [video(tmp_path / 'a.avi', 3), video(tmp_path / 'b.avi', 3, height=64, width=48)]
    shapes = [im.shape for _, im, _, _, _ in LoadStreams(files, 128)]
    assert shapes == [(2, 3, 128, 128)] * 3
    assert sum('differ in shape' in m for m in heard.messages) == 1
    files = [video(tmp_path / 'a.avi', 1, 32, 128), video(tmp_path / 'b.avi', 1, 16, 64)]
    assert [im.shape for _, im, _, _, _ in LoadStreams(files, 128)] == [(2, 3, 32, 128)]
    assert [im.shape for _, im, _, _, _ in LoadStreams(files, 128, auto=False)] == [(2, 3, 128, 128)]


def test_a_stream_that_dies_is_picked_up_when_it_comes_back(heard):
    began = time.monotonic()
    with Camera() as camera:
        sources = LoadStreams(camera.address, 64, patience=20)
        with closing(iter(sources)) as items:
            next(items)
            camera.off()
            wait_until(lambda: any('broke off' in m for m in heard.messages))
            time.sleep(1)  # a few attempts in vain
            camera.on()
            wait_until(lambda: camera.connections == 2)
            for _ in range(5):
                next(items)
            # The clock stood while it was away.
            assert sources.streams[0].seconds < time.monotonic() - began - 0.9
    assert [m for m in heard.messages if camera.address in m] == [
        f'WARNING: {camera.address}: broke off; trying again for 20 s',
        f'{camera.address}: is back',
    ]
    assert sources.faults == []
    assert readers() == []


def test_a_stream_that_flickers_is_reported_once(heard):
    with Camera(frames=3) as camera, closing(iter(LoadStreams(camera.address, 64))) as items:
        for _ in range(1000):
            next(items)
            if camera.connections >= 4:
                break
    assert sum(camera.address in m for m in heard.messages) == 2
    assert camera.connections >= 4


def test_a_stream_that_stays_away_ends_and_the_others_go_on(tmp_path, heard):
    file = video(tmp_path / 'a.avi', frames=60)
    with Camera(frames=5) as camera:
        sources = LoadStreams([camera.address, file], 64, patience=0.2)
        taken = 0
        for names, _, _, _, _ in sources:
            taken += len(names) == 1 and names[0] == file
            if sources.streams[1].number == 30:
                wait_until(lambda: 'broke off' in heard.text)
                camera.off()
                wait_until(lambda: sources.streams[0].over)
    assert taken > 10
    assert [*map(str, sources.faults)] == [f'{camera.address}: nothing comes from it']
    assert sources.streams[1].number == 60


def test_one_that_can_not_be_opened_is_named_and_the_others_go_on(tmp_path, heard):
    with Camera() as camera:
        gone = camera.address
    sources = LoadStreams([gone, video(tmp_path / 'a.avi', frames=3)], 64, patience=0.1)
    assert [names for names, *_ in sources] == [[sources.sources[1]]] * 3
    assert f'WARNING: {gone}: can not be opened; trying again for 0 s' in heard.messages
    assert [*map(str, sources.faults)] == [f'{gone}: nothing comes from it']


def test_a_broken_file_among_streams_is_said_once(tmp_path, heard):
    (tmp_path / 'b.mp4').write_bytes(b'\0' * 100)
    sources = LoadStreams([str(tmp_path / 'b.mp4'), video(tmp_path / 'a.avi', frames=1)], 64)
    assert len(list(sources)) == 1
    assert heard.messages == [f'WARNING: {tmp_path}/b.mp4: nothing comes from it']


def test_none_can_be_opened(tmp_path, heard):
    with Camera() as camera:
        gone = camera.address
    (tmp_path / 'b.mp4').write_bytes(b'\0' * 100)
    sources = LoadStreams([gone.replace('127', 'me:secret@127'), str(tmp_path / 'b.mp4')], 64)
    with pytest.raises(DataError, match=r'http://\*\*\*@127.*b\.mp4: can not be opened\. Check the address'):
        next(iter(sources))
    assert readers() == []
    assert 'secret' not in heard.text


def test_a_server_that_is_silent_costs_the_time_limit_at_most(monkeypatch):
    import socket

    monkeypatch.setattr('utils.data.video.TIMEOUT', 0.3)
    with socket.create_server(('127.0.0.1', 0)) as server, pytest.raises(DataError, match='can not be opened'):
        next(iter(LoadStreams(f'http://127.0.0.1:{server.getsockname()[1]}/x', 64, patience=0)))


def test_a_video_that_breaks_off_is_reported(tmp_path):
    file = video(tmp_path / 'v.avi', frames=40, height=240, width=320)
    data = (tmp_path / 'v.avi').read_bytes()
    (tmp_path / 'v.avi').write_bytes(data[: len(data) * 6 // 10])
    sources = LoadStreams([file], 64)
    assert 15 <= len(list(sources)) <= 30
    assert 'v.avi: breaks off after frame' in str(sources.faults[0])


def test_the_loop_left_early_ends_the_threads(tmp_path):
    with pytest.raises(ZeroDivisionError), closing(iter(LoadStreams([video(tmp_path / 'a.avi')], 64))) as items:
        for _ in items:
            raise ZeroDivisionError
    assert readers() == []


def test_going_through_twice_gives_the_same(tmp_path):
    sources = LoadStreams([video(tmp_path / 'v.avi', frames=3)], 64)
    assert len(list(sources)) == len(list(sources)) == 3


# Which streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('source', 'stream'), [
    ('0', True), ('rtsp://camera/1', True), ('HTTP://host/x', True), ('a.jpg', False), ('ftp://host/x', False),
])  # fmt: skip
def test_is_stream(source, stream):
    assert is_stream(source) == stream


def test_lists_give_each_stream_once(tmp_path):
    (tmp_path / 'l.streams').write_text('rtsp://a/1\n\n # off: rtsp://b\n0\nrtsp://a/1\n')
    assert read_addresses(tmp_path / 'l.streams') == ['rtsp://a/1', '0']
    assert read_addresses(['1', 'rtmp://c']) == ['1', 'rtmp://c']


@pytest.mark.parametrize(('source', 'error', 'match'), [
    ('gone.streams', DataError, r'gone\.streams: no such file'),
    ('empty.streams', DataError, r'empty\.streams: names no streams'),
    ([], DataError, 'names no streams'),
    ('other.streams', UsageError, r'ftp://x: no stream. Give a webcam'),
    ('https://www.youtube.com/watch?v=1', UsageError, "YouTube page, which OpenCV can't read. Save the video"),
    ('https://youtu.be/1', UsageError, 'YouTube'),
])  # fmt: skip
def test_what_can_not_be_read_is_named(tmp_path, monkeypatch, source, error, match):
    (tmp_path / 'empty.streams').write_text('\n')
    (tmp_path / 'other.streams').write_text('ftp://x\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match):
        LoadStreams(source)


def test_vid_stride_must_be_positive():
    with pytest.raises(UsageError, match='--vid-stride 0'):
        LoadStreams('0', vid_stride=0)


def test_names_have_no_passwords():
    assert hide_password('a rtsp://me:pw@host:8/x, b') == 'a rtsp://***@host:8/x, b'
    addresses = ['rtsp://me:pw@host:8/x?id=1', '0', 'http://host/', 'rtsp://you:pw@host:8/x&id=1', 'clips/a.mp4']
    names = ['rtsp_//host_8/x_id_1', '0', 'http_//host', 'rtsp_//host_8/x_id_1_2', 'clips/a.mp4']
    assert clean_names(addresses) == names
