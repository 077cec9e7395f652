"""The layers that the model files are made of.

Arguments keep the order of the model files: channels in, channels out, then repeats or kernel, stride, padding,
groups. Inputs and outputs are (batch, channels, height, width) unless a docstring says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import oneflow as torch
from oneflow import nn

from models.attention import TransformerLayer
from models.limits import reserve
from models.ops import BatchNorm2d, Conv2d, ConvTranspose2d, Linear, MaxPool2d, SiLU, check_window

Ints = int | Sequence[int]
Act = bool | nn.Module


def autopad(k: Ints, p: Ints | None = None) -> Ints:
    """The padding that keeps the size at stride 1: half of kernel `k`, axis by axis; or `p` where it is given."""
    if p is not None:
        return p
    return k // 2 if isinstance(k, int) else [n // 2 for n in k]


class Conv(nn.Module):
    """Convolution, batch norm, activation: the brick of all others.

    Args:
        c1, c2: channels in and out.
        k, s, p, g: kernel, stride, padding (None: keeps the size), groups.
        act: True for SiLU, a module for itself, anything else for none.
    """

    def __init__(
        self, c1: int, c2: int, k: Ints = 1, s: Ints = 1, p: Ints | None = None, g: int = 1, act: Act = True
    ) -> None:
        super().__init__()
        self.conv = Conv2d(c1, c2, _pair(k), _pair(s), _pair(autopad(k, p)), groups=g, bias=False)
        self.bn = BatchNorm2d(c2)
        self.act = SiLU() if act is True else act if isinstance(act, nn.Module) else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        # None once the norm is folded into the convolution, see Model.fuse.
        return self.act(x if self.bn is None else self.bn(x))


class DWConv(Conv):
    """A convolution in as many groups as divide both channel counts: depth-wise where they are equal."""

    def __init__(self, c1: int, c2: int, k: Ints = 1, s: Ints = 1, act: Act = True) -> None:
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), act=act)


class DWConvTranspose2d(ConvTranspose2d):
    """A transposed convolution in as many groups as divide both channel counts; `p1`, `p2`: padding in and out."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0) -> None:
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


class Bottleneck(nn.Module):
    """1x1 to `e` times the output's channels, 3x3 back; the input is added where the channel counts allow it."""

    def __init__(self, c1: int, c2: int, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden, c2, 3, 1, g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class CrossConv(nn.Module):
    """A bottleneck whose kernel is taken apart: 1 x k, then k x 1, each with its part of the stride."""

    def __init__(
        self, c1: int, c2: int, k: int = 3, s: int = 1, g: int = 1, e: float = 1.0, shortcut: bool = False
    ) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, (1, k), (1, s))
        self.cv2 = Conv(hidden, c2, (k, 1), (s, 1), g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class BottleneckCSP(nn.Module):
    """Bottlenecks on one half of the channels, the other half passes by (CSPNet, https://arxiv.org/abs/1911.11929)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv2d(c1, hidden, 1, 1, bias=False)
        self.cv3 = Conv2d(hidden, hidden, 1, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c2, 1, 1)
        self.bn = BatchNorm2d(2 * hidden)
        self.act = SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, 1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        worked, passed = self.cv3(self.m(self.cv1(x))), self.cv2(x)
        return self.cv4(self.act(self.bn(torch.cat([worked, passed], 1))))


class C3(nn.Module):
    """The CSP block with three convolutions: `n` bottlenecks on one branch, the other passes by, joined by a 1x1."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c2, 1, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, 1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class C3x(C3):
    """C3 with CrossConvs for bottlenecks."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, 0, e=e)
        hidden = int(c2 * e)
        self.m = nn.Sequential(*(CrossConv(hidden, hidden, 3, 1, g, 1.0, shortcut) for _ in range(n)))


class C3TR(C3):
    """C3 with a TransformerBlock of four heads for bottlenecks; `shortcut` and `g` are C3's and mean nothing here."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, 0, e=e)
        hidden = int(c2 * e)
        self.m = TransformerBlock(hidden, hidden, 4, n)


class C3SPP(C3):
    """C3 with an SPP of pool sizes `k` for bottlenecks."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: Sequence[int] = (5, 9, 13),
        n: int = 1,
        shortcut: bool = True,
        g: int = 1,
        e: float = 0.5,
    ) -> None:
        super().__init__(c1, c2, 0, e=e)
        hidden = int(c2 * e)
        self.m = SPP(hidden, hidden, k)


class C3Ghost(C3):
    """C3 with GhostBottlenecks; `shortcut` and `g` are C3's and mean nothing here."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__(c1, c2, 0, e=e)
        hidden = int(c2 * e)
        self.m = nn.Sequential(*(GhostBottleneck(hidden, hidden) for _ in range(n)))


class TransformerBlock(nn.Module):
    """A picture's pixels as a sequence through transformer layers (ViT, https://arxiv.org/abs/2010.11929).

    The place of a pixel is learnt by a linear map added to the sequence, so any picture size will do.
    """

    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.conv = Conv(c1, c2) if c1 != c2 else None
        self.linear = Linear(c2, c2)
        self.tr = nn.Sequential(*(TransformerLayer(c2, num_heads) for _ in range(num_layers)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv is not None:
            x = self.conv(x)
        b, c, h, w = x.shape
        pixels = x.flatten(2).permute(2, 0, 1)  # (h * w, b, c)
        return self.tr(pixels + self.linear(pixels)).permute(1, 2, 0).reshape(b, c, h, w)


class SPP(nn.Module):
    """Spatial pyramid pooling (https://arxiv.org/abs/1406.4729): a map beside its maxima over windows `k`."""

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * (len(k) + 1), c2, 1, 1)
        self.m = nn.ModuleList([MaxPool2d(size, 1, size // 2) for size in k])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(nn.Module):
    """SPP with windows k, 2k - 1 and 3k - 2, got by pooling three times over `k`."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * 4, c2, 1, 1)
        self.m = MaxPool2d(k, 1, k // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class Focus(nn.Module):
    """The four pixels of every 2x2 block become channels, then a Conv: (b, c, h, w) -> (b, c2, h / 2, w / 2)."""

    def __init__(
        self, c1: int, c2: int, k: Ints = 1, s: Ints = 1, p: Ints | None = None, g: int = 1, act: Act = True
    ) -> None:
        super().__init__()
        self.conv = Conv(c1 * 4, c2, k, s, p, g, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(places, 1))


class GhostConv(nn.Module):
    """Half of the channels by a convolution, the other half cheaply from those (https://arxiv.org/abs/1911.11907)."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: Act = True) -> None:
        super().__init__()
        half = c2 // 2
        self.cv1 = Conv(c1, half, k, s, None, g, act)
        self.cv2 = Conv(half, half, 5, 1, None, half, act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv1(x)
        return torch.cat([y, self.cv2(y)], 1)


class GhostBottleneck(nn.Module):
    """Two GhostConvs with a shortcut; at stride 2 a depth-wise convolution halves the map on both ways."""

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1) -> None:
        super().__init__()
        half, halves = c2 // 2, s == 2
        self.conv = nn.Sequential(
            GhostConv(c1, half, 1, 1),
            DWConv(half, half, k, s, act=False) if halves else nn.Identity(),
            GhostConv(half, c2, 1, 1, act=False),
        )
        self.shortcut = (
            nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, 1, 1, act=False)) if halves else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.shortcut(x)


class MixConv2d(nn.Module):
    """Convolutions of several kernel sizes side by side (https://arxiv.org/abs/1907.09595), batch norm, SiLU.

    Args:
        k: the kernel sizes; each makes its group of the output channels.
        equal_ch: groups of equally many channels; otherwise of equally many weights.
    """

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (1, 3), s: int = 1, equal_ch: bool = True) -> None:
        super().__init__()
        sizes = _even_split(c2, len(k)) if equal_ch else _split_by_weights(c2, k)
        self.m = nn.ModuleList(
            [
                Conv2d(c1, size, kernel, s, kernel // 2, groups=math.gcd(c1, size), bias=False)
                for kernel, size in zip(k, sizes)
            ]
        )
        self.bn = BatchNorm2d(c2)
        self.act = SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn(torch.cat([conv(x) for conv in self.m], 1)))


def _even_split(channels: int, groups: int) -> list[int]:
    """Channel j belongs to group floor(j * (groups - 1e-6) / (channels - 1)), as the reference deals them out."""
    owner = np.floor(np.linspace(0, groups - 1e-6, channels)).astype(int)
    return np.bincount(owner, minlength=groups).tolist()


def _split_by_weights(channels: int, kernels: Sequence[int]) -> list[int]:
    """Channels in inverse proportion to the kernels' areas; what rounding leaves over goes to the smallest kernel."""
    share = 1.0 / np.square(np.asarray(kernels, float))
    sizes = np.round(channels * share / share.sum()).astype(int)
    sizes[np.argmax(share)] += channels - sizes.sum()
    return sizes.tolist()


class Sum(nn.Module):
    """The sum of `n` maps of one shape; with `weight` all but the first are scaled by a learnt 2 * sigmoid(w)."""

    def __init__(self, n: int, weight: bool = False) -> None:
        super().__init__()
        self.weight = weight
        if weight:
            reserve(n)
            self.w = nn.Parameter(-torch.arange(1, n, dtype=torch.float32) / 2)

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        first, *others = x
        if self.weight:
            scale = self.w.sigmoid() * 2
            others = [other * scale[i] for i, other in enumerate(others)]
        return sum(others, first)


class Concat(nn.Module):
    """Maps side by side along `dimension`."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(x, self.d)


class Contract(nn.Module):
    """Blocks of gain x gain pixels become channels: (b, c, h, w) -> (b, c * gain², h / gain, w / gain)."""

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        check_window(gain, gain, 0)
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (b, c, h, w), s = x.shape, self.gain
        blocks = x.reshape(b, c, h // s, s, w // s, s).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(b, c * s * s, h // s, w // s)


class Expand(nn.Module):
    """Channels become blocks of gain x gain pixels, the reverse of Contract."""

    def __init__(self, gain: int = 2) -> None:
        super().__init__()
        check_window(gain, gain, 0)
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (b, c, h, w), s = x.shape, self.gain
        blocks = x.reshape(b, s, s, c // s**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(b, c // s**2, h * s, w * s)


class Classify(nn.Module):
    """A classifier's end: one map or a list of maps -> (batch, c2) logits; `c1` counts the channels of all maps."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1) -> None:
        super().__init__()
        self.aap = nn.AdaptiveAvgPool2d(1)
        self.conv = Conv2d(c1, c2, k, s, autopad(k, p), groups=g)
        self.flat = nn.Flatten()

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        maps = x if isinstance(x, list) else [x]
        return self.flat(self.conv(torch.cat([self.aap(y) for y in maps], 1)))


def _pair(value: Ints) -> Ints:
    """OneFlow's convolutions know integers and tuples, but not lists."""
    return value if isinstance(value, int) else tuple(value)
