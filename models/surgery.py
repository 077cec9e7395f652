"""Small operations on whole models: initial settings, folding batch norm, pruning, searching, copying attributes."""

from __future__ import annotations

import math
from collections.abc import Collection

import cv2
import numpy as np
import oneflow as torch
from oneflow import nn
from oneflow.nn import functional as F

from models.common import BottleneckCSP, Conv, MixConv2d
from models.ops import Conv2d
from utils.boxes import Array


def initialize_weights(model: nn.Module) -> None:
    """Give every batch norm YOLOv5's settings; the layers' own initial weights are kept."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03


def fold_norms(model: nn.Module) -> None:
    """Fold, in place, the batch norms that follow one or several convolutions: those of Conv, BottleneckCSP, MixConv2d.

    The results in evaluation mode stay the same but for rounding. A batch norm that is a row of its own stays.
    """
    for module in list(model.modules()):
        norm = getattr(module, 'bn', None)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if isinstance(module, Conv):
            module.conv, module.bn = fuse_conv_and_bn(module.conv, norm), None
        elif isinstance(module, BottleneckCSP):
            passed = module.cv3.out_channels
            module.cv3, module.cv2 = fuse_conv_and_bn(module.cv3, norm), fuse_conv_and_bn(module.cv2, norm, passed)
            module.bn = nn.Identity()
        elif isinstance(module, MixConv2d):
            firsts = np.cumsum([0, *(conv.out_channels for conv in module.m)])
            module.m = nn.ModuleList([fuse_conv_and_bn(conv, norm, int(i)) for conv, i in zip(module.m, firsts)])
            module.bn = nn.Identity()


def fuse_conv_and_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d, first: int = 0) -> Conv2d:
    """One convolution that equals `conv` followed by `bn` in evaluation mode; its parameters need no gradient.

    y = (conv(x) - mean) * scale + shift with scale = weight / sqrt(variance + eps), worked out in float64.

    Args:
        first: which of the norm's channels is the convolution's first; the norm may go over several side by side.
    """
    own = slice(first, first + conv.out_channels)
    weight, shift, mean, variance = (t.double()[own] for t in (bn.weight, bn.bias, bn.running_mean, bn.running_var))
    fused = Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups
    ).to(device=conv.weight.device, dtype=conv.weight.dtype)
    with torch.no_grad():
        scale = weight / (variance + bn.eps).sqrt()
        bias = -mean if conv.bias is None else conv.bias.double() - mean
        fused.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
        fused.bias.copy_(shift + bias * scale)
    return fused.requires_grad_(False)


def scale_img(img: Array, ratio: float = 1.0, same_shape: bool = False, gs: int = 32) -> Array:
    """Resize pictures (b, c, h, w) by `ratio`, then fill up right and below with grey (0.447, the mean of ImageNet).

    An array gives an array, a tensor a tensor, with the same numbers but for rounding.

    Args:
        same_shape: fill up to the old height and width (`ratio` <= 1).
        gs: otherwise fill up to the next multiple of this of the scaled, unrounded height and width.
    """
    if ratio == 1.0:
        return img
    h, w = img.shape[2:]
    scaled_h, scaled_w = int(h * ratio), int(w * ratio)
    if not same_shape:
        h, w = (math.ceil(side * ratio / gs) * gs for side in (h, w))
    if isinstance(img, np.ndarray):
        filled = np.full((*img.shape[:2], h, w), 0.447, np.float32)
        for picture, place in zip(img.reshape(-1, *img.shape[2:]), filled.reshape(-1, h, w)):
            place[:scaled_h, :scaled_w] = cv2.resize(np.ascontiguousarray(picture), (scaled_w, scaled_h))
        return filled
    img = F.interpolate(img, size=(scaled_h, scaled_w), mode='bilinear', align_corners=False)
    return F.pad(img, (0, w - scaled_w, 0, h - scaled_h), value=0.447)


def find_modules(model: nn.Module, mclass: type[nn.Module] = nn.Conv2d) -> list[int]:
    """The rows of a `Model` (or the places in a Sequential) that are of class `mclass`."""
    return [i for i, layer in enumerate(getattr(model, 'model', model)) if isinstance(layer, mclass)]


def sparsity(model: nn.Module) -> float:
    """The share of a model's parameters that are exactly zero."""
    arrays = [p.detach().cpu().numpy() for p in model.parameters()]
    return sum(a.size - np.count_nonzero(a) for a in arrays) / sum(a.size for a in arrays)


def prune(model: nn.Module, amount: float = 0.3) -> None:
    """Set the `amount` (0..1) smallest weights of each convolution to zero (L1, unstructured); see `sparsity`."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().cpu().numpy().copy()
            smallest = np.argsort(np.abs(weight), axis=None, kind='stable')[: round(amount * weight.size)]
            weight.reshape(-1)[smallest] = 0
            with torch.no_grad():
                module.weight.copy_(torch.tensor(weight, device=module.weight.device))


def copy_attr(a: object, b: object, include: Collection[str] = (), exclude: Collection[str] = ()) -> None:
    """Copy b's public attributes to a: those of `include` if it names any, none of `exclude`."""
    for name, value in vars(b).items():
        if not name.startswith('_') and name not in exclude and (not include or name in include):
            setattr(a, name, value)
