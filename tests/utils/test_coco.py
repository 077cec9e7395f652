from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from utils import coco
from utils.data.yaml import DataConfig
from utils.errors import DataError


def config(path: Path, val: str, nc: int = 80) -> DataConfig:
    return DataConfig(None, path, (), (path / val,), (), tuple(map(str, range(nc))), nc)


def write_annotations(file: Path, boxes: dict[str, list[tuple]]) -> Path:
    """Annotations of pictures {id: [(category, x, y, w, h)]} in COCO's format."""
    rows = [(picture, box) for picture, found in boxes.items() for box in found]
    annotations = [
        {'id': i, 'image_id': p, 'category_id': c, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
        for i, (p, (c, *box)) in enumerate(rows, 1)
    ]
    categories = [{'id': c, 'name': str(c)} for c in sorted({row['category_id'] for row in annotations})]
    images = [{'id': picture} for picture in boxes]
    file.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))
    return file


def test_the_80_classes_in_the_91_numbers():
    numbers = coco.coco80_to_coco91_class()
    assert len(numbers) == 80
    assert numbers == sorted(numbers)
    # person, fire hydrant, stop sign, backpack, umbrella, toothbrush
    assert [numbers[i] for i in (0, 10, 11, 24, 25, 79)] == [1, 11, 13, 27, 28, 90]


def test_a_pictures_number():
    assert coco.image_id('images/000000000139.jpg') == 139
    assert coco.image_id('BloodImage_00001.jpg') == 'BloodImage_00001'
    assert coco.image_id('x²/²³.jpg') == '²³'  # a number to str.isnumeric, but not to int


def test_detections_as_json():
    rows = [{'image_id': 0}]
    coco.save_one_json(np.float32([[10, 20, 40.12345, 60, 0.123456, 1]]), rows, '12.jpg', [7, 9])
    assert rows[1] == {'image_id': 12, 'category_id': 9, 'bbox': [10.0, 20.0, 30.123, 40.0], 'score': 0.12346}
    assert json.loads(json.dumps(rows)) == rows


def test_coco_itself_is_recognised(tmp_path):
    assert coco.is_coco(config(tmp_path, 'val2017.txt'))
    assert not coco.is_coco(config(tmp_path, 'val2017.txt', nc=3))
    assert not coco.is_coco(config(tmp_path, 'images/val'))


@pytest.mark.parametrize('split', ['val2017.txt', 'images/val2017'])
def test_annotations_are_found_beside_the_split(tmp_path, split):
    data = config(tmp_path, split)
    assert coco.find_annotations(data, 'val') is None
    assert coco.find_annotations(data, 'test') is None
    file = tmp_path / 'annotations' / 'instances_val2017.json'
    file.parent.mkdir()
    file.touch()
    assert coco.find_annotations(data, 'val') == file


def test_annotations_are_found_by_the_splits_name_or_the_yaml(tmp_path):
    file = tmp_path / 'annotations' / 'instances_test.json'
    file.parent.mkdir()
    file.touch()
    data = DataConfig(None, tmp_path, (), (tmp_path / 'a',), (tmp_path / 'a', tmp_path / 'b'), ('x',), 1)
    assert coco.find_annotations(data, 'test') == file
    assert coco.find_annotations(data, 'val') is None
    for named in ('annotations/instances_test.json', {'val': str(file)}):
        assert coco.find_annotations(replace(data, raw={'annotations': named}), 'val') == file
        assert coco.find_annotations(replace(data, raw={'annotations': named}), 'train') is None
    with pytest.raises(DataError, match=r'gone\.json: no such file'):
        coco.find_annotations(replace(data, raw={'annotations': 'gone.json'}), 'val')


def test_pictures_and_classes_are_called_what_the_annotations_call_them(tmp_path):
    images = [{'id': 7, 'file_name': 'deep/cat one.jpg'}, {'id': 'b', 'file_name': '12.png'}, {'id': 3}]
    categories = [{'id': 18, 'name': 'dog'}, {'id': 17, 'name': 'cat'}]
    file = tmp_path / 'a.json'
    file.write_text(json.dumps({'images': images, 'categories': categories, 'annotations': []}))
    known = coco.read_annotations(file, ['cat', 'bird', 'dog'])
    assert known.categories[::2] == [17, 18]
    assert known.categories[1] not in (17, 18)
    names = ('x/cat one.jpg', 'cat one.webp', '12.png', '3.jpg', '0004.jpg', 'dog.jpg')
    assert [coco.image_id(name, known.images) for name in names] == [7, 7, 'b', 3, 4, 'dog']
    rows = []
    coco.save_one_json(np.float32([[0, 0, 2, 2, 0.5, 2]]), rows, 'y/cat one.jpg', known.categories, known.images)
    assert (rows[0]['image_id'], rows[0]['category_id']) == (7, 18)


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('{', 'not in COCO'),
        ('[]', 'not in COCO'),
        ('{"images": [{}], "categories": []}', 'not in COCO'),
        ('{"images": [], "categories": [{"id": 1, "name": "dog"}]}', r'other classes \(dog\)'),
    ],
)
def test_annotations_that_are_none_are_named(tmp_path, text, match):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(DataError, match=rf'a\.json: .*{match}'):
        coco.read_annotations(tmp_path / 'a.json', ['cat'])


def test_scores_of_half_found(tmp_path):
    annotations = write_annotations(tmp_path / 'a.json', {'p': [(0, 0, 0, 50, 50)], 'q': [(0, 10, 10, 50, 50)]})
    rows = []
    coco.save_one_json(np.float32([[0, 0, 50, 50, 0.9, 0]]), rows, 'p.jpg', [0])
    (tmp_path / 'p.json').write_text(json.dumps(rows))
    stats = coco.evaluate_json(tmp_path / 'p.json', annotations)
    assert stats.shape == (len(coco.STATS),)
    assert stats[0] == pytest.approx(51 / 101)  # recalls 0, 0.01, ... 0.5
    assert stats[coco.STATS.index('AR_100')] == pytest.approx(0.5)
    only_p = coco.evaluate_json(tmp_path / 'p.json', annotations, image_ids=['p'])
    assert only_p[0] == pytest.approx(1)


def test_no_detections_score_zero(tmp_path):
    annotations = write_annotations(tmp_path / 'a.json', {'p': [(0, 0, 0, 50, 50)]})
    (tmp_path / 'p.json').write_text('[]')
    assert not coco.evaluate_json(tmp_path / 'p.json', annotations).any()


@pytest.mark.parametrize('damage', ['foreign', 'not json'])
def test_files_that_do_not_belong_together_are_named(tmp_path, damage):
    annotations = write_annotations(tmp_path / 'a.json', {'p': [(0, 0, 0, 50, 50)]})
    if damage == 'not json':
        annotations.write_text('{')
    rows = []
    coco.save_one_json(np.float32([[0, 0, 50, 50, 0.9, 0]]), rows, 'other.jpg', [0])
    (tmp_path / 'p.json').write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r'a\.json'):
        coco.evaluate_json(tmp_path / 'p.json', annotations)
