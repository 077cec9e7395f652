"""A small model in all the forms that weights come in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import oneflow as torch
import onnx

from models.graph.build import build_onnx
from models.graph.nms import NMSOptions
from models.yolo import Model
from tests.models.graph.graphs import randomize
from tests.models.tiny import TINY
from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays

NAMES = ['cat', 'dog', 'cow', 'hen']
CONF = 0.6  # about twenty boxes a picture


def small_model(seed: int = 0, names: list[str] = NAMES) -> Model:
    model = randomize(Model(TINY), seed)
    with torch.no_grad():
        for layer in model.detect.m:
            layer.weight.mul_(20.0)  # so that there are sure and unsure boxes
    model.names = names
    return model


def save_small(path: Path, model: Model) -> Path:
    strides, anchors = model.stride.numpy().tolist(), model.detect.anchors.numpy().copy()
    save_checkpoint(path, Checkpoint(model.yaml, state_arrays(model), model.names, strides, anchors))
    return path


def write_exports(folder: Path) -> dict[str, Path]:
    """The same network as checkpoint and as exports: of any size, of 64x96 and batch 2, with NMS inside."""
    import openvino

    model = small_model()
    files = {'checkpoint': save_small(folder / 'small.safetensors', model)}
    for name, options in (
        ('dynamic', {'dynamic': True}),
        ('fixed', {}),
        ('half', {'half': True}),
        ('nms', {'nms': NMSOptions(conf_thres=CONF)}),
    ):
        files[name] = folder / f'{name}.onnx'
        onnx.save(build_onnx(model, (64, 96), 2, **options), str(files[name]))
    for name in ('dynamic', 'nms'):
        files[f'openvino-{name}'] = folder / f'{name}_openvino_model'
        converted = openvino.convert_model(str(files[name]))
        openvino.save_model(converted, str(files[f'openvino-{name}'] / 'm.xml'), compress_to_fp16=False)
    return files


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def claimed_png(width: int, height: int) -> bytes:
    """A PNG whose header tells this size. There are no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


def plain_rows(model: Model, images: np.ndarray) -> np.ndarray:
    """What plain OneFlow makes of uint8 pictures, (b, rows, 5 + nc)."""
    with torch.no_grad():
        return model(torch.tensor(images.astype(np.float32) / 255))[0].numpy()
