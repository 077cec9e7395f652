"""What the tests of graphs share: models with weights that matter, and runs of both sides."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import onnx
import onnxruntime
from oneflow import nn


def randomize(module: nn.Module, seed: int = 0, gain: float = 1.4) -> nn.Module:
    """Weights, biases and statistics that are neither 0 nor 1, with outputs of moderate size. In evaluation mode."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith(('anchors', 'num_batches_tracked')):
                continue
            shape = tuple(tensor.shape)
            fan_in = max(int(np.prod(shape[1:])), 1)
            value = rng.standard_normal(shape) * (gain / np.sqrt(fan_in) if len(shape) > 1 else 0.1)
            if name.endswith('running_var'):
                value = rng.uniform(0.5, 1.5, shape)
            elif len(shape) == 1 and name.endswith('weight'):
                value = rng.uniform(0.8, 1.2, shape)
            tensor.copy_(torch.tensor(value.astype(np.float32)))
    return module.eval()


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def run(graph: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """A model's outputs by name, from onnxruntime."""
    return run_all(graph, {'images': images})


def run_all(graph: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same for any inputs."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def ours(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The model's own boxes."""
    with torch.no_grad():
        return model(torch.tensor(images))[0].numpy()
