"""A whole model as an ONNX file's content."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from models.graph.layers import Maps, emit
from models.graph.nms import NMSOptions, suppress
from models.graph.writer import Writer
from models.head import Detect
from utils.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from models.yolo import Model

OPSET = 12  # the default: enough for all layers, and read by old and new runtimes alike
OPSETS = range(OPSET, onnx.defs.onnx_opset_version() + 1)


def build_onnx(
    model: Model,
    imgsz: tuple[int, int] = (640, 640),
    batch: int = 1,
    dynamic: bool = False,
    half: bool = False,
    opset: int = OPSET,
    nms: NMSOptions | None = None,
    maps: bool = False,
    metadata: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """The graph of a model in evaluation mode, batch norms folded. The model itself stays as it is.

    Args:
        model: fused or not.
        imgsz: height and width, multiples of the largest stride; with `dynamic` only noted in the metadata.
        dynamic: batch, height and width may change from run to run.
        half: weights, maps and input are float16; boxes are decoded in float32.
        opset: version of ONNX's operators.
        nms: put non-maximum suppression behind Detect.
        maps: give out Detect's raw maps as well, as `map0`, `map1`, ... (b, anchors * (5 + nc), ny, nx): for losses.
        metadata: more entries for the JSON text under the key `yolov5`.

    Returns:
        A model with the input `images` (b, 3, h, w), RGB in 0..1. Its output is `output0` (b, rows, 5 + nc), float32,
        what `Model.forward` gives first; with `nms` they are those of `models.graph.nms.suppress`.

    Raises:
        ConfigError: a layer has no ONNX form.
        UsageError: an operator set that is not known; NMS for a model without Detect.
    """
    if opset not in OPSETS:
        raise UsageError(f'--opset {opset}: not known here', f'take one from {OPSETS.start} to {OPSETS.stop - 1}')
    g = Writer(opset, np.float16 if half else np.float32)
    shape = (None, model.yaml['ch'], None, None) if dynamic else (batch, model.yaml['ch'], *imgsz)
    out = _layers(g, model, g.input('images', shape, ('batch', 'channels', 'height', 'width')))
    if nms is None:
        g.output(out, 'output0', ('batch', 'rows', 'values'))
    elif isinstance(model.detect, Detect):
        suppress(g, out, nms)
    else:
        raise UsageError('--nms: this model does not end in Detect', 'export it without')
    for i, raw in enumerate(g.maps if maps else ()):
        g.output(raw, f'map{i}', ('batch', 'channels', f'height{i}', f'width{i}'), g.dtype)
    about = {
        'stride': model.largest_stride,
        'names': list(model.names),
        'imgsz': list(imgsz),
        'batch': batch,
        'dynamic': dynamic,
        'half': half,
        'nms': nms and dataclasses.asdict(nms),
        'task': 'detect',
        'date': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
    }
    return _finished(g, model.yaml_file.removesuffix('.yaml') or 'yolov5', about | (metadata or {}))


def _layers(g: Writer, model: Model, x: Maps) -> Maps:
    outputs: list[Maps] = []
    for layer in model.model:
        if layer.f != -1:
            sources = layer.f if isinstance(layer.f, list) else [layer.f]
            maps = [x if source == -1 else outputs[source] for source in sources]
            x = maps if isinstance(layer.f, list) else maps[0]
        g.scope = f'/model.{layer.i}/'
        x = emit(g, layer, x)
        outputs.append(x)
    g.scope = ''
    if isinstance(x, list):
        raise ConfigError('the model ends with several maps', 'export one that ends in Detect')
    return x


def _finished(g: Writer, name: str, metadata: dict[str, Any]) -> onnx.ModelProto:
    """The graph in its envelope. Metadata are JSON texts: `yolov5` has all, `stride` and `names` also stand alone."""
    version = helper.make_opsetid('', g.opset)
    # The oldest file format that knows these operators, for the sake of older runtimes.
    ir_version = helper.find_min_ir_version_for([version])
    proto = helper.make_model(
        g.graph(name), producer_name='yolov5-oneflow', ir_version=ir_version, opset_imports=[version]
    )
    texts = {'yolov5': metadata, 'stride': metadata['stride'], 'names': metadata['names']}
    helper.set_model_props(proto, {key: json.dumps(value) for key, value in texts.items()})
    return proto
