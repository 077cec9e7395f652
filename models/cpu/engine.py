"""The door to training on the CPU: a model's forward and backward as one autograd function."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import oneflow as torch

from models.cpu.dnnl import Dnnl, DnnlError, load
from models.cpu.lower import UnknownLayer
from models.cpu.network import Network
from models.cpu.plan import aligned
from utils.cpu import fast, threads
from utils.log import LOGGER
from utils.shared_arrays import SharedArrays

PLANS = 24  # kept for one model: --multi-scale takes eleven sizes, and an epoch's last batch may be smaller

# Not an attribute of the model: models are copied and pickled, an engine can't be.
_engines: WeakKeyDictionary[Any, Engine] = WeakKeyDictionary()
_numbers = itertools.count(1)
_runs: WeakValueDictionary[int, Run] = WeakValueDictionary()  # by number; each belongs to its engine
_latest: list[Run] = []  # the last one until its backward, for a model that is dropped right after its forward


def forward(model: Any, x: torch.Tensor) -> list[torch.Tensor] | None:
    """The raw maps of a `models.yolo.Model` in training mode, or None if it has to compute them itself.

    Gradients reach the parameters through OneFlow's autograd, and the running statistics of batch norms move, as if
    the model had computed them. It declines on a GPU, without oneDNN, with YOLOV5_CPU_ENGINE=0, for layers it does not
    know, in a forked process (where oneDNN would hang), and where a gradient of `x` is wanted.
    """
    if x.is_cuda or x.dtype != torch.float32 or x.requires_grad or not fast():
        return None
    dnnl = load()
    if dnnl is None or dnnl.process != os.getpid():
        return None
    if model not in _engines:
        _engines[model] = Engine(dnnl)
    return _engines[model].forward(model, x)


@dataclass(eq=False)
class Run:
    """A forward on its way to a backward."""

    network: Network
    arena: np.ndarray
    shared: SharedArrays
    threads: int
    pictures: torch.Tensor


class Engine:
    """The compiled networks of one model. They share an arena, so only the last forward can go backward."""

    def __init__(self, dnnl: Dnnl) -> None:
        self.dnnl = dnnl
        self.networks: OrderedDict[tuple, Network | None] = OrderedDict()
        self.arena = aligned(0)
        self.shared = SharedArrays()
        self.run: Run | None = None
        self.threads = threads()

    def forward(self, model: Any, x: torch.Tensor) -> list[torch.Tensor] | None:
        self.dnnl.set_threads(self.threads)
        network = self._network(model, tuple(x.shape))
        if network is None:
            return None
        self.run, number = Run(network, self.arena, self.shared, self.threads, x), next(_numbers)
        _runs[number] = self.run
        _latest[:] = [self.run]
        return list(_Step.apply(torch.tensor([number]), *(t for p in network.trained for t in p.tensors)))

    def _network(self, model: Any, shape: tuple[int, int, int, int]) -> Network | None:
        key = shape, *_signature(model)
        if key not in self.networks:
            self.networks[key] = self._compile(model, shape)
        self.networks.move_to_end(key)
        if len(self.networks) > PLANS:
            self.networks.popitem(last=False)
        return self.networks[key]

    def _compile(self, model: Any, shape: tuple[int, int, int, int]) -> Network | None:
        try:
            network = Network(self.dnnl, model, shape)
        except (UnknownLayer, DnnlError) as reason:
            if None not in self.networks.values():
                LOGGER.info('Training on plain OneFlow, which is slower on a CPU: %s', reason)
            return None
        if network.plan.size > self.arena.nbytes:
            self.run = None
            for other in filter(None, self.networks.values()):
                other.plan.release()
            self.arena = aligned(0)  # the old one goes before the new one comes
            self.arena = aligned(network.plan.size)
        return network


def _signature(module: Any) -> list[Hashable]:
    """What a compiled network rests on: the modules, their modes and hooks, the parameters, frozen or not."""
    found: list[Hashable] = [type(module), id(module), module.training, len(module._forward_hooks)]
    found.append(len(module._forward_pre_hooks))
    for parameter in module._parameters.values():
        if parameter is not None:
            found += id(parameter), parameter.requires_grad
    for child in module._modules.values():
        if child is not None:
            found += _signature(child)
    return found


class _Step(torch.autograd.Function):
    """A network's forward and backward. Its first input is the number of a run.

    The number is all that passes from forward to backward: setting attributes on OneFlow's `ctx` crashes.
    """

    @staticmethod
    def forward(ctx: Any, number: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(number)
        run = _runs[number.item()]
        return tuple(run.network.forward(run.pictures, run.arena, run.shared))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        run = _runs.pop(ctx.saved_tensors[0].item(), None)
        if run is None:
            raise RuntimeError(
                'backward through a forward that is gone: on the CPU a model keeps the numbers of its last training '
                'forward alone, and for one backward (YOLOV5_CPU_ENGINE=0 trains on plain OneFlow, without this limit)'
            )
        _latest.clear()
        run.network.plan.dnnl.set_threads(run.threads)
        return None, *run.network.backward(gradients)
