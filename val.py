"""Evaluate a YOLOv5 detector on a data set.

    python val.py --weights yolov5s.pt --data coco128.yaml --img 640
    python val.py --weights a.pt b.pt --data coco128.yaml              # two models as one
    python val.py --task study --weights yolov5n.pt --data coco.yaml   # accuracy and speed over image sizes

`run` evaluates once, for the command line, for train.py and for other callers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.class_names import difference
from utils.device_choice import claim_device
from utils.errors import DataError, UsageError, check_range, run_main
from utils.evaluate import HEADER, DetectionFiles, Scores, Tally, in_picture, known_boxes, labels_in_picture
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import increment_path
from utils.study import speed, study
from utils.terminal import counted

if TYPE_CHECKING:  # heavy rooms are entered when evaluation starts, so that --help is quick
    from models.backend import Backend
    from utils.callbacks import Callbacks
    from utils.data.yaml import DataConfig

LIMITS = {'batch_size': (1, math.inf), 'imgsz': (1, math.inf), 'workers': (0, math.inf), 'max_det': (1, math.inf)}
LIMITS |= {'conf_thres': (0, 1), 'iou_thres': (0, 1)}
COMPARABLE_CONF = 0.01  # from here on the tails of the curves are missing


@dataclass
class ValOptions:
    """What the command line and `run` take."""

    data: Any = option('coco128.yaml', help='data set YAML')
    weights: list = option(
        ['yolov5s.pt'], nargs='+', help='checkpoint, .onnx file or OpenVINO folder, or several to evaluate as one'
    )
    batch_size: int = option(32, help='batch size')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='image size in pixels')
    conf_thres: float = option(0.001, help='least confidence')
    iou_thres: float = option(0.6, help='IoU above which a box suppresses another')
    max_det: int = option(300, help='detections at most per picture')
    task: str = option('val', choices=['train', 'val', 'test', 'speed', 'study'], help='split to evaluate, or a study')
    device: str = option('', help='cpu or a GPU number such as 0')
    workers: int = option(8, help='loader processes at most')
    single_cls: bool = option(False, help='treat all classes as one')
    augment: bool = option(False, help='test-time augmentation: three scales, one of them mirrored')
    verbose: bool = option(False, help='print the scores of each class, however many there are')
    save_txt: bool = option(False, help='write detections as label files')
    save_hybrid: bool = option(False, help='write labels and detections as label files; the scores mean nothing then')
    save_conf: bool = option(False, help='write confidences into the label files')
    save_json: bool = option(False, help='write detections as COCO JSON and score them where there are annotations')
    project: str = option('runs/val', help='folder of runs')
    name: str = option('exp', help='name of this run; a number is added if it is taken')
    exist_ok: bool = option(False, help='write into the folder of that name though it is there')
    half: bool = option(False, help='half precision (GPU only)')
    dnn: bool = option(False, help='run an .onnx file by OpenCV')


@dataclass
class Job:
    """One evaluation: of what, on what, and what came of it."""

    opt: ValOptions
    data: DataConfig
    backend: Backend
    loader: Any
    folder: Path
    callbacks: Callbacks
    plots: bool
    training: bool = False  # called by train.py with its model and loader
    compute_loss: Any = None
    losses: np.ndarray = field(default_factory=lambda: np.zeros(3))  # box, objectness, class, summed over batches
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(3))  # preparing, inference, NMS, summed

    def __post_init__(self) -> None:
        opt, stem = self.opt, '' if self.training else f'{Path(self.opt.weights[0]).stem}_'
        json_name = f'{stem}predictions.json' if opt.save_json else None
        self.files = DetectionFiles(self.folder, self.data, self.split, opt.save_txt, opt.save_conf, json_name)

    @property
    def nc(self) -> int:
        return 1 if self.opt.single_cls else self.data.nc

    @property
    def names(self) -> list[str]:
        return ['item'] if self.opt.single_cls and self.data.nc != 1 else self.backend.names

    @property
    def split(self) -> str:
        return split_of(self.opt)


def run(
    data: str | Path | Mapping[str, Any] | DataConfig = 'coco128.yaml',
    *,
    model: Any = None,
    dataloader: Any = None,
    save_dir: str | Path | None = None,
    plots: bool = True,
    callbacks: Callbacks | None = None,
    compute_loss: Any = None,
    **options: Any,
) -> tuple[tuple[float, ...], np.ndarray, tuple[float, float, float]]:
    """Evaluate a model.

    Args:
        data: data set YAML, its content, or what `load_data` made of it.
        model: evaluate this one, in evaluation mode, instead of loading --weights.
        dataloader: the split's batches, with `model`.
        save_dir: folder of the results; without one a new folder under --project is made.
        plots: draw curves, confusion matrix and the first batches.
        callbacks: told at the start and end of the evaluation, of each batch and each picture.
        compute_loss: gives the losses of the maps; without it they are 0.
        options: those of the command line, by name: imgsz=320, conf_thres=0.01, ...

    Returns:
        (P, R, mAP50, mAP50-95, box loss, objectness loss, class loss); mAP50-95 of each class (nc,); milliseconds a
        picture for preparing, inference and NMS.

    Raises:
        UserError: anything the user can mend: options, files, labels.
    """
    from utils.callbacks import Callbacks

    opt = make_options(ValOptions, data=data, **options)
    callbacks = callbacks or Callbacks()
    if model is None:
        job = load_job(opt, save_dir, callbacks, plots)
    else:
        job = given_job(opt, model, dataloader, Path(save_dir or '.'), callbacks, plots, compute_loss)
    tally = evaluate(job)
    scores = tally.scores(plots, job.folder, job.names)
    milliseconds = tuple((job.seconds / max(scores.seen, 1) * 1e3).tolist())
    report(job, scores, milliseconds)
    if plots:
        tally.confusion.plot(save_dir=job.folder, names=job.names)
    callbacks.run('on_val_end')
    means = job.files.finish(scores.means())
    if not job.training:
        LOGGER.info(f'Results saved to {colorstr("bold", str(job.folder))}')
        job.loader.close()
    return (*means, *(job.losses / max(len(job.loader), 1)).tolist()), scores.maps(), milliseconds


# What to evaluate -----------------------------------------------------------------------------------------------------


def load_job(opt: ValOptions, save_dir: str | Path | None, callbacks: Callbacks, plots: bool) -> Job:
    """The weights, ready to run, and the split's loader."""
    from models.backend import load_backend
    from utils.device import describe_device, select_device

    opt.save_txt |= opt.save_hybrid
    LOGGER.info(colorstr('val: ') + describe_options(opt))
    check_options(opt)
    device = select_device(opt.device)
    LOGGER.info(describe_device(device))
    data = load_split(opt)
    backend = load_backend(opt.weights, device, opt.dnn, data.file, opt.half)
    check_classes(backend, data, opt)
    if backend.kind.endswith('-nms'):
        LOGGER.warning(
            f'WARNING: {opt.weights[0]}: what its own thresholds leave out is missing, so mAP is not comparable with '
            'that of its checkpoint'
        )
    loader = make_loader(opt, data, backend)
    backend.warmup((1, 3, opt.imgsz, opt.imgsz))
    folder = Path(save_dir) if save_dir else increment_path(Path(opt.project) / opt.name, opt.exist_ok, mkdir=True)
    return Job(opt, data, backend, loader, folder, callbacks, plots)


def given_job(
    opt: ValOptions, model: Any, loader: Any, folder: Path, callbacks: Callbacks, plots: bool, compute_loss: Any
) -> Job:
    """train.py's model and loader. Its weights stay as they are until the evaluation is over."""
    from models.backend import wrap

    backend = wrap(model, frozen=True, maps=compute_loss is not None)
    return Job(opt, load_split(opt), backend, loader, folder, callbacks, plots, True, compute_loss)


def check_options(opt: ValOptions) -> None:
    """Refuse what can't work, and say what makes the numbers other than the user may take them for."""
    for name, (low, high) in LIMITS.items():
        check_range(name, getattr(opt, name), low, high)
    if opt.conf_thres >= COMPARABLE_CONF:
        LOGGER.warning(
            f'WARNING: --conf-thres {opt.conf_thres}: mAP is not comparable with that at the default of 0.001, since '
            'less confident detections are left out'
        )
    if opt.save_hybrid:
        LOGGER.warning('WARNING: --save-hybrid: the labels count as detections, so the scores below contain the truth')


def split_of(opt: ValOptions) -> str:
    return opt.task if opt.task in ('train', 'test') else 'val'


def load_split(opt: ValOptions) -> DataConfig:
    from utils.data.yaml import DataConfig, load_data

    return opt.data if isinstance(opt.data, DataConfig) else load_data(opt.data, need=(split_of(opt),))


def check_classes(backend: Backend, data: DataConfig, opt: ValOptions) -> None:
    """Refuse weights of another number of classes; warn where classes have other names, or others' numbers."""
    if opt.single_cls:
        return
    file, known = data.file or 'data set', len(backend.names)
    if known != data.nc:
        raise DataError(
            f'{file}: has {counted(data.nc, "class", "classes")}, but {opt.weights[0]} knows {known}',
            'give the --data these weights were trained on',
        )
    other = difference(data.names, backend.names)
    if other:
        LOGGER.warning(f'WARNING: {file} and {opt.weights[0]}: {other}; the scores compare classes by number')


def make_loader(opt: ValOptions, data: DataConfig, backend: Backend) -> Any:
    """Batches of similar aspect ratio; square ones for --task speed and for files of a fixed size."""
    from utils.data.loader import create_dataloader
    from utils.imgsz import check_img_size

    split, square = split_of(opt), opt.task == 'speed' or backend.imgsz is not None
    opt.imgsz = fixed_size(opt, backend) if backend.imgsz else check_img_size(opt.imgsz, backend.stride)
    if backend.batch and backend.batch != opt.batch_size:
        LOGGER.info(f'{opt.weights[0]}: made for batches of {backend.batch}, used in place of {opt.batch_size}')
        opt.batch_size = backend.batch
    loader, dataset = create_dataloader(
        getattr(data, split), opt.imgsz, opt.batch_size, stride=backend.stride, single_cls=opt.single_cls, nc=data.nc,
        rect=not square, pad=0.0 if square else 0.5, workers=opt.workers, prefix=f'{split}: ',
    )  # fmt: skip
    shapes = [(opt.imgsz, opt.imgsz)] if square else dataset.batch_shapes.tolist()
    backend.check_room(min(opt.batch_size, len(dataset)), max(shapes, key=math.prod))
    return loader


def fixed_size(opt: ValOptions, backend: Backend) -> int:
    """The side of the pictures that an exported file is made for."""
    height, width = backend.input_size(opt.imgsz)
    if height != width:
        raise UsageError(
            f'{opt.weights[0]}: made for pictures of {height}x{width}, but evaluation needs square ones',
            'export it with --dynamic or a square --imgsz',
        )
    LOGGER.info(
        f'{opt.weights[0]}: evaluated on square pictures, as it is made for; a checkpoint gets them in their own shape '
        'and with a margin, and scores a little differently'
    )
    return width


# The loop -------------------------------------------------------------------------------------------------------------


def evaluate(job: Job) -> Tally:
    """Run the network over the split and compare what it finds with the labels."""
    from utils.progress import progress_bar

    tally = Tally(job.nc)
    job.callbacks.run('on_val_start')
    for number, (images, targets, paths, shapes) in enumerate(progress_bar(job.loader, HEADER)):
        job.callbacks.run('on_val_batch_start')
        found = detect(job, images, targets)
        for i, detections in enumerate(found):
            labels = targets[targets[:, 0] == i, 1:]
            score_picture(job, tally, images[i], detections, labels, paths[i], shapes[i])
        if job.plots and number < 3:
            draw_batch(job, number, images, targets, paths, found)
        job.callbacks.run('on_val_batch_end')
    return tally


def detect(job: Job, images: Any, targets: np.ndarray) -> list[np.ndarray]:
    """The detections of a batch, (n, 6) a picture in pixels of the network's input; losses and times are noted.

    Args:
        images: (b, 3, h, w) uint8 RGB, on the host.
        targets: (n, 6) picture, class, x, y, w, h, normalised.
    """
    from utils.device import time_sync

    opt, backend = job.opt, job.backend
    clock = [time_sync(backend.device)]
    x = backend.prepare(images)
    clock.append(time_sync(backend.device))
    output, maps = backend.with_maps(x) if job.compute_loss else (backend(x, augment=opt.augment), None)
    clock.append(time_sync(backend.device))
    if job.compute_loss:
        job.losses += job.compute_loss(maps, targets)[1].cpu().numpy()
    began = time_sync(backend.device)
    found = backend.suppress(
        output, conf_thres=opt.conf_thres, iou_thres=opt.iou_thres, multi_label=True, agnostic=opt.single_cls,
        labels=known_boxes(targets, len(images), images.shape[2:]) if opt.save_hybrid else (), max_det=opt.max_det,
    )  # fmt: skip
    job.seconds += (clock[1] - clock[0], clock[2] - clock[1], time_sync(backend.device) - began)
    if opt.single_cls:
        for rows in found:
            rows[:, 5] = 0
    return found


def score_picture(
    job: Job, tally: Tally, image: Any, detections: np.ndarray, labels: np.ndarray, path: str, shapes: tuple
) -> None:
    """Compare one picture's detections with its labels, in its own pixels, and write what was asked for.

    Args:
        image: (3, h, w), the network's input.
        detections: (n, 6) xyxy in its pixels, confidence, class.
        labels: (m, 5) class, xywh normalised to it.
        shapes: how to get back to the picture's own pixels.
    """
    original = in_picture(detections, image.shape[1:], shapes)
    tally.add(original, labels_in_picture(labels, image.shape[1:], shapes))
    job.files.add(path, original, shapes[0])
    job.callbacks.run('on_val_image_end', detections, original, path, job.names, image)


def draw_batch(job: Job, number: int, images: Any, targets: np.ndarray, paths: Sequence[str], found: list) -> None:
    from utils.plots import output_to_target, plot_images

    plot_images(images, targets, paths, job.folder / f'val_batch{number}_labels.jpg', job.names)
    plot_images(images, output_to_target(found), paths, job.folder / f'val_batch{number}_pred.jpg', job.names)


# What came of it ------------------------------------------------------------------------------------------------------


def report(job: Job, scores: Scores, milliseconds: Sequence[float]) -> None:
    """Print the table, each class of it if asked for or fewer than 50 and it is not train.py that calls, the speed."""
    LOGGER.info(scores.total_line())
    if not scores.labels.sum():
        LOGGER.warning(f'WARNING: no labels in the {job.split} split, so there is nothing to score')
    if (job.opt.verbose or (job.nc < 50 and not job.training)) and job.nc > 1:
        for line in scores.class_lines(job.names):
            LOGGER.info(line)
    if not job.training:
        prepare, inference, nms = milliseconds
        size = (job.opt.batch_size, 3, job.opt.imgsz, job.opt.imgsz)
        times = f'{prepare:.1f}ms pre-process, {inference:.1f}ms inference, {nms:.1f}ms NMS'
        LOGGER.info(f'Speed: {times} per image at shape {size}')


# The command ----------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> None:
    set_logging()
    opt = parse_options(ValOptions, argv, 'Evaluate a YOLOv5 detector', 'val.py')
    claim_device(opt.device)
    opt.save_json |= Path(opt.data).name == 'coco.yaml'
    tasks = {'speed': speed, 'study': study}
    if opt.task in tasks:
        tasks[opt.task](opt, run)
    else:
        run(**asdict(opt))


if __name__ == '__main__':
    sys.exit(run_main(main))
