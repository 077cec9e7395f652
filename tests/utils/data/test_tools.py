"""autosplit, dataset_stats, extract_boxes, flatten_recursive."""

from __future__ import annotations

import json
import os
import shutil

import cv2
import numpy as np
import pytest

from tests.utils.data.conftest import BOX, picture
from utils.data.labels import list_images
from utils.data.tools import autosplit, dataset_stats, extract_boxes, flatten_recursive
from utils.errors import DataError


def test_autosplit_deals_every_picture_to_one_list(tmp_path):
    images = tmp_path / 'set/images'
    for i in range(60):
        (images / f'{i % 3}').mkdir(parents=True, exist_ok=True)
        (images / f'{i % 3}/{i:02d}.jpg').touch()
    splits = autosplit(images, (8, 2, 0))
    assert sorted(path for split in splits.values() for path in split) == list_images(images)
    assert 38 <= len(splits['train']) <= 56
    assert splits['test'] == []
    assert list_images(tmp_path / 'set/autosplit_train.txt') == splits['train']
    assert list_images(tmp_path / 'set/autosplit_val.txt') == splits['val']
    assert (tmp_path / 'set/autosplit_val.txt').read_text().startswith('./images/')
    assert not (tmp_path / 'set/autosplit_test.txt').exists()
    assert autosplit(images, (8, 2, 0)) == splits
    assert autosplit(images, (8, 2, 0), seed=1) != splits


def test_autosplit_of_names_of_any_bytes(tmp_path):
    images = tmp_path / 'set/images'
    images.mkdir(parents=True)
    (images / os.fsdecode(b'\xb2\xe2.jpg')).touch()
    splits = autosplit(images, (1, 0, 0))
    assert list_images(tmp_path / 'set/autosplit_train.txt') == splits['train'] == list_images(images)


def test_autosplit_of_annotated_pictures(data_set):
    root = data_set(a=BOX, b=None, c=BOX)
    splits = autosplit(root / 'images/train', (1, 0, 0), annotated_only=True)
    assert [path[-5:] for path in splits['train']] == ['a.jpg', 'c.jpg']


def test_dataset_stats(data_set, capsys):
    root = data_set(a=BOX + '1 .123456 .5 .1 .1\n0 .5 .5 .1 .1\n', b=None)
    (root / 'data.yaml').write_text('train: images/train\nval: images/train\nnames: [x, y, z]\n')
    stats = dataset_stats(root / 'data.yaml', verbose=True)
    assert json.loads(capsys.readouterr().out) == stats
    assert (stats['nc'], stats['names'], stats['test']) == (3, ['x', 'y', 'z'], None)
    assert stats['train']['instance_stats'] == {'total': 3, 'per_class': [2, 1, 0]}
    assert stats['train']['image_stats'] == {'total': 2, 'unlabelled': 1, 'per_class': [1, 1, 0]}
    assert stats['train']['labels'][0]['a.jpg'][1] == [1, 0.1235, 0.5, 0.1, 0.1]
    assert stats['train']['labels'][1] == {'b.jpg': []}


def test_extract_boxes_cuts_with_a_margin(data_set):
    root = data_set(a='2 .5 .5 .5 .5\n0 .05 .5 .1 .5\n', b=None)
    picture(root / 'images/train/a.jpg', (200, 100), quality=100)
    folder = extract_boxes(root)
    assert folder == root / 'classifier'
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob('*.jpg')) == ['0/a_1.jpg', '2/a_0.jpg']
    crop = cv2.imread(str(folder / '2/a_0.jpg'))
    assert crop.shape[:2] == (63, 123)  # 50 * 1.2 + 3 and 100 * 1.2 + 3
    whole = cv2.imread(str(root / 'images/train/a.jpg'))
    np.testing.assert_allclose(crop.astype(int), whole[18:81, 38:161], atol=12)
    with pytest.raises(DataError, match='exists already'):
        extract_boxes(root)


def test_flatten_recursive(tmp_path):
    for name in ('set/a.txt', 'set/x/b.txt', 'set/x/y/c.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    flat = flatten_recursive(tmp_path / 'set')
    assert flat == tmp_path / 'set_flat'
    assert {path.name: path.read_text() for path in flat.iterdir()} == {
        'a.txt': 'set/a.txt', 'b.txt': 'set/x/b.txt', 'c.txt': 'set/x/y/c.txt',
    }  # fmt: skip
    (tmp_path / 'set/x/a.txt').write_text('other')
    with pytest.raises(DataError, match='exists already'):
        flatten_recursive(tmp_path / 'set')
    shutil.rmtree(flat)
    with pytest.raises(DataError, match='same name'):
        flatten_recursive(tmp_path / 'set')
    assert not flat.exists()
