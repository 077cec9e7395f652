"""Run a YOLOv5 detector on pictures, videos and streams.

    python detect.py --weights yolov5s.pt --source picture.jpg     # a picture
                                                   video.mp4       # a video
                                                   folder/         # a folder's pictures and videos
                                                   'folder/**/*.jpg'  # a glob
                                                   list.txt        # what a list names, a line each
                                                   https://host/picture.jpg  # a file to download
                                                   0               # a webcam
                                                   rtsp://host/camera        # a stream: RTSP, RTMP, HTTP
                                                   cameras.streams # several streams at once, a line each

Annotated copies go to runs/detect/exp, label files and crops below it if they are asked for.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.detect_output import Output, Shot
from utils.device_choice import claim_device
from utils.errors import DataError, Terminated, UsageError, check_range, run_main, sigterm_as_ctrl_c
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import run_folder
from utils.values import items, text

if TYPE_CHECKING:  # heavy rooms are entered when detection starts, so that --help is quick
    from models.backend import Backend
    from utils.data.sinks import VideoSink
    from utils.data.sources import LoadImages
    from utils.data.streams import LoadStreams


@dataclass
class DetectOptions:
    """What the command line and `run` take."""

    weights: list = option(
        ['yolov5s.pt'], nargs='+', help='checkpoint, .onnx file or OpenVINO folder; several run as one'
    )
    source: Any = option(
        'data/images', help='picture, video, folder, glob, .txt or .streams list, webcam number, or address'
    )
    data: Any = option('coco128.yaml', help='data set YAML whose class names are shown if the weights have none')
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
    dnn: bool = option(False, help='run an .onnx file by OpenCV')
    square: bool = option(False, help='pad images to the whole --imgsz, as exports of a fixed size see them')
    vid_stride: int = option(1, help='take every Nth frame of videos and streams')


@dataclass
class Job:
    """One run: what is detected by what, and how far it has got."""

    opt: DetectOptions
    backend: Backend
    sources: LoadImages | LoadStreams
    output: Output
    stems: dict[str, str]  # names of the results, without suffix, by the input's path
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(3))  # preparing, inference, NMS, summed
    seen: int = 0  # pictures and frames that went through the network
    done: int = 0  # those whose results are written

    def failures(self) -> str:
        """What to say at the end about the inputs that could not be handled, or not to their end; '' without any."""
        return self.sources.faults.summary(self.sources.total, 'streams' if self.streams else 'inputs')

    @property
    def streams(self) -> bool:
        return self.sources.mode == 'stream'


def run(**options: Any) -> Path:
    """Detect from Python: `detect.run(weights='yolov5n.pt', source='folder', save_txt=True)`.

    Args:
        options: those of the command line, by name.

    Returns:
        The run's folder. Inputs that could not be handled are logged as warnings, and summed up in the last one.

    Raises:
        UserError: anything the user can mend, and when not a single input could be handled.
    """
    set_logging()
    job = detect(make_options(DetectOptions, **options))
    if job.sources.faults:
        LOGGER.warning(f'WARNING: {job.failures()}')
    return job.output.folder


def detect(opt: DetectOptions) -> Job:
    """Go through the source's pictures and frames: find, print, draw, write. What fails is in `Job.failures`."""
    sources, backend, names = start(opt)
    with run_folder(Path(opt.project) / opt.name, opt.exist_ok) as folder:
        job = Job(opt, backend, sources, Output(opt, names, folder), stems_of(sources))
        stopped = go_through(job)
        if stopped and not job.done:
            raise stopped
        finish(job)
    if stopped and (not job.streams or isinstance(stopped, Terminated)):
        raise stopped
    return job  # Ctrl-C is how streams end


def go_through(job: Job) -> KeyboardInterrupt | None:
    """Handle all that the source gives. After Ctrl-C, which is returned, videos are finished and streams closed."""
    from utils.data.sinks import VideoSink

    sink = VideoSink(
        job.sources.nf if job.streams else 1, lambda path, error: job.sources.fail(job.output.videos[path], error)
    )
    try:
        with sigterm_as_ctrl_c(), sink as videos, closing(iter(job.sources)) as items:
            for item in items:
                if handle(job, item, videos):
                    break
    except KeyboardInterrupt as stop:
        return stop
    return None


# Before -----------------------------------------------------------------------------------------------------------


def start(opt: DetectOptions) -> tuple[LoadImages | LoadStreams, Backend, list[str]]:
    """Check the options, find the source, load the model and its class names."""
    from utils.data.sinks import can_show
    from utils.data.sources import open_source
    from utils.data.streams import hide_password

    if not isinstance(opt.source, str):
        opt.source = [text('--source', one) for one in items('--source', opt.source)]
    LOGGER.info(colorstr('detect: ') + hide_password(describe_options(opt)))
    check_options(opt)
    sources = open_source(opt.source, opt.vid_stride)  # before the model is loaded: a typo shows at once

    from models.backend import load_backend
    from utils.device import describe_device, select_device

    device = select_device(opt.device)
    LOGGER.info(describe_device(device))
    backend = load_backend(opt.weights, device, dnn=opt.dnn, fp16=opt.half)
    names = class_names(backend.names, opt)
    sources.stride, sources.img_size = backend.stride, backend.input_size(opt.imgsz)
    sources.auto = backend.imgsz is None and not opt.square  # a file made for one size takes no other
    if device.type != 'cpu':
        backend.warmup((1, 3, *sources.img_size))
    opt.view_img = opt.view_img and can_show()
    return sources, backend, names


def check_options(opt: DetectOptions) -> None:
    """Refuse what can't work before anything is loaded."""
    if len(opt.imgsz) > 2 or min(opt.imgsz) < 1:
        raise UsageError(f'--imgsz {opt.imgsz}: not an image size', 'give a side, or height and width')
    for name in ('max_det', 'line_thickness'):
        check_range(name, getattr(opt, name), 1)
    for name in ('conf_thres', 'iou_thres'):
        check_range(name, getattr(opt, name), 0, 1)


def stems_of(sources: LoadImages | LoadStreams) -> dict[str, str]:
    """The name, without suffix, of each input's results, by its path."""
    from utils.data.names import result_stems

    if sources.mode == 'stream':
        return result_stems([], sources.sources)
    return result_stems(sources.media.images, sources.media.videos)


def class_names(names: list[str], opt: DetectOptions) -> list[str]:
    """The weights' class names; where they are but numbers, those of --data if they are as many.

    Raises:
        UsageError: --classes names one that the weights don't know.
    """
    wrong = [c for c in opt.classes or () if not 0 <= c < len(names)]
    if wrong:
        numbers = ' '.join(map(str, wrong))
        raise UsageError(f'--classes {numbers}: no such class', f'there are {len(names)}, 0 to {len(names) - 1}')
    if all(name in (str(i), f'class{i}') for i, name in enumerate(names)):
        from utils.data.yaml import load_data

        others = load_data(opt.data, need=()).names
        names = list(others) if len(others) == len(names) else names
    return names


# For each picture ---------------------------------------------------------------------------------------------------


def handle(job: Job, item: tuple, videos: VideoSink) -> bool:
    """Detect on a picture or a frame of every stream, print lines, write results; True when q or Escape is hit.

    What fails for this input is reported, and the run goes on, unless the other inputs would meet it, too.
    """
    from models.detections import count_words
    from utils.data.sinks import asked_to_end

    folder = job.output.folder
    ims, shots = as_batch(job, item)
    inferred = job.seconds[1]
    try:
        found = find(job, ims, shots)
    except Exception as error:
        found = []
        for shot in shots:
            job.sources.fail(shot.path, error)
    (folder / 'labels' if job.opt.save_txt and found else folder).mkdir(parents=True, exist_ok=True)
    milliseconds = (job.seconds[1] - inferred) * 1e3 / len(shots)
    for shot, detections in zip(shots, found):
        words = count_words(detections, job.output.names) or '(no detections)'
        LOGGER.info(f'{shot.text}{ims.shape[2]}x{ims.shape[3]} {words}, {milliseconds:.1f}ms')
        try:
            job.output.write(shot, detections, videos)
            job.done += 1
        except Exception as error:
            job.sources.fail(shot.path, error)
    return job.opt.view_img and asked_to_end()


def as_batch(job: Job, item: tuple) -> tuple[np.ndarray, list[Shot]]:
    """What a source gives, as the network's input (batch, 3, h, w) and as many shots."""
    path, im, im0, capture, text = item
    sources, stems = job.sources, job.stems
    if job.streams:
        shots = []
        for name, picture in zip(path, im0):
            i = sources.sources.index(name)
            stream = sources.streams[i]
            shots.append(Shot(name, picture, f'{i}: ', stems[name], stream.number, stream.fps, stream.seconds))
    else:
        im, shots = im[None], [Shot(path, im0, text, stems[path], sources.frame, sources.fps if capture else 0.0)]
    for shot in shots:
        if shot.frame <= 1:
            shot.say_name()
    return im, shots


def find(job: Job, ims: np.ndarray, shots: Sequence[Shot]) -> list[np.ndarray]:
    """What is on a batch of pictures; times are noted.

    Args:
        ims: (batch, 3, h, w) uint8 RGB, the network's input.
        shots: the pictures themselves.

    Returns:
        For each (n, 6) float32, best first: x1, y1, x2, y2 in whole pixels of the picture, confidence, class.
    """
    from utils.boxes import scale_coords
    from utils.device import time_sync

    opt, backend = job.opt, job.backend
    began = time_sync(backend.device)
    x = backend.prepare(ims)
    prepared = time_sync(backend.device)
    output = backend(x, opt.augment, job.output.observer(shots))
    inferred = time_sync(backend.device)
    limits = {'conf_thres': opt.conf_thres, 'iou_thres': opt.iou_thres, 'max_det': opt.max_det}
    found = backend.suppress(output, classes=opt.classes, agnostic=opt.agnostic_nms, **limits)
    job.seconds += (prepared - began, inferred - prepared, time_sync(backend.device) - inferred)
    job.seen += len(shots)
    for detections, shot in zip(found, shots):
        detections[:, :4] = scale_coords(ims.shape[2:], detections[:, :4], shot.im0.shape).round()
    return found


# After ------------------------------------------------------------------------------------------------------------


def finish(job: Job) -> None:
    """Print speed and where the results are.

    Raises:
        DataError: not one input could be handled.
    """
    if not job.done:
        raise DataError(job.failures() or f'{job.opt.source}: nothing came of it')
    prepare, infer, nms = job.seconds / job.seen * 1e3
    shape = (1, 3, *job.sources.img_size)
    LOGGER.info(
        f'Speed: {prepare:.1f}ms pre-process, {infer:.1f}ms inference, {nms:.1f}ms NMS per image at shape {shape}'
    )
    job.output.say_where()


def main(argv: list[str] | None = None) -> None:
    set_logging()
    # A broken video or an absent camera gets one line of ours, not several of OpenCV's and FFmpeg's; pictures have a
    # limit of ours, so Pillow need not warn of those under it.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    warnings.filterwarnings('ignore', 'Image size .* exceeds limit')
    opt = parse_options(DetectOptions, argv, 'Detect objects on pictures, videos and streams', 'detect.py')
    claim_device(opt.device)
    job = detect(opt)
    if job.sources.faults:  # the others are done, but the exit code tells
        raise DataError(job.failures())


if __name__ == '__main__':
    sys.exit(run_main(main))
