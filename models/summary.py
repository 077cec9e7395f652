"""What a model is made of: its layers, parameters and floating point operations."""

from __future__ import annotations

from pathlib import Path

import oneflow as torch
from oneflow import nn

from utils.imgsz import grid_size

_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.Upsample)


def layer_table(model: nn.Module) -> str:
    """A `Model`'s rows: number, sources, repeats, parameters, module, arguments."""
    lines = [f'{"":>3}{"from":>18}{"n":>3}{"params":>10}  {"module":<40}{"arguments":<30}']
    for m in model.model:
        lines.append(f'{m.i:>3}{m.f!s:>18}{m.n:>3}{m.np:10.0f}  {m.type:<40}{m.args!s:<30}')
    return '\n'.join(lines)


def model_info(model: nn.Module, verbose: bool = False, img_size: int = 640) -> str:
    """The summary line, for example `YOLOv5n summary: 213 layers, 1867405 parameters, 0 gradients, 4.5 GFLOPs`.

    Layers are all modules of the tree, itself included; gradients are the parameters that are trained.

    Args:
        verbose: a table of all parameters before it.
        img_size: the GFLOPs are those of one picture of this height and width.
    """
    parameters = sum(p.numel() for p in model.parameters())
    gradients = sum(p.numel() for p in model.parameters() if p.requires_grad)
    name = Path(getattr(model, 'yaml_file', '')).stem.replace('yolov5', 'YOLOv5') or 'Model'
    line = (
        f'{name} summary: {len(list(model.modules()))} layers, {parameters} parameters, {gradients} gradients, '
        f'{count_flops(model, img_size):.1f} GFLOPs'
    )
    return f'{_parameter_table(model)}\n{line}' if verbose else line


def _parameter_table(model: nn.Module) -> str:
    head = ('layer', 'name', 'gradient', 'parameters', 'shape', 'mu', 'sigma')
    lines = ['{:>5} {:>40} {:>9} {:>12} {:>20} {:>10} {:>10}'.format(*head)]
    for i, (name, p) in enumerate(model.named_parameters()):
        values = p.detach().cpu().numpy()
        sigma = values.std(ddof=1) if values.size > 1 else float('nan')
        lines.append(
            f'{i:5g} {name:>40} {p.requires_grad!s:>9} {p.numel():12g} '
            f'{list(p.shape)!s:>20} {values.mean():10.3g} {sigma:10.3g}'
        )
    return '\n'.join(lines)


def count_flops(model: nn.Module, img_size: int | list[int] = 640) -> float:
    """GFLOPs of one forward pass over a picture of `img_size` (or height, width), two per multiply-add.

    Counted over an image as small as the largest stride (32 at least) and scaled up by the area.
    """
    stride = grid_size(model) if hasattr(model, 'largest_stride') else 32
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    first = next(model.parameters())
    picture = torch.zeros(1, first.shape[1], stride, stride, device=first.device, dtype=first.dtype)
    return layer_flops(model, picture) * height / stride * width / stride


def layer_flops(module: nn.Module, x: torch.Tensor | list[torch.Tensor]) -> float:
    """GFLOPs of `module(x)` in evaluation mode, counted as the reference's counter (thop) does.

    That is: convolutions and linear maps without their biases, four operations a value for a batch norm (subtract,
    divide, scale, shift), one for a value made by upsampling; activations, pools and attention's products are left out.
    """
    counts: list[int] = []
    modes = [(part, part.training) for part in module.modules()]
    counted = [part for part, _ in modes if isinstance(part, _COUNTED)]
    for part in counted:
        part.register_forward_hook(lambda layer, _x, y: counts.append(_multiply_adds(layer, y)))
    try:
        with torch.no_grad():
            module.eval()(x)
    finally:
        for part in counted:
            part._forward_hooks.popitem()  # OneFlow gives no handle to take a hook off by
        for part, training in modes:
            part.training = training
    return sum(counts) * 2 / 1e9


def _multiply_adds(layer: nn.Module, y: torch.Tensor) -> int:
    if isinstance(layer, nn.BatchNorm2d):
        return 4 * y.numel()
    if isinstance(layer, nn.Upsample):
        return y.numel()
    if isinstance(layer, nn.Linear):
        return layer.in_features * y.numel()
    return y.numel() * (layer.in_channels // layer.groups) * layer.kernel_size[0] * layer.kernel_size[1]
