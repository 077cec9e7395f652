"""Inference on the CPU at speed: a network's weights as an ONNX graph, built in memory and run by onnxruntime.

Plain OneFlow is the fallback, and the oracle of the tests. YOLOV5_CPU_ENGINE=0 keeps to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from utils.cpu import fast
from utils.errors import ConfigError, WeightsError
from utils.log import LOGGER

if TYPE_CHECKING:
    from models.runners import OnnxRunner
    from models.yolo import Model


def compile_model(model: Model, maps: bool = False) -> OnnxRunner | None:
    """The network as it is now, as one call: pictures (b, 3, h, w) -> rows (b, rows, 5 + nc), any batch and size.

    Later changes of the model's weights do not reach it. With `maps` its session also gives Detect's raw maps.

    Returns:
        None with YOLOV5_CPU_ENGINE=0 and for what is no `Model`; and, which is said, for layers that have no ONNX form
        and without onnxruntime.
    """
    from models.yolo import Model

    if not fast() or not isinstance(model, Model):
        return None
    try:
        from models.graph.build import build_onnx
        from models.runners import OnnxRunner

        graph = build_onnx(model, dynamic=True, maps=maps)
        return OnnxRunner('this network', graph=graph.SerializeToString())
    except (ConfigError, WeightsError, ImportError) as reason:
        LOGGER.info('Inference on plain OneFlow, which is slower on a CPU: %s', reason)
        return None
