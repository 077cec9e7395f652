"""Every official data set, fetched from a local server with tiny archives laid out as the real ones are."""

from __future__ import annotations

import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.utils.data.test_convert import voc_xml, xview_feature
from utils.data import fetch
from utils.data.fetchers import build, official
from utils.data.labels import read_labels
from utils.data.yaml import DataConfig, load_data
from utils.downloads import MIRRORS_VARIABLE
from utils.errors import DataError, ResourceError
from utils.paths import DATA_DIRS, ROOT, read_yaml

RELEASE = '/github.com/ultralytics/yolov5/releases/download/v1.0'
WHOLE, QUARTER = '0.500000 0.500000 1.000000 1.000000', '0.250000 0.250000 0.500000 0.500000'


def picture(kind: str = 'JPEG') -> bytes:
    """40x20 pixels."""
    buffer = io.BytesIO()
    Image.new('RGB', (40, 20), (90, 120, 200)).save(buffer, kind)
    return buffer.getvalue()


JPG, TIF = picture(), picture('TIFF')


def zipped(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `state.files` by path, in parts where asked; of a path in `state.cut` only so many bytes come, once."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state, asked = self.server.state, self.headers.get('Range')
        state.log.append((self.path, asked))
        body = state.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        begin = int(asked[6:-1]) if asked and self.headers.get('If-Range') == '"1"' else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header('Content-Range', f'bytes {begin}-{len(body) - 1}/{len(body)}')
        self.send_header('ETag', '"1"')
        self.send_header('Content-Length', str(len(body) - begin))
        self.end_headers()
        self.wfile.write(body[begin : state.cut.pop(self.path, None)])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A mirror of every host: http://host/x is at /host/x."""
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.daemon_threads = True
    state = httpd.state = SimpleNamespace(files={}, log=[], cut={}, url=f'http://127.0.0.1:{httpd.server_port}/')
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv(MIRRORS_VARIABLE, f'https://={state.url} http://={state.url}')
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A disk as large as is liked: free.bytes."""
    disk = SimpleNamespace(free=10**12)
    monkeypatch.setattr(build.shutil, 'disk_usage', lambda _: disk)
    return disk


def load(name: str, folder: Path) -> DataConfig:
    """The data set of an official YAML in this folder, as train.py and val.py get it."""
    return load_data(read_yaml(DATA_DIRS[0] / f'{name}.yaml') | {'path': str(folder)})


def rows(data: DataConfig, split: str) -> dict[str, list[list[float]]]:
    """Labels by picture, as training reads them; checks that there is nothing to complain about."""
    labels = read_labels(getattr(data, split), data.nc, cache=False)
    assert labels.problems == []
    return {
        Path(image).relative_to(data.path).as_posix(): labels.labels[i].round(3).tolist()
        for i, image in enumerate(labels.images)
    }


def text(folder: Path, file: str) -> str:
    return (folder / 'labels' / f'{file}.txt').read_text()


# The data sets --------------------------------------------------------------------------------------------------------


def serve_coco(server: SimpleNamespace) -> None:
    labels = {
        'coco/train2017.txt': './images/train2017/000000000009.jpg\n',
        'coco/val2017.txt': './images/val2017/000000000139.jpg\n',
        'coco/test-dev2017.txt': './images/test2017/000000000001.jpg\n',
        'coco/labels/train2017/000000000009.txt': f'45 {WHOLE}\n',
        'coco/labels/val2017/000000000139.txt': f'0 {WHOLE}\n79 {QUARTER}\n',
        'coco/annotations/instances_val2017.json': '{}',
    }
    server.files[f'{RELEASE}/coco2017labels.zip'] = zipped(labels)
    for split, number in (('train', 9), ('val', 139), ('test', 1)):
        archive = zipped({f'{split}2017/{number:012}.jpg': JPG})
        server.files[f'/images.cocodataset.org/zips/{split}2017.zip'] = archive


def test_coco(server, tmp_path, messages):
    serve_coco(server)
    data = load('coco', tmp_path / 'coco')
    assert rows(data, 'train') == {'images/train2017/000000000009.jpg': [[45, 0.5, 0.5, 1, 1]]}
    assert len(rows(data, 'val')['images/val2017/000000000139.jpg']) == 2
    assert data.test == (tmp_path / 'coco/test-dev2017.txt',)
    assert (tmp_path / 'coco/images/test2017/000000000001.jpg').read_bytes() == JPG
    assert (tmp_path / 'coco/annotations/instances_val2017.json').is_file()
    assert [path.name for path in tmp_path.iterdir()] == ['coco']
    assert 'coco: about 26.8 GB to download in 4 files, and 46 GB of disk needed; 1e+03 GB are free in' in messages()
    load('coco', tmp_path / 'coco')
    assert len(server.log) == 4


def test_coco128(server, tmp_path):
    server.files['/ultralytics.com/assets/coco128.zip'] = zipped(
        {
            'coco128/images/train2017/1.jpg': JPG,
            'coco128/labels/train2017/1.txt': f'22 {QUARTER}\n',
            'coco128/README.txt': '',
            '__MACOSX/coco128/images/train2017/._1.jpg': b'',
        }
    )
    data = load('coco128', tmp_path / 'deep' / 'coco128')
    assert rows(data, 'train') == rows(data, 'val') == {'images/train2017/1.jpg': [[22, 0.25, 0.25, 0.5, 0.5]]}
    assert sorted(path.name for path in data.path.iterdir()) == ['README.txt', 'images', 'labels']


def serve_voc(server: SimpleNamespace) -> None:
    def archive(year: int, splits: dict[str, list[str]]) -> bytes:
        files: dict[str, bytes | str] = {f'VOCdevkit/VOC{year}/JPEGImages/unused.jpg': JPG}
        for split, stems in splits.items():
            files[f'VOCdevkit/VOC{year}/ImageSets/Main/{split}.txt'] = '\n'.join(stems)
            for k, stem in enumerate(stems):
                objects = [('tvmonitor', '0', 1, 1, 21, 11), ('dog', '1', 1, 1, 9, 9), ('hat', '0', 1, 1, 9, 9)]
                files[f'VOCdevkit/VOC{year}/JPEGImages/{stem}.jpg'] = JPG
                files[f'VOCdevkit/VOC{year}/Annotations/{stem}.xml'] = voc_xml(*objects[k:], size=(40, 20))
        return zipped(files)

    server.files |= {
        f'{RELEASE}/VOCtrainval_06-Nov-2007.zip': archive(2007, {'train': ['000001', '000002'], 'val': ['000003']}),
        f'{RELEASE}/VOCtest_06-Nov-2007.zip': archive(2007, {'test': ['000004']}),
        f'{RELEASE}/VOCtrainval_11-May-2012.zip': archive(2012, {'train': ['2008_1'], 'val': ['2008_2']}),
    }


def test_voc(server, tmp_path):
    serve_voc(server)
    data = load('VOC', tmp_path / 'VOC')
    expected = {f'images/{image}.jpg': [[19, 0.25, 0.25, 0.5, 0.5]] for image in ('train2007/000001', 'val2007/000003')}
    expected |= {
        f'images/{image}.jpg': [[19, 0.25, 0.25, 0.5, 0.5]] for image in ('train2012/2008_1', 'val2012/2008_2')
    }
    labels = read_labels(data.train, data.nc, cache=False)
    got = {
        Path(image).relative_to(data.path).as_posix(): labels.labels[i].tolist()
        for i, image in enumerate(labels.images)
    }
    assert got == expected | {'images/train2007/000002.jpg': []}  # of its objects one is difficult, one of no class
    assert [problem.kind for problem in labels.problems] == ['empty']
    assert rows(data, 'val') == {'images/test2007/000004.jpg': [[19, 0.25, 0.25, 0.5, 0.5]]}


def test_visdrone(server, tmp_path):
    for split in ('train', 'val', 'test-dev', 'test-challenge'):
        top = f'VisDrone2019-DET-{split}'
        files = {f'{top}/images/{split}.jpg': JPG}
        if split != 'test-challenge':
            files[f'{top}/annotations/{split}.txt'] = '0,0,20,10,1,4,0,0\n0,0,9,9,0,0,0,0\n0,0,9,9,1,11,0,0\n'
        server.files[f'{RELEASE}/{top}.zip'] = zipped(files)
    data = load('VisDrone', tmp_path / 'VisDrone')
    for split, name in (('train', 'train'), ('val', 'val'), ('test', 'test-dev')):
        assert rows(data, split) == {f'VisDrone2019-DET-{name}/images/{name}.jpg': [[3, 0.25, 0.25, 0.5, 0.5]]}
    assert (data.path / 'VisDrone2019-DET-test-challenge/images/test-challenge.jpg').is_file()


def test_sku110k(server, tmp_path):
    files = {}
    for k, split in enumerate(('train', 'val', 'test')):
        files |= {f'SKU110K_fixed/images/{split}_{n}.jpg': JPG for n in (0, 1)}
        table = [f'{split}_1.jpg,0,0,{40 + k},20,object,40,20', f'{split}_0.jpg,0,0,20,10,object,40,20']
        files[f'SKU110K_fixed/annotations/annotations_{split}.csv'] = '\n'.join(table).encode()
    server.files['/trax-geometry.s3.amazonaws.com/cvpr_challenge/SKU110K_fixed.tar.gz'] = tarred(files)
    data = load('SKU-110K', tmp_path / 'SKU-110K')
    for split in ('train', 'val', 'test'):
        assert rows(data, split) == {
            f'images/{split}_0.jpg': [[0, 0.25, 0.25, 0.5, 0.5]],
            f'images/{split}_1.jpg': [[0, 0.5, 0.5, 1, 1]],
        }


def test_global_wheat(server, tmp_path):
    content = read_yaml(DATA_DIRS[0] / 'GlobalWheat2020.yaml')
    farms = [Path(place).name for place in content['train'] + content['test']]
    pictures: dict[str, bytes | str] = {f'{farm}/{farm}.png': picture('PNG') for farm in farms}
    pictures['arvalis_1.json'] = '{}'
    labels = {f'labels/{farm}/{farm}.txt': f'0 {QUARTER}\n' for farm in farms}
    server.files['/zenodo.org/record/4298502/files/global-wheat-codalab-official.zip'] = zipped(pictures)
    server.files[f'{RELEASE}/GlobalWheat2020_labels.zip'] = zipped(labels)
    data = load('GlobalWheat2020', tmp_path / 'wheat')
    assert [len(rows(data, split)) for split in ('train', 'val', 'test')] == [7, 1, 4]
    assert rows(data, 'val') == {'images/ethz_1/ethz_1.png': [[0, 0.25, 0.25, 0.5, 0.5]]}
    assert sorted(path.name for path in data.path.iterdir()) == ['annotations', 'images', 'labels']


def test_argoverse(server, tmp_path):
    files: dict[str, bytes | str] = {'Argoverse-1.1/tracking/test/log/cam/t.jpg': JPG}
    for split, label in (('train', 2), ('val', 7)):
        files[f'Argoverse-1.1/tracking/{split}/log/cam/{split}.jpg'] = JPG
        content = {
            'seq_dirs': [f'{split}/log/cam'],
            'images': [{'id': 0, 'sid': 0, 'name': f'{split}.jpg', 'width': 1920, 'height': 1200}],
            'annotations': [{'image_id': 0, 'category_id': label, 'bbox': [0, 0, 960, 600]}],
        }
        files[f'Argoverse-HD/annotations/{split}.json'] = json.dumps(content)
    host = '/argoverse-hd.s3.us-east-2.amazonaws.com'
    server.files[f'{host}/Argoverse-HD-Full.zip'] = zipped(files)
    data = load('Argoverse', tmp_path / 'Argoverse')
    for split, label in (('train', 2), ('val', 7)):
        image = f'Argoverse-1.1/images/{split}/log/cam/{split}.jpg'
        assert rows(data, split) == {image: [[label, 0.25, 0.25, 0.5, 0.5]]}


def test_objects365(server, tmp_path):
    host = '/dorc.ks3-cn-beijing.ksyun.com/data-set/2020Objects365%E6%95%B0%E6%8D%AE%E9%9B%86'
    for split, patches in (('train', 51), ('val', 44)):
        images, annotations = [], []
        for i in range(patches):
            version = 1 if i < 16 else 2
            folder = f'{host}/train/' if split == 'train' else f'{host}/val/images/v{version}/'
            name = f'objects365_v{version}_{i:08}.jpg'
            server.files[f'{folder}patch{i}.tar.gz'] = tarred({f'patch{i}/{name}': JPG})
            images.append({'id': i, 'file_name': f'images/v{version}/patch{i}/{name}', 'width': 40, 'height': 20})
            annotations.append({'image_id': i, 'category_id': i + 1, 'bbox': [0, 0, 20, 10], 'iscrowd': i % 2})
        categories = [{'id': n + 1, 'name': str(n)} for n in range(365)]
        table = json.dumps({'images': images, 'annotations': annotations, 'categories': categories}).encode()
        server.files[f'{host}/{split}/zhiyuan_objv2_{split}.json'] = table
    train = {'zhiyuan_objv2_train.json': server.files.pop(f'{host}/train/zhiyuan_objv2_train.json')}
    server.files[f'{host}/train/zhiyuan_objv2_train.tar.gz'] = tarred(train)
    data = load('Objects365', tmp_path / 'objects')
    train, val = rows(data, 'train'), rows(data, 'val')
    assert (len(train), len(val)) == (51, 44)
    assert train['images/train/objects365_v2_00000050.jpg'] == [[50, 0.25, 0.25, 0.5, 0.5]]
    assert val['images/val/objects365_v1_00000001.jpg'] == [[1, 0.25, 0.25, 0.5, 0.5]]


def test_xview(server, tmp_path, messages):
    with pytest.raises(DataError) as error:
        load('xView', tmp_path / 'xView')
    assert str(error.value) == (
        'xView: downloading it takes an account. Get train_images.zip (15 GB), train_labels.zip (0.03 GB) from '
        f'https://challenge.xviewdataset.org and put them into {tmp_path}/xView.download; the rest is done for you'
    )
    assert list(tmp_path.iterdir()) == []
    by_hand = tmp_path / 'xView.download'
    by_hand.mkdir()
    (by_hand / 'train_images.zip').write_bytes(zipped({f'train_images/{i}.tif': TIF for i in range(20)}))
    with pytest.raises(DataError, match=r'Get train_labels\.zip \(0\.03 GB\) from'):
        load('xView', tmp_path / 'xView')
    features = [xview_feature(f'{i}.tif', 18, '0,0,20,10') for i in range(20)]
    (by_hand / 'train_labels.zip').write_bytes(zipped({'xView_train.geojson': json.dumps({'features': features})}))
    data = load('xView', tmp_path / 'xView')
    train, val = rows(data, 'train'), rows(data, 'val')
    assert train.keys() | val.keys() == {f'images/train/{i}.tif' for i in range(20)}
    assert len(train) + len(val) == 20
    assert len(train) > len(val) > 0
    assert train['images/train/1.tif'] == [[5, 0.25, 0.25, 0.5, 0.5]]
    assert server.log == []
    assert sorted(path.name for path in by_hand.iterdir()) == ['train_images.zip', 'train_labels.zip']
    assert f'complete in {tmp_path}/xView; the archives in {by_hand} are still there' in messages()


def test_every_official_yaml_has_a_fetcher():
    names = {file.stem for file in DATA_DIRS[0].glob('*.yaml')}
    assert names == set(fetch.FETCHERS)
    for name in names:
        assert read_yaml(DATA_DIRS[0] / f'{name}.yaml')['download'] == name


def test_the_addresses_are_those_of_the_yamls(monkeypatch, tmp_path):
    """Each address that is asked stands among its YAML's urls, or below one of them."""
    recipes: list[build.Recipe] = []
    monkeypatch.setattr(official, 'build', lambda recipe, folder: recipes.append(recipe))
    for name in fetch.FETCHERS.keys() - {'shapes'}:
        fetch.FETCHERS[name](tmp_path)
    assert {recipe.name for recipe in recipes} == fetch.FETCHERS.keys() - {'shapes'}
    for recipe in recipes:
        urls = [re.sub(r'\{split\}/$', '', url) for url in read_yaml(DATA_DIRS[0] / f'{recipe.name}.yaml')['urls']]
        assert all(any(part.url.startswith(url) for url in urls) for part in recipe.parts)
        assert len({part.file for part in recipe.parts}) == len(recipe.parts)


# Interruptions --------------------------------------------------------------------------------------------------------


def test_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setenv(MIRRORS_VARIABLE, 'https://=http://127.0.0.1:1/')
    with pytest.raises(ResourceError) as error:
        load('coco', tmp_path / 'coco')
    message = str(error.value)
    assert f'http://127.0.0.1:1{RELEASE}/coco2017labels.zip (' in message
    assert f'or get it by hand from http://cocodataset.org as {tmp_path}/coco.download/coco2017labels.zip' in message
    assert '\n' not in message
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path, monkeypatch):
    serve_coco(server)
    labels, val = f'{RELEASE}/coco2017labels.zip', '/images.cocodataset.org/zips/val2017.zip'
    server.cut[val] = 300
    with monkeypatch.context() as patch:
        patch.setattr('utils.downloads.time.sleep', interrupt)  # between two tries
        with pytest.raises(KeyboardInterrupt):
            load('coco', tmp_path / 'coco')
    assert [path.name for path in tmp_path.iterdir()] == ['coco.download']
    part = tmp_path / 'coco.download/fetched/coco/images/val2017.zip.part'
    assert part.read_bytes() == server.files[val][:300]
    load('coco', tmp_path / 'coco')
    assert [asked for path, asked in server.log if path == val] == [None, 'bytes=299-']
    assert [asked for path, asked in server.log if path == labels] == [None]
    assert (tmp_path / 'coco/images/val2017/000000000139.jpg').read_bytes() == JPG
    assert [path.name for path in tmp_path.iterdir()] == ['coco']


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize('when', range(6))
def test_an_interrupted_conversion_is_done_again(server, tmp_path, monkeypatch, when):
    serve_voc(server)
    moves = 0

    def move(source: Path, target: Path) -> None:
        nonlocal moves
        if moves == when:
            raise KeyboardInterrupt
        moves += 1
        build.move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(official, 'move', move)
        with pytest.raises(KeyboardInterrupt):
            load('VOC', tmp_path / 'VOC')
    assert not (tmp_path / 'VOC').exists()
    data = load('VOC', tmp_path / 'VOC')
    assert len(server.log) == 3
    assert len(list(data.path.glob('images/*/*.jpg'))) == len(list(data.path.glob('labels/*/*.txt'))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ['VOC']


def test_killed_while_unpacking(server, tmp_path, monkeypatch):
    serve_voc(server)
    with monkeypatch.context() as patch:
        patch.setattr('utils.archives._move_contents', interrupt)
        patch.setattr('utils.archives.shutil.rmtree', lambda *_, **__: None)  # as if there was no time to tidy up
        with pytest.raises(KeyboardInterrupt):
            load('VOC', tmp_path / 'VOC')
    assert list((tmp_path / 'VOC.download/tree').glob('.unpack-*'))
    load('VOC', tmp_path / 'VOC')
    assert len(server.log) == 3
    assert list(tmp_path.rglob('.unpack-*')) == []


def test_a_tree_that_somebody_removed_is_made_anew(server, tmp_path):
    serve_coco(server)
    last = server.files.pop('/images.cocodataset.org/zips/train2017.zip')
    with pytest.raises(ResourceError, match='404'):
        load('coco', tmp_path / 'coco')
    shutil.rmtree(tmp_path / 'coco.download' / 'tree')
    server.files['/images.cocodataset.org/zips/train2017.zip'] = last
    load('coco', tmp_path / 'coco')
    assert len(server.log) == 4 + 4


def test_a_damaged_archive_is_fetched_anew(server, tmp_path):
    serve_coco(server)
    name = f'{RELEASE}/coco2017labels.zip'
    whole = server.files[name]
    server.files[name] = b'<html>come back later</html>'
    with pytest.raises(DataError, match=r'coco2017labels\.zip: damaged or no archive'):
        load('coco', tmp_path / 'coco')
    server.files[name] = whole
    load('coco', tmp_path / 'coco')


def test_an_archive_that_is_there_already(server, tmp_path):
    serve_coco(server)
    place = tmp_path / 'coco.download/coco/images/train2017.zip'
    place.parent.mkdir(parents=True)
    place.write_bytes(server.files.pop('/images.cocodataset.org/zips/train2017.zip'))
    load('coco', tmp_path / 'coco')
    assert place.is_file()


@pytest.mark.parametrize(
    ('archive', 'files', 'missing'),
    [
        ('zips/val2017.zip', {'somewhere/else.jpg': JPG}, 'coco/images/val2017/000000000139.jpg'),
        ('coco2017labels.zip', {f'coco/{x}2017.txt': './images/x.jpg' for x in ('val', 'test-dev')}, 'train2017.txt'),
        (
            'coco2017labels.zip',
            {'coco/train2017.txt': './images/train2017/000000000009.jpg'},
            'coco/labels/train2017/000000000009.txt',
        ),
    ],
)
def test_archives_that_have_changed(server, tmp_path, archive, files, missing):
    serve_coco(server)
    (path,) = (path for path in server.files if path.endswith(archive))
    server.files[path] = zipped(files)
    with pytest.raises(DataError, match=rf'coco: there is no (\S*/)?{missing} in what was unpacked'):
        load('coco', tmp_path / 'coco')
    assert not (tmp_path / 'coco').exists()


def test_an_archive_that_leads_outside(server, tmp_path):
    server.files['/ultralytics.com/assets/coco128.zip'] = zipped({'../../../escaped': 'x'})
    with pytest.raises(DataError, match=r"refused, '\.\./\.\./\.\./escaped' would be written outside"):
        load('coco128', tmp_path / 'sub' / 'coco128')
    assert not list(tmp_path.rglob('escaped'))


# Where it goes --------------------------------------------------------------------------------------------------------


def test_a_small_disk(server, tmp_path, free):
    free.free = 45.9e9
    with pytest.raises(ResourceError, match=r'coco needs 46 GB, but only 45\.9 GB are free\. Free some space'):
        load('coco', tmp_path / 'coco')
    assert (server.log, list(tmp_path.iterdir())) == ([], [])


def test_a_folder_with_something_else_is_left_alone(server, tmp_path):
    mine = tmp_path / 'coco/images/mine.jpg'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(JPG)
    with pytest.raises(DataError, match=r'coco: is there, but without train2017\.txt\. Complete it, or move it away'):
        load('coco', tmp_path / 'coco')
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == [mine]
    assert server.log == []


@pytest.mark.parametrize('linked', [False, True])
def test_an_empty_folder_is_filled(server, tmp_path, linked):
    serve_coco(server)
    place = tmp_path / 'large' / 'disk' if linked else tmp_path / 'coco'
    place.mkdir(parents=True)
    if linked:
        (tmp_path / 'coco').symlink_to(place)
    assert load('coco', tmp_path / 'coco').path == tmp_path / 'coco'
    assert (place / 'train2017.txt').is_file()


def test_two_at_the_same_time_fetch_once(server, tmp_path):
    serve_coco(server)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: load('coco', tmp_path / 'coco').path, range(2)))
    assert found == [tmp_path / 'coco'] * 2
    assert len(server.log) == 4


def test_the_command(server, tmp_path):
    server.files['/ultralytics.com/assets/coco128.zip'] = zipped(
        {'coco128/images/train2017/1.jpg': JPG, 'coco128/labels/train2017/1.txt': f'22 {QUARTER}\n'}
    )

    def command(*words: str) -> subprocess.CompletedProcess:
        words = (sys.executable, '-m', 'utils.data.fetch', *words)
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    done = command('coco128', str(tmp_path / 'set'))
    assert (done.returncode, done.stdout) == (0, '')
    assert done.stderr.splitlines()[-1] == f'coco128: complete in {tmp_path}/set'
    assert text(tmp_path / 'set', 'train2017/1') == f'22 {QUARTER}\n'
    server.files.clear()
    done = command('coco128', str(tmp_path / 'other'))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('Error: ')
    assert f'{server.url}ultralytics.com/assets/coco128.zip (HTTP 404' in done.stderr
