"""Samples: that pictures and labels belong together, repeat, and come from the caches as from the files."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.utils.data.pictures import COLORS, colors_at_centres, draw_set
from utils.boxes import xywh2xyxy
from utils.data import picture_cache
from utils.data.collate import collate_fn, collate_fn4
from utils.data.dataset import LoadImagesAndLabels, to_network_order
from utils.data.labelset import LabelSet
from utils.data.order import SampleKey, epoch_order, rank_batches, stream
from utils.data.perspective import Warp
from utils.data.picture_cache import DiskCache
from utils.errors import ConfigError, DataError, UsageError

STILL = {'hsv_h': 0.0, 'hsv_s': 0.0, 'hsv_v': 0.0}  # colours stay what they are


@pytest.fixture
def labels(tmp_path) -> LabelSet:
    return draw_set(tmp_path / 'images')


def augmented(labels: LabelSet, size: int = 128, seed: int = 0, **hyp: float) -> LoadImagesAndLabels:
    return LoadImagesAndLabels(labels, size, augment=True, hyp=STILL | hyp, seed=seed)


def same(a: tuple, b: tuple) -> bool:
    return np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('where', [None, 'ram', 'disk'])
def test_names_that_are_not_utf8_and_12_bits_make_the_same_samples(labels, where):
    plain = LoadImagesAndLabels(labels, 128)[0]
    image = cv2.imread(labels.images[0])
    odd = os.path.join(os.path.dirname(labels.images[0]), os.fsdecode(b'\xb2\xe2.png'))
    deep = cv2.imencode('.png', image.astype(np.uint16) << 4 | 15)[1]
    Path(odd).write_bytes(deep.tobytes())
    os.remove(labels.images[0])
    labels.images[0] = odd
    dataset = LoadImagesAndLabels(labels, 128, cache_images=where)
    assert image.max() > 127  # 12 bits, not 10
    assert same(dataset[0], plain)
    assert augmented(labels)[0][0].shape == (3, 128, 128)


# Samples --------------------------------------------------------------------------------------------------------------


def test_a_plain_sample(labels):
    dataset = LoadImagesAndLabels(labels, 128)
    assert len(dataset) == 6
    image, targets, path, (original, (ratio, pad)) = dataset[0]
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((3, 128, 128), np.uint8, True)
    assert (targets.shape, targets.dtype) == ((4, 6), np.float32)
    assert path == labels.images[0]
    assert (original, ratio, pad) == ((120, 160), (0.8, 0.8), (0.0, 16.0))
    np.testing.assert_array_equal(targets[:, 1], labels.labels[0][:, 0])
    # Labels lead back to where they came from.
    corners = xywh2xyxy(targets[:, 2:]) * 128 - np.array([0, 16, 0, 16])
    np.testing.assert_allclose(corners / [128, 96, 128, 96], xywh2xyxy(labels.labels[0][:, 1:]), atol=1e-5)
    assert (colors_at_centres(image, targets) == targets[:, 1]).all()


def test_validation_does_not_enlarge(labels):
    image, targets, _, (_, (ratio, pad)) = LoadImagesAndLabels(labels, 256)[0]
    assert ratio == (1.6, 1.6)  # the plain resize does, the letterbox finds nothing left to do
    assert pad == (0, 32)
    assert (colors_at_centres(image, targets) == targets[:, 1]).all()


def test_numbers_outside_end_an_iteration(labels):
    dataset = LoadImagesAndLabels(labels, 64)
    assert len(list(dataset)) == 6
    for index in (6, -1):
        with pytest.raises(IndexError):
            dataset[index]


@pytest.mark.parametrize('hyp', [{}, {'mosaic': 0.0}, {'flipud': 0.5, 'scale': 0.9}, {'translate': 0.5}])
def test_boxes_stay_on_their_objects(labels, hyp):
    dataset = augmented(labels, **hyp)
    seen = 0
    for i in range(30):
        image, targets, _, _ = dataset[SampleKey(0, i, i % 6)]
        assert image.shape == (3, 128, 128)
        assert (targets[:, 2:] >= 0).all()
        assert (targets[:, 2:] <= 1).all()
        assert (colors_at_centres(image, targets) == targets[:, 1]).all()
        seen += len(targets)
    assert seen > 60


def test_boxes_stay_on_turned_objects(labels, tmp_path):
    with_segments = draw_set(tmp_path / 'polygons', with_segments=True)
    hyp = {'degrees': 45, 'shear': 5, 'perspective': 0.0003, 'mosaic': 0.5, 'scale': 0.2}
    for split in (labels, with_segments):
        dataset = augmented(split, **hyp)
        good = []
        for i in range(30):
            image, targets, _, _ = dataset[SampleKey(0, i, i % 6)]
            uncut = (np.abs(targets[:, 2:4] - 0.5) < 0.5 - targets[:, 4:] / 2 - 0.01).all(1)
            good += (colors_at_centres(image, targets) == targets[:, 1])[uncut].tolist()
        assert len(good) > 40
        assert np.mean(good) == 1


def test_polygons_give_tighter_boxes_than_corners(labels):
    """Of pictures without mosaic too: diamonds in their boxes, turned."""
    hyp = {'degrees': 45, 'mosaic': 0.0, 'translate': 0.0, 'scale': 0.0}
    half = np.array([[0, -0.5], [0.5, 0], [0, 0.5], [-0.5, 0]], np.float32)
    diamonds = [[row[1:3] + half * row[3:] for row in rows] for rows in labels.labels]
    plain = augmented(labels, **hyp)
    exact = augmented(LabelSet(labels.images, labels.labels, labels.shapes, diamonds), **hyp)
    keys = [SampleKey(0, i, i % 6) for i in range(12)]
    np.testing.assert_array_equal(plain[keys[0]][0], exact[keys[0]][0])
    around_corners, around_diamonds = (sum(d[key][1][:, 4:].prod(1).sum() for key in keys) for d in (plain, exact))
    assert 0.4 * around_corners < around_diamonds < 0.75 * around_corners


def test_copy_paste_adds_objects(tmp_path):
    labels = draw_set(tmp_path / 'images', with_segments=True)
    counts = []
    for p in (0.0, 1.0):
        dataset = augmented(labels, copy_paste=p, scale=0.0)
        samples = [dataset[SampleKey(0, i, i % 6)] for i in range(20)]
        counts.append(sum(len(targets) for _, targets, _, _ in samples))
        assert all(
            (colors_at_centres(image, targets) == targets[:, 1]).mean() > 0.6 for image, targets, _, _ in samples
        )
    assert counts[1] > 1.3 * counts[0]


def test_mixup_joins_two_mosaics(labels):
    one, two = augmented(labels), augmented(labels, mixup=1.0)
    count = [sum(len(dataset[SampleKey(0, i, i % 6)][1]) for i in range(20)) for dataset in (one, two)]
    assert 1.5 * count[0] < count[1] < 2.5 * count[0]


def test_only_what_a_mosaic_shows_is_loaded_and_drawn(labels, monkeypatch):
    """And the sample is that of the whole canvas, wherever tiles and warps lie."""
    hyp = {'scale': 0.9, 'translate': 0.4, 'degrees': 20, 'shear': 5}
    dataset, whole = augmented(labels, **hyp), augmented(labels, **hyp)
    keys = [SampleKey(0, i, i % 6) for i in range(40)]
    loaded = []
    monkeypatch.setattr(dataset, 'load_image', lambda i: loaded.append(i) or whole.load_image(i))
    ours = [dataset[key] for key in keys]
    monkeypatch.setattr(Warp, 'window', lambda warp, side, size: (0, 0, side, side))
    assert all(same(our, whole[key]) for our, key in zip(ours, keys))
    assert 0.6 * 4 * len(keys) < len(loaded) < 0.95 * 4 * len(keys)


def test_mosaic_probability(labels):
    dataset = augmented(labels, mosaic=0.3)
    plain = sum(dataset[SampleKey(0, i, 0)][3] is not None for i in range(200))  # only they know the way back
    assert 120 <= plain <= 160


def test_hsv_and_flips_are_applied(labels):
    still = augmented(labels, mosaic=0.0, translate=0.0, scale=0.0, fliplr=0.0)[0]
    mirrored = augmented(labels, mosaic=0.0, translate=0.0, scale=0.0, fliplr=1.0)[0]
    np.testing.assert_array_equal(mirrored[0], still[0][..., ::-1])
    np.testing.assert_allclose(mirrored[1][:, 2], 1 - still[1][:, 2], atol=1e-6)
    upside_down = augmented(labels, mosaic=0.0, translate=0.0, scale=0.0, fliplr=0.0, flipud=1.0)[0]
    np.testing.assert_array_equal(upside_down[0], still[0][:, ::-1])
    coloured = augmented(labels, mosaic=0.0, translate=0.0, scale=0.0, fliplr=0.0, hsv_v=0.5)[0]
    assert (coloured[0] != still[0]).any()


def test_a_mosaic_of_nine(labels):
    image, targets = augmented(labels, scale=0.0).load_mosaic9(0, np.random.default_rng(0))
    assert (image.shape, image.dtype) == ((128, 128, 3), np.uint8)
    x, y = ((targets[:, 1:3] + targets[:, 3:5]) / 2).astype(int).T
    shown = image[y, x].astype(int)
    np.testing.assert_allclose(shown, np.array(COLORS)[targets[:, 0].astype(int)], atol=40)
    assert len(targets) > 4


def test_a_background_picture(tmp_path):
    labels = draw_set(tmp_path / 'images', 1)
    empty = LabelSet(labels.images, [np.zeros((0, 5))], labels.shapes)
    for dataset in (LoadImagesAndLabels(empty, 64), augmented(empty), augmented(empty, mosaic=0.0)):
        assert dataset[0][1].shape == (0, 6)


def test_single_class_leaves_the_labels_given_alone(labels):
    dataset = LoadImagesAndLabels(labels, 64, single_cls=True)
    assert all((targets[:, 1] == 0).all() for _, targets, _, _ in dataset)
    assert max(rows[:, 0].max() for rows in labels.labels) == 2


def test_rect_batches(labels):
    dataset = LoadImagesAndLabels(labels, 128, batch_size=2, rect=True, stride=32, pad=0.5)
    aspect = dataset.shapes[:, 1] / dataset.shapes[:, 0]
    assert (np.diff(aspect) >= 0).all()
    for k in range(3):
        shapes = {dataset[i][0].shape for i in (2 * k, 2 * k + 1)}
        assert shapes == {(3, *dataset.batch_shapes[k])}
    for image, targets, _, _ in dataset:
        assert (colors_at_centres(image, targets) == targets[:, 1]).all()
    assert LoadImagesAndLabels(labels, 128, rect=True, image_weights=True).rect is False
    assert LoadImagesAndLabels(labels, 128, rect=True, augment=True).mosaic is False


def test_an_unreadable_picture_is_named(labels):
    Path(labels.images[2]).write_bytes(b'no picture')
    for dataset in (LoadImagesAndLabels(labels, 64), augmented(labels, mosaic=0.0)):
        with pytest.raises(DataError, match='02.png: unreadable picture'):
            dataset[2]


def test_hyper_parameters_are_completed_and_checked(labels):
    assert augmented(labels).hyp['mosaic'] == 1.0
    with pytest.raises(ConfigError, match='mosiac'):
        LoadImagesAndLabels(labels, 64, augment=True, hyp={'mosiac': 1.0})


def test_network_order():
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_network_order(picture), picture.transpose(2, 0, 1)[::-1])


# Random streams and order ---------------------------------------------------------------------------------------------


def test_a_sample_depends_on_seed_epoch_and_position(labels):
    dataset = augmented(labels)
    sample = dataset[SampleKey(3, 5, 1)]
    assert same(sample, augmented(labels)[SampleKey(3, 5, 1)])
    assert not same(sample, dataset[SampleKey(4, 5, 1)])
    assert not same(sample, dataset[SampleKey(3, 6, 1)])
    assert not same(sample, augmented(labels, seed=1)[SampleKey(3, 5, 1)])


def test_streams_differ_in_every_respect():
    """SeedSequence fills up with zeros: without a purpose (1, 2) and (1, 2, 0) would be one stream."""
    arguments = [(0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 2), (0, 1, 0, 0), (1, 0, 0, 0)]
    assert len({stream(*key).random() for key in arguments}) == len(arguments)


def test_order_of_an_epoch():
    assert epoch_order(5, 0, 0).tolist() == [0, 1, 2, 3, 4]
    first = epoch_order(100, 7, 0, shuffle=True)
    assert sorted(first) == list(range(100))
    np.testing.assert_array_equal(first, epoch_order(100, 7, 0, shuffle=True))
    assert (first != epoch_order(100, 7, 1, shuffle=True)).any()
    assert (first != epoch_order(100, 8, 0, shuffle=True)).any()
    weights = np.array([0.0, 1.0, 3.0])
    drawn = np.concatenate([epoch_order(3, 0, epoch, weights=weights) for epoch in range(1000)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / len(drawn), [0, 0.25, 0.75], atol=0.03)


@pytest.mark.parametrize(('n', 'world_size'), [(12, 2), (13, 2), (5, 3), (1, 4)])
def test_ranks_share_an_epoch(n, world_size):
    order = epoch_order(n, 0, 0, shuffle=True)
    ranks = [rank_batches(order, 0, 2, rank, world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1
    keys = [key for batches in ranks for batch in batches for key in batch]
    assert len({key.position for key in keys}) == len(keys)  # no random stream twice
    assert {key.index for key in keys} == set(range(n))
    together = rank_batches(order, 0, 2 * world_size)
    for k, batch in enumerate(together[:-1]):
        assert {key for batches in ranks for key in batches[k]} == set(batch)


def test_ranks_take_whole_rect_batches():
    order = np.arange(10)
    ranks = [rank_batches(order, 0, 4, rank, 2, whole=True) for rank in range(2)]
    assert [[key.index for key in batch] for batch in ranks[0]] == [[0, 1, 2, 3], [8, 9]]
    assert [[key.index for key in batch] for batch in ranks[1]] == [[4, 5, 6, 7], [0, 1, 2, 3]]
    positions = [key.position for batches in ranks for batch in batches for key in batch]
    assert len(set(positions)) == len(positions)


# Batches --------------------------------------------------------------------------------------------------------------


def test_collate_numbers_the_pictures(labels):
    samples = [LoadImagesAndLabels(labels, 64)[i] for i in range(3)]
    images, targets, paths, shapes = collate_fn(samples)
    assert (images.shape, images.dtype) == ((3, 3, 64, 64), np.uint8)
    assert targets[:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(targets[4:8, 1:], samples[1][1][:, 1:])
    assert paths == tuple(labels.images[:3])
    assert shapes[0] == samples[0][3]
    assert samples[1][1][:, 0].sum() == 0  # the samples themselves stay as they were


@pytest.mark.parametrize('n', [1, 3, 4, 8, 10])
def test_quad_batches(labels, n):
    dataset = LoadImagesAndLabels(labels, 128)
    samples = [dataset[i % 6] for i in range(n)]
    boards = 0
    for seed in range(8):
        images, targets, paths, shapes = collate_fn4(samples, np.random.default_rng(seed))
        quads = -(-n // 4)
        assert (images.shape, images.dtype) == ((quads, 3, 256, 256), np.uint8)
        assert (len(paths), len(shapes), targets.dtype) == (quads, quads, np.float32)
        for i, image in enumerate(images):
            rows = targets[targets[:, 0] == i]
            assert (colors_at_centres(image, rows) == rows[:, 1]).all()
            boards += len(rows) > 4
    assert (boards > 0) == (n > 1)


# Caches ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('where', ['ram', 'disk'])
@pytest.mark.parametrize('augment', [False, True])
def test_cached_samples_are_the_same(labels, where, augment):
    plain = LoadImagesAndLabels(labels, 128, augment=augment)
    cached = LoadImagesAndLabels(labels, 128, augment=augment, cache_images=where)
    for _ in range(2):  # the first pass must not spoil the cached pictures for the second
        for i in range(6):
            ours, expected = cached[i], plain[i]
            assert same(ours, expected)
            assert ours[3] == expected[3]


def test_ram_needs_the_files_no_more(labels):
    dataset = LoadImagesAndLabels(labels, 64, cache_images='ram')
    for image in labels.images:
        Path(image).unlink()
    assert len(list(dataset)) == 6


def test_too_little_memory_is_said(labels, monkeypatch, caplog):
    monkeypatch.setattr('utils.data.dataset.available_memory', lambda: 1000)
    with caplog.at_level(logging.WARNING, 'yolov5'):
        dataset = LoadImagesAndLabels(labels, 64, cache_images='ram')
    assert dataset.ram is None
    assert '--cache ram' in caplog.text
    assert 'not cached' in caplog.text
    assert len(list(dataset)) == 6


def test_memory_for_other_ranks_counts(labels, monkeypatch):
    needed = 3 * sum(int(64 * min(w, h) / max(w, h)) * 64 for w, h in labels.shapes.tolist())
    monkeypatch.setattr('utils.data.dataset.available_memory', lambda: int(needed * 1.5))
    dataset = LoadImagesAndLabels(labels, 64)
    dataset.cache_images('ram', world_size=2)
    assert dataset.ram is None
    dataset.cache_images('ram', world_size=1)
    assert len(dataset.ram) == 6


def test_workers_read_the_pictures_in_memory_where_they_are(labels):
    """A forked process sees what its parent writes afterwards, so neither has a copy; readers can't write."""
    dataset = LoadImagesAndLabels(labels, 64, cache_images='ram')
    with pytest.raises(ValueError, match='read-only'):
        dataset.load_image(0)[0][:] = 0
    ours, theirs = multiprocessing.Pipe()

    def child():
        theirs.recv()
        theirs.send(int(dataset.load_image(0)[0].min()))

    process = multiprocessing.get_context('fork').Process(target=child)
    process.start()
    height, width = dataset.load_image(0)[2]
    np.frombuffer(dataset.ram.block.base, np.uint8)[: 3 * height * width] = 201
    ours.send('look')
    assert ours.recv() == 201
    process.join()


def test_a_picture_that_has_changed_its_size_is_stretched(labels):
    """As its boxes are: relative to the picture."""
    expected = [LoadImagesAndLabels(labels, 64)._shape(i) for i in range(6)]
    cv2.imwrite(labels.images[2], np.full((30, 90, 3), 77, np.uint8))
    for dataset in (augmented(labels, 64), LoadImagesAndLabels(labels, 64, cache_images='ram')):
        assert [dataset._scaled(i).shape for i in range(6)] == expected
        assert (dataset._scaled(2) == 77).all()


def test_a_full_disk_is_said(labels, monkeypatch, caplog):
    free = type('Usage', (), {'free': 1000})
    monkeypatch.setattr(picture_cache.shutil, 'disk_usage', lambda place: free)
    with caplog.at_level(logging.WARNING, 'yolov5'):
        dataset = LoadImagesAndLabels(labels, 64, cache_images='disk')
    assert dataset.disk is None
    assert '--cache disk' in caplog.text


def test_disk_cache_lies_beside_the_pictures(labels, tmp_path):
    LoadImagesAndLabels(labels, 64, cache_images='disk')
    files = sorted((tmp_path / 'images.npy').iterdir())
    assert [file.name.split('.')[0] for file in files] == [f'{i:02d}' for i in range(6)]
    assert np.load(files[0], allow_pickle=False).shape == (120, 160, 3)
    assert sorted(os.listdir(tmp_path / 'images')) == [f'{i:02d}.png' for i in range(6)]


def test_disk_cache_of_a_closed_folder_goes_to_the_users(labels, tmp_path, user_cache):
    tmp_path.chmod(0o555)
    try:
        dataset = LoadImagesAndLabels(labels, 64, cache_images='disk')
        assert not (tmp_path / 'images.npy').exists()
    finally:
        tmp_path.chmod(0o755)
    assert len(list((user_cache / 'yolov5-oneflow').glob('images.*.npy/*.npy'))) == 6
    assert len(list(dataset)) == 6


@pytest.mark.parametrize(
    'name', ['n' * 246 + '.png', '图' * 82 + '.jpeg', os.fsdecode(b'\xb2\xe2' * 125) + '.jpg'], ids=ascii
)
def test_disk_cache_of_images_with_very_long_names(tmp_path, labels, name):
    images = [shutil.copy(labels.images[0], tmp_path / 'images' / f'{i}{name}') for i in range(2)]
    cache = DiskCache(list(map(str, images)))
    assert cache.fill(10, 'caching')
    assert len({cache.file(str(image)) for image in images}) == 2
    assert len(list((tmp_path / 'images.npy').iterdir())) == 2
    np.testing.assert_array_equal(cache.read(1), cv2.imread(labels.images[0]))


def test_damaged_and_stale_cache_files(labels, tmp_path):
    plain = LoadImagesAndLabels(labels, 64)[0]
    first = next((tmp_path / 'images.npy').glob('00*'), None)
    assert first is None
    dataset = LoadImagesAndLabels(labels, 64, cache_images='disk')
    first = next((tmp_path / 'images.npy').glob('00*'))
    first.write_bytes(first.read_bytes()[:500])
    assert same(dataset[0], plain)
    assert np.load(first, allow_pickle=False).shape == (120, 160, 3)  # mended
    np.save(first, np.zeros(3))
    assert same(dataset[0], plain)
    cv2.imwrite(labels.images[0], np.zeros((120, 160, 3), np.uint8))
    later = first.stat().st_mtime_ns + 10_000_000
    os.utime(labels.images[0], ns=(later, later))
    assert dataset[0][0][:, 8:56].max() == 0


def test_an_unknown_cache(labels):
    with pytest.raises(UsageError, match='--cache tape'):
        LoadImagesAndLabels(labels, 64, cache_images='tape')


def test_a_damaged_picture_is_found_while_caching(labels):
    Path(labels.images[2]).write_bytes(b'no picture')
    for where in ('ram', 'disk'):
        with pytest.raises(DataError, match=r'02\.png'):
            LoadImagesAndLabels(labels, 64, cache_images=where)
