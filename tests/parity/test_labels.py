"""Labels against the reference: judging files, paths, class and image weights (labels.json, optim.json)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.golden import SHARED, golden_json, needs_golden, shared
from utils.data.labels import (
    Checked,
    img2label_paths,
    labels_to_class_weights,
    labels_to_image_weights,
    read_labels,
    verify_image_label,
)

pytestmark = needs_golden

LABELS = golden_json('labels.json') if (SHARED / 'golden/labels.json').is_file() else {'texts': {}, 'pictures': {}}
# Faults of the reference that are not copied; judged by tests of their own below.
MENDED_TEXTS = {'duplicate_polygons', 'polygon_and_box', 'box_then_polygon', 'zero_size'}
MENDED_PICTURES = {'end_marker_cut'}


def judge(tmp_path: Path, picture: bytes | tuple[int, int] | None, text: str | None) -> Checked:
    """Check a picture (its bytes, or its height and width) beside a label file with this text."""
    image, label = tmp_path / 'images/a.jpg', tmp_path / 'labels/a.txt'
    image.parent.mkdir()
    label.parent.mkdir()
    if isinstance(picture, bytes):
        image.write_bytes(picture)
    else:
        Image.fromarray(np.full((*picture, 3), 120, np.uint8)).save(image)
    if text is not None:
        label.write_bytes(text.encode())
    before = image.read_bytes()
    checked = verify_image_label(str(image), str(label), nc=80)
    assert image.read_bytes() == before
    return checked


def compare(checked: Checked, case: dict) -> None:
    assert (checked.shape is not None) == case['kept']
    for counter in ('missing', 'found', 'empty', 'corrupt'):
        assert checked.counts.get(counter, 0) == case[counter], counter
    if case['kept']:
        assert list(checked.shape) == case['picture_wh']
        np.testing.assert_allclose(checked.labels, np.reshape(case['labels'], (-1, 5)), atol=1e-7)
        assert len(checked.polygons) == len(case['polygons'])
        for polygon, want in zip(checked.polygons, case['polygons']):
            np.testing.assert_allclose(polygon, want, atol=1e-7)
    else:
        assert checked.problems
        assert checked.problems[0].action == 'left out'


@pytest.mark.parametrize('name', [name for name in LABELS['texts'] if name not in MENDED_TEXTS])
def test_texts(tmp_path, name):
    case = LABELS['texts'][name]
    compare(judge(tmp_path, (40, 60), case['text']), case)


@pytest.mark.parametrize('name', [name for name in LABELS['pictures'] if name not in MENDED_PICTURES])
def test_pictures(tmp_path, name):
    case = LABELS['pictures'][name]
    picture = tuple(case['hw']) if case['hw'] else b'this is text'
    text = '0 0.5 0.5 0.25 0.25\n'
    compare(judge(tmp_path, picture, text), case)


def test_duplicate_polygons_lose_the_copy_not_the_file(tmp_path):
    case = LABELS['texts']['duplicate_polygons']
    checked = judge(tmp_path, (40, 60), case['text'])
    np.testing.assert_allclose(checked.labels, [[0, 0.25, 0.35, 0.3, 0.5]], atol=1e-7)
    assert len(checked.polygons) == 1
    assert checked.counts['duplicates'] == 1


def test_a_box_among_polygons_is_a_box(tmp_path):
    case = LABELS['texts']['polygon_and_box']
    checked = judge(tmp_path, (40, 60), case['text'])
    np.testing.assert_allclose(checked.labels[0], case['labels'][0], atol=1e-7)
    np.testing.assert_allclose(checked.labels[1], [1, 0.5, 0.5, 0.2, 0.4], atol=1e-7)  # there: 1 0.35 0.45 0.3 0.1


def test_a_row_without_area_is_no_label(tmp_path):
    case = LABELS['texts']['zero_size']
    checked = judge(tmp_path, (40, 60), case['text'])
    compare(checked, case | {'labels': []})  # there: one label, which nothing can find
    assert checked.counts['bad_rows'] == 1


def test_a_cut_end_mark_is_kept_and_not_mended(tmp_path):
    case = LABELS['pictures']['end_marker_cut']
    Image.fromarray(np.full((*case['hw'], 3), 120, np.uint8)).save(whole := tmp_path / 'whole.jpg')
    compare(judge(tmp_path, whole.read_bytes()[:-2], None), case)


def test_paths():
    assert img2label_paths(LABELS['paths']) == list(LABELS['paths'].values())


def as_arrays(labels: list) -> list[np.ndarray]:
    return [np.reshape(rows, (-1, 5)) for rows in labels]


def check_weights(labels, case: dict) -> None:
    weights = labels_to_class_weights(labels, case['nc'])
    np.testing.assert_allclose(weights, case['class_weights'], atol=1e-6)
    weights = weights * (1 - np.array(case['maps'])) ** 2
    np.testing.assert_allclose(weights, case['class_weights_with_maps'], atol=1e-6)
    np.testing.assert_allclose(labels_to_image_weights(labels, case['nc'], weights), case['image_weights'], atol=1e-6)
    np.testing.assert_allclose(labels_to_image_weights(labels, case['nc']), case['image_weights_unit'], atol=1e-6)


def test_weights_of_the_example():
    case = golden_json('optim.json')['label_weights']['example']
    check_weights(as_arrays(case['labels']), case)


def test_weights_of_bccd():
    case = golden_json('optim.json')['label_weights']['bccd']
    first, last, count = case['stems']
    labels = read_labels(shared('data/bccd/images/train'), case['nc'], cache=False).select(range(count))
    assert [Path(labels.images[i]).stem for i in (0, -1)] == [first, last]
    check_weights(labels.labels, case)
