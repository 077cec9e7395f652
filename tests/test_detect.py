import contextlib
import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import detect
from tests.camera import Camera
from tests.models.exports import claimed_png
from utils.annotate import colors
from utils.errors import DataError, Terminated, UsageError
from utils.log import LOGGER

flow = pytest.importorskip('oneflow')
Backend = pytest.importorskip('models.backend').Backend

# Rows of the network: xywh in pixels of its 64x64 input, objectness, scores of three classes.
CAT = [20, 30, 20, 10, 0.9, 1, 0, 0]
CAT_TOO = [50, 30, 10, 10, 0.5, 1, 0, 0]
DOG_ON_CAT = [20, 30, 20, 10, 0.8, 0, 0, 1]
BAD = 250
FAINT = [40, 40, 8, 8, 0.2, 1, 0, 0]


class Network:
    """Finds the same in every picture, and remembers how it was called."""

    kind, batch, imgsz, stride, path = 'oneflow', None, None, 32, 'network'
    fast = None

    def __init__(self, rows, names=('cat', 'cow', 'dog'), imgsz=None, stop=None, calls=3):
        self.rows, self.names, self.imgsz = np.array(rows, np.float32).reshape(-1, 8), list(names), imgsz
        self.calls, self.loaded, self.stop, self.most = [], None, stop, calls
        self.fault = None  # raised for pictures of the shade BAD

    def __call__(self, x, augment=False, visualize=None):
        if self.stop and len(self.calls) == self.most:
            raise self.stop
        if self.fault and round(float(x.max()) * 255) == BAD:
            raise self.fault
        self.calls.append((tuple(x.shape), float(x.min()), float(x.max()), augment))
        if visualize:
            visualize(flow.tensor(x), 'models.common.Conv', 0)
        return np.repeat(self.rows[None], len(x), 0)


@pytest.fixture
def network(monkeypatch):
    """Puts a Network in the place of the weights; the fixture's function returns it."""

    def use(*rows, **kwargs):
        model = Network(rows, **kwargs)

        def load(weights, device, **options):
            model.loaded = weights, options
            return Backend([model], device)

        monkeypatch.setattr('models.backend.load_backend', load)
        return model

    return use


def picture(path, height=64, width=64, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))
    return path


def video(path, frames=4, fps=10, bad=()):
    """Frames of one shade; those of the numbers `bad`, from 1, make the network raise its `fault`."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), fps, (64, 48))
    for i in range(1, frames + 1):
        writer.write(np.full((48, 64, 3), BAD if i in bad else 100, np.uint8))
    writer.release()
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs detect.run, its log left to caplog."""
    monkeypatch.setattr(detect, 'set_logging', lambda: None)
    monkeypatch.setattr(LOGGER, 'propagate', True)

    def run(source, **options):
        return detect.run(source=source, imgsz=options.pop('imgsz', 64), project=tmp_path / 'runs', **options)

    return run


def files(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob('*') if f.is_file())


def table(file):
    return [[float(v) for v in line.split()] for line in file.read_text().splitlines()]


def test_a_picture_is_annotated_and_its_line_printed(tmp_path, network, run, caplog):
    model = network(CAT, CAT_TOO, DOG_ON_CAT, FAINT)
    file = picture(tmp_path / 'a.png')
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(file, hide_labels=True, line_thickness=1)
    assert files(folder) == ['a.png']
    drawn = cv2.imread(str(folder / 'a.png'))
    # Both cats are there, smoothed at the edges; one lies over the less confident dog.
    assert np.abs(drawn[25, [20, 50]].astype(int) - colors(0, bgr=True)).max() < 30
    assert drawn[30, 20].tolist() == [100, 100, 100]
    assert drawn[44, 40].tolist() == [100, 100, 100]
    (line,) = [m for m in caplog.messages if m.startswith('image')]
    assert line.startswith(f'image 1/1 {file}: 64x64 2 cats, 1 dog, ')
    assert line.endswith('ms')
    assert any(m.startswith('Speed: ') and m.endswith('at shape (1, 3, 64, 64)') for m in caplog.messages)
    assert model.calls == [((1, 3, 64, 64), pytest.approx(100 / 255), pytest.approx(100 / 255), False)]


def test_labels_are_normalised_to_the_picture_least_confident_first(tmp_path, network, run):
    network(CAT, DOG_ON_CAT)
    folder = run(picture(tmp_path / 'a.png', 320, 640), save_txt=True, save_conf=True, nosave=True)
    assert files(folder) == ['labels/a.txt']
    # 640x320 becomes 64x32 in 64x32: boxes grow tenfold. y from 25..35 to 250..350, cut at 320.
    dog, cat = [2, 0.3125, 0.890625, 0.3125, 0.21875, 0.8], [0, 0.3125, 0.890625, 0.3125, 0.21875, 0.9]
    np.testing.assert_allclose(table(folder / 'labels' / 'a.txt'), [dog, cat], atol=1e-6)
    folder = run(tmp_path / 'a.png', save_txt=True)
    assert [len(row) for row in table(folder / 'labels' / 'a.txt')] == [5, 5]
    assert folder.name == 'exp2'


def test_nothing_found_leaves_the_picture_as_it_is_and_no_labels(tmp_path, network, run, caplog):
    network(FAINT)
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(picture(tmp_path / 'a.png'), save_txt=True, save_crop=True)
    assert files(folder) == ['a.png']
    assert (cv2.imread(str(folder / 'a.png')) == 100).all()
    assert any('64x64 (no detections), ' in m for m in caplog.messages)


@pytest.mark.parametrize(('options', 'found'), [
    ({}, [0, 0, 2]),
    ({'conf_thres': 0.1}, [0, 0, 0, 2]),
    ({'conf_thres': 0.6}, [0, 2]),
    ({'classes': [2]}, [2]),
    ({'agnostic_nms': True}, [0, 0]),
    ({'max_det': 1}, [0]),
])  # fmt: skip
def test_options_of_suppression(tmp_path, network, run, options, found):
    network(CAT, CAT_TOO, DOG_ON_CAT, FAINT)
    folder = run(picture(tmp_path / 'a.png'), save_txt=True, nosave=True, **options)
    assert sorted(row[0] for row in table(folder / 'labels' / 'a.txt')) == found


def test_iou_thres_of_one_keeps_all(tmp_path, network, run):
    network(CAT, [21, 30, 20, 10, 0.6, 1, 0, 0])
    for iou, n in ((0.45, 1), (0.95, 2)):
        folder = run(picture(tmp_path / 'a.png'), save_txt=True, nosave=True, iou_thres=iou)
        assert len(table(folder / 'labels' / 'a.txt')) == n


def test_crops_lie_by_class_and_are_taken_before_drawing(tmp_path, network, run):
    network(CAT, CAT_TOO, DOG_ON_CAT, names=['a cat', 'cow', '../x/dog'])
    folder = run(picture(tmp_path / 'a.png'), save_crop=True)
    assert files(folder) == ['a.png', 'crops/__x_dog/a.jpg', 'crops/a cat/a.jpg', 'crops/a cat/a2.jpg']
    crop = cv2.imread(str(folder / 'crops' / 'a cat' / 'a2.jpg'))
    assert crop.shape == (21, 31, 3)  # 10 * 1.02 + 10 and 20 * 1.02 + 10 in whole pixels
    assert np.abs(crop.astype(int) - 100).max() <= 2


def test_video_keeps_rate_size_and_has_labels_by_frame(tmp_path, network, run, caplog):
    network(CAT)
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(video(tmp_path / 'v.avi'), save_txt=True, save_crop=True)
    crops = [f'crops/cat/v_{i}.jpg' for i in (1, 2, 3, 4)]
    assert files(folder) == [*crops, *(f'labels/v_{i}.txt' for i in (1, 2, 3, 4)), 'v.mp4']
    out = cv2.VideoCapture(str(folder / 'v.mp4'))
    assert [out.get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)] == [10, 4]
    assert [out.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)] == [64, 48]
    assert sum(m.startswith('video 1/1 (') and '64x64 1 cat, ' in m for m in caplog.messages) == 4


def test_vid_stride_keeps_the_duration(tmp_path, network, run):
    network(CAT)
    folder = run(video(tmp_path / 'v.avi', frames=6), vid_stride=2)
    out = cv2.VideoCapture(str(folder / 'v.mp4'))
    assert [out.get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)] == [5, 3]


def test_results_of_files_with_one_name_do_not_overwrite_each_other(tmp_path, network, run, caplog):
    network(CAT)
    for name in ('x/a.png', 'y/a.png', 'y/a.jpg'):
        picture(tmp_path / name)
    video(tmp_path / 'x' / 'a.avi', frames=1)
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(f'{tmp_path}/*/*', save_txt=True)
    assert files(folder) == [
        'a.mp4', 'a.png', 'a2.jpg', 'a3.png', 'labels/a.txt', 'labels/a2.txt', 'labels/a3.txt', 'labels/a_1.txt'
    ]  # fmt: skip
    assert sum('its results are named' in m for m in caplog.messages) == 2


def test_pictures_that_opencv_can_not_write_become_jpegs(tmp_path, network, run):
    network(CAT)
    picture(tmp_path / 'a.jpg').rename(tmp_path / 'a.mpo')
    assert files(run(tmp_path / 'a.mpo')) == ['a.jpg']


def test_other_scripts_in_class_names_are_drawn(tmp_path, network, run, caplog):
    network([30, 50, 20, 10, 0.9, 1, 0, 0], names=['кошка', 'b', 'c'])
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(picture(tmp_path / 'a.png', 320, 320))
    assert (cv2.imread(str(folder / 'a.png'))[205:225, 100:180] > 200).all(2).sum() > 50
    assert any('1 кошка, ' in m for m in caplog.messages)


def test_visualize_writes_a_folder_for_each_picture(tmp_path, network, run):
    network(CAT)
    folder = run(picture(tmp_path / 'a.png'), visualize=True, nosave=True)
    assert files(folder) == ['a/stage0_Conv_features.npy', 'a/stage0_Conv_features.png']
    assert np.load(folder / 'a' / 'stage0_Conv_features.npy').shape == (3, 64, 64)


def test_augment_reaches_the_network(tmp_path, network, run):
    model = network(CAT)
    run(picture(tmp_path / 'a.png'), augment=True, nosave=True)
    assert model.calls[0][3] is True


@pytest.mark.parametrize(('imgsz', 'shape', 'said'), [
    (128, (1, 3, 64, 128), None), ([96, 64], (1, 3, 32, 64), None), (100, (1, 3, 64, 128), 'no multiple'),
])  # fmt: skip
def test_image_sizes(tmp_path, network, run, caplog, imgsz, shape, said):
    model = network(CAT)
    run(picture(tmp_path / 'a.png', 32, 64), imgsz=imgsz, nosave=True)
    assert model.calls[0][0] == shape
    assert any('no multiple' in m for m in caplog.messages) == bool(said)


def test_bad_files_are_left_out_and_counted(tmp_path, network, run, caplog):
    network(CAT)
    picture(tmp_path / 'in' / 'b.png')
    (tmp_path / 'in' / 'a.jpg').write_text('x')
    (tmp_path / 'in' / 'c.mp4').write_text('x')
    (tmp_path / 'in' / 'd.png').write_bytes(claimed_png(20_000, 20_000))
    whole = picture(tmp_path / 'in' / 'e.jpg', 200, 200).read_bytes()
    (tmp_path / 'in' / 'e.jpg').write_bytes(whole[: len(whole) // 2])
    assert files(run(tmp_path / 'in')) == ['b.png']
    assert any('a.jpg: not a picture' in m for m in caplog.messages)
    assert any('c.mp4: unreadable video' in m for m in caplog.messages)
    assert any('d.png: more than 178,956,970 pixels' in m for m in caplog.messages)
    assert any('e.jpg: unreadable: image file is truncated' in m for m in caplog.messages)
    place = tmp_path / 'in'
    assert caplog.messages[-1] == (
        f'WARNING: 4 of 5 inputs failed: {place}/a.jpg (not a picture), {place}/d.png (more than 178,956,970 pixels), '
        f'{place}/e.jpg (unreadable: image file is truncated (6 bytes not processed)), and 1 more'
    )


def test_only_bad_files_is_an_error_and_leaves_no_folder(tmp_path, network, run):
    network(CAT)
    (tmp_path / 'a.jpg').write_text('x')
    with pytest.raises(DataError, match=r'1 of 1 inputs failed: .*/a\.jpg \(not a picture\)'):
        run(tmp_path / 'a.jpg', save_txt=True)
    assert not (tmp_path / 'runs').exists()


# Faults of one input --------------------------------------------------------------------------------------------------


class LibraryError(Exception):
    """Like onnxruntime's own classes."""

    __module__ = 'onnxruntime.capi.onnxruntime_pybind11_state'


@pytest.fixture
def three(tmp_path):
    """A folder of three pictures, the second of which makes the network raise its `fault`."""
    for name, value in (('a', 100), ('b', BAD), ('c', 100)):
        picture(tmp_path / 'in' / f'{name}.png', value=value)
    return tmp_path / 'in'


@pytest.mark.parametrize(('error', 'said'), [
    (cv2.error('of OpenCV'), 'error: of OpenCV'),
    (RuntimeError('no\nkernel'), 'RuntimeError: no kernel'),
    (LibraryError('a shape of 0'), 'LibraryError: a shape of 0'),
    (MemoryError(), 'too little memory for it'),
    (OSError(errno.EIO, 'Input/output error'), 'Input/output error'),
    (DataError('what it is'), 'what it is'),
    (IndexError('ours'), 'internal error, IndexError: ours'),
])  # fmt: skip
def test_a_fault_in_the_network_costs_one_picture(three, network, run, caplog, error, said):
    network(CAT).fault = error
    assert files(run(three, save_txt=True)) == ['a.png', 'c.png', 'labels/a.txt', 'labels/c.txt']
    assert f'WARNING: image {three}/b.png: {said}' in caplog.messages
    assert caplog.messages[-1] == f'WARNING: 1 of 3 inputs failed: {three}/b.png ({said})'
    assert any('in __call__' in m for m in caplog.messages) == isinstance(error, IndexError)


@pytest.mark.parametrize('error', [UsageError('--x: is wrong'), OSError(errno.ENOSPC, 'No space left on device')])
def test_what_all_pictures_would_meet_ends_the_run(three, network, run, error):
    model = network(CAT)
    model.fault = error
    with pytest.raises(type(error)) as caught:
        run(three)
    assert caught.value is error
    assert len(model.calls) == 1


@pytest.mark.parametrize(('place', 'others'), [
    ('labels/b.txt', ['a.png', 'c.png', 'labels/a.txt', 'labels/c.txt']),
    ('b.png', ['a.png', 'c.png', 'labels/a.txt', 'labels/b.txt', 'labels/c.txt']),
])  # fmt: skip
def test_what_can_not_be_written_costs_one_picture(tmp_path, three, network, run, caplog, place, others):
    network(CAT)
    (tmp_path / 'runs' / 'exp' / place).mkdir(parents=True)  # a folder of that name
    assert files(run(three, save_txt=True, exist_ok=True)) == others
    reason = f'Is a directory: {tmp_path}/runs/exp/{place}'
    assert caplog.messages[-1] == f'WARNING: 1 of 3 inputs failed: {three}/b.png ({reason})'


def test_a_full_disk_ends_the_run(tmp_path, three, network, run):
    network(CAT)
    (tmp_path / 'runs' / 'exp').mkdir(parents=True)
    (tmp_path / 'runs' / 'exp' / 'b.png').symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left') as caught:
        run(three, exist_ok=True)
    assert caught.value.filename == f'{tmp_path}/runs/exp/b.png'
    assert files(tmp_path / 'runs') == ['exp/a.png']


def test_nothing_but_failures_is_an_error(tmp_path, network, run):
    network(CAT).fault = RuntimeError('no')
    with pytest.raises(DataError, match=r'1 of 1 inputs failed: .*/a\.png \(RuntimeError: no\)'):
        run(picture(tmp_path / 'a.png', value=BAD), save_txt=True)
    assert not (tmp_path / 'runs').exists()


def test_a_fault_in_a_video_costs_its_other_frames_and_no_other_video(tmp_path, network, run, caplog):
    network(CAT).fault = RuntimeError('no')
    for name, bad in (('a', ()), ('b', (3, 4, 5)), ('c', ())):
        video(tmp_path / f'{name}.avi', frames=6, bad=bad)
    folder = run(f'{tmp_path}/*.avi', save_txt=True)
    assert [frames_of(folder / f'{name}.mp4') for name in 'abc'] == [6, 2, 6]
    assert caplog.messages.count(f'WARNING: video {tmp_path}/b.avi: RuntimeError: no') == 1
    assert caplog.messages[-1] == f'WARNING: 1 of 3 inputs failed: {tmp_path}/b.avi (RuntimeError: no)'


def test_a_video_that_is_not_written_whole_is_told_by_its_input(tmp_path, network, run, monkeypatch, caplog):
    network(CAT)
    for name in 'abc':
        video(tmp_path / f'{name}.avi')
    counts = iter((4, 1, 4))
    monkeypatch.setattr('utils.data.sinks.frame_count', lambda capture: next(counts))
    folder = run(f'{tmp_path}/*.avi')
    assert [frames_of(folder / f'{name}.mp4') for name in 'abc'] == [4, 4, 4]
    said = f'{folder}/b.mp4: only 1 of 4 frames are in it. Free some space'
    assert caplog.messages[-1] == f'WARNING: 1 of 3 inputs failed: {tmp_path}/b.avi ({said})'


def test_a_fault_in_a_stream_is_told_once_and_it_goes_on(tmp_path, network, run, caplog):
    network(CAT).fault = RuntimeError('no')
    a, b = video(tmp_path / 'a.avi', frames=6, bad=(2, 3)), video(tmp_path / 'b.avi', frames=6)
    (tmp_path / 'l.streams').write_text(f'{a}\n')
    folder = run(tmp_path / 'l.streams')
    assert frames_of(folder / 'a.mp4') == 4
    assert caplog.messages.count(f'WARNING: {a}: RuntimeError: no') == 1
    assert caplog.messages[-1] == f'WARNING: 1 of 1 streams failed: {a} (RuntimeError: no)'
    (folder / 'a.mp4').unlink()
    (folder / 'a.mp4').mkdir()
    (tmp_path / 'l.streams').write_text(f'{a}\n{b}\n')
    network(CAT)
    run(tmp_path / 'l.streams', exist_ok=True)
    assert frames_of(folder / 'b.mp4') == 6
    assert f'WARNING: {a}: {folder}/a.mp4: OpenCV can not make it' in '\n'.join(caplog.messages)
    assert caplog.messages[-1].startswith(f'WARNING: 1 of 2 streams failed: {a} (')


def test_names_of_any_bytes(tmp_path, network, run, caplog):
    network(CAT)
    name = os.fsdecode(b'\xb2\xe2')
    picture(tmp_path / 'in' / 'x.png').rename(tmp_path / 'in' / f'{name}.png')
    video(tmp_path / 'x.avi').rename(tmp_path / 'in' / f'{name}.avi')
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(tmp_path / 'in', save_txt=True, save_crop=True, visualize=True)
    stems = ['%B2%E2', *(f'%B2%E2_{i}' for i in (1, 2, 3, 4))]
    features = [f'{stem}/stage0_Conv_features.{kind}' for stem in stems for kind in ('npy', 'png')]
    crops = [f'crops/cat/{stem}.jpg' for stem in stems]
    assert files(folder) == sorted(
        ['%B2%E2.mp4', '%B2%E2.png', *features, *crops, *(f'labels/{stem}.txt' for stem in stems)]
    )
    assert frames_of(folder / '%B2%E2.mp4') == 4
    assert sum('its results are named %B2%E2' in m for m in caplog.messages) == 2


def test_long_names_are_cut(tmp_path, network, run):
    network(CAT)
    picture(tmp_path / 'in' / f'{"a" * 251}.png')
    video(tmp_path / 'in' / f'{"b" * 251}.avi', frames=2)
    found = files(run(tmp_path / 'in', save_txt=True))
    assert len(found) == 5
    assert [name for name in found if 'a' * 251 in name] == [f'{"a" * 251}.png', f'labels/{"a" * 251}.txt']
    assert f'{"b" * 251}.mp4' in found


def test_an_image_and_a_frame_of_a_video_never_write_one_file(tmp_path, network, run, caplog):
    network(CAT)
    picture(tmp_path / 'in' / 'cam_1.jpg')
    video(tmp_path / 'in' / 'cam.avi', frames=2)
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(tmp_path / 'in', save_txt=True, visualize=True)
    labels = [f'labels/{stem}.txt' for stem in ('cam2_1', 'cam2_2', 'cam_1')]
    features = [f'{s}/stage0_Conv_features.{k}' for s in ('cam2_1', 'cam2_2', 'cam_1') for k in ('npy', 'png')]
    assert files(folder) == sorted(['cam2.mp4', 'cam_1.jpg', *labels, *features])
    said = f'{tmp_path}/in/cam.avi: its results are named cam2, not cam: those of another file have that name'
    assert caplog.messages.count(said) == 1


@pytest.mark.parametrize(('height', 'width', 'shape', 'box'), [
    (12, 20_000, (1, 3, 32, 64), [0.3125, 0.5, 0.3125, 1]), (20_000, 10, (1, 3, 64, 32), [0.5, 0.46875, 1, 0.15625]),
])  # fmt: skip
def test_long_thin_pictures(tmp_path, network, run, height, width, shape, box):
    """Of the short side one pixel is left, in the middle of 32: boxes over it span the whole side."""
    model = network([20, 15, 20, 10, 0.9, 1, 0, 0] if width > height else [15, 30, 20, 10, 0.9, 1, 0, 0])
    folder = run(picture(tmp_path / 'a.png', height, width), save_txt=True)
    assert model.calls[0][0] == shape
    np.testing.assert_allclose(table(folder / 'labels' / 'a.txt'), [[0, *box]], atol=1e-4)
    assert cv2.imread(str(folder / 'a.png')).shape == (height, width, 3)


# Folders --------------------------------------------------------------------------------------------------------------


def test_exist_ok_writes_into_the_same_folder_and_replaces(tmp_path, network, run):
    network(CAT)
    for _ in range(2):
        folder = run(picture(tmp_path / 'a.png'), exist_ok=True, save_txt=True, name='mine')
    assert folder == tmp_path / 'runs' / 'mine'
    assert len(table(folder / 'labels' / 'a.txt')) == 1


def test_names_of_the_data_are_shown_where_the_weights_have_only_numbers(tmp_path, network, run, caplog):
    (tmp_path / 'd.yaml').write_text(json.dumps({'train': 'x', 'val': 'x', 'names': ['kitten', 'calf', 'puppy']}))
    file = picture(tmp_path / 'a.png')
    with caplog.at_level('INFO', 'yolov5'):
        network(CAT, names=['0', '1', '2'])
        run(file, data=tmp_path / 'd.yaml')
        network(CAT)
        run(file, data=tmp_path / 'd.yaml')
        network(CAT, names=['class0', 'class1', 'class2'])
        run(file)  # coco128.yaml has 80 classes: the numbers stay
    lines = [m.split('64x64 ')[1].split(',')[0] for m in caplog.messages if m.startswith('image')]
    assert lines == ['1 kitten', '1 cat', '1 class0']


@pytest.mark.parametrize(('options', 'match'), [
    ({'classes': [1, 3]}, r'--classes 3: no such class. There are 3, 0 to 2'),
    ({'imgsz': [1, 2, 3]}, r'--imgsz \[1, 2, 3\]'),
    ({'imgsz': 0}, r'--imgsz \[0\]'),
    ({'conf_thres': 25}, '--conf-thres 25: out of range'),
    ({'iou_thres': -1}, '--iou-thres -1: out of range'),
    ({'max_det': 0}, '--max-det 0: out of range'),
    ({'line_thickness': 0}, '--line-thickness 0: out of range'),
    ({'vid_stride': 0}, '--vid-stride 0'),
    ({'device': 'tpu'}, '--device tpu'),
    ({'save_text': True}, 'save_text: no such option. Did you mean save_txt'),
])  # fmt: skip
def test_wrong_options_are_named_and_nothing_is_written(tmp_path, network, run, options, match):
    network(CAT)
    with pytest.raises(UsageError, match=match):
        run(picture(tmp_path / 'a.png'), **options)
    assert not (tmp_path / 'runs').exists()


def test_a_missing_source_is_named_before_the_weights_are_read(tmp_path, run):
    with pytest.raises(DataError, match='gone.jpg: no such file'):
        run('gone.jpg', weights='no_such_weights.pt')


# Weights of every kind -------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
    """Three pictures of noise, 96x64."""
    folder = tmp_path_factory.mktemp('noise')
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.png'), np.random.default_rng(i).integers(0, 256, (64, 96, 3), np.uint8))
    return folder


KINDS = ['dynamic', 'fixed', 'nms', 'openvino-dynamic', 'openvino-nms', 'dnn']


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_weights_writes_the_same_labels(exports, noise, run, kind):
    options = {'conf_thres': 0.6, 'save_txt': True, 'save_conf': True, 'nosave': True, 'imgsz': [64, 96]}
    wanted = run(noise, weights=exports['checkpoint'], **options) / 'labels'
    found = run(noise, weights=exports['fixed' if kind == 'dnn' else kind], dnn=kind == 'dnn', **options) / 'labels'
    assert files(found) == files(wanted) == ['0.txt', '1.txt', '2.txt']
    for name in files(wanted):
        ours, theirs = np.array(table(found / name)), np.array(table(wanted / name))
        np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
        np.testing.assert_allclose(ours[:, 1:5], theirs[:, 1:5], rtol=0, atol=1.01 / 64)  # a pixel may round otherwise
        np.testing.assert_allclose(ours[:, 5], theirs[:, 5], rtol=0, atol=1e-3)


def test_a_file_made_for_one_size_and_batch_takes_pictures_and_streams(exports, tmp_path, run, caplog):
    a, b, c = (video(tmp_path / f'{name}.avi', frames=1) for name in 'abc')
    (tmp_path / 'l.streams').write_text(f'{a}\n{b}\n{c}\n')
    with caplog.at_level('INFO', 'yolov5'):
        run(tmp_path / 'l.streams', weights=exports['fixed'], imgsz=320, nosave=True)  # batches of 2, 64x96
    assert sum(m.startswith(('0: 64x96 ', '1: 64x96 ', '2: 64x96 ')) for m in caplog.messages) == 3
    assert any('made for pictures of 64x96, used in place of 320x320' in m for m in caplog.messages)


@pytest.mark.parametrize('option', ['augment', 'visualize'])
def test_what_an_exported_file_can_not_do_is_said(tmp_path, exports, noise, run, option):
    with pytest.raises(UsageError, match=f'an exported file can not --{option}. Give the checkpoint'):
        run(noise, weights=exports['dynamic'], save_txt=True, **{option: True})
    assert not (tmp_path / 'runs').exists()


# Streams ----------------------------------------------------------------------------------------------------------


def frames_of(file):
    return int(cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT))


def test_several_streams_run_as_a_batch_and_each_has_its_results(tmp_path, network, run, caplog):
    model = network(CAT)
    for name, fps in (('x', 10), ('y', 5)):
        (tmp_path / name).mkdir()
        video(tmp_path / name / 'v.avi', frames=3, fps=fps)
    (tmp_path / 'l.streams').write_text(f'{tmp_path}/x/v.avi\n{tmp_path}/y/v.avi\n')
    with caplog.at_level('INFO', 'yolov5'):
        folder = run(tmp_path / 'l.streams', save_txt=True)
    labels = [f'labels/{name}_{i}.txt' for name in ('v', 'v2') for i in (1, 2, 3)]
    assert files(folder) == sorted([*labels, 'v.mp4', 'v2.mp4'])
    assert [cv2.VideoCapture(str(folder / f'{name}.mp4')).get(cv2.CAP_PROP_FPS) for name in ('v', 'v2')] == [10, 5]
    assert [frames_of(folder / f'{name}.mp4') for name in ('v', 'v2')] == [3, 3]
    assert sum(call[0][0] for call in model.calls) == 6
    assert max(call[0][0] for call in model.calls) == 2
    assert sum(m.startswith('0: 64x64 1 cat, ') for m in caplog.messages) == 3
    assert sum(m.startswith('1: 64x64 1 cat, ') for m in caplog.messages) == 3


def test_visualize_has_a_folder_for_each_frame_of_each_stream(tmp_path, network, run):
    network(CAT)
    a, b = video(tmp_path / 'a.avi', frames=1), video(tmp_path / 'b.avi', frames=1)
    (tmp_path / 'l.streams').write_text(f'{a}\n{b}\n')
    folder = run(tmp_path / 'l.streams', visualize=True, nosave=True)
    assert files(folder) == [f'{name}_1/stage0_Conv_features.{kind}' for name in 'ab' for kind in ('npy', 'png')]


def test_a_camera_until_q_is_pressed(tmp_path, network, run, monkeypatch):
    shown = []
    monkeypatch.setattr('utils.data.sinks.can_show', lambda: True)
    monkeypatch.setattr(cv2, 'imshow', lambda title, im: shown.append(title))
    monkeypatch.setattr(cv2, 'waitKey', lambda ms: ord('q') if len(shown) == 4 else -1)
    network(CAT)
    with Camera() as camera:
        folder = run(camera.address, view_img=True)
    assert len(shown) == 4
    assert files(folder) == ['camera.mp4']
    assert frames_of(folder / 'camera.mp4') >= 1


@pytest.mark.parametrize(('stop', 'passed_on'), [
    (KeyboardInterrupt, contextlib.nullcontext()), (Terminated, pytest.raises(Terminated)),
])  # fmt: skip
def test_ctrl_c_ends_a_stream_with_its_video_whole(tmp_path, network, run, caplog, stop, passed_on):
    network(CAT, stop=stop, calls=4)
    with Camera() as camera, caplog.at_level('INFO', 'yolov5'), passed_on:
        run(camera.address)
    assert frames_of(tmp_path / 'runs' / 'exp' / 'camera.mp4') >= 1
    assert caplog.messages[-1].startswith('Results saved to')


def test_ctrl_c_in_a_video_keeps_what_there_is_and_is_passed_on(tmp_path, network, run, caplog):
    network(CAT, stop=KeyboardInterrupt, calls=3)
    with caplog.at_level('INFO', 'yolov5'), pytest.raises(KeyboardInterrupt):
        run(video(tmp_path / 'v.avi', frames=9))
    assert frames_of(tmp_path / 'runs' / 'exp' / 'v.mp4') == 3
    assert any(m.startswith('Speed: ') for m in caplog.messages)


def test_ctrl_c_before_anything_is_done_leaves_nothing(tmp_path, network, run):
    network(CAT, stop=KeyboardInterrupt, calls=0)
    with pytest.raises(KeyboardInterrupt):
        run(video(tmp_path / 'v.avi'))
    assert not (tmp_path / 'runs').exists()


def test_no_stream_can_be_opened(tmp_path, network, run):
    network(CAT)
    with Camera() as camera:
        gone = camera.address
    with pytest.raises(DataError, match=f'{gone}: can not be opened'):
        run(gone)
    assert not (tmp_path / 'runs').exists()


def test_passwords_are_not_logged(tmp_path, network, run, caplog):
    network(CAT)
    with caplog.at_level('INFO', 'yolov5'), pytest.raises(DataError):
        run('http://me:secret@127.0.0.1:9/x')
    assert 'source=http://***@127.0.0.1:9/x' in caplog.text
    assert 'secret' not in caplog.text


# Files --------------------------------------------------------------------------------------------------------------


def test_a_picture_with_an_address_is_downloaded(tmp_path, network, run, monkeypatch):
    network(CAT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('utils.downloads.safe_download', lambda file, url: picture(Path(file)))
    assert files(run('https://host/some/a%20b.png?size=1')) == ['a b.png']


def test_without_a_display_view_img_says_so_and_goes_on(tmp_path, network, run, monkeypatch, caplog):
    network(CAT)
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    assert files(run(picture(tmp_path / 'a.png'), view_img=True)) == ['a.png']
    assert any('--view-img: no display' in m for m in caplog.messages)


def test_with_a_display_pictures_are_shown(tmp_path, network, run, monkeypatch):
    shown = []
    monkeypatch.setattr('utils.data.sinks.can_show', lambda: True)
    monkeypatch.setattr(cv2, 'imshow', lambda title, im: shown.append((os.path.basename(title), im.shape)))
    monkeypatch.setattr(cv2, 'waitKey', lambda ms: shown.append(ms) or -1)
    network(CAT)
    run(picture(tmp_path / 'a.png'), view_img=True, nosave=True)
    assert shown == [('a.png', (64, 64, 3)), 1]


def test_what_the_weights_are_loaded_with(tmp_path, network, run):
    model = network(CAT)
    run(picture(tmp_path / 'a.png'), weights='a.onnx', half=True, dnn=True, device='cpu', nosave=True)
    assert model.loaded == (['a.onnx'], {'dnn': True, 'fp16': True})


def test_weights_made_for_one_size_get_it(tmp_path, network, run, caplog):
    model = network(CAT, imgsz=(64, 96))
    run(picture(tmp_path / 'a.png', 32, 64), nosave=True)
    assert model.calls[0][0] == (1, 3, 64, 96)
    assert any('made for pictures of 64x96, used in place of 64x64' in m for m in caplog.messages)


def test_a_full_disk_leaves_no_half_picture(tmp_path, network, run, monkeypatch):
    def full(path, data):
        with open(path, 'wb') as f:
            f.write(data[:10])
        raise OSError(28, 'No space left on device', str(path))

    network(CAT)
    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space'):
        run(picture(tmp_path / 'a.png'))
    assert files(tmp_path / 'runs') == []
