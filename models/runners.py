"""What runs an exported file: one class a library, all called alike.

A runner takes float32 pictures (b, 3, h, w) in 0..1 and gives the network's rows, (b, rows, 5 + nc): xywh in pixels,
objectness, class scores; or, where the file does its own non-maximum suppression, the detections of each picture. It
may be called from several threads.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utils.cpu import threads
from utils.errors import UsageError, WeightsError
from utils.log import LOGGER
from utils.memory import check_memory
from utils.terminal import printable

NMS_OUTPUTS = ('num_dets', 'boxes', 'scores', 'classes')
# x * sigmoid(x) as one operation, but not in the blocked layout of the convolutions around it: yolov5n takes 59 ms in
# place of 52, for every map is brought into the plain layout and back.
SLOWER = ['QuickGeluFusion']
MAX_METADATA = 1 << 20  # characters
MAX_SIDE = 1 << 16  # of an input; images to a batch
_DAMAGED = 'export it again'


class Runner(ABC):
    """An exported file, opened.

    Args:
        path: the file, for messages.
        shape: of its input, (b, 3, h, w); None where it takes any number.
        metadata: texts that the file carries.

    Attributes:
        path, file: as given, and whatever becomes of the working directory.
        kind: 'onnx', 'onnx-nms', 'dnn', 'openvino' or 'openvino-nms'.
        batch, imgsz: the number of pictures and the (height, width) it was made for; None where it takes any.
        names: class names, or None where the file doesn't know them; stride: pixels of its coarsest cell.
        classes: how many, where the shape of its output tells.
    """

    kind = ''
    dtype = np.dtype(np.float32)
    classes: int | None = None

    def __init__(self, path: str | Path, shape: list[int | None], metadata: Mapping[str, str]) -> None:
        if len(shape) != 4:
            raise WeightsError(f'{path}: takes an input of {len(shape)} dimensions, not pictures (b, 3, h, w)')
        self.path, self.file = path, Path(path).absolute()
        if shape[1] not in (3, None) or not all(side is None or 0 < side <= MAX_SIDE for side in shape):
            raise WeightsError(f'{path}: takes an input of {" x ".join(map(str, shape))}, not images (b, 3, h, w)')
        self.batch, _, *size = shape
        self.imgsz: tuple[int, int] | None = None if None in size else tuple(size)
        self.names, self.stride = read_metadata(metadata, path)

    def __call__(self, x: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Pictures (b, 3, h, w) -> rows (b, rows, 5 + nc), or [(n, 6)] x1, y1, x2, y2, score, class.

        A file made for a batch of its own is run as often as it takes, the last time with empty pictures added.

        Raises:
            UsageError: the file is made for another size.
            WeightsError: it does not run, or gives something else.
        """
        if self.imgsz and tuple(x.shape[2:]) != self.imgsz:
            made, got = ('x'.join(map(str, size)) for size in (self.imgsz, x.shape[2:]))
            raise UsageError(f'{self.path}: made for pictures of {made}, got {got}', 'export it with --dynamic')
        batch = self.batch or max(len(x), 1)
        check_memory(4 * batch * math.prod(x.shape[1:]), f'{self.path}: a batch of {batch}', 'export it anew')
        x = np.ascontiguousarray(x, self.dtype)
        try:
            parts = [self.run(_filled(x[i : i + batch], batch)) for i in range(0, len(x), batch)]
        except MemoryError:
            raise
        except Exception as problem:  # the libraries' own classes have no common ancestor below it
            raise WeightsError(f'{self.path}: can not be run ({_brief(problem)})', _DAMAGED) from problem
        outputs = parts[0] if batch == len(x) else [np.concatenate(pieces)[: len(x)] for pieces in zip(*parts)]
        self._check_outputs(outputs, len(x))
        return _detections(outputs) if self.kind.endswith('-nms') else outputs[0].astype(np.float32, copy=False)

    def _check_outputs(self, outputs: list[np.ndarray], images: int) -> None:
        """Refuse what are no rows or detections, or of more classes than there are names for."""
        shapes = [output.shape for output in outputs]
        if self.kind.endswith('-nms'):
            kept = shapes[2][-1] if len(shapes[2]) == 2 else 0
            fine = shapes[1:] == [(images, kept, 4), (images, kept), (images, kept)] and outputs[0].size == images
            classes = int(outputs[3].max()) + 1 if fine and outputs[3].size else 0
        else:
            fine = len(shapes[0]) == 3 and shapes[0][0] == images and shapes[0][2] > 5
            classes = shapes[0][-1] - 5 if fine else 0
        if not fine or classes > len(self.names or range(classes)):
            shown = ', '.join(' x '.join(map(str, shape)) for shape in shapes)
            names = f' and {len(self.names)} class names' if self.names else ''
            raise WeightsError(f'{self.path}: gives outputs of {shown}{names}, not those of YOLOv5', _DAMAGED)

    @abstractmethod
    def run(self, x: np.ndarray) -> list[np.ndarray]:
        """One run on a batch that fits: the outputs, rows first; or those named in NMS_OUTPUTS, in that order."""


class OnnxRunner(Runner):
    """An ONNX graph, from a file or in memory, run by onnxruntime on the CPU or a CUDA GPU."""

    def __init__(self, path: str | Path, gpu: int | None = None, graph: bytes | None = None) -> None:
        self.session = open_session(path, gpu, graph)
        source = self.session.get_inputs()[0]
        shape = [side if isinstance(side, int) else None for side in source.shape]
        super().__init__(path, shape, self.session.get_modelmeta().custom_metadata_map)
        self.dtype = np.dtype(np.float16 if source.type == 'tensor(float16)' else np.float32)
        self.input, outputs = source.name, [output.name for output in self.session.get_outputs()]
        suppressed = set(NMS_OUTPUTS) <= set(outputs)
        self.kind = 'onnx-nms' if suppressed else 'onnx'
        self.outputs = list(NMS_OUTPUTS) if suppressed else outputs[:1]
        values = self.session.get_outputs()[0].shape[-1:]
        self.classes = values[0] - 5 if not suppressed and values and isinstance(values[0], int) else None

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        return self.session.run(self.outputs, {self.input: x})


class DnnRunner(Runner):
    """An ONNX file of fixed size run by OpenCV, where nothing else is installed."""

    kind = 'dnn'

    def __init__(self, path: str | Path) -> None:
        import cv2

        graph, metadata = _read_graph(path)
        shape = [side.dim_value or None for side in graph.input[0].type.tensor_type.shape.dim]
        super().__init__(path, shape, metadata)
        if None in shape or len(graph.output) > 1:
            fits = 'OpenCV runs files of fixed batch and size with one output'
            raise WeightsError(f'{path}: not for --dnn', f'{fits}: run it without --dnn')
        try:
            self.net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as problem:
            raise WeightsError(f'{path}: OpenCV can not run it ({problem.err})', 'run it without --dnn') from problem
        self.lock = threading.Lock()

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        with self.lock:
            self.net.setInput(x)
            return [self.net.forward().copy()]


class OpenVinoRunner(Runner):
    """An OpenVINO model: an .xml with its .bin beside it."""

    def __init__(self, path: str | Path) -> None:
        _library('openvino', path)
        with open(path, 'rb') as file:
            if not file.read(100).lstrip().startswith(b'<'):  # OpenVINO would try all other formats on it, loudly
                raise WeightsError(f'{path}: no OpenVINO model', _DAMAGED)
        try:
            core = openvino_core()
            model = core.read_model(str(path))
            # In full precision: on processors that have it, OpenVINO prefers bfloat16.
            settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': threads()}
            self.model, source = core.compile_model(model, 'CPU', settings), model.input(0)
        except (RuntimeError, IndexError) as problem:
            raise WeightsError(f'{path}: OpenVINO can not read it ({_brief(problem)})', _DAMAGED) from problem
        shape = [None if side.is_dynamic else side.get_length() for side in source.partial_shape]
        super().__init__(path, shape, _openvino_metadata(model))
        self.dtype = np.dtype(source.element_type.to_dtype())
        known = {name: output for output in self.model.outputs for name in output.names}
        suppressed = set(NMS_OUTPUTS) <= set(known)
        self.kind = 'openvino-nms' if suppressed else 'openvino'
        self.outputs = [known[name] for name in NMS_OUTPUTS] if suppressed else [self.model.output(0)]

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        results = self.model.create_infer_request().infer([x])
        return [results[output] for output in self.outputs]


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's Core: one for the process, never freed.

    Its CPU plugin sets an alternate signal stack and takes it away when it is freed. If two are freed in the order in
    which they were made, the process keeps one that is gone, and its next signal, Ctrl-C or a timer's, ends it by
    SIGSEGV (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def open_session(path: str | Path, gpu: int | None = None, graph: bytes | None = None) -> Any:
    """An onnxruntime session over a file, or over a `graph` in memory that `path` only names.

    Args:
        gpu: number of the GPU that runs it, if this onnxruntime can; None for the CPU.

    Raises:
        WeightsError: no valid graph.
    """
    ort = _library('onnxruntime', path)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads(), 3  # 3: errors only
    providers: list[Any] = ['CPUExecutionProvider']
    if gpu is not None:
        if 'CUDAExecutionProvider' in ort.get_available_providers():
            providers.insert(0, ('CUDAExecutionProvider', {'device_id': gpu}))
        else:
            LOGGER.warning(f'WARNING: {path}: this onnxruntime has no CUDA, so it runs on the CPU')
    try:
        return ort.InferenceSession(graph or str(path), options, providers=providers, disabled_optimizers=SLOWER)
    except Exception as problem:  # onnxruntime's own classes have no common ancestor below it
        raise WeightsError(f'{path}: onnxruntime can not read it ({_brief(problem)})', _DAMAGED) from problem


def _read_graph(path: str | Path) -> tuple[Any, dict[str, str]]:
    """An ONNX file's graph, and its metadata."""
    onnx = _library('onnx', path)
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as problem:
        raise WeightsError(f'{path}: no ONNX file', _DAMAGED) from problem
    if not model.graph.input:
        raise WeightsError(f'{path}: no ONNX file', _DAMAGED)
    return model.graph, {entry.key: entry.value for entry in model.metadata_props}


def read_metadata(texts: Mapping[str, str], path: str | Path) -> tuple[list[str] | None, int]:
    """The class names (None if it has none) and the largest stride (32 at least) that an exported file tells.

    They are data, JSON; files of the original YOLOv5 have Python literals, which are read as data too.
    """
    names, stride = (_literal(texts[key], path) if key in texts else None for key in ('names', 'stride'))
    if isinstance(names, dict):
        names = _in_order(names)
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise WeightsError(f'{path}: its class names are no list of names', _DAMAGED)
    if stride is not None and not (isinstance(stride, (int, float)) and 1 <= stride <= 1024):
        raise WeightsError(f'{path}: its stride is no number of pixels', _DAMAGED)
    return names, max(int(stride or 32), 32)  # pictures are prepared in multiples of 32 for any network


def _in_order(names: dict[Any, Any]) -> list[Any] | None:
    try:
        return [names[key] for key in sorted(names, key=int)] or None
    except (ValueError, TypeError):
        return [None]  # not numbered: no names


def _literal(text: str, path: str | Path) -> Any:
    try:
        if len(text) > MAX_METADATA:
            raise ValueError
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text[:MAX_METADATA])  # builds constants and nothing else
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        raise WeightsError(f'{path}: its metadata can not be read: {text[:60]!r}', _DAMAGED) from None


def _openvino_metadata(model: Any) -> dict[str, str]:
    """What of the ONNX file's metadata the conversion kept, in the section 'framework'."""
    found = {}
    for key in ('names', 'stride'):
        if model.has_rt_info(['framework', key]):
            found[key] = str(model.get_rt_info(['framework', key]).astype(str))
    return found


def _detections(outputs: list[np.ndarray]) -> list[np.ndarray]:
    """NMS_OUTPUTS (b, 1), (b, k, 4), (b, k), (b, k) -> for each picture (n, 6) xyxy, score, class, float32."""
    rows = np.concatenate([outputs[1], outputs[2][..., None], outputs[3][..., None]], 2).astype(np.float32)
    return [picture[: int(count)] for picture, count in zip(rows, outputs[0].reshape(-1))]


def _filled(x: np.ndarray, batch: int) -> np.ndarray:
    return x if len(x) == batch else np.concatenate([x, np.zeros((batch - len(x), *x.shape[1:]), x.dtype)])


def _library(name: str, path: str | Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise WeightsError(f'{path}: needs the package {name} ({problem})', f'pip install {name}') from None


def _brief(problem: Exception) -> str:
    return printable(' '.join(str(problem).split()), 200)
