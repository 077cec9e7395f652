"""What detect.py prints and writes for the two photographs, as the reference did (hub.json, official.npz)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import detect
from tests.golden import golden_json, golden_npz, needs_golden, recipes, shared
from utils.boxes import xywhn2xyxy
from utils.checkpoint import build_model, load_checkpoint, save_checkpoint
from utils.log import LOGGER

pytestmark = needs_golden
CASES = ('detect_640', 'detect_320_conf_0.4')


@pytest.fixture(scope='module')
def detected(tmp_path_factory):
    """By case: the folder of the run and the lines of the log."""
    done = {}
    for case in CASES:
        golden, lines = golden_json('hub.json')['detect'][case], []
        watch = LOGGER.filters[:]
        LOGGER.addFilter(lambda record, lines=lines: lines.append(record.getMessage()) or True)
        folder = detect.run(
            weights=shared('weights/yolov5n.pt'), source=shared('data/images'), imgsz=golden['imgsz'], save_txt=True,
            save_conf=True, conf_thres=golden.get('conf_thres', 0.25), device='cpu',
            project=tmp_path_factory.mktemp('runs'),
        )  # fmt: skip
        LOGGER.filters[:] = watch
        done[case] = folder, lines
    return done


@pytest.mark.parametrize('case', CASES)
def test_lines(detected, case):
    for wanted in golden_json('hub.json')['detect'][case]['lines']:
        picture, rest = wanted.removeprefix('image ').split(': ', 1)
        (line,) = [line for line in detected[case][1] if line.startswith('image') and f'/{picture}: ' in line]
        assert line.split(f'/{picture}: ', 1)[1].startswith(rest)


@pytest.mark.parametrize('case', CASES)
def test_label_files(detected, case):
    golden = golden_json('hub.json')['detect'][case]['label_files']
    labels = detected[case][0] / 'labels'
    assert sorted(f.name for f in labels.iterdir()) == sorted(golden)
    for name, wanted in golden.items():
        rows = [line.split() for line in (labels / name).read_text().splitlines()]
        wanted = [line.split() for line in wanted]
        assert [row[0] for row in rows] == [row[0] for row in wanted]
        rows, wanted = np.array(rows, float), np.array(wanted, float)
        np.testing.assert_allclose(rows[:, 1:5], wanted[:, 1:5], atol=2e-3)
        np.testing.assert_allclose(rows[:, 5], wanted[:, 5], atol=5e-4)


def test_annotated_pictures_are_there(detected):
    assert sorted(f.name for f in detected['detect_640'][0].glob('*.jpg')) == ['bus.jpg', 'zidane.jpg']


# Test-time augmentation and ensembles, and both of the ways a CPU runs them: rows of official.npz ---------------------


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """By case: the official weights, alone or with a copy whose parameters are 1.001 times as large."""
    ckpt = load_checkpoint(shared('weights/yolov5n.pt'))
    parameters = {name for name, _ in build_model(ckpt).named_parameters()}
    ckpt.state = {k: v * np.float32(1.001) if k in parameters else v for k, v in ckpt.state.items()}
    other = tmp_path_factory.mktemp('weights') / 'other.safetensors'
    save_checkpoint(other, ckpt)
    official = shared('weights/yolov5n.pt')
    return {'plain': [official], 'tta': [official], 'ensemble': [official, other]}


@pytest.mark.parametrize('engine', ['1', '0'])
@pytest.mark.parametrize('case', ['plain', 'tta', 'ensemble'])
def test_what_is_found(weights, tmp_path, monkeypatch, case, engine):
    monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
    source = [shared(f'data/images/{name}.jpg') for name in ('bus', 'zidane')]
    folder = detect.run(
        weights=weights[case], source=source, augment=case == 'tta', save_txt=True, save_conf=True, nosave=True,
        device='cpu', project=tmp_path,
    )  # fmt: skip
    for picture in ('bus', 'zidane'):
        about = golden_json('official.json')[f'{case}/{picture}']
        if recipes().sha256(cv2.imread(str(shared(f'data/images/{picture}.jpg')))) != about['decoded_picture_sha256']:
            pytest.skip('this JPEG decoder gives other pixels')
        height, width = about['decoded_picture_shape'][:2]
        wanted = golden_npz('official.npz')[f'{case}/{picture}/detect'][::-1]  # label files: least confident first
        rows = np.loadtxt(folder / 'labels' / f'{picture}.txt')
        assert len(rows) == about['runs']['detect']['found'] == len(wanted)
        np.testing.assert_array_equal(rows[:, 0], wanted[:, 5])
        boxes = xywhn2xyxy(rows[:, 1:5], w=width, h=height)
        np.testing.assert_allclose(boxes, wanted[:, :4], rtol=0, atol=0.5 + 0.05)  # whole pixels are written
        np.testing.assert_allclose(rows[:, 5], wanted[:, 4], rtol=0, atol=2e-4)
