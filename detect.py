"""Run a YOLOv5 detector on pictures and videos.

    python detect.py --weights yolov5s.pt --source picture.jpg     # a picture
                                                   video.mp4       # a video
                                                   folder/         # a folder's pictures and videos
                                                   'folder/**/*.jpg'  # a glob
                                                   list.txt        # what a list names, a line each
                                                   https://host/picture.jpg  # a file to download

Annotated copies go to runs/detect/exp, label files and crops below it if they are asked for.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.errors import DataError, UsageError, run_main
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import ROOT, increment_path

if TYPE_CHECKING:  # heavy rooms are entered when detection starts, so that --help is quick
    from utils.data.sinks import VideoSink
    from utils.data.sources import Item, LoadImages


@dataclass
class DetectOptions:
    """What the command line and `run` take."""

    weights: list = option(['yolov5s.pt'], nargs='+', help='checkpoint, or several to run as one')
    source: Any = option('data/images', type=str, help='picture, video, folder, glob, .txt list, or a file to download')
    data: str = option('coco128.yaml', help='data set YAML whose class names are shown if the weights have none')
    imgsz: list = option([640], '--imgsz', '--img', '--img-size', nargs='+', type=int, help='image size: side, or h w')
    conf_thres: float = option(0.25, help='least confidence')
    iou_thres: float = option(0.45, help='IoU above which a box suppresses another')
    max_det: int = option(1000, help='detections at most per picture')
    device: str = option('', help='cpu or a GPU number such as 0')
    view_img: bool = option(False, help='show the results in a window')
    save_txt: bool = option(False, help='write detections as label files')
    save_conf: bool = option(False, help='write confidences into the label files')
    save_crop: bool = option(False, help='write the boxes cut out as pictures')
    nosave: bool = option(False, help='write no annotated pictures and videos')
    classes: list = option(None, nargs='+', type=int, help='keep only these class numbers: --classes 0 2 3')
    agnostic_nms: bool = option(False, help='boxes suppress each other across classes')
    augment: bool = option(False, help='test-time augmentation: three scales, one of them mirrored')
    visualize: bool = option(False, help='draw what each layer sees')
    project: str = option('runs/detect', help='folder of runs')
    name: str = option('exp', help='name of this run; a number is added if it is taken')
    exist_ok: bool = option(False, help='write into the folder of that name though it is there')
    line_thickness: int = option(3, help='width of the boxes, pixels')
    hide_labels: bool = option(False, help='draw boxes without class names')
    hide_conf: bool = option(False, help='draw class names without confidences')
    half: bool = option(False, help='half precision (GPU only)')
    vid_stride: int = option(1, help='take every Nth frame of videos')


@dataclass
class Job:
    """One run: what is detected by what, and how far it has got."""

    opt: DetectOptions
    model: Any
    names: list[str]
    device: Any
    sources: LoadImages
    folder: Path
    half: bool = False
    stems: dict[str, str] = field(default_factory=dict)  # names of the results, without suffix, by the file's path
    taken: set[tuple[str, str]] = field(default_factory=set)  # those names, of 'image' and of 'video'
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(3))  # preparing, inference, NMS, summed
    seen: int = 0  # pictures and frames


def run(**options: Any) -> Path:
    """Detect from Python: `detect.run(weights='yolov5n.pt', source='folder', save_txt=True)`.

    Args:
        options: those of the command line, by name.

    Returns:
        The run's folder.

    Raises:
        UserError: anything the user can mend. Files that can't be read are reported and left out, unless all are.
    """
    set_logging()
    return detect(make_options(DetectOptions, **options))


def detect(opt: DetectOptions) -> Path:
    """Go through the source's pictures and frames: find, print, draw, write."""
    from utils.data.sinks import VideoSink

    job = start(opt)
    with VideoSink() as videos:
        for item in job.sources:
            handle(job, item, videos)
    return finish(job)


# Before -----------------------------------------------------------------------------------------------------------


def start(opt: DetectOptions) -> Job:
    """Check the options, find the source, load the model, choose the run's folder."""
    opt.weights = [opt.weights] if isinstance(opt.weights, (str, Path)) else list(opt.weights)
    LOGGER.info(colorstr('detect: ') + describe_options(opt))
    check_options(opt)
    sources = open_sources(opt)  # before the model is loaded: a typo shows at once

    from utils.checkpoint import attempt_load
    from utils.device import describe_device, select_device
    from utils.imgsz import check_img_size, grid_size

    device = select_device(opt.device)
    LOGGER.info(describe_device(device))
    model = attempt_load(opt.weights, device)
    names = class_names(model, opt)
    sources.stride = grid_size(model)
    sources.img_size = check_img_size(opt.imgsz * 2 if len(opt.imgsz) == 1 else opt.imgsz, sources.stride)
    half = opt.half and device.type != 'cpu'
    if half:
        model.half()
    elif opt.half:
        LOGGER.warning('WARNING: --half needs a GPU; the CPU computes in float32')
    opt.view_img = opt.view_img and can_show()
    folder = increment_path(Path(opt.project) / opt.name, exist_ok=opt.exist_ok)
    return Job(opt, model, names, device, sources, folder, half)


def check_options(opt: DetectOptions) -> None:
    """Refuse what can't work before anything is loaded."""
    opt.imgsz = [opt.imgsz] if isinstance(opt.imgsz, int) else list(opt.imgsz)
    if len(opt.imgsz) > 2 or min(opt.imgsz) < 1:
        raise UsageError(f'--imgsz {opt.imgsz}: not an image size', 'give a side, or height and width')
    for name, value in (('--max-det', opt.max_det), ('--line-thickness', opt.line_thickness)):
        if value < 1:
            raise UsageError(f'{name} {value}: too small', 'it has to be 1 or more')
    for name, value in (('--conf-thres', opt.conf_thres), ('--iou-thres', opt.iou_thres)):
        if not 0 <= value <= 1:
            raise UsageError(f'{name} {value}: not between 0 and 1', 'use for example 0.25 and 0.45')


def open_sources(opt: DetectOptions) -> LoadImages:
    """The pictures and videos of --source; an address is downloaded, a bare name is looked for in the root too."""
    from utils.data.sources import LoadImages, is_media
    from utils.downloads import check_file, is_url, url2file

    source = opt.source
    if isinstance(source, (str, Path)):
        if is_url(source) and is_media(url2file(str(source))):
            source = check_file(source)
        elif not os.path.exists(source) and (ROOT / source).exists():
            source = ROOT / source
    return LoadImages(source, vid_stride=opt.vid_stride)


def class_names(model: Any, opt: DetectOptions) -> list[str]:
    """The weights' class names; where they are but numbers, those of --data if they are as many.

    Raises:
        UsageError: --classes names one that the weights don't know.
    """
    names = list(model.names.values() if isinstance(model.names, dict) else model.names)
    wrong = [c for c in opt.classes or () if not 0 <= c < len(names)]
    if wrong:
        known = f'the weights know {len(names)} classes, 0 to {len(names) - 1}'
        raise UsageError(f'--classes {" ".join(map(str, wrong))}: no such class', known)
    if all(name in (str(i), f'class{i}') for i, name in enumerate(names)):
        from utils.data.yaml import load_data

        others = load_data(opt.data, need=()).names
        names = list(others) if len(others) == len(names) else names
    return names


def can_show() -> bool:
    """Whether OpenCV can open a window here; if not, that is said."""
    import cv2

    display = sys.platform != 'linux' or os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')
    try:
        if display:  # without one, some builds of OpenCV end the process
            cv2.imshow('YOLOv5', np.zeros((1, 1, 3), np.uint8))
            cv2.destroyAllWindows()
            return True
    except cv2.error:
        display = None
    LOGGER.warning('WARNING: --view-img: no display here (or an OpenCV without windows), so nothing is shown')
    return False


# For each picture ---------------------------------------------------------------------------------------------------


def handle(job: Job, item: Item, videos: VideoSink) -> None:
    """Detect on one picture or frame, print its line, write its results."""
    from utils.evaluate import save_one_txt

    path, im, im0, capture, text = item
    opt, stem = job.opt, stem_of(job, path)
    tag = f'{stem}_{job.sources.frame}' if capture else stem
    if not job.seen:
        (job.folder / 'labels' if opt.save_txt else job.folder).mkdir(parents=True, exist_ok=True)
    inferred = job.seconds[1]
    detections = find(job, im, im0.shape, tag)
    milliseconds = (job.seconds[1] - inferred) * 1e3
    LOGGER.info(f'{text}{im.shape[1]}x{im.shape[2]} {counts(detections, job.names)}{milliseconds:.1f}ms')

    if opt.save_txt and len(detections):
        save_one_txt(detections[::-1], opt.save_conf, im0.shape, job.folder / 'labels' / f'{tag}.txt')
    if opt.save_crop:
        save_crops(job, im0, detections, tag)
    if opt.view_img or not opt.nosave:
        drawn = draw(job, im0, detections)
        show_and_save(job, path, stem, drawn, capture, videos)


def stem_of(job: Job, path: str) -> str:
    """The name of a file's results, without suffix: its own stem, with a number where another file has that already.

    A picture and a video may share one: their results are named differently.
    """
    if path not in job.stems:
        own = Path(path).stem
        names = itertools.chain([own], (f'{own}{n}' for n in itertools.count(2)))
        job.stems[path] = stem = next(name for name in names if (job.sources.mode, name) not in job.taken)
        job.taken.add((job.sources.mode, stem))
        if stem != own:
            LOGGER.info(f'{path}: its results are named {stem}, since those of another file are named {own}')
    return job.stems[path]


def find(job: Job, im: np.ndarray, shape: Sequence[int], tag: str) -> np.ndarray:
    """What is on a picture; times are noted.

    Args:
        im: (3, h, w) uint8 RGB, the network's input.
        shape: (height, width, ...) of the picture itself.
        tag: name of the folder of --visualize.

    Returns:
        (n, 6) float32, best first: x1, y1, x2, y2 in whole pixels of the picture, confidence, class.
    """
    import oneflow as torch

    from utils.boxes import scale_coords
    from utils.device import time_sync, to_input
    from utils.nms import non_max_suppression

    opt, began = job.opt, time_sync()
    x = to_input(im[None], job.device, job.half)
    prepared = time_sync()
    with torch.no_grad():
        prediction = job.model(x, augment=opt.augment, visualize=observer(job, tag))[0].float()
    if job.device.type == 'cpu':
        prediction = prediction.numpy()  # waits for the network; NMS on the CPU works on arrays
    inferred = time_sync()
    (detections,) = non_max_suppression(
        prediction, opt.conf_thres, opt.iou_thres, opt.classes, opt.agnostic_nms, max_det=opt.max_det
    )
    detections = detections if isinstance(detections, np.ndarray) else detections.cpu().numpy()
    job.seconds += (prepared - began, inferred - prepared, time_sync() - inferred)
    job.seen += 1
    detections[:, :4] = scale_coords(im.shape[1:], detections[:, :4], shape).round()
    return detections


def observer(job: Job, tag: str) -> Callable[[Any, str, int], None] | None:
    """What --visualize calls after every layer: a picture and an array of its channels go to the folder `tag`."""
    if not job.opt.visualize:
        return None
    from utils.plots import feature_visualization

    folder = increment_path(job.folder / tag, mkdir=True)
    return lambda x, kind, row: feature_visualization(x, kind, row, save_dir=folder)


def counts(detections: np.ndarray, names: Sequence[str]) -> str:
    """Detections by class in words: '4 persons, 1 bus, '."""
    numbers, found = np.unique(detections[:, 5].astype(int), return_counts=True)
    words = [f'{n} {names[c]}{"s" if n > 1 else ""}, ' for c, n in zip(numbers, found)]
    return ''.join(words) or '(no detections), '


def save_crops(job: Job, im0: np.ndarray, detections: np.ndarray, tag: str) -> None:
    """Write each box as crops/<class name>/<tag>.jpg, with a number from the second on."""
    from utils.annotate import save_one_box

    for row in detections[::-1]:
        name = re.sub(r'[/\\:\0]|^\.+', '_', job.names[int(row[5])])  # a class name may be no folder name
        save_one_box(row[:4], im0, file=job.folder / 'crops' / name / f'{tag}.jpg', BGR=True)


def draw(job: Job, im0: np.ndarray, detections: np.ndarray) -> np.ndarray:
    """The picture with its boxes, the most confident on top."""
    from utils.annotate import Annotator, colors

    if not len(detections):
        return im0
    opt = job.opt
    pen = Annotator(im0, line_width=opt.line_thickness, example=job.names)
    for *box, confidence, c in detections[::-1]:
        name = job.names[int(c)]
        label = '' if opt.hide_labels else name if opt.hide_conf else f'{name} {confidence:.2f}'
        pen.box_label(box, label, color=colors(c, bgr=True))
    return pen.result()


def show_and_save(job: Job, path: str, stem: str, drawn: np.ndarray, capture: Any, videos: VideoSink) -> None:
    """Put an annotated picture or frame on the screen and into the run's folder, as far as it is wanted."""
    import cv2

    from utils.data.sinks import write_picture

    if job.opt.view_img:
        cv2.imshow(path, drawn)
        cv2.waitKey(1)
    if job.opt.nosave:
        return
    if capture is None:
        write_picture(job.folder / f'{stem}{Path(path).suffix}', drawn)
    else:
        # Skipped frames are made up for, so that the copy lasts as long as the original.
        videos.write(job.folder / f'{stem}.mp4', drawn, capture.get(cv2.CAP_PROP_FPS) / job.opt.vid_stride)


# After ------------------------------------------------------------------------------------------------------------


def finish(job: Job) -> Path:
    """Print speed, where the results are, and how many files were left out.

    Raises:
        DataError: not one file could be read.
    """
    problems = job.sources.problems
    if not job.seen:
        raise DataError(f'{job.opt.source}: none of its {job.sources.nf} files could be read', 'see the lines above')
    prepare, infer, nms = job.seconds / job.seen * 1e3
    shape = (1, 3, *job.sources.img_size)
    LOGGER.info(
        f'Speed: {prepare:.1f}ms pre-process, {infer:.1f}ms inference, {nms:.1f}ms NMS per image at shape {shape}'
    )
    if job.opt.save_txt:
        labels = job.folder / 'labels'
        LOGGER.info(f'{len(list(labels.glob("*.txt")))} labels saved to {labels}')
    if not job.opt.nosave or job.opt.save_txt or job.opt.save_crop or job.opt.visualize:
        LOGGER.info(f'Results saved to {colorstr("bold", str(job.folder))}')
    if problems:
        LOGGER.warning(f'WARNING: {len(problems)} of {job.sources.nf} files had faults, see above')
    return job.folder


def main(argv: list[str] | None = None) -> None:
    set_logging()
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # a broken video gets one line of ours, not FFmpeg's
    detect(parse_options(DetectOptions, argv, 'Detect objects on pictures and videos', 'detect.py'))


if __name__ == '__main__':
    sys.exit(run_main(main))
