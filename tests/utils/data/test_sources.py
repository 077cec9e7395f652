import os

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.data.media import VID_FORMATS, find_media
from utils.data.sources import LoadImages, open_source
from utils.data.streams import LoadStreams
from utils.errors import DataError, UsageError


def picture(path, height=40, width=60, value=200):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


def video(path, frames=6, height=48, width=64, code='MJPG', fps=10):
    """Frame i is all of grey 20 i + 20."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, (width, height))
    for i in range(frames):
        writer.write(np.full((height, width, 3), 20 * i + 20, np.uint8))
    writer.release()
    return path


def names(items):
    return [os.path.basename(item[0]) for item in items]


def test_one_picture_is_letterboxed_rgb_planes(tmp_path):
    file = tmp_path / 'a.png'
    bgr = np.zeros((40, 60, 3), np.uint8)
    bgr[..., 0] = 250  # blue
    cv2.imwrite(str(file), bgr)
    ((path, im, im0, capture, text),) = LoadImages(file, img_size=64, stride=32)
    assert (path, capture, text) == (str(file), None, f'image 1/1 {file}: ')
    assert im0.shape == (40, 60, 3)
    assert im.shape == (3, 64, 64)  # 60x40 -> 64x43, 43 up to a multiple of 32
    assert im.dtype == np.uint8
    assert im.flags['C_CONTIGUOUS']
    assert im[:, 32, 32].tolist() == [0, 0, 250]
    assert im[:, 0, 0].tolist() == [114, 114, 114]


def test_auto_pads_to_the_stride_and_without_it_to_the_whole_size(tmp_path):
    file = picture(tmp_path / 'a.png', 40, 160)
    shapes = [next(iter(LoadImages(file, 320, auto=auto)))[1].shape for auto in (True, False)]
    assert shapes == [(3, 96, 320), (3, 320, 320)]
    assert next(iter(LoadImages(file, (64, 160))))[1].shape == (3, 64, 160)


def test_folder_takes_its_own_pictures_and_videos_pictures_first(tmp_path):
    for name in ('b.JPG', 'a.bmp', 'c.txt', 'sub/d.png'):
        (picture(tmp_path / name) if name != 'c.txt' else (tmp_path / name).write_text('x'))
    video(tmp_path / 'a.avi')
    media = find_media(tmp_path)
    assert [os.path.basename(f) for f in media.images + media.videos] == ['a.bmp', 'b.JPG', 'a.avi']
    assert len(LoadImages(tmp_path)) == 3


def test_glob_goes_into_folders(tmp_path):
    for name in ('a.png', 'x/b.png', 'x/y/c.png', 'x/d.jpg'):
        picture(tmp_path / name)
    assert names(LoadImages(f'{tmp_path}/**/*.png', 32)) == ['a.png', 'b.png', 'c.png']
    assert names(LoadImages(f'{tmp_path}/x/*.*', 32)) == ['b.png', 'd.jpg']


def test_brackets_in_an_existing_name_are_no_glob(tmp_path):
    file = picture(tmp_path / 'photo [1].png')
    assert find_media(file).images == [str(file)]


def test_list_file_names_files_from_here_or_beside_it(tmp_path, monkeypatch):
    picture(tmp_path / 'lists' / 'beside.png')
    here = picture(tmp_path / 'with space.png')
    picture(tmp_path / 'folder' / 'in.png')
    (tmp_path / 'lists' / 'l.txt').write_text('./beside.png\n\n# a comment\nwith space.png\nfolder\n')
    monkeypatch.chdir(tmp_path)
    assert find_media('lists/l.txt').images == ['lists/beside.png', here.name, 'folder/in.png']


def test_a_list_in_a_list_is_left_out(tmp_path, messages):
    (tmp_path / 'l.txt').write_text('l.txt\n')
    with pytest.raises(DataError, match=r'l\.txt: no images or videos found'):
        LoadImages(tmp_path / 'l.txt')
    assert messages() == f'WARNING: {tmp_path}/l.txt: left out 1 file, neither image nor video by suffix: 1 .txt'


def test_several_sources_at_once(tmp_path):
    a, b = picture(tmp_path / 'a.png'), picture(tmp_path / 'x' / 'b.png')
    assert find_media([b.parent, a]).images == [str(b), str(a)]


def test_video_gives_every_frame_with_its_number(tmp_path):
    file = video(tmp_path / 'v.avi', frames=5)
    items = list(LoadImages(file, 64))
    assert [text for *_, text in items] == [f'video 1/1 ({i}/5) {file}: ' for i in range(1, 6)]
    assert [int(im0.mean().round()) for _, _, im0, _, _ in items] == pytest.approx([20, 40, 60, 80, 100], abs=2)
    assert items[0][3].get(cv2.CAP_PROP_FPS) == 0  # released: no file handle outlives the loop


@pytest.mark.parametrize(('stride', 'shades'), [(2, [40, 80, 120]), (4, [80])])
def test_vid_stride_takes_every_so_manieth_frame(tmp_path, stride, shades):
    sources = LoadImages(video(tmp_path / 'v.avi', frames=6), 64, vid_stride=stride)
    assert [int(im0.mean().round()) for _, _, im0, _, _ in sources] == pytest.approx(shades, abs=2)
    assert sources.faults == []


def test_pictures_and_videos_mixed_tell_their_mode(tmp_path):
    picture(tmp_path / 'z.png')
    video(tmp_path / 'a.mp4', frames=2, code='mp4v')
    sources = LoadImages(tmp_path, 64)
    assert [(sources.mode, capture is not None) for *_, capture, _ in sources] == [
        ('image', False), ('video', True), ('video', True)
    ]  # fmt: skip


def test_exif_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.jpg', exif=exif)
    assert next(iter(LoadImages(tmp_path / 'a.jpg', 64)))[2].shape == (60, 40, 3)


def test_bad_files_are_reported_and_the_rest_goes_on(tmp_path, caplog):
    whole = picture(tmp_path / 'f.jpg', 200, 200).read_bytes()
    (tmp_path / 'a_empty.png').touch()
    (tmp_path / 'b_cut.jpg').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'c_text.png').write_text('not a picture')
    Image.new('1', (20000, 20000)).save(tmp_path / 'd_giant.png')
    (tmp_path / 'g_broken.mp4').write_bytes(b'\0' * 100)
    sources = LoadImages(tmp_path, 64)
    assert names(sources) == ['f.jpg']
    assert str(sources.faults[3]).endswith('d_giant.png: more than 178,956,970 pixels')
    bad = ['a_empty.png', 'b_cut.jpg', 'c_text.png', 'd_giant.png', 'g_broken.mp4']
    assert [fault.name for fault in sources.faults] == [str(tmp_path / name) for name in bad]
    assert len([line for line in caplog.messages if 'b_cut.jpg' in line]) == 1


def test_a_name_of_two_lines_is_shown_on_one(tmp_path, messages):
    for name in ('a\nWARNING.png', 'b\x1b[31m.png'):
        picture(tmp_path / name)
    video(tmp_path / 'c\r.avi', frames=1)
    (tmp_path / 'd\n.png').write_text('x')
    starts = [item[-1] for item in LoadImages(tmp_path)]
    assert starts == [
        f'image 1/4 {tmp_path}/a\\x0aWARNING.png: ',
        f'image 2/4 {tmp_path}/b\\x1b[31m.png: ',
        f'video 4/4 (1/1) {tmp_path}/c\\x0d.avi: ',
    ]
    assert messages() == f'image 3/4 {tmp_path}/d\\x0a.png: not a picture'


def test_a_missing_file_of_a_list_is_reported_and_the_rest_goes_on(tmp_path):
    file = picture(tmp_path / 'a.png')
    (tmp_path / 'l.txt').write_text(f'{tmp_path}/gone.png\n{file}\n')
    sources = LoadImages(tmp_path / 'l.txt', 64)
    assert names(sources) == ['a.png']
    assert sources.faults == [(f'line 1 of {tmp_path}/l.txt', f'{tmp_path}/gone.png: nothing of that name')]
    assert sources.total == 2


def test_a_video_that_breaks_off_is_reported_after_its_frames(tmp_path):
    file = video(tmp_path / 'v.avi', frames=40, height=240, width=320)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    sources = LoadImages(file, 64)
    assert 15 <= len(list(sources)) <= 30
    assert 'breaks off' in str(sources.faults[0])


@pytest.mark.parametrize(('stride', 'fps'), [(1, 12.5), (2, 6.25)])
def test_rate_of_the_frames(tmp_path, stride, fps):
    sources = LoadImages(video(tmp_path / 'v.avi', frames=4, fps=12.5), 64, vid_stride=stride)
    assert [sources.fps for _ in sources] == [fps] * (4 // stride)


def test_going_through_twice_gives_the_same(tmp_path):
    sources = LoadImages(video(tmp_path / 'v.avi', frames=3), 64)
    assert len(list(sources)) == len(list(sources)) == 3


@pytest.mark.parametrize(('source', 'match'), [
    ('gone.jpg', 'gone.jpg: no such file or folder'),
    ('gone/*.jpg', r'gone/\*.jpg: no images or videos found'),
    ('.', r'\.: no images or videos found'),
    ([], 'no images or videos found'),
])  # fmt: skip
def test_nothing_found_is_an_error_that_names_the_source(tmp_path, monkeypatch, source, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=match):
        LoadImages(source)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / 'a.pdf').write_text('x')
    with pytest.raises(DataError, match='videos are .*mp4'):
        LoadImages(tmp_path / 'a.pdf')


@pytest.mark.parametrize('source', ['0', 'rtsp://camera/1', 'HTTP://host/stream'])
def test_webcams_and_streams_are_no_files(source):
    with pytest.raises(UsageError, match=f'{source}: a webcam or a stream among files'):
        LoadImages(source)


def test_a_source_has_a_name():
    with pytest.raises(UsageError, match='--source: nothing given'):
        open_source(' ')


def test_vid_stride_must_be_positive(tmp_path):
    with pytest.raises(UsageError, match='--vid-stride 0'):
        LoadImages(tmp_path, vid_stride=0)


def test_formats_are_those_of_the_reference():
    assert {'asf', 'avi', 'gif', 'm4v', 'mkv', 'mov', 'mp4', 'mpeg', 'mpg', 'ts', 'wmv'} <= set(VID_FORMATS)


# Files or streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('source', 'kind'), [
    ('0', LoadStreams),
    ('rtsp://camera/1', LoadStreams),
    ('http://host/video?id=3', LoadStreams),
    ('l.streams', LoadStreams),
    ('addresses.txt', LoadStreams),
    (['0', 'rtmp://host/x'], LoadStreams),
    ('7', LoadImages),
    ('files.txt', LoadImages),
    ('x/a.png', LoadImages),
    (['x/a.png', 'x'], LoadImages),
    ('data/images', LoadImages),
])  # fmt: skip
def test_which_source_is_which(tmp_path, monkeypatch, source, kind):
    for name in ('x/a.png', '7/a.png', 'root/data/images/a.png'):
        picture(tmp_path / name)
    (tmp_path / 'l.streams').write_text('0\n')
    (tmp_path / 'addresses.txt').write_text('# cameras\nrtsp://host/1\n')
    (tmp_path / 'files.txt').write_text('x/a.png\nhttp://host/a.jpg\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('utils.data.sources.ROOT', tmp_path / 'root')
    sources = open_source(source, vid_stride=3)
    assert isinstance(sources, kind)
    assert sources.vid_stride == 3


def test_the_address_of_a_picture_is_downloaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr('utils.data.sources.check_file', lambda name: asked.append(name) or picture(tmp_path / 'a.png'))
    assert open_source('https://host/b%20a.png?x=1').files == [str(tmp_path / 'a.png')]
    assert asked == ['https://host/b%20a.png?x=1']


@pytest.mark.parametrize(('source', 'match'), [('gone.streams', 'no such file'), ('gone.txt', 'no such file')])
def test_a_missing_list_is_named(tmp_path, monkeypatch, source, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f'{source}: {match}'):
        open_source(source)


def test_conversions_to_8_bits_are_said_once(tmp_path, caplog):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((40, 60), 3996, np.uint16))
    picture(tmp_path / '3.png')
    images = [im0 for _, _, im0, _, _ in LoadImages(tmp_path, 64)]
    assert [image[0, 0].tolist() for image in images[:3]] == [[249] * 3] * 3
    note = '3 images: 16-bit pixels with values of 12 bits, divided by 16'
    assert caplog.messages == [f'{note} (for example {tmp_path}/0.png)']
