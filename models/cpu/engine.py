"""The door to training on the CPU: a model's forward and backward as one autograd function."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

import oneflow as torch

from models.cpu.dnnl import Dnnl, DnnlError, load
from models.cpu.lower import UnknownLayer
from models.cpu.network import Network
from models.cpu.plan import aligned
from utils.log import LOGGER

PLANS = 24  # kept for one model: --multi-scale takes eleven sizes, and an epoch's last batch may be smaller

# Not an attribute of the model: models are copied and pickled, an engine can't be.
_engines: WeakKeyDictionary[Any, Engine] = WeakKeyDictionary()
_numbers = itertools.count(1)
_waiting: dict[int, tuple[Network, torch.Tensor]] = {}  # by number: forwards to run, then to be followed by a backward


def forward(model: Any, x: torch.Tensor) -> list[torch.Tensor] | None:
    """The raw maps of a `models.yolo.Model` in training mode, or None if it has to compute them itself.

    Gradients reach the parameters through OneFlow's autograd, and the running statistics of batch norms move, as if
    the model had computed them. It declines on a GPU, without oneDNN, with YOLOV5_CPU_ENGINE=0, for layers it does not
    know, in a forked process (where oneDNN would hang), and where a gradient of `x` is wanted.
    """
    if x.is_cuda or x.dtype != torch.float32 or x.requires_grad or os.environ.get('YOLOV5_CPU_ENGINE') == '0':
        return None
    dnnl = load()
    if dnnl is None or dnnl.process != os.getpid():
        return None
    if model not in _engines:
        _engines[model] = Engine(dnnl)
    return _engines[model].forward(model, x)


class Engine:
    """The compiled networks of one model. They share an arena, so only the last forward can go backward."""

    def __init__(self, dnnl: Dnnl) -> None:
        self.dnnl = dnnl
        self.networks: OrderedDict[tuple, Network | None] = OrderedDict()
        self.arena = aligned(0)
        self.number = 0
        self.threads = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get('WORLD_SIZE', '1')))

    def forward(self, model: Any, x: torch.Tensor) -> list[torch.Tensor] | None:
        self.dnnl.set_threads(self.threads)
        network = self._network(model, tuple(x.shape))
        if network is None or not all(norm.training for norm in network.norms):
            return None
        _waiting.pop(self.number, None)
        self.number = next(_numbers)
        _waiting[self.number] = self, network, x
        maps = _Step.apply(torch.tensor([self.number]), *(t for p in network.trained for t in p.tensors))
        return list(maps) if isinstance(maps, tuple) else [maps]

    def _network(self, model: Any, shape: tuple[int, int, int, int]) -> Network | None:
        key = shape, *((id(p), p.requires_grad) for p in model.parameters())
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
            self.arena = aligned(network.plan.size)
        return network


class _Step(torch.autograd.Function):
    """A network's forward and backward. Its first input is the number of a forward in `_waiting`.

    The number is all that passes from forward to backward: setting attributes on OneFlow's `ctx` crashes.
    """

    @staticmethod
    def forward(ctx: Any, number: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(number)
        engine, network, x = _waiting[number.item()]
        return tuple(network.forward(x, engine.arena))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        engine, network, _ = _waiting.pop(ctx.saved_tensors[0].item(), (None, None, None))
        if network is None:
            raise RuntimeError(
                'backward through a forward that is gone: on the CPU a model keeps the numbers of its last training '
                'forward alone, and for one backward (YOLOV5_CPU_ENGINE=0 trains on plain OneFlow, without this limit)'
            )
        engine.dnnl.set_threads(engine.threads)
        return None, *network.backward(gradients)
