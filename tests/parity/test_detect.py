"""What detect.py prints and writes for the two photographs, as the reference did (hub.json)."""

from __future__ import annotations

import numpy as np
import pytest

import detect
from tests.golden import golden_json, needs_golden, shared
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
