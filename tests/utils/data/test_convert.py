"""Converters: exact rows from small annotation files, what is left out, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.utils.data.conftest import picture
from utils.data import convert
from utils.data.convert import main
from utils.data.converters.rows import Picture, box_row, join_parts, polygon_row, write_labels
from utils.data.converters.xview import TYPES
from utils.data.parse import parse_labels
from utils.errors import DataError
from utils.paths import DATA_DIRS, ROOT, read_yaml


@pytest.fixture(autouse=True)
def _without_handlers(monkeypatch) -> None:
    monkeypatch.setattr(convert, 'set_logging', lambda: None)  # a handler would outlive the test's stderr


def labels_in(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob('*.txt')}


def run(*words: object) -> dict[str, str]:
    main(list(map(str, words)))
    return labels_in(Path(words[2]))


# Rows -----------------------------------------------------------------------------------------------------------------


def test_boxes_are_normalised_and_cut_to_the_picture():
    assert box_row(3, (10, 20, 30, 60), (100, 80)) == '3 0.200000 0.500000 0.200000 0.500000'
    assert box_row(3, (-10, -20, 50, 200), (100, 80)) == '3 0.250000 0.500000 0.500000 1.000000'


@pytest.mark.parametrize(
    'corners', [(10, 20, 10, 60), (30, 20, 10, 60), (100, 20, 120, 60), (-20, 0, 0, 9), (np.nan, 0, np.nan, 9)]
)
def test_boxes_of_which_nothing_is_left(corners):
    assert box_row(0, corners, (100, 80)) == ''


def test_polygons_are_normalised_and_cut_to_the_picture():
    points = np.array([[0, 0], [50, 0], [50, 160]])
    assert polygon_row(1, points, (100, 80)) == '1 0.000000 0.000000 0.500000 0.000000 0.500000 1.000000'
    assert polygon_row(1, points[:2], (100, 80)) == ''
    assert polygon_row(1, points + np.array([200, 0]), (100, 80)) == ''
    assert polygon_row(1, points * np.nan, (100, 80)) == ''


def test_every_row_is_one_that_training_reads():
    rng = np.random.default_rng(0)
    size = (333, 77)
    rows = []
    for _ in range(200):
        corners = np.sort(rng.uniform(-50, 400, (2, 2)), 0).ravel()
        rows += [box_row(1, corners, size), polygon_row(2, rng.uniform(-50, 400, (5, 2)), size)]
    kept = list(filter(None, rows))
    parsed = parse_labels('\n'.join(kept), 3)
    assert parsed.faults == []
    assert len(parsed.labels) + len(parsed.duplicates) == len(kept) > 200


def area(points: np.ndarray) -> float:
    """The shoelace formula."""
    x, y = points.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_what_would_be_written_without_area_is_not_written():
    assert box_row(0, (10, 10, 10.0001, 20), (320, 320)) == ''
    assert polygon_row(0, np.array([[10, 10], [10.0001, 20], [10, 30]]), (320, 320)) == ''


def test_parts_are_joined_by_bridges_without_width():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    parts = [square, square * 0.5 + [10, 1], square * 0.25 + [20, 2]]
    joined = join_parts(parts)
    assert len(joined) == 3 * 4 + 2 * 2  # each bridge comes back to the two points that it left from
    assert area(joined) == 16 + 4 + 1
    bridges = [np.linalg.norm(a - b) for a, b in zip(joined, np.roll(joined, -1, 0)) if not (a == b).all()]
    assert sum(length > 4.5 for length in bridges) == 4  # two bridges, there and back
    assert join_parts([square]) is square


def test_labels_are_written_whole_or_not_at_all(tmp_path, messages):
    target = tmp_path / 'labels'

    def pictures():
        yield Picture('a', ['0 1', '', '0 1', '1 1'])
        yield Picture('sub.folder/b.c', [])
        if broken:
            raise DataError('stop')

    broken = True
    with pytest.raises(DataError):
        write_labels(pictures(), target)
    assert list(tmp_path.iterdir()) == []
    broken = False
    write_labels(pictures(), target)
    assert labels_in(target) == {'a.txt': '0 1\n1 1\n', 'sub.folder/b.c.txt': ''}
    assert '2 label files, 2 objects, 1 empty or outside their picture and left out' in messages()
    with pytest.raises(DataError, match='labels: exists already'):
        write_labels(pictures(), target)
    write_labels([Picture('c', [])], target, replace=True)
    assert labels_in(target) == {'c.txt': ''}


@pytest.mark.parametrize('name', ['../a', '/a', 'b/../../a', '..\\a', 'a\0b', ''])
def test_no_label_file_outside_the_folder(tmp_path, name):
    with pytest.raises(DataError, match='outside its folder'):
        write_labels([Picture(name, [])], tmp_path / 'deep' / 'labels')
    assert list(tmp_path.rglob('*.txt')) == []


def test_two_pictures_of_one_name(tmp_path):
    with pytest.raises(DataError, match='a: two pictures of this name'):
        write_labels([Picture('a', []), Picture('a', [])], tmp_path / 'labels')


# COCO -----------------------------------------------------------------------------------------------------------------

COCO = {
    'images': [
        {'id': 7, 'file_name': 'a.jpg', 'width': 100, 'height': 50},
        {'id': 9, 'file_name': 'more/b.jpg', 'width': 10, 'height': 10},
    ],
    'categories': [{'id': 90, 'name': 'toothbrush'}, {'id': 1, 'name': 'person'}, {'id': 13, 'name': 'stop sign'}],
    'annotations': [
        {
            'image_id': 7, 'category_id': 13, 'bbox': [10, 10, 20, 20], 'iscrowd': 0,
            'segmentation': [[10, 10, 20, 10, 20, 30], [30, 10, 30, 20, 25, 20], [1, 2, 3, 4]],
        },
        {'image_id': 7, 'category_id': 90, 'bbox': [50, 0, 100, 25], 'iscrowd': 0, 'segmentation': []},
        {'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 9, 9], 'iscrowd': 1, 'segmentation': {'counts': []}},
        {'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 0, 9]},
    ],
}  # fmt: skip
BOXES = '1 0.200000 0.400000 0.200000 0.400000\n2 0.750000 0.250000 0.500000 0.500000\n'


@pytest.fixture
def coco(tmp_path) -> Path:
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps(COCO))
    return file


def test_coco(coco, tmp_path, capsys):
    assert run('coco', coco, tmp_path / 'labels') == {'a.txt': BOXES, 'more/b.txt': ''}
    assert yaml.safe_load(capsys.readouterr().out) == {'names': {0: 'person', 1: 'stop sign', 2: 'toothbrush'}}


def test_coco_with_its_80_classes(coco, tmp_path, capsys):
    labels = run('coco', coco, tmp_path / 'labels', '--cls91to80')
    assert labels['a.txt'] == BOXES.replace('1 ', '11 ', 1).replace('\n2 ', '\n79 ')
    names = yaml.safe_load(capsys.readouterr().out)['names']
    official = read_yaml(DATA_DIRS[0] / 'coco.yaml')['names']
    assert len(names) == 80
    assert {k: official[k] for k in (0, 11, 79)} == {k: names[k] for k in (0, 11, 79)}


def test_coco_with_crowds(coco, tmp_path):
    assert (
        run('coco', coco, tmp_path / 'labels', '--crowds')['a.txt'] == BOXES + '0 0.045000 0.090000 0.090000 0.180000\n'
    )


def test_coco_with_outlines(coco, tmp_path):
    first, second = run('coco', coco, tmp_path / 'labels', '--segments')['a.txt'].splitlines()
    assert second == BOXES.splitlines()[1]  # it has no outline
    label, *numbers = map(float, first.split())
    assert label == 1
    # Both parts, and a bridge between them where they are nearest; [1, 2, 3, 4] is no outline.
    corners = [[10, 10], [20, 10], [30, 10], [30, 20], [25, 20], [30, 10], [20, 10], [20, 30]]
    np.testing.assert_allclose(np.reshape(numbers, (-1, 2)) * [100, 50], corners, atol=1e-4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'images': None}, "no 'images'"),
        ({'images': {}}, '"images" is no list'),
        ({'images': COCO['images'][1:]}, 'annotations of picture 7, which is not among its images'),
        ({'images': [{'id': 7, 'file_name': 'a.jpg'}]}, "no 'width'"),
        ({'images': [{**COCO['images'][0], 'width': 0}]}, 'picture of 0x50 pixels'),
        ({'categories': COCO['categories'][:1]}, 'no 13'),
        ({'annotations': [{'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 3]}]}, 'not enough values'),
        ({'annotations': [7]}, 'has no attribute'),
    ],
)
def test_json_that_is_not_coco(tmp_path, change, message):
    file = tmp_path / 'x.json'
    file.write_text(json.dumps({key: value for key, value in {**COCO, **change}.items() if value is not None}))
    with pytest.raises(DataError, match=rf'x\.json: not annotations in COCO format \(.*{message}'):
        run('coco', file, tmp_path / 'labels')
    assert sorted(tmp_path.iterdir()) == [file]


def test_files_that_are_not_json(tmp_path):
    for content in (b'\xff{', b'[' * 100_000):
        (tmp_path / 'x').write_bytes(content)
        with pytest.raises(DataError, match='x: not annotations in COCO format'):
            run('coco', tmp_path / 'x', tmp_path / 'labels')
    with pytest.raises(DataError, match='y: no such file'):
        run('coco', tmp_path / 'y', tmp_path / 'labels')


def test_categories_beyond_cocos(tmp_path):
    file = tmp_path / 'x.json'
    file.write_text(json.dumps({**COCO, 'categories': [*COCO['categories'], {'id': 12, 'name': 'street sign'}]}))
    with pytest.raises(DataError, match="category 12 is none of COCO's 80"):
        run('coco', file, tmp_path / 'labels', '--cls91to80')


# VOC ------------------------------------------------------------------------------------------------------------------


def voc_xml(*objects: tuple, size: tuple[int, int] = (100, 50)) -> str:
    """VOC's XML; an object is name, difficult ('' leaves it out), xmin, ymin, xmax, ymax."""
    text = ''
    for name, difficult, *corners in objects:
        box = ''.join(f'<{side}>{value}</{side}>' for side, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), corners))
        part = '<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>'  # comes before the object's own box
        mark = f'<difficult>{difficult}</difficult>' if difficult else ''
        text += f'<object><name>{name}</name>{mark}{part}<bndbox>{box}</bndbox></object>'
    width, height = size
    return f'<annotation><size><width>{width}</width><height>{height}</height></size>{text}</annotation>'


@pytest.fixture
def voc(tmp_path) -> Path:
    folder = tmp_path / 'Annotations'
    folder.mkdir()
    objects = [
        ('dog', '0', 11, 11, 31, 31),
        ('cat', '1', 1, 1, 9, 9),
        ('cat', '', 1, 1, 101, 51),
        ('ox', '0', 2, 2, 5, 5),
    ]
    (folder / 'a.b.xml').write_text(voc_xml(*objects))
    (folder / 'c.xml').write_text(voc_xml())
    return folder


def test_voc(voc, tmp_path, capsys):
    # Corners lose 1, as VOC counts pixels from 1; classes are numbered by the alphabet: cat, dog, ox.
    dog, cat, ox = (
        '0.200000 0.400000 0.200000 0.400000',
        '0.500000 0.500000 1.000000 1.000000',
        '0.025000 0.050000 0.030000 0.060000',
    )
    labels = run('voc', voc, tmp_path / 'labels')
    assert labels == {'a.b.txt': f'1 {dog}\n0 {cat}\n2 {ox}\n', 'c.txt': ''}
    assert yaml.safe_load(capsys.readouterr().out) == {'names': {0: 'cat', 1: 'dog', 2: 'ox'}}
    assert run('voc', voc, tmp_path / 'two', '--names', 'dog,cat')['a.b.txt'] == f'0 {dog}\n1 {cat}\n'
    assert run('voc', voc, tmp_path / 'official', '--names', 'VOC.yaml')['a.b.txt'] == f'11 {dog}\n7 {cat}\n'


def test_hidden_files_of_a_mac_are_no_annotations(voc, tmp_path):
    (voc / '._a.b.xml').write_bytes(b'\x00\x05\x16\x07')
    assert sorted(run('voc', voc, tmp_path / 'labels')) == ['a.b.txt', 'c.txt']


@pytest.mark.parametrize(
    ('text', 'message'),
    [('<annotation>', 'no element found'), ('<a/>', 'size 0x0'), (voc_xml(('dog', '0', 1, 2, 3)), 'could not convert')],
)
def test_xml_that_is_not_vocs(tmp_path, text, message):
    (tmp_path / 'a.xml').write_text(text)
    with pytest.raises(DataError, match=rf'a\.xml: not a VOC annotation \(.*{message}'):
        run('voc', tmp_path, tmp_path / 'labels', '--names', 'dog')
    with pytest.raises(DataError, match=r'empty: no \*\.xml files there'):
        run('voc', tmp_path / 'empty', tmp_path / 'labels')


# The others -----------------------------------------------------------------------------------------------------------


def test_visdrone(tmp_path):
    (tmp_path / 'annotations').mkdir()
    picture(tmp_path / 'images/a.jpg', (100, 50))
    rows = ['10,10,20,20,1,4,0,0', '0,0,5,5,0,1,0,0', '0,0,5,5,1,11,0,0', '0,0,5,5,1,0,0,0', '0,0,50,50,1,10,0,0,', '']
    (tmp_path / 'annotations/a.txt').write_text('\n'.join(rows))
    (tmp_path / 'annotations/._a.txt').write_bytes(b'\xff\x00')
    expected = '3 0.200000 0.400000 0.200000 0.400000\n9 0.250000 0.500000 0.500000 1.000000\n'
    assert run('visdrone', tmp_path, tmp_path / 'labels') == {'a.txt': expected}
    (tmp_path / 'annotations/b.txt').write_text('')
    with pytest.raises(DataError, match=r'b\.jpg: no such picture'):
        run('visdrone', tmp_path, tmp_path / 'more')
    (tmp_path / 'images/b.jpg').write_bytes(b'x' * 100)
    with pytest.raises(DataError, match=r'b\.jpg: not a picture'):
        run('visdrone', tmp_path, tmp_path / 'more')
    picture(tmp_path / 'images/b.jpg')
    (tmp_path / 'annotations/b.txt').write_bytes('0,0,5,5,1,1,0,0'.encode('utf-16'))
    with pytest.raises(DataError, match=r'b\.txt: not UTF-8 text but, as it seems, UTF-16'):
        run('visdrone', tmp_path, tmp_path / 'more')
    (tmp_path / 'annotations/b.txt').write_text('1 2 3')
    with pytest.raises(DataError, match=r'b\.txt: not a VisDrone annotation'):
        run('visdrone', tmp_path, tmp_path / 'more')


def xview_feature(name: str, kind: int, corners: str) -> dict:
    return {'properties': {'image_id': name, 'type_id': kind, 'bounds_imcoords': corners}}


def test_xview(tmp_path, messages):
    picture(tmp_path / 'train_images/1.tif', (100, 50))
    picture(tmp_path / 'train_images/2.tif', (100, 50))
    features = [
        xview_feature('1.tif', 11, '10,10,30,30'),
        xview_feature('1.tif', 94, '-5,-5,50,50'),
        xview_feature('1.tif', 75, '10,10,30,30'),  # a number without a class
        xview_feature('1.tif', 12, '10,10,30'),
        xview_feature('1.tif', 12, ''),
        xview_feature('1395.tif', 12, '1,1,2,2'),
    ]
    (tmp_path / 'xView_train.geojson').write_text(json.dumps({'features': features}))
    expected = '0 0.200000 0.400000 0.200000 0.400000\n59 0.250000 0.500000 0.500000 1.000000\n'
    assert run('xview', tmp_path, tmp_path / 'labels') == {'1.txt': expected, '2.txt': ''}
    assert 'lacks 1 annotated pictures, for example 1395.tif' in messages()
    assert len(TYPES) == len(set(TYPES)) == len(read_yaml(DATA_DIRS[0] / 'xView.yaml')['names'])


def test_sku110k(tmp_path):
    file = tmp_path / 'annotations_val.csv'
    file.write_text('b.jpg,0,0,50,50,object,100,50\na.jpg,10,10,30,30,object,100,50\nb.jpg,90,0,110,60,object,100,50\n')
    assert run('sku110k', file, tmp_path / 'labels') == {
        'a.txt': '0 0.200000 0.400000 0.200000 0.400000\n',
        'b.txt': '0 0.250000 0.500000 0.500000 1.000000\n0 0.950000 0.500000 0.100000 1.000000\n',
    }
    file.write_text('a.jpg,0,0,5\n')
    with pytest.raises(DataError, match='not a CSV file of SKU-110K'):
        run('sku110k', file, tmp_path / 'more')


def test_argoverse(tmp_path):
    size = {'width': 96, 'height': 60}  # the usual one, where not given, is 1920x1200
    content = {
        'seq_dirs': ['train/one', 'train/two'],
        'images': [{'id': 3, 'sid': 1, 'name': 'a.jpg'}, {'id': 4, 'sid': 0, 'name': 'a.jpg', **size}],
        'annotations': [
            {'image_id': 3, 'category_id': 7, 'bbox': [192, 120, 192, 120], 'iscrowd': 1},
            {'image_id': 4, 'category_id': 0, 'bbox': [48, 30, 48, 30]},
        ],
    }  # fmt: skip
    (tmp_path / 'train.json').write_text(json.dumps(content))
    assert run('argoverse', tmp_path / 'train.json', tmp_path / 'labels') == {
        'train/two/a.txt': '7 0.150000 0.150000 0.100000 0.100000\n',
        'train/one/a.txt': '0 0.750000 0.750000 0.500000 0.500000\n',
    }
    content['images'][0]['sid'] = 2
    (tmp_path / 'train.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match='not annotations of Argoverse-HD'):
        run('argoverse', tmp_path / 'train.json', tmp_path / 'more')


def test_the_command(coco, tmp_path):
    words = [sys.executable, '-m', 'utils.data.convert', 'coco', str(coco), str(tmp_path / 'labels')]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, yaml.safe_load(done.stdout)['names'][0]) == (0, 'person')
    assert '2 label files, 2 objects' in done.stderr
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (1, '')
    assert again.stderr == f'Error: {tmp_path}/labels: exists already. Remove it or choose another folder\n'
    assert labels_in(tmp_path / 'labels')['a.txt'] == BOXES
