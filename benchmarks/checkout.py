"""The cases from a checkout of the reference (on PyTorch) or of one-yolov5 (on OneFlow), by their public names.

Their packages are called `models` and `utils` as ours are, so a process is either theirs or ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kits import CONF, DECAY, IOU, LR, MAX_DET, MAX_NORM, MOMENTUM


class Checkout:
    """What `kits.Ours` can do, done by another code base.

    Args:
        folder: of the checkout.
        library: 'torch' or 'oneflow'.
    """

    def __init__(self, folder: str, library: str, device: str) -> None:
        self.folder, self.device = Path(folder), device
        sys.path.insert(0, folder)  # before this project's folder, which has packages of the same names
        os.chdir(folder)
        self.torch = importlib.import_module(library)
        self.on_pytorch = library == 'torch'
        if self.on_pytorch:
            self.torch.set_num_threads(len(os.sched_getaffinity(0)))

    def about(self) -> str:
        return f'{"PyTorch" if self.on_pytorch else "OneFlow"} {self.torch.__version__}, {self.folder}'

    def sync(self) -> None:
        if self.device != 'cpu':
            self.torch.cuda.synchronize()
        elif not self.on_pytorch:
            self.torch._oneflow_internal.eager.Sync()

    def tensor(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(array).to(self.device)

    def model(self, cfg: str) -> Any:
        path = Path(cfg) if Path(cfg).is_absolute() else self.folder / 'models' / cfg
        return importlib.import_module('models.yolo').Model(str(path)).to(self.device)

    def loss(self, model: Any, hyp: dict) -> Callable:
        model.hyp = hyp
        return importlib.import_module('utils.loss').ComputeLoss(model)

    def targets(self, array: np.ndarray) -> Any:
        return self.tensor(array)

    def optimizer(self, model: Any) -> Any:
        """SGD over biases, weights and scales apart; only weights decay."""
        groups: dict[str, list] = {'bias': [], 'weight': [], 'scale': []}
        for name, parameter in model.named_parameters():
            kind = 'bias' if name.endswith('bias') else 'weight' if parameter.ndim > 1 else 'scale'
            groups[kind].append(parameter)
        decay = {'bias': 0.0, 'weight': DECAY, 'scale': 0.0}
        params = [{'params': group, 'weight_decay': decay[kind]} for kind, group in groups.items() if group]
        return self.torch.optim.SGD(params, lr=LR, momentum=MOMENTUM, nesterov=True)

    def update(self, optimizer: Any, model: Any) -> None:
        self.torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def network(self, model: Any) -> Callable[[np.ndarray], np.ndarray]:
        model = model.eval().fuse()
        without_gradients = getattr(self.torch, 'inference_mode', self.torch.no_grad)

        def run(x: np.ndarray) -> np.ndarray:
            with without_gradients():
                return model(self.tensor(x))[0].cpu().numpy()

        return run

    def suppress(self, rows: np.ndarray) -> Callable[[], np.ndarray]:
        suppress, rows = importlib.import_module('utils.general').non_max_suppression, self.tensor(rows)
        return lambda: suppress(rows, CONF, IOU, multi_label=True, max_det=MAX_DET)[0].cpu().numpy()

    def loader(self, case: dict) -> Any:
        make = importlib.import_module('utils.dataloaders').create_dataloader
        return make(
            case['train'], case['size'], case['batch'], 32, hyp=case['hyp'], augment=True, shuffle=True,
            workers=case['workers'],
        )[0]  # fmt: skip

    def scan(self, folder: str) -> None:
        importlib.import_module('utils.dataloaders').LoadImagesAndLabels(folder)
