"""Export a YOLOv5 checkpoint for programs that know nothing of OneFlow.

    python export.py --weights yolov5s.pt --include onnx openvino pt

    format               --include   written beside the weights
    ONNX                 onnx        yolov5s.onnx
    OpenVINO             openvino    yolov5s_openvino_model/
    PyTorch state dict   pt          yolov5s_state_dict.pt

Every file is compared with the checkpoint on a picture before it takes its place. TensorRT makes its engine of the ONNX
file: trtexec --onnx=yolov5s.onnx --saveEngine=yolov5s.engine
"""

from __future__ import annotations

import importlib
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.device_choice import claim_device
from utils.errors import ConfigError, ResourceError, UsageError, WeightsError, check_range, run_main
from utils.faults import ends_run
from utils.log import LOGGER, colorstr, set_logging
from utils.options import describe_options, make_options, option, parse_options
from utils.paths import atomic_folder, atomic_write, write_yaml

if TYPE_CHECKING:
    import onnx
    import pandas

    from models.graph.nms import NMSOptions
    from models.runners import Runner
    from utils.checkpoint import Checkpoint


@dataclass
class ExportOptions:
    """What the command line and `run` take."""

    data: str = option('coco128.yaml', help='data set YAML: its first validation picture, if here, is compared on')
    weights: list = option(['yolov5s.pt'], nargs='+', help='checkpoint, or several, each of which is exported')
    imgsz: list = option([640, 640], '--imgsz', '--img', '--img-size', nargs='+', type=int, help='image size: h w')
    batch_size: int = option(1, help='pictures a run')
    device: str = option('cpu', help='accepted for scripts that give one; the comparison always runs on the CPU')
    half: bool = option(False, help='weights in half precision')
    dynamic: bool = option(False, help='any batch, height and width')
    simplify: bool = option(False, help='ONNX: fewer operations, by onnxslim')
    opset: int = option(12, help='ONNX: version of the operators')
    nms: bool = option(False, help='suppress boxes inside the file')
    agnostic_nms: bool = option(False, help='with --nms, which it implies: boxes suppress each other across classes')
    topk_per_class: int = option(100, help='with --nms: detections at most of a class')
    topk_all: int = option(100, help='with --nms: detections at most of a picture')
    iou_thres: float = option(0.45, help='with --nms: IoU above which a box suppresses another')
    conf_thres: float = option(0.25, help='with --nms: least confidence')
    include: list = option(['onnx'], nargs='+', help='formats: onnx, openvino, pt')


@dataclass
class Job:
    """One checkpoint on its way to other formats."""

    opt: ExportOptions
    path: Path  # the checkpoint
    ckpt: Checkpoint
    model: Any
    size: tuple[int, int]
    nms: NMSOptions | None
    picture: str  # what is compared on
    samples: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # its input, and the checkpoint's rows
    difference: str = ''  # how far the format at hand is from the checkpoint

    def file(self, suffix: str) -> Path:
        """The exported file's path: the checkpoint's with another end."""
        return self.path.with_name(self.path.stem + suffix)


def run(**options: Any) -> list[str]:
    """Export from Python: `export.run(weights='yolov5n.pt', include=['onnx'], dynamic=True)`.

    Args:
        options: those of the command line, by name.

    Returns:
        The files and folders, for each of the weights in the order of `include`.

    Raises:
        UserError: anything the user can mend, and a file that would differ from the checkpoint, which is not written.
            What failed for one of several weights or formats is raised when the others are there.
    """
    set_logging()
    return export(make_options(ExportOptions, **options))


def export(opt: ExportOptions) -> list[str]:
    """Make every format of every checkpoint."""
    check_options(opt)
    LOGGER.info(colorstr('export: ') + describe_options(opt))
    files: dict[Path, Format] = {}
    failed: list[Exception] = []
    others = len(opt.weights) * len(opt.include) > 1
    for weights in opt.weights:
        with without_the_others(failed, others):
            job = start(opt, weights)
            for form in map(FORMATS.get, opt.include):
                with without_the_others(failed, others, f'{weights} as {form.name}: not exported: '):
                    files[make(job, form)] = form
    runs_here = [file for file, form in files.items() if form.cpu]
    if runs_here:
        LOGGER.info(f'Try it: python detect.py --weights {shlex.quote(str(runs_here[0]))}')
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise WeightsError(f'{len(failed)} exports failed, the first: {failed[0]}') from failed[0]
    return [str(file) for file in files]


@contextmanager
def without_the_others(failed: list[Exception], others: bool, what: str = '') -> Iterator[None]:
    """Log and note that an export failed, and let the others go on, unless there are none or they would fail as well.

    Args:
        what: the beginning of the line, where the error doesn't name it.
    """
    try:
        yield
    except Exception as error:
        if not others or (ends_run(error) and not isinstance(error, (WeightsError, ConfigError))):
            raise
        LOGGER.warning(f'WARNING: {what}{error}')
        failed.append(error)


# Before --------------------------------------------------------------------------------------------------------------


def check_options(opt: ExportOptions) -> None:
    """Refuse what can't work before anything is loaded."""
    opt.include = list(dict.fromkeys(name.lower() for name in opt.include))
    for name in opt.include:
        if name not in FORMATS:
            raise UsageError(f'--include {name}: {ELSEWHERE.get(name, "not there")}', f'there are {", ".join(FORMATS)}')
    if len(opt.imgsz) > 2 or min(opt.imgsz) < 1:
        raise UsageError(f'--imgsz {opt.imgsz}: not an image size', 'give a side, or height and width')
    check_range('batch_size', opt.batch_size, 1)
    if str(opt.device).strip().lower() not in ('', 'cpu'):
        LOGGER.info(f'--device {opt.device}: exported files are compared with the checkpoint on the CPU')
    opt.nms = opt.nms or opt.agnostic_nms
    for name in ('half', 'dynamic', 'simplify', 'nms'):
        idle = [word for word in opt.include if name not in FORMATS[word].options]
        if getattr(opt, name) and idle:
            LOGGER.warning(f'WARNING: --{name} means nothing for {", ".join(idle)}')


def start(opt: ExportOptions, weights: str | Path) -> Job:
    """Load a checkpoint and run it on the picture that the exported files will be compared on."""
    from models.graph.nms import NMSOptions
    from models.head import Detect
    from utils.checkpoint import build_model, load_checkpoint
    from utils.downloads import attempt_download
    from utils.imgsz import check_img_size, grid_size
    from utils.memory import check_memory
    from utils.parity import fit, rows_of, sample_picture

    limits = {name: getattr(opt, name) for name in ('topk_all', 'topk_per_class', 'iou_thres', 'conf_thres')}
    nms = NMSOptions(agnostic=opt.agnostic_nms, **limits) if opt.nms else None
    path = attempt_download(weights)
    picture, pixels = sample_picture(opt.data)
    ckpt = load_checkpoint(path)
    model = build_model(ckpt, 'cpu', fuse=True)
    LOGGER.info(model.info())
    if not isinstance(model.detect, Detect):
        raise ConfigError(f'{path}: ends in {type(model.detect).__name__}', 'only detectors are exported')
    stride = grid_size(model)
    size = tuple(check_img_size(opt.imgsz * 2 if len(opt.imgsz) == 1 else opt.imgsz, stride))
    shapes = [(opt.batch_size, size)]
    if opt.dynamic:  # another one, to see that it is
        shapes.append((opt.batch_size + 1, (size[0], max(size[1] // 2 // stride, 1) * stride)))
    job = Job(opt, Path(path), ckpt, model, size, nms, picture)
    if set(opt.include) != {'pt'}:
        for batch, shape in shapes:
            check_memory(
                24 * batch * math.prod(shape), f'--batch-size {batch} --img {shape[0]} {shape[1]}', 'take smaller ones'
            )
            images = fit(pixels, shape)
            job.samples.append((np.repeat(images, batch, 0), rows_of(model, images)))
    return job


# A format each -------------------------------------------------------------------------------------------------------


def make(job: Job, form: Format) -> Path:
    """Export one format and say how it went."""
    began, prefix = time.perf_counter(), colorstr(f'{form.name}: ')
    path = form.export(job)
    size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.iterdir())) / 1e6
    seconds = time.perf_counter() - began
    LOGGER.info(f'{prefix}saved as {path} ({size:.1f} MB) in {seconds:.1f} s; {job.difference}')
    return path


def export_onnx(job: Job) -> Path:
    """An ONNX file, by the onnx package; see models/graph."""
    from models.runners import OnnxRunner

    path = job.file('.onnx')
    graph = verified(job, path, lambda graph: OnnxRunner(path, graph=graph.SerializeToString()))
    with atomic_write(path) as f:
        f.write(graph.SerializeToString())
    return path


def export_openvino(job: Job) -> Path:
    """A folder with OpenVINO's .xml and .bin, made from the ONNX graph, and metadata.yaml."""
    from models.runners import OpenVinoRunner, openvino_core

    openvino, target = library('openvino'), job.file('_openvino_model')
    with atomic_folder(target) as folder:
        network = folder / f'{job.path.stem}.xml'

        def convert(graph: onnx.ModelProto) -> Runner:
            for old in folder.iterdir():
                old.unlink()
            model = openvino_core().read_model(graph.SerializeToString())
            openvino.save_model(model, str(network), compress_to_fp16=job.opt.half)
            return OpenVinoRunner(network)

        verified(job, target, convert, half=False)  # OpenVINO rounds the weights itself, and keeps a float32 input
        write_yaml(folder / 'metadata.yaml', about(job))
    return target


def export_pt(job: Job) -> Path:
    """The state for PyTorch: `model.load_state_dict(torch.load(file))` on the original's model of the same YAML."""
    from utils.pt_reader import read_pt
    from utils.pt_writer import write_pt

    path, state = job.file('_state_dict.pt'), job.ckpt.ema or job.ckpt.state
    if job.opt.half:
        state = {name: a.astype(np.float16) if a.dtype.kind == 'f' else a for name, a in state.items()}
    write_pt(path, state)
    back = read_pt(path)
    if list(back) != list(state) or not all(np.array_equal(back[name], state[name]) for name in state):
        path.unlink()
        raise WeightsError(f'{path}: reads back as something else', 'is the disk in order?')
    job.difference = f'{len(state)} tensors, read back the same'
    return path


def verified(
    job: Job, path: Path, open_graph: Callable[[onnx.ModelProto], Runner], half: bool | None = None
) -> onnx.ModelProto:
    """The graph to export, after its numbers were found to be the checkpoint's; it is the last one opened.

    Rows are compared first. Suppression is compared on the rows of the same graph without it, for in half precision a
    box may fall to either side of a limit.

    Raises:
        WeightsError: they differ by more than utils/parity.py allows.
    """
    from utils.parity import EXACT, HALF, compare_detections, compare_rows, suppressed

    limit, half = HALF if job.opt.half else EXACT, job.opt.half if half is None else half
    graph = graph_of(job, None, half)
    runner = open_graph(graph)
    inputs = [images.astype(np.float32) / np.float32(255) for images, _ in job.samples]
    rows = [runner(x) for x in inputs]
    found = [
        compare_rows(r, np.repeat(expected, len(x), 0), max(x.shape))
        for r, x, (_, expected) in zip(rows, inputs, job.samples)
    ]
    if job.nms:
        graph = graph_of(job, job.nms, half)
        runner = open_graph(graph)
        found += [compare_detections(runner(x), suppressed(r, job.nms), max(x.shape)) for r, x in zip(rows, inputs)]
    worst = max(found, key=lambda difference: max(difference.relative, difference.scores))
    job.difference = f'largest difference to the checkpoint on {job.picture}: {worst}'
    if not all(difference.within(limit) for difference in found):
        raise WeightsError(
            f'{path}: not written, for on {job.picture} it differs from the checkpoint by {worst}',
            'export without --half and --simplify, or report it with the weights',
        )
    return graph


def graph_of(job: Job, nms: NMSOptions | None, half: bool) -> onnx.ModelProto:
    """The network as ONNX, checked and, if that is asked for, simplified."""
    import onnx

    from models.graph.build import build_onnx

    opt = job.opt
    graph = build_onnx(job.model, job.size, opt.batch_size, opt.dynamic, half, opt.opset, nms, metadata=training(job))
    if opt.simplify:
        graph = simplified(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def simplified(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with fewer operations, by onnxslim.

    What that writes about the sizes of dynamic values are formulas of thousands of letters, in all megabytes: they are
    left out, and the outputs described as they were.
    """
    slim = library('onnxslim').slim(graph)
    del slim.graph.value_info[:], slim.graph.output[:]
    slim.graph.output.extend(graph.graph.output)
    return slim


def training(job: Job) -> dict[str, Any]:
    """What the file tells of its origin."""
    return {'weights': job.path.name, 'trained': job.ckpt.date}


def about(job: Job) -> dict[str, Any]:
    """What metadata.yaml tells."""
    sizes = {'imgsz': list(job.size), 'batch': job.opt.batch_size, 'dynamic': job.opt.dynamic, 'half': job.opt.half}
    return {'stride': job.model.largest_stride, 'names': list(job.model.names), **sizes, **training(job)}


def library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise ResourceError(f'{name}: this package is not installed ({problem})', f'pip install {name}') from None


# The table of formats ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format: its name, the end of its files' names, whether detect.py and val.py run it on a CPU and on a GPU."""

    name: str
    suffix: str
    cpu: bool
    gpu: bool
    export: Callable[[Job], Path]
    options: frozenset[str]  # that mean something for it


FORMATS = {
    'onnx': Format('ONNX', '.onnx', True, True, export_onnx, frozenset({'half', 'dynamic', 'simplify', 'nms'})),
    'openvino': Format(
        'OpenVINO', '_openvino_model', True, False, export_openvino, frozenset({'half', 'dynamic', 'simplify', 'nms'})
    ),
    'pt': Format('PyTorch state dict', '_state_dict.pt', False, False, export_pt, frozenset({'half'})),
}
# Other formats of the original, and the way to them.
_BY_ONNX = 'not there; converters take the .onnx file'
ELSEWHERE = {
    'engine': 'not there; TensorRT makes it of the .onnx file: trtexec --onnx=FILE.onnx --saveEngine=FILE.engine',
    'torchscript': 'not there; it needs PyTorch, which loads what --include pt writes',
    **dict.fromkeys(('coreml', 'saved_model', 'pb', 'tflite', 'edgetpu', 'tfjs', 'paddle'), _BY_ONNX),
}


def export_formats() -> pandas.DataFrame:
    """The table of formats as the original gives it: Format, Argument, Suffix, CPU, GPU. The checkpoint comes first."""
    import pandas

    rows = [('OneFlow', '-', '.safetensors', True, True)]
    rows += [(form.name, word, form.suffix, form.cpu, form.gpu) for word, form in FORMATS.items()]
    return pandas.DataFrame(rows, columns=['Format', 'Argument', 'Suffix', 'CPU', 'GPU'])


def main(argv: list[str] | None = None) -> None:
    set_logging()
    opt = parse_options(ExportOptions, argv, 'Export a checkpoint to other formats', 'export.py')
    claim_device(opt.device)
    export(opt)


if __name__ == '__main__':
    sys.exit(run_main(main))
