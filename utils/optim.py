"""The optimiser: parameter groups, one clipped step, frozen layers, values scaled to the job, and its saved state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import oneflow as torch
from oneflow import nn

from utils.errors import UsageError, WeightsError
from utils.fused import may_fuse_optimizer
from utils.log import LOGGER, colorstr

NOMINAL_BATCH = 64  # the batch size that learning rate and weight decay are tuned for
_NORMS = tuple(
    member for name, member in vars(nn).items() if 'Norm' in name and isinstance(member, type)
)  # BatchNorm2d, LayerNorm, GroupNorm, ...


def accumulation(batch_size: int) -> int:
    """How many batches make up one step of about 64 pictures, at least 1; `batch_size` is over all ranks."""
    return max(round(NOMINAL_BATCH / batch_size), 1)


def scaled_weight_decay(weight_decay: float, batch_size: int) -> float:
    """Weight decay scaled to the number of pictures that really make up a step."""
    return weight_decay * batch_size * accumulation(batch_size) / NOMINAL_BATCH


def scale_gains(hyp: dict, nl: int, nc: int, imgsz: int) -> dict:
    """A copy of `hyp` with the loss gains scaled from 3 levels, 80 classes and 640 pixels to the model at hand."""
    per_level = 3 / nl
    return hyp | {
        'box': hyp['box'] * per_level,
        'cls': hyp['cls'] * nc / 80 * per_level,
        'obj': hyp['obj'] * (imgsz / 640) ** 2 * per_level,
    }


def parameter_groups(model: nn.Module) -> list[dict[str, nn.Parameter]]:
    """Every parameter by name, in three groups: biases; weights to decay; norm weights and other scales.

    The reference leaves out whatever is not named weight or bias, so attention's input projection never trained.
    Here names decide as far as they can (`in_proj_bias` is a bias), and matrices decay while lone scales do not.
    """
    biases, weights, scales = {}, {}, {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith('bias'):
                group = biases
            elif isinstance(module, _NORMS) or (name != 'weight' and parameter.ndim < 2):
                group = scales
            else:
                group = weights
            group[f'{prefix}.{name}' if prefix else name] = parameter
    return [biases, weights, scales]


def smart_optimizer(
    model: nn.Module,
    name: str = 'SGD',
    lr: float = 0.001,
    momentum: float = 0.9,
    weight_decay: float = 1e-5,
    fused: bool = False,
) -> torch.optim.Optimizer:
    """The optimiser over `parameter_groups(model)`; only the second group decays.

    Args:
        name: SGD (with Nesterov momentum), Adam or AdamW.
        momentum: Adam's beta1.
        weight_decay: already scaled to the batch size.
        fused: on a GPU, step by OneFlow's multi-tensor operators if they give the same numbers.

    Raises:
        UsageError: another name.
    """
    groups = parameter_groups(model)
    biases, weights, scales = (list(group.values()) for group in groups)
    params = [
        {'params': biases, 'weight_decay': 0.0},
        {'params': weights, 'weight_decay': weight_decay},
        {'params': scales, 'weight_decay': 0.0},
    ]
    if name == 'SGD':
        make = partial(torch.optim.SGD, lr=lr, momentum=momentum, nesterov=True)
    elif name in ('Adam', 'AdamW'):
        make = partial(getattr(torch.optim, name), lr=lr, betas=(momentum, 0.999))
    else:
        raise UsageError(f'--optimizer {name}: is not known', 'choose SGD, Adam or AdamW')
    optimizer = make(params, fused=fused and may_fuse_optimizer(make, next(model.parameters()).device))
    LOGGER.info(
        f'{colorstr("optimizer:")} {name}(lr={lr}) with parameter groups {len(scales)} weight(decay=0.0), '
        f'{len(weights)} weight(decay={weight_decay}), {len(biases)} bias'
    )
    return optimizer


def clipped_step(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    max_norm: float = 10.0,
    buffers: Sequence[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Clip the total gradient norm, step, zero the gradients; returns the norm before clipping (scalar, on device).

    Gradients are zeroed and not dropped: OneFlow's DDP would reduce stale ones otherwise.

    Args:
        buffers: what all gradients lie in, see `utils.fused.flatten_gradients`; None where each is by itself.
    """
    if buffers:
        norms = [torch.linalg.vector_norm(buffer) for buffer in buffers]
        norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for buffer in buffers:
            buffer.mul_(scale)
        optimizer.step()
        for buffer in buffers:
            buffer.zero_()
        return norm
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def freeze(model: nn.Module, layers: Sequence[int]) -> list[str]:
    """Take layers out of training; returns the names of the frozen parameters.

    Args:
        layers: one number freezes that many layers from the front, several name the layers themselves.

    Raises:
        UsageError: a layer that the model does not have.
    """
    count = len(model.model)
    chosen = list(layers) if len(layers) > 1 else list(range(layers[0]))
    if any(not 0 <= layer < count for layer in chosen) or min(layers) < 0:
        given = ' '.join(map(str, layers))
        raise UsageError(f'--freeze {given}: the model has only layers 0 to {count - 1}', 'choose among those')
    prefixes = tuple(f'model.{layer}.' for layer in chosen)
    frozen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(prefixes)
        if not parameter.requires_grad:
            LOGGER.info(f'freezing {name}')
            frozen.append(name)
    return frozen


def optimizer_to_numpy(optimizer: torch.optim.Optimizer) -> dict:
    """The optimiser's state as plain data with its own copies of the arrays.

    Keys: `step`, `groups` (options of each group) and `state` (by the parameter's place, as text, then by buffer).
    """
    packed = optimizer.state_dict()
    state = {str(k): v for k, v in packed['state'].items() if k != 'step'}
    return {
        'step': packed['state']['step'],
        'groups': [dict(group['_options']) for group in packed['param_groups']],
        'state': {k: {name: t.detach().cpu().numpy().copy() for name, t in v.items()} for k, v in state.items() if v},
    }


def optimizer_from_numpy(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Put back what `optimizer_to_numpy` took out, also after a round through JSON.

    Raises:
        WeightsError: the state belongs to another optimiser or another model.
    """
    packed = optimizer.state_dict()
    _check_fit(optimizer, saved)
    for group, options in zip(packed['param_groups'], saved['groups']):
        # JSON turns Adam's tuple of betas into a list. Whether to fuse is up to this machine.
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        group['_options'] = options | {'fused': group['_options']['fused']}
    packed['state'] = {'step': saved['step']} | {
        place: {name: torch.tensor(array) for name, array in saved['state'].get(str(place), {}).items()}
        for place in range(sum(len(group['params']) for group in packed['param_groups']))
    }
    optimizer.load_state_dict(packed)


def _check_fit(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group.parameters]
    fits = (
        len(groups) == len(saved['groups'])
        and all(set(saved_options) >= set(group.options) for saved_options, group in zip(saved['groups'], groups))
        and all(
            int(place) < len(parameters) and array.shape == tuple(parameters[int(place)].shape)
            for place, buffers in saved['state'].items()
            for array in buffers.values()
        )
    )
    if not fits:
        raise WeightsError(
            'the saved optimiser state does not fit this model and optimiser', 'resume with the options of that run'
        )
