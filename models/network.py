"""What runs a network of ours, called like the runners of exported files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.imgsz import grid_size

if TYPE_CHECKING:
    import oneflow as torch

    Array = np.ndarray | torch.Tensor
    Observer = Callable[[torch.Tensor, str, int], object]


class NetworkRunner:
    """A network of ours, run by OneFlow; on a CPU, where its weights won't change, by onnxruntime.

    Args:
        model: a `Model` or `Ensemble`, in evaluation mode.
        frozen: its weights won't change any more.
        maps: `with_maps` will be asked for.
    """

    kind, batch, imgsz = 'oneflow', None, None

    def __init__(
        self, model: Any, device: torch.device, fp16: bool = False, frozen: bool = False, maps: bool = False
    ) -> None:
        from models.cpu.inference import compile_model

        self.model, self.path, self.fp16 = model.half() if fp16 else model, 'model', fp16
        self.names, self.stride = list(model.names), grid_size(model)
        self.fast = compile_model(model, maps) if frozen and device.type == 'cpu' else None
        self.lock = threading.Lock()  # a network runs for one thread at a time: OneFlow promises nothing else

    def __call__(self, x: Array, augment: bool = False, visualize: Observer | None = None) -> Array:
        import oneflow as torch

        from models.tta import augmented

        on_cpu = isinstance(x, np.ndarray)
        if on_cpu and self.fast and augment:
            return augmented(x, self.fast, self.model.largest_stride, self.model.detect.nl)
        if on_cpu and self.fast and not visualize:
            return self.fast(x)
        with torch.no_grad(), self.lock:
            rows = self.model(self._input(x), augment=augment, visualize=visualize)[0]
            return rows.numpy() if on_cpu else rows.float()

    def with_maps(self, x: Array) -> tuple[Array, list[torch.Tensor]]:
        """What a call gives, and Detect's raw maps, (b, anchors, ny, nx, 5 + nc) a level, for the loss."""
        import oneflow as torch

        on_cpu = isinstance(x, np.ndarray)
        if on_cpu and self.fast:
            rows, *maps = self.fast.session.run(None, {self.fast.input: x})
            return rows, [torch.from_numpy(_by_anchor(raw, self.model.detect.na)) for raw in maps]
        with torch.no_grad(), self.lock:
            rows, maps = self.model(self._input(x))
            return (rows.numpy() if on_cpu else rows.float()), maps

    def _input(self, x: Array) -> torch.Tensor:
        """Images as a float tensor in the weights' precision, where they are."""
        import oneflow as torch

        if isinstance(x, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(x))
        dtype = torch.float16 if self.fp16 else torch.float32
        return x if x.dtype == dtype else x.to(dtype)


def is_frozen(network: Any) -> bool:
    """Whether nothing will train it any more, see `Model.fuse`."""
    return not any(parameter.requires_grad for parameter in network.parameters())


def _by_anchor(raw: np.ndarray, anchors: int) -> np.ndarray:
    """A raw map (b, anchors * (5 + nc), ny, nx) as Detect gives it: (b, anchors, ny, nx, 5 + nc)."""
    b, channels, ny, nx = raw.shape
    return np.ascontiguousarray(raw.reshape(b, anchors, channels // anchors, ny, nx).transpose(0, 1, 3, 4, 2))
