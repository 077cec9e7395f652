"""Opening weights of any kind: which runner is for a file or folder, and what its classes are called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.network import NetworkRunner
from models.runners import DnnRunner, OnnxRunner, OpenVinoRunner, Runner
from utils.downloads import attempt_download
from utils.errors import UsageError, WeightsError
from utils.log import LOGGER

if TYPE_CHECKING:
    import oneflow as torch

# What other programs make of a YOLOv5 network, by the end of the name.
FOREIGN = {
    '.torchscript': 'TorchScript', '.engine': 'TensorRT', '.mlmodel': 'Core ML', '.pb': 'TensorFlow',
    '.tflite': 'TensorFlow Lite', '.pdmodel': 'PaddlePaddle', '_saved_model': 'TensorFlow SavedModel',
    '_web_model': 'TensorFlow.js', '_paddle_model': 'PaddlePaddle',
}  # fmt: skip
KNOWN = 'give a checkpoint (.safetensors, .pt), an .onnx file, or an OpenVINO folder or .xml; export.py writes those'


def open_weights(
    file: str | Path, device: torch.device, dnn: bool, fp16: bool = False, fuse: bool = True
) -> NetworkRunner | Runner:
    """The runner for one file or folder, see `models.backend.load_backend`.

    Raises:
        WeightsError: missing, damaged, or of a kind that doesn't run here.
        UsageError: `dnn` for something else than an .onnx file.
    """
    path = Path(str(file)).expanduser()
    foreign = next((what for end, what in FOREIGN.items() if str(path).endswith(end)), None)
    if foreign:
        raise WeightsError(f'{file}: {foreign} does not run here', KNOWN)
    if path.is_dir():
        path = _openvino_file(path)
    elif path.suffix != '.xml':
        path = attempt_download(file)
    if dnn and path.suffix != '.onnx':
        raise UsageError(f'{file}: --dnn is for .onnx files', 'make one: python export.py --include onnx --weights ...')
    if path.suffix in ('.onnx', '.xml') and not path.is_file():
        raise WeightsError(f'{file}: no such weights file', KNOWN)
    if path.suffix == '.onnx':
        return _described(DnnRunner(path) if dnn else OnnxRunner(path, None if device.type == 'cpu' else device.index))
    if path.suffix == '.xml':
        return _described(OpenVinoRunner(path))
    from utils.checkpoint import attempt_load

    runner = NetworkRunner(attempt_load(path, device, fuse=fuse), device, fp16, frozen=fuse)
    runner.path = path
    return runner


def _openvino_file(folder: Path) -> Path:
    files = sorted(folder.glob('*.xml'))
    if len(files) != 1:
        raise WeightsError(f'{folder}: a folder with {len(files)} .xml files, no OpenVINO model', KNOWN)
    return files[0]


def _described(runner: Runner) -> Runner:
    """The runner, described in the log.

    Raises:
        WeightsError: it has not as many names as classes.
    """
    if runner.names and runner.classes and len(runner.names) != runner.classes:
        counts = f'{len(runner.names)} names for {runner.classes} classes'
        raise WeightsError(f'{runner.path}: has {counts}', 'export it again')
    size = 'x'.join(map(str, runner.imgsz)) if runner.imgsz else 'any size'
    LOGGER.info(f'{runner.path}: {runner.kind}, {size}, batch {runner.batch or "of any size"}')
    if runner.kind.endswith('-nms'):
        LOGGER.info(f'{runner.path}: suppresses boxes itself, by the thresholds it was exported with')
    return runner


def find_names(runner: Runner, data: str | Path | None) -> list[str]:
    """For a file that knows no names: those of the data set, or numbers."""
    if data:
        from utils.data.yaml import load_data

        names = list(load_data(data, need=()).names)
        if len(names) == (runner.classes or len(names)):
            return names
    return [f'class{i}' for i in range(runner.classes or 1000)]
