"""detect.py as its users start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.camera import Camera
from tests.models.exports import claimed_png
from utils.paths import ROOT

pytest.importorskip('oneflow')


def detect(*words, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / 'detect.py'), *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A checkpoint of an untrained yolov5n with two classes that finds everything everywhere."""
    import oneflow as flow

    from models.yolo import Model
    from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays

    flow.manual_seed(0)
    model = Model('yolov5n.yaml', nc=2)
    for level in model.detect.m:
        with flow.no_grad():
            level.bias.copy_(flow.zeros_like(level.bias))
    path = tmp_path_factory.mktemp('weights') / 'tiny.safetensors'
    anchors = model.detect.anchors.numpy()
    stride = [float(s) for s in model.stride]
    save_checkpoint(path, Checkpoint(model.yaml, state_arrays(model), ['cat', 'dog'], stride, anchors))
    return path


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / 'in').mkdir()
    for i in range(2):
        im = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'in' / f'{i}.png'), im)
    return tmp_path / 'in'


def test_pictures_to_a_numbered_folder(tmp_path, weights, pictures):
    words = (
        '--weights',
        weights,
        '--source',
        'in',
        '--img',
        64,
        '--conf',
        0.1,
        '--save-txt',
        '--save-conf',
        '--max-det',
        5,
    )
    for name in ('exp', 'exp2'):
        done = detect(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f'Results saved to runs/detect/{name}' in done.stderr
    for folder in ('exp', 'exp2'):
        results = tmp_path / 'runs' / 'detect' / folder
        assert sorted(f.name for f in results.iterdir()) == ['0.png', '1.png', 'labels']
        assert np.loadtxt(results / 'labels' / '0.txt').shape == (5, 6)
    assert 'image 2/2 in/1.png: 64x64 ' in done.stderr
    assert 'Traceback' not in done.stderr
    assert done.stdout == ''


@pytest.mark.parametrize(('words', 'code', 'said'), [
    (['--soruce', 'x'], 2, 'unrecognized arguments: --soruce'),
    (['--source', 'gone.jpg'], 1, 'Error: gone.jpg: no such file or folder'),
    (['--source', 'https://youtu.be/1'], 2, 'Error: https://youtu.be/1: a YouTube page'),
    (['--source', 'gone.streams'], 1, 'Error: gone.streams: no such file'),
    (['--source', 'in', '--weights', 'gone.pt'], 1, 'gone.pt: no such weights file'),
    (['--source', 'in', '--weights', 'in/0.png'], 1, 'in/0.png'),
    (['--source', 'in', '--conf', 'high'], 2, "argument --conf-thres: invalid float value: 'high'"),
    (['--source', 'in', '--iou', '45'], 2, '--iou-thres 45.0: out of range'),
])  # fmt: skip
def test_bad_input_is_one_line_and_an_exit_code(tmp_path, pictures, words, code, said):
    done = detect(*words, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith('Error: ')]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1
    assert said in lines[0]
    assert 'Traceback' not in done.stderr
    assert not (tmp_path / 'runs').exists()


def test_debug_shows_the_traceback(tmp_path):
    done = detect('--source', 'gone.jpg', '--debug', cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' in done.stderr


def test_ctrl_c_ends_a_camera_and_its_video_plays(tmp_path, weights):
    with Camera() as camera:
        words = ['--weights', weights, '--source', camera.address, '--img', 64]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / 'detect.py'), *map(str, words)], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        lines = []
        for line in process.stderr:
            lines.append(line)
            if sum(line.startswith('0: 64x64 ') for line in lines) == 3:
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate()[1]
    assert process.returncode == 0, ''.join(lines) + rest
    assert 'Results saved to runs/detect/exp' in rest
    assert 'Traceback' not in rest
    video = cv2.VideoCapture(str(tmp_path / 'runs/detect/exp/camera.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 1
    assert video.read()[1].shape == (48, 64, 3)


def test_a_camera_that_is_not_there_is_one_line(tmp_path, weights):
    done = detect('--weights', weights, '--source', '97', cwd=tmp_path)
    assert done.returncode == 1
    error = 'Error: 97: can not be opened. Check the address, the network or the camera'
    assert done.stderr.splitlines()[-1] == error
    assert not any(line.startswith('[') for line in done.stderr.splitlines())  # OpenCV's own complaints


def test_a_broken_file_is_one_line(tmp_path, weights):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'p.png').write_bytes(claimed_png(10_000, 10_000))  # Pillow warns of a bomb
    (tmp_path / 'in' / 'v.mp4').write_bytes(b'\0\0\0\x18ftypmp42' + b'\0' * 200)
    done = detect('--weights', weights, '--source', 'in', cwd=tmp_path)
    assert done.returncode == 1
    picture, *rest = [line for line in done.stderr.splitlines() if '/2 ' in line or line.startswith('Error')]
    assert 'Warning' not in done.stderr
    assert 'moov' not in done.stderr
    assert picture.startswith('image 1/2 in/p.png: unreadable: image file is truncated')
    assert rest == [
        'video 2/2 in/v.mp4: unreadable video. See whether a player shows it',
        'Error: 2 of 2 inputs failed: in/p.png (unreadable: image file is truncated (0 bytes not processed)), '
        'in/v.mp4 (unreadable video. See whether a player shows it)',
    ]


def test_a_bad_file_costs_no_other_and_the_exit_code_tells_it(tmp_path, weights, pictures):
    """One name is not UTF-8, on which OpenCV ends the process."""
    (pictures / '1.png').rename(pictures / os.fsdecode(b'\xb2\xe2.png'))
    (pictures / 'bad\x1b[2J.jpg').write_text('x')
    done = detect('--weights', weights, '--source', 'in', '--img', '64', cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[-1] == 'Error: 1 of 3 inputs failed: in/bad\\x1b[2J.jpg (not a picture)'
    assert any(line.startswith('image 3/3 in/\\xb2\\xe2.png: 64x64') for line in lines)
    assert sorted(os.listdir(tmp_path / 'runs' / 'detect' / 'exp')) == ['%B2%E2.png', '0.png']


def test_help_names_every_option(tmp_path):
    done = detect('--help', cwd=tmp_path)
    assert done.returncode == 0
    for option in ('--weights', '--source', '--data', '--imgsz', '--conf-thres', '--iou-thres', '--max-det', '--device',
                   '--view-img', '--save-txt', '--save-conf', '--save-crop', '--nosave', '--classes', '--agnostic-nms',
                   '--augment', '--visualize', '--project', '--name', '--exist-ok', '--line-thickness', '--hide-labels',
                   '--hide-conf', '--half', '--dnn', '--vid-stride'):  # fmt: skip
        assert option in done.stdout


def test_the_script_imports_nothing_slow_before_it_starts():
    code = 'import sys, detect; print([m for m in ("oneflow", "cv2", "matplotlib", "pandas") if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
