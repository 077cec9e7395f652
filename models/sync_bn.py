"""Batch norm by the statistics of the batches of all processes (--sync-bn).

OneFlow's own SyncBatchNorm has no kernel for the CPU, and no documented door on a GPU. This one needs two of OneFlow's
collectives a layer and step, one forward and one backward, and runs on either device.
"""

from __future__ import annotations

import oneflow as torch
from oneflow import nn

from models.ops import BatchNorm2d, channel_dot, channel_sum


class SyncBatchNorm2d(BatchNorm2d):
    """`BatchNorm2d` whose batch is that of all processes together; the running statistics are the same in all.

    All processes have to train with the same layers in the same order. Their batches may differ in size. In evaluation,
    and where this process is the only one, it is its parent.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> the same shape."""
        if not (self.training and self.affine) or torch.env.get_world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        with torch.no_grad():
            n, mean, variance = joined(x.numel() // x.shape[1], *moments(x))
            if self.track_running_stats:
                self.num_batches_tracked.add_(1)
                self.running_mean.mul_(1 - self.momentum).add_(mean * self.momentum)
                self.running_var.mul_(1 - self.momentum).add_(variance * n / (n - 1) * self.momentum)
            inverse = (variance + self.eps).rsqrt()
        return _Normalize.apply(x, self.weight, self.bias, mean, inverse, n)


def convert_sync_batchnorm(model: nn.Module) -> int:
    """Replace every batch norm of a model, in place, by one over all processes; returns how many.

    Parameters and running statistics stay the same tensors, so that an optimiser made before goes on with them.
    """
    found = [(m, name, norm) for m in model.modules() for name, norm in m.named_children() if _is_plain(norm)]
    for parent, name, norm in found:
        sync = SyncBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for key, tensor in norm._parameters.items():
            sync._parameters[key] = tensor
        for key, tensor in norm._buffers.items():
            sync._buffers[key] = tensor
        sync.train(norm.training)
        setattr(parent, name, sync)
    return len(found)


def _is_plain(norm: nn.Module) -> bool:
    return isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, SyncBatchNorm2d)


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance by channel, (c,) each, of (b, c, h, w)."""
    n = x.numel() // x.shape[1]
    mean = _sum(x) / n
    centred = x - mean.view(1, -1, 1, 1)
    return mean, _dot(centred, centred) / n


def joined(n: int, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From every process's count, mean (c,) and biased variance (c,) those of all its numbers together.

    Every process's moments are gathered and not summed: sums of squares would lose digits (Chan, Golub and LeVeque,
    'Updating formulae and a pairwise algorithm for computing sample variances', 1979). The count comes as (1,).
    """
    ranks, c = torch.env.get_world_size(), len(mean)
    own = torch.cat([mean, variance, torch.full((1,), float(n), device=mean.device)])
    every = torch.zeros(ranks, 2 * c + 1, device=mean.device)
    torch.comm.all_gather_into_tensor(every, own.view(1, -1))
    means, variances, counts = every[:, :c], every[:, c : 2 * c], every[:, 2 * c :]
    total = counts.sum(0)
    share = counts / total
    mean = (means * share).sum(0)
    deviation = means - mean
    return total, mean, ((variances + deviation * deviation) * share).sum(0)


class _Normalize(torch.autograd.Function):
    """y = u * weight + bias with u = (x - mean) * inverse, whose gradient knows how both depend on every process's x.

    The gradients of weight and bias are this process's part, as those of all other layers are: they are averaged with
    the rest. What goes on to x needs their sums over all processes (Ioffe and Szegedy,
    https://arxiv.org/abs/1502.03167): dx = weight inverse (dy - (sum(dy) + u sum(dy u)) / n).
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mean, inverse, n):
        ctx.save_for_backward(x, weight, mean, inverse, n)
        return _affine(x, weight * inverse, bias - weight * inverse * mean)

    @staticmethod
    def backward(ctx, dy):
        x, weight, mean, inverse, n = ctx.saved_tensors
        c = dy.shape[1]
        u = _affine(x, inverse, -inverse * mean)
        dbias, dweight = _sum(dy), _dot(dy, u)
        sums = torch.cat([dbias, dweight])
        torch.comm.all_reduce(sums)
        sums = sums / n
        dx = (dy - sums[:c].view(1, -1, 1, 1) - u * sums[c:].view(1, -1, 1, 1)) * (weight * inverse).view(1, -1, 1, 1)
        return dx, dweight, dbias, None, None, None


def _affine(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def _sum(x: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) -> the sum over all but c, (c,)."""
    return x.sum((0, 2, 3)) if x.is_cuda else channel_sum(x)


def _dot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x * y).sum((0, 2, 3)) if x.is_cuda else channel_dot(x, y)
