"""Everything that is measured on a CPU, section by section: each figure with its setting, sides and goal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.sides import SAME, Command, Contestant, Side, Worker

COCO = 120_000  # label files
PYTORCH, REFERENCE, ONE_YOLOV5, PLAIN, OURS = 'PyTorch', 'reference', 'one-yolov5', 'plain OneFlow', 'ours'


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    models: tuple[str, ...] = ('yolov5n.yaml', 'yolov5s.yaml')
    train: tuple[tuple[int, int], ...] = ((16, 320), (4, 640))  # batch, picture size
    infer: tuple[tuple[int, int], ...] = ((1, 640), (8, 640))
    candidates: tuple[int, ...] = (300, 1000, 5000, 30000)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # at the first of `train`'s sizes
    sides: tuple[int, ...] = (160, 320, 480, 640)  # at batch 4
    ranks: tuple[int, ...] = (2,)
    workers: tuple[int, ...] = (1, 2)
    epoch: tuple[int, int] = (16, 320)
    picture: int = 640


SMALL = Sizes(
    train=((2, 64),), infer=((1, 64),), candidates=(50,), batches=(1, 2), sides=(64, 96), ranks=(), workers=(1,),
    epoch=(4, 64), picture=64,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What all sections need to know.

    Attributes:
        sides: those that there are, by name.
        hyp: hyper-parameters; train: folders and list files of the training pictures; names: of the classes.
        weights: a checkpoint for `data`; folder: for files that are needed meanwhile.
        files: how many label files to scan.
    """

    sides: Mapping[str, Side]
    hyp: dict
    data: str
    train: list[str]
    names: list[str]
    weights: str
    folder: Path
    files: int
    sizes: Sizes = field(default_factory=Sizes)

    def workers(self, case: dict, *names: str) -> dict[str, Contestant]:
        """Child processes with one case, of those of these sides that there are."""
        return {name: Worker(self.sides[name], case) for name in names if name in self.sides}


@dataclass(frozen=True)
class Figure:
    """One thing to measure.

    Attributes:
        sides: ours first.
        goal: what the ratio to PyTorch or the reference is meant to be at most.
        limit: what our value by itself is meant to be at most.
        x: in a figure over several settings, the number that varies.
        memory: whether peak memory becomes a figure, too, and with which goal.
        rounds: at most, where one takes long.
        same: how far the sides' numbers may be apart, relative.
    """

    name: str
    setting: str
    sides: dict[str, Contestant]
    unit: str = 's'
    goal: float | None = None
    limit: float | None = None
    x: float | None = None
    memory: float | None = None
    rounds: int = 1000
    warm_up: int = 2
    same: float = SAME


def training(job: Job) -> Iterator[Figure]:
    for cfg in job.sizes.models:
        for batch, size in job.sizes.train:
            case = {'kind': 'train', 'cfg': cfg, 'batch': batch, 'size': size, 'hyp': job.hyp}
            setting = f'{_stem(cfg)}, batch {batch} at {size}'
            sides = job.workers(case, OURS, PYTORCH, REFERENCE, ONE_YOLOV5, PLAIN)
            yield Figure('training step', setting, sides, goal=1.0, memory=1.2)
            parts = {
                OURS: Worker(job.sides[OURS], case | {'kind': 'loss'}),
                'whole step': Worker(job.sides[OURS], case),
            }
            yield Figure('loss in a training step', setting, parts, goal=0.05)


def inference(job: Job) -> Iterator[Figure]:
    for cfg in job.sizes.models:
        for batch, size in job.sizes.infer:
            case = {'kind': 'infer', 'cfg': cfg, 'batch': batch, 'size': size}
            sides = job.workers(case, OURS, PYTORCH, REFERENCE, ONE_YOLOV5, PLAIN)
            goal = 0.95 if batch == 1 else 0.7
            yield Figure('inference, folded', f'{_stem(cfg)}, batch {batch} at {size}', sides, goal=goal)


def suppression(job: Job) -> Iterator[Figure]:
    for count in job.sizes.candidates:
        sides = job.workers({'kind': 'nms', 'count': count}, OURS, PYTORCH, REFERENCE, ONE_YOLOV5)
        yield Figure('NMS', f'{count} candidates', sides, goal=1.0)


def loading(job: Job) -> Iterator[Figure]:
    """Pictures and labels. Cold means without a cache file; the system may have the files in memory."""
    from benchmarks.labels import write_set

    size, batch = job.sizes.picture, 16
    case = {'kind': 'load', 'train': job.train, 'size': size, 'batch': batch, 'hyp': job.hyp, 'nc': len(job.names)}
    sides = job.workers(case | {'workers': 0}, OURS, REFERENCE, ONE_YOLOV5)
    yield Figure('loading a picture, a core', f'mosaic at {size}', sides, goal=0.5)
    parts = job.workers(case | {'workers': 0, 'kind': 'decode'}, OURS)
    yield Figure("OpenCV's part in loading a picture", f'mosaic at {size}', parts, unit='share', rounds=3)
    for workers in job.sizes.workers:
        sides = job.workers(case | {'workers': workers}, OURS, REFERENCE, ONE_YOLOV5)
        yield Figure('loading a picture', f'mosaic at {size}: {workers} workers', sides, x=workers)

    folder = job.folder / 'labels'
    folder.mkdir()
    write_set(folder, job.files)
    scale = job.files / COCO if job.files >= COCO / 10 else None  # a small set says nothing about a large one
    for cold, limit in ((True, 60), (False, 2)):
        case = {'kind': 'scan', 'folder': str(folder / 'images'), 'cold': cold}
        yield Figure(
            f'reading labels, {"cold" if cold else "from the cache"}', f'{job.files} files',
            job.workers(case, OURS, REFERENCE, ONE_YOLOV5), limit=scale and limit * scale, rounds=3, warm_up=1,
        )  # fmt: skip


def starting(job: Job) -> Iterator[Figure]:
    for script in ('train.py', 'detect.py'):
        yield Figure('start-up', f'{script} --help', _commands(job, [script, '--help']), limit=0.5, warm_up=1)
    picture = job.folder / 'picture.jpg'
    _write_picture(picture)
    words = ['detect.py', '--weights', job.weights, '--source', str(picture), '--project', str(job.folder / 'detect')]
    sides = _commands(job, [*words, '--img', str(job.sizes.picture), '--device', 'cpu'])
    yield Figure('detect on one picture', f'at {job.sizes.picture}', sides, limit=2.5, warm_up=1, rounds=5)


def evaluation(job: Job) -> Iterator[Figure]:
    size = job.sizes.picture
    case = {'kind': 'validate', 'data': job.data, 'weights': job.weights, 'size': size, 'batch': 32}
    sides = job.workers(case | {'folder': str(job.folder / 'val')}, OURS)
    yield Figure('NMS and matching in an evaluation', f'at {size}', sides, unit='share', limit=0.2, rounds=3, warm_up=1)


def scaling(job: Job) -> Iterator[Figure]:
    """The first model's training step over batch and picture size, its inference over the batch."""
    sizes, cfg = job.sizes, job.sizes.models[0]
    size = sizes.train[0][1]
    for kind, name in (('train', 'training step'), ('infer', 'inference, folded')):
        for batch in sizes.batches:
            case = {'kind': kind, 'cfg': cfg, 'batch': batch, 'size': size, 'hyp': job.hyp}
            setting = f'{_stem(cfg)} at {size}: batch {batch}'
            yield Figure(f'{name} by batch', setting, job.workers(case, OURS, PYTORCH, REFERENCE), x=batch, rounds=5)
    for size in sizes.sides:
        case = {'kind': 'train', 'cfg': cfg, 'batch': 4, 'size': size, 'hyp': job.hyp}
        setting = f'{_stem(cfg)}, batch 4: {size} pixels'
        yield Figure('training step by size', setting, job.workers(case, OURS, PYTORCH, REFERENCE), x=size, rounds=5)


def epochs(job: Job) -> Iterator[Figure]:
    """One epoch as a whole command, training, evaluation and checkpoint included; then on several processes."""
    batch, size = job.sizes.epoch
    words = epoch_words(job, batch, size, 'cpu', job.sizes.models[0])
    setting = f'{Path(job.data).stem}, batch {batch} at {size}'
    yield Figure('an epoch, the whole command', setting, _commands(job, words), goal=1.0, rounds=3, warm_up=0)
    for ranks in job.sizes.ranks:
        launch = [sys.executable, '-m', 'oneflow.distributed.launch', '--nproc_per_node', str(ranks)]
        sides = {OURS: Command([*launch, *words], timeout=600), 'one process': Command([sys.executable, *words])}
        yield Figure(f'an epoch on {ranks} processes', setting, sides, rounds=3, warm_up=0)


SECTIONS: dict[str, Callable[[Job], Iterator[Figure]]] = {
    'train': training, 'infer': inference, 'nms': suppression, 'load': loading, 'start': starting, 'val': evaluation,
    'epoch': epochs, 'scaling': scaling,
}  # fmt: skip


def epoch_words(job: Job, batch: int, size: int, device: str, cfg: str) -> list[str]:
    """The command of one epoch from scratch."""
    return [
        'train.py', '--data', job.data, '--weights', '', '--cfg', cfg, '--img', str(size), '--epochs', '1',
        '--batch-size', str(batch), '--device', device, '--noplots', '--project', str(job.folder / 'train'),
    ]  # fmt: skip


def _commands(job: Job, words: list[str]) -> dict[str, Contestant]:
    """The same command of each code base that is at hand."""
    sides: dict[str, Contestant] = {OURS: Command([sys.executable, *words])}
    for name in (REFERENCE, ONE_YOLOV5):
        if name in job.sides:
            sides[name] = Command([job.sides[name].python, *words], cwd=job.sides[name].checkout)
    return sides


def _stem(cfg: str) -> str:
    return Path(cfg).stem


def _write_picture(path: Path) -> None:
    import cv2
    import numpy as np

    from utils.data.images import write_image

    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8), (640, 480))
    write_image(path, smooth)
