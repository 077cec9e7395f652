"""What each kind of child process can do: build a model, its loss, its optimiser, its inference.

All give the same numbers from the same weights; which library does the work, and how, is what is compared.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

LR, MOMENTUM, DECAY, MAX_NORM = 0.01, 0.937, 0.0005, 10.0
IOU, CONF, MAX_DET = 0.6, 0.001, 300  # of evaluation


class Ours:
    """This project as it is: oneDNN trains and onnxruntime infers on a CPU, OneFlow does both on a GPU."""

    def __init__(self, device: str) -> None:
        import oneflow

        self.torch, self.device = oneflow, device

    @property
    def fuses(self) -> bool:
        """Whether fused operators and flat gradients are used where they agree, as in training."""
        return self.device != 'cpu'

    def about(self) -> str:
        return f'OneFlow {self.torch.__version__}, {len(os.sched_getaffinity(0))} cores'

    def sync(self) -> None:
        """Wait until all that was asked for is done."""
        if self.device != 'cpu':
            self.torch.cuda.synchronize()
        else:
            self.torch._oneflow_internal.eager.Sync()

    def tensor(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array).to(self.device)

    def model(self, cfg: str) -> Any:
        from models.yolo import Model

        return Model(cfg).to(self.device)

    def loss(self, model: Any, hyp: dict) -> Callable:
        from utils import fused
        from utils.loss import ComputeLoss

        model.hyp = hyp
        device = next(model.parameters()).device
        return ComputeLoss(model, ciou=fused.choose_ciou(device) if self.fuses else fused.ciou)

    def targets(self, array: np.ndarray) -> Any:
        return array

    def optimizer(self, model: Any) -> Any:
        from utils import fused
        from utils.optim import smart_optimizer

        flat = self.fuses and fused.may_flatten_gradients(next(model.parameters()).device)
        self.gradients = fused.flatten_gradients(model) if flat else None
        return smart_optimizer(model, 'SGD', LR, MOMENTUM, DECAY, fused=self.fuses)

    def update(self, optimizer: Any, model: Any) -> None:
        """Clip the gradients, step, and zero them."""
        from utils.optim import clipped_step

        clipped_step(optimizer, model, MAX_NORM, self.gradients)

    def network(self, model: Any) -> Callable[[np.ndarray], np.ndarray]:
        """The folded model as one call, pictures (b, 3, h, w) -> rows (b, rows, 5 + nc)."""
        from models.network import NetworkRunner

        run = NetworkRunner(model.eval().fuse(), self.torch.device(self.device), frozen=True)
        return run if self.device == 'cpu' else lambda x: run(self.tensor(x)).cpu().numpy()

    def suppress(self, rows: np.ndarray) -> Callable[[], np.ndarray]:
        """Non-maximum suppression of (1, rows, 5 + nc), ready to be run: the boxes (n, 6)."""
        from utils.nms import non_max_suppression

        return lambda: non_max_suppression(rows, CONF, IOU, multi_label=True, max_det=MAX_DET)[0]

    def loader(self, case: dict) -> Any:
        """Training batches with mosaics, loaded in this process."""
        from utils.data.loader import create_dataloader

        return create_dataloader(
            case['train'], case['size'], case['batch'], augment=True, shuffle=True, hyp=case['hyp'], nc=case['nc'],
            workers=case['workers'],
        )[0]  # fmt: skip

    def scan(self, folder: str) -> None:
        from utils.data.labels import read_labels

        read_labels(folder, nc=80)


class Plain(Ours):
    """This project's source on OneFlow's own layers."""

    fuses = False

    def __init__(self, device: str) -> None:
        from benchmarks import plain

        os.environ['YOLOV5_CPU_ENGINE'] = '0'
        plain.use()
        super().__init__(device)

    def network(self, model: Any) -> Callable[[np.ndarray], np.ndarray]:
        model = model.eval().fuse()
        without_gradients = getattr(self.torch, 'inference_mode', self.torch.no_grad)

        def run(x: np.ndarray) -> np.ndarray:
            with without_gradients():
                return model(self.tensor(x))[0].cpu().numpy()

        return run


class PyTorch(Plain):
    """This project's source on PyTorch: its `oneflow` is `torch`."""

    def __init__(self, device: str) -> None:
        import torch

        stand_in(torch)
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        super().__init__(device)

    def about(self) -> str:
        return f'PyTorch {self.torch.__version__}, {self.torch.get_num_threads()} threads'

    def sync(self) -> None:
        if self.device != 'cpu':
            self.torch.cuda.synchronize()

    def model(self, cfg: str) -> Any:
        model = super().model(cfg)
        for module in model.modules():
            if isinstance(module, self.torch.nn.SiLU):
                module.inplace = True  # as the reference has it
        return model

    def suppress(self, rows: np.ndarray) -> Callable[[], np.ndarray]:
        from torchvision.ops import nms

        from utils.boxes import xywh2xyxy

        torch, rows = self.torch, self.torch.from_numpy(rows)[0]

        def run() -> np.ndarray:
            found = rows[rows[:, 4] > CONF]
            scores = found[:, 5:] * found[:, 4:5]
            row, label = (scores > CONF).nonzero(as_tuple=True)
            boxes, score = xywh2xyxy(found[:, :4])[row], scores[row, label]
            order = score.argsort(descending=True, stable=True)
            boxes, score, label = boxes[order], score[order], label[order].float()
            keep = nms(boxes + label[:, None] * 7680, score, IOU)[:MAX_DET]
            return torch.cat((boxes[keep], score[keep, None], label[keep, None]), 1).numpy()

        return run


def stand_in(torch: ModuleType) -> None:
    """Let `import oneflow` in this process mean PyTorch, submodules that our source names included."""
    for name in ('', '.nn', '.nn.functional'):
        sys.modules[f'oneflow{name}'] = importlib.import_module(torch.__name__ + name)


def make_kit(kind: str, checkout: str = '', device: str = 'cpu') -> Any:
    """'ours', 'plain', 'pytorch', or 'reference' and 'one-yolov5' with their checkout."""
    if checkout:
        from benchmarks.checkout import Checkout

        return Checkout(checkout, 'torch' if kind == 'reference' else 'oneflow', device)
    return {'ours': Ours, 'plain': Plain, 'pytorch': PyTorch}[kind](device)
