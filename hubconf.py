"""Models from Python, by `oneflow.hub` or directly.

import oneflow as flow
model = flow.hub.load('path/to/this/checkout', 'custom', path='best.safetensors', source='local')
model = flow.hub.load('path/to/this/checkout', 'yolov5n', source='local')  # official weights, downloaded

import hubconf  # from the checkout
model = hubconf.custom('best.safetensors')

results = model('picture.jpg')  # see models/autoshape.py
results.print()
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

dependencies = ['oneflow', 'cv2', 'numpy', 'PIL', 'yaml', 'safetensors', 'onnx', 'onnxruntime']


def _create(
    name: str, pretrained: bool, channels: int, classes: int, autoshape: bool, verbose: bool, device: Any
) -> Any:
    """An official model, with its weights or those of them that fit other channels and classes."""
    from models.autoshape import AutoShape
    from models.backend import find_device
    from models.yolo import Model
    from utils.checkpoint import intersect_dicts, load_checkpoint, load_state
    from utils.downloads import attempt_download
    from utils.errors import UsageError
    from utils.log import set_logging
    from utils.values import whole_number

    set_logging(verbose)
    channels, classes = whole_number('channels', channels), whole_number('classes', classes)
    for what, count in (('channels', channels), ('classes', classes)):
        if count < 1:
            raise UsageError(f'{what} {count}: out of range', 'it has to be 1 or more')
    device = find_device(device)
    if pretrained and channels == 3 and classes == 80:
        return _load(f'{name}.pt', autoshape, device)
    model = Model(f'{name}.yaml', ch=channels, nc=classes)
    if pretrained:
        ckpt = load_checkpoint(attempt_download(f'{name}.pt'))
        load_state(model, intersect_dicts(ckpt.state, model.state_dict(), exclude=('anchors',)), strict=False)
        model.names = list(ckpt.names) if len(ckpt.names) == classes else model.names
    model = model.to(device)
    return AutoShape(model) if autoshape else model


def _load(path: str | Path | list, autoshape: bool, device: Any) -> Any:
    """Weights of any kind for detection; or without `autoshape` a checkpoint's network, to train on or look into."""
    from models.autoshape import AutoShape
    from models.backend import load_backend

    backend = load_backend(path, device, fuse=autoshape)
    if autoshape:
        return AutoShape(backend)
    return backend if backend.model is None else backend.model


def custom(
    path: str | Path | list = 'path/to/model.pt', autoshape: bool = True, _verbose: bool = True, device: Any = None
) -> Any:
    """Weights of any kind: a checkpoint of ours, an official .pt, an .onnx file, an OpenVINO folder; several as one.

    Args:
        path: the file or folder, or a list of them.
        autoshape: take pictures of any kind and give Detections; otherwise it is the network itself (tensors in and
            out), and for exported files the back end.
        _verbose: say what is done.
        device: 'cpu', 'cuda', 'cuda:0', '0', 0 or a device object; None for a GPU if there is one.
    """
    from utils.log import set_logging

    set_logging(_verbose)
    return _load(path, autoshape, device)


def _entry(name: str) -> Any:
    def entry(
        pretrained: bool = True, channels: int = 3, classes: int = 80, autoshape: bool = True, _verbose: bool = True,
        device: Any = None,
    ) -> Any:  # fmt: skip
        return _create(name, pretrained, channels, classes, autoshape, _verbose, device)

    entry.__name__ = name
    entry.__doc__ = f"""{name}: an official model.

    Args:
        pretrained: with the official weights, downloaded if they are not here.
        channels, classes: of the input and the output; where they differ from 3 and 80, the weights that fit are taken.
        autoshape, _verbose, device: as for `custom`.
    """
    return entry


yolov5n, yolov5s, yolov5m, yolov5l, yolov5x = (_entry(f'yolov5{size}') for size in 'nsmlx')
yolov5n6, yolov5s6, yolov5m6, yolov5l6, yolov5x6 = (_entry(f'yolov5{size}6') for size in 'nsmlx')
