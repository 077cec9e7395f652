"""The loader: the same batches whoever loads them, and worker processes that come, go and fail cleanly."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.utils.data.pictures import draw_set
from tests.waiting import alive, wait_until
from utils.data.dataset import LoadImagesAndLabels
from utils.data.labelset import LabelSet
from utils.data.loader import DataLoader, create_dataloader
from utils.data.workers import WorkerPool
from utils.errors import DataError, ResourceError, UsageError
from utils.paths import ROOT


@pytest.fixture(scope='module')
def labels(tmp_path_factory) -> LabelSet:
    return draw_set(tmp_path_factory.mktemp('set') / 'images', 10)


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))


def make(labels: LabelSet, workers: int = 0, batch_size: int = 4, **options) -> DataLoader:
    return create_dataloader(labels, 64, batch_size, 32, workers=workers, **options)[0]


def assert_equal_epochs(a: list, b: list) -> None:
    assert len(a) == len(b)
    for (images, targets, paths, shapes), other in zip(a, b):
        np.testing.assert_array_equal(images, other[0])
        np.testing.assert_array_equal(targets, other[1])
        assert (paths, shapes) == other[2:]


# What comes out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('workers', [0, 2])
def test_batches(labels, workers):
    loader = make(labels, workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert [len(batch[0]) for batch in batches] == [4, 4, 2]  # the last one is kept
    images, targets, _, shapes = batches[0]
    assert (images.shape, images.dtype, images.flags.owndata) == ((4, 3, 64, 64), np.uint8, True)
    assert (targets.shape, targets.dtype) == ((16, 6), np.float32)
    assert [path for batch in batches for path in batch[2]] == labels.images
    assert len(shapes) == 4
    loader.close()


@pytest.mark.parametrize(
    'options',
    [
        {'augment': True, 'shuffle': True},
        {'augment': True, 'shuffle': True, 'quad': True},
        {'augment': True, 'image_weights': True},
        {'rect': True, 'pad': 0.5},
        {'augment': True, 'rect': True},
        {'cache': 'ram', 'shuffle': True, 'augment': True, 'hyp': {'mixup': 0.5}},
    ],
)
def test_workers_change_nothing(labels, options):
    alone, one, three = (make(labels, workers, seed=5, **options) for workers in (0, 1, 3))
    for _ in range(2):
        expected = list(alone)
        assert_equal_epochs(expected, list(one))
        assert_equal_epochs(expected, list(three))
    one.close()
    three.close()


def test_batches_stay_what_they_were(labels):
    """Shared memory is filled again; what the caller keeps must not be in it."""
    loader = make(labels, 1, batch_size=1)
    kept = list(loader)
    assert_equal_epochs(kept, list(make(labels, 0, batch_size=1)))
    loader.close()


def test_epochs_differ_and_can_be_chosen(labels):
    loader = make(labels, augment=True, shuffle=True)
    epochs = [list(loader) for _ in range(3)]
    assert epochs[0][0][2] != epochs[1][0][2]
    resumed = make(labels, augment=True, shuffle=True)
    resumed.set_epoch(2)
    assert_equal_epochs(list(resumed), epochs[2])
    assert resumed.epoch == 3
    other = make(labels, augment=True, shuffle=True, seed=1)
    assert next(iter(other))[2] != epochs[0][0][2]


def test_ranks_differ_and_cover_the_set(labels):
    ranks = [make(labels, batch_size=2, augment=True, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    first, second = (list(loader) for loader in ranks)
    assert len(first) == len(second) == len(ranks[0]) == 3
    paths = [{path for batch in batches for path in batch[2]} for batches in (first, second)]
    assert paths[0] | paths[1] == set(labels.images)
    assert not paths[0] & paths[1]


def test_two_ranks_see_what_one_process_sees(labels):
    one = list(make(labels, batch_size=4, augment=True, shuffle=True))
    ranks = [make(labels, batch_size=2, augment=True, shuffle=True, rank=rank, world_size=2) for rank in range(2)]
    for batch, *parts in zip(one, *ranks):
        together = {path: image for part in parts for image, path in zip(part[0], part[2])}
        assert set(together) == set(batch[2])
        for image, path in zip(batch[0], batch[2]):
            np.testing.assert_array_equal(image, together[path])


def test_rect_ranks_have_equally_many_batches(labels):
    ranks = [make(labels, batch_size=4, rect=True, rank=rank, world_size=2) for rank in range(2)]
    assert [len(list(loader)) for loader in ranks] == [len(loader) for loader in ranks] == [2, 2]


def test_image_weights_prefer_rare_classes(labels):
    classes = np.zeros(10)
    classes[3] = 1
    rows = [np.array([[cls, 0.5, 0.5, 0.2, 0.2]], np.float32) for cls in classes]
    skewed = LabelSet(labels.images, rows, labels.shapes)
    loader = make(skewed, image_weights=True)
    assert loader.weights[3] == pytest.approx(9 * loader.weights[0])
    drawn = [path for _ in range(40) for batch in loader for path in batch[2]]
    assert 0.4 < drawn.count(labels.images[3]) / len(drawn) < 0.6
    loader.weights = np.eye(10)[7]
    assert {path for batch in loader for path in batch[2]} == {labels.images[7]}


@pytest.mark.parametrize('workers', [0, 2])
def test_mosaic_partners_follow_the_weights(labels, workers):
    numbered = LabelSet(labels.images, [np.array([[i, 0.5, 0.5, 1, 1]], np.float32) for i in range(10)], labels.shapes)
    loader = make(numbered, workers, image_weights=True, augment=True)
    assert len({cls for batch in loader for cls in batch[1][:, 1]}) > 4
    loader.weights = np.eye(10)[7]  # while the workers run
    assert {cls for batch in loader for cls in batch[1][:, 1]} == {7}
    loader.close()


def test_quad_gives_a_quarter(labels):
    batches = list(make(labels, batch_size=8, quad=True, augment=True))
    assert [batch[0].shape for batch in batches] == [(2, 3, 128, 128), (1, 3, 128, 128)]


def test_a_folder_is_read(tmp_path):
    draw_set(tmp_path / 'images', 3)
    (tmp_path / 'labels').mkdir()
    for i in range(3):
        (tmp_path / 'labels' / f'{i:02d}.txt').write_text('2 0.5 0.5 0.2 0.2\n')
    loader, dataset = create_dataloader(tmp_path / 'images', 64, 16, 32, nc=3, workers=0, single_cls=True)
    assert len(dataset) == loader.batch_size == 3
    assert next(iter(loader))[1][:, 1].tolist() == [0, 0, 0]
    with pytest.raises(DataError, match='class'):
        create_dataloader(tmp_path / 'images', 64, 16, 32, nc=2, workers=0)


def test_options_are_checked(labels):
    with pytest.raises(TypeError, match='suffle'):
        make(labels, suffle=True)
    with pytest.raises(UsageError, match='--seed -1'):
        make(labels, seed=-1)


def test_no_more_workers_than_cores_and_batches(labels, monkeypatch):
    assert make(labels, 100, batch_size=1).workers == 8
    assert make(labels, 100, batch_size=5).workers == 2
    assert make(labels, 100, batch_size=1, world_size=2).workers == 5  # the other one has a machine of its own
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    assert make(labels, 100, batch_size=1, world_size=2).workers == 4
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0})
    assert make(labels, 100, batch_size=1, world_size=2).workers == 1
    assert make(labels, 0).workers == 0


def test_a_cache_in_ram_counts_the_processes_of_this_machine(labels, monkeypatch):
    counted = []
    monkeypatch.setattr(LoadImagesAndLabels, 'cache_images', lambda dataset, where, ranks: counted.append(ranks))
    make(labels, cache='ram', world_size=8)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    make(labels, cache='ram', world_size=8)
    make(labels, cache='ram')  # of process 0 alone, to evaluate
    assert counted == [1, 4, 1]


# Workers --------------------------------------------------------------------------------------------------------------


def test_workers_are_kept_and_end_with_the_loader(labels):
    loader = make(labels, 2)
    list(loader)
    processes = loader.pool.processes
    list(loader)
    assert loader.pool.processes is processes
    assert all(process.is_alive() for process in processes)
    del loader
    assert not any(process.is_alive() for process in processes)


def test_an_iteration_can_be_left(labels):
    loader = make(labels, 2, batch_size=1)
    expected = list(make(labels, 0, batch_size=1))
    for _ in range(3):
        next(iter(loader))
    assert_equal_epochs(list(loader), expected)
    first = iter(loader)
    next(first)
    assert_equal_epochs(list(loader), expected)
    with pytest.raises(RuntimeError, match='abandoned'):
        next(first)
    loader.close()


def test_a_users_error_arrives_as_such(tmp_path):
    labels = draw_set(tmp_path / 'images', 6)
    Path(labels.images[4]).write_bytes(b'no picture')
    loader = make(labels, 2, batch_size=2)
    batches = iter(loader)
    assert [len(next(batches)[0]) for _ in range(2)] == [2, 2]  # what comes before is delivered
    with pytest.raises(DataError) as error:
        next(batches)
    assert '04.png: unreadable picture' in error.value.message
    assert 'replace or remove' in error.value.mend
    assert len(next(iter(loader))[0]) == 2  # the workers live on
    loader.close()


def fail(task: int) -> tuple:
    if task == 2:
        raise ZeroDivisionError('a bug')
    return np.full((2, 3), task, np.uint8), task


def test_a_bug_arrives_with_its_traceback():
    pool = WorkerPool(fail, 2, slot_bytes=6)
    results = pool.run([0, 1, 2, 3])
    assert [next(results)[1] for _ in range(2)] == [0, 1]
    with pytest.raises(RuntimeError, match='(?s)in a loader process.*def fail|ZeroDivisionError: a bug'):
        next(results)
    pool.close()


def test_a_batch_larger_than_its_slot():
    pool = WorkerPool(fail, 1, slot_bytes=1)
    (array, number), _ = pool.run([1, 3])
    assert (array.tolist(), number) == ([[1, 1, 1], [1, 1, 1]], 1)
    pool.close()


def test_workers_collect_no_garbage_of_the_parent():
    """A collection writes into every object that it visits, and so copies the page it lies on."""
    pool = WorkerPool(lambda task: (np.zeros(1, np.uint8), gc.get_freeze_count()), 1, slot_bytes=1)
    ((_, frozen),) = pool.run([0])
    assert frozen > 1000
    assert gc.get_freeze_count() == 0
    pool.close()


@pytest.mark.parametrize('when', ['idle', 'busy'])
def test_a_killed_worker_is_an_error_not_a_hang(labels, when):
    loader = make(labels, 2, batch_size=1)
    batches = iter(loader)
    next(batches)
    if when == 'idle':
        list(batches)
    pool = loader.pool
    os.kill(pool.processes[1].pid, signal.SIGKILL)
    with pytest.raises(ResourceError, match='SIGKILL'):
        for _ in range(3):
            list(batches if when == 'busy' else loader)
            when = 'idle'
    assert not any(process.is_alive() for process in pool.processes)
    assert len(list(loader)) == 10  # a new pool
    loader.close()


SCRIPT = """
    import sys, time
    from pathlib import Path
    from tests.utils.data.pictures import draw_set
    from utils.data.loader import create_dataloader
    import os
    os.sched_getaffinity = lambda pid: {0, 1}
    labels = draw_set(Path(sys.argv[1]), 8)
    loaders = [create_dataloader(labels, 64, 1, 32, workers=2, augment=True)[0] for _ in range(2)]
    iterators = [iter(loader) for loader in loaders]
    for iterator in iterators:
        next(iterator)
    print(*(process.pid for loader in loaders for process in loader.pool.processes), flush=True)
    while True:
        for loader in loaders:
            for batch in loader:
                time.sleep(0.01)
"""


def run_script(folder: Path) -> tuple[subprocess.Popen, list[int]]:
    process = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(SCRIPT), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, [int(pid) for pid in process.stdout.readline().split()]


@pytest.mark.parametrize('how', ['ctrl-c', 'SIGTERM', 'SIGKILL'])
def test_no_orphans_and_nothing_in_shared_memory(tmp_path, how):
    before = set(os.listdir('/dev/shm'))
    process, workers = run_script(tmp_path / 'images')
    assert len(workers) == 4
    assert set(os.listdir('/dev/shm')) <= before
    if how == 'ctrl-c':
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    else:
        process.send_signal(getattr(signal, how))
    _, errors = process.communicate()
    wait_until(lambda: not alive(workers))
    assert set(os.listdir('/dev/shm')) <= before
    if how == 'ctrl-c':
        assert errors.count('Traceback') == 1  # the parent's KeyboardInterrupt; the workers say nothing
        assert 'KeyboardInterrupt' in errors
    else:
        assert errors == ''


def test_loading_needs_no_oneflow(labels):
    code = "import sys; import utils.data.loader; print('oneflow' in sys.modules)"
    out = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'
