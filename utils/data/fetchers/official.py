"""The data sets of the YAMLs in data/: where their files are, and what brings them into the YAML's shape.

Sizes are about right. We know of no published checksums of these very archives; what notices a damaged one is the
checksum of every file in a zip and of a tar.gz as a whole. Labels and folders become those of the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from utils.data.converters.coco import coco_pictures, read_argoverse, read_coco
from utils.data.converters.rows import Picture, write_labels
from utils.data.converters.sku110k import sku110k_names, sku110k_pictures
from utils.data.converters.visdrone import visdrone_pictures
from utils.data.converters.voc import voc_pictures
from utils.data.converters.xview import xview_pictures
from utils.data.fetchers.build import Part, Recipe, build, move
from utils.paths import DATA_DIRS, atomic_write, read_yaml

RELEASE = 'https://github.com/ultralytics/yolov5/releases/download/v1.0'


def coco128(folder: Path) -> None:
    """128 pictures, 7 MB."""
    parts = [Part('https://ultralytics.com/assets/coco128.zip', 0.007)]
    build(Recipe('coco128', parts, root='coco128'), folder)


def coco(folder: Path) -> None:
    """COCO 2017 with boxes: 118,287 pictures to train on, 5,000 to validate, 40,670 for the test server."""
    images = 'http://images.cocodataset.org/zips'
    parts = [
        Part(f'{RELEASE}/coco2017labels.zip', 0.05),
        Part(f'{images}/val2017.zip', 0.8, 'coco/images'),
        Part(f'{images}/test2017.zip', 6.6, 'coco/images'),
        Part(f'{images}/train2017.zip', 19.3, 'coco/images'),
    ]
    build(Recipe('coco', parts, root='coco', site='http://cocodataset.org'), folder)


def voc(folder: Path) -> None:
    """PASCAL VOC 2007 and 2012, the pictures of their detection task; the rest stays in VOCdevkit."""
    parts = [
        Part(f'{RELEASE}/VOCtrainval_06-Nov-2007.zip', 0.45),
        Part(f'{RELEASE}/VOCtest_06-Nov-2007.zip', 0.44),
        Part(f'{RELEASE}/VOCtrainval_11-May-2012.zip', 1.95),
    ]
    build(Recipe('VOC', parts, _finish_voc), folder)


def _finish_voc(tree: Path) -> None:
    names = read_yaml(DATA_DIRS[0] / 'VOC.yaml')['names']
    for split, year in (('train', 2007), ('val', 2007), ('test', 2007), ('train', 2012), ('val', 2012)):
        devkit, target = tree / 'VOCdevkit' / f'VOC{year}', f'{split}{year}'
        listed = (devkit / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
        stems = [PurePosixPath(line).name for line in listed]
        annotations = (devkit / 'Annotations' / f'{stem}.xml' for stem in stems)
        write_labels(voc_pictures(annotations, names), tree / 'labels' / target, replace=True)
        for stem in stems:
            move(devkit / 'JPEGImages' / f'{stem}.jpg', tree / 'images' / target / f'{stem}.jpg')


def visdrone(folder: Path) -> None:
    """VisDrone 2019, detection; the pictures of its challenge come without annotations."""
    sizes = {'train': 1.5, 'val': 0.08, 'test-dev': 0.3, 'test-challenge': 0.3}
    parts = [Part(f'{RELEASE}/VisDrone2019-DET-{split}.zip', size) for split, size in sizes.items()]
    build(Recipe('VisDrone', parts, _finish_visdrone, site='https://github.com/VisDrone/VisDrone-Dataset'), folder)


def _finish_visdrone(tree: Path) -> None:
    for split in ('train', 'val', 'test-dev'):
        part = tree / f'VisDrone2019-DET-{split}'
        write_labels(visdrone_pictures(part), part / 'labels', replace=True)


def sku110k(folder: Path) -> None:
    """SKU-110K, the corrected edition."""
    parts = [Part('http://trax-geometry.s3.amazonaws.com/cvpr_challenge/SKU110K_fixed.tar.gz', 13.6)]
    site = 'https://github.com/eg4000/SKU110K_CVPR19'
    build(Recipe('SKU-110K', parts, _finish_sku110k, root='SKU110K_fixed', site=site), folder)


def _finish_sku110k(tree: Path) -> None:
    tables = {split: tree / 'annotations' / f'annotations_{split}.csv' for split in ('train', 'val', 'test')}
    pictures = chain.from_iterable(map(sku110k_pictures, tables.values()))
    write_labels(pictures, tree / 'labels', replace=True)
    for split, table in tables.items():
        with atomic_write(tree / f'{split}.txt', 'w') as f:
            f.writelines(f'./images/{name}\n' for name in sku110k_names(table))


def global_wheat(folder: Path) -> None:
    """Global Wheat Head 2020; the labels are the reference's."""
    parts = [
        Part('https://zenodo.org/record/4298502/files/global-wheat-codalab-official.zip', 7.0),
        Part(f'{RELEASE}/GlobalWheat2020_labels.zip', 0.01),
    ]
    build(Recipe('GlobalWheat2020', parts, _finish_global_wheat, site='http://www.global-wheat.com/'), folder)


def _finish_global_wheat(tree: Path) -> None:
    content = read_yaml(DATA_DIRS[0] / 'GlobalWheat2020.yaml')
    for place in map(Path, content['train'] + content['val'] + content['test']):
        move(tree / place.name, tree / place)
        move(tree / f'{place.name}.json', tree / 'annotations' / f'{place.name}.json')


def argoverse(folder: Path) -> None:
    """Argoverse-HD; the test pictures come without annotations."""
    parts = [Part('https://argoverse-hd.s3.us-east-2.amazonaws.com/Argoverse-HD-Full.zip', 31.3)]
    site = 'http://www.cs.cmu.edu/~mengtial/proj/streaming/'
    build(Recipe('Argoverse', parts, _finish_argoverse, site=site), folder)


def _finish_argoverse(tree: Path) -> None:
    move(tree / 'Argoverse-1.1' / 'tracking', tree / 'Argoverse-1.1' / 'images')
    files = (tree / 'Argoverse-HD' / 'annotations' / f'{split}.json' for split in ('train', 'val'))
    pictures = chain.from_iterable(coco_pictures(read_argoverse(file), crowds=True) for file in files)
    write_labels(pictures, tree / 'Argoverse-1.1' / 'labels', replace=True)


def objects365(folder: Path) -> None:
    """Objects365 v2: 51 archives of pictures to train on, 44 to validate; crowds count as objects."""
    host = 'https://dorc.ks3-cn-beijing.ksyun.com/data-set/2020Objects365%E6%95%B0%E6%8D%AE%E9%9B%86'
    val = [f'{host}/val/images/v{1 if i < 16 else 2}/patch{i}.tar.gz' for i in range(44)]
    train = [f'{host}/train/patch{i}.tar.gz' for i in range(51)]
    parts = [
        Part(f'{host}/val/zhiyuan_objv2_val.json', 0.3, 'annotations'),
        Part(f'{host}/train/zhiyuan_objv2_train.tar.gz', 1.5, 'annotations'),
        *(Part(url, 3.6, 'images/val') for url in val),
        *(Part(url, 3.6, 'images/train') for url in train),
    ]
    build(Recipe('Objects365', parts, _finish_objects365, site='https://www.objects365.org (with an account)'), folder)


def _finish_objects365(tree: Path) -> None:
    for split in ('train', 'val'):
        images = tree / 'images' / split
        for picture in list(images.glob('*/**/*.jpg')):
            move(picture, images / picture.name)
        name = f'zhiyuan_objv2_{split}.json'
        file = next((tree / 'annotations').rglob(name), tree / 'annotations' / name)
        pictures = coco_pictures(read_coco(file), crowds=True)
        write_labels(_without_folders(pictures), tree / 'labels' / split, replace=True)


def _without_folders(pictures: Iterator[Picture]) -> Iterator[Picture]:
    for picture in pictures:
        yield picture._replace(name=PurePosixPath(picture.name).name)


def xview(folder: Path) -> None:
    """xView's training set, dealt out to train and val; its own val_images.zip has no labels and isn't asked for."""
    parts = [
        Part('https://d307kc0mrhucc3.cloudfront.net/train_images.zip', 15),
        Part('https://d307kc0mrhucc3.cloudfront.net/train_labels.zip', 0.03),
    ]
    site = 'https://challenge.xviewdataset.org'
    build(Recipe('xView', parts, _finish_xview, site=site, login=True), folder)


def _finish_xview(tree: Path) -> None:
    from utils.data.tools import autosplit  # loads OpenCV

    images = tree / 'images' / 'train'
    move(tree / 'train_images', images)
    write_labels(xview_pictures(tree / 'xView_train.geojson', images), tree / 'labels' / 'train', replace=True)
    autosplit(images)
