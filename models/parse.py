"""From a model file to layers: rows of [from, repeats, module, arguments], names resolved through one table."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflow import nn

from models import common, limits, ops
from models.head import Detect
from utils.errors import ConfigError
from utils.imgsz import make_divisible
from utils.log import LOGGER
from utils.paths import MODEL_DIRS, find_file, read_yaml
from utils.terminal import printable
from utils.yaml_text import quoted

LAYERS: dict[str, type[nn.Module]] = {
    'Conv': common.Conv,
    'DWConv': common.DWConv,
    'DWConvTranspose2d': common.DWConvTranspose2d,
    'Bottleneck': common.Bottleneck,
    'BottleneckCSP': common.BottleneckCSP,
    'CrossConv': common.CrossConv,
    'C3': common.C3,
    'C3x': common.C3x,
    'C3TR': common.C3TR,
    'C3SPP': common.C3SPP,
    'C3Ghost': common.C3Ghost,
    'SPP': common.SPP,
    'SPPF': common.SPPF,
    'Focus': common.Focus,
    'GhostConv': common.GhostConv,
    'GhostBottleneck': common.GhostBottleneck,
    'MixConv2d': common.MixConv2d,
    'TransformerBlock': common.TransformerBlock,
    'Concat': common.Concat,
    'Sum': common.Sum,
    'Contract': common.Contract,
    'Expand': common.Expand,
    'Classify': common.Classify,
    'Detect': Detect,
    'nn.Upsample': ops.Upsample,
    'nn.MaxPool2d': ops.MaxPool2d,
    'nn.AvgPool2d': ops.AvgPool2d,
    'nn.ZeroPad2d': nn.ZeroPad2d,
    'nn.ConvTranspose2d': ops.ConvTranspose2d,
    'nn.BatchNorm2d': ops.BatchNorm2d,
    'nn.Identity': nn.Identity,
    'nn.Dropout': nn.Dropout,
    'nn.SiLU': ops.SiLU,
    'nn.ReLU': nn.ReLU,
    'nn.LeakyReLU': nn.LeakyReLU,
}
# The first argument is the number of output channels: width_multiple scales it, and the input's goes before it.
SCALED = {
    'Conv', 'DWConv', 'DWConvTranspose2d', 'Bottleneck', 'BottleneckCSP', 'CrossConv', 'C3', 'C3x', 'C3TR', 'C3SPP',
    'C3Ghost', 'SPP', 'SPPF', 'Focus', 'GhostConv', 'GhostBottleneck', 'MixConv2d', 'nn.ConvTranspose2d',
}  # fmt: skip
# The repeats happen inside, as the third argument. Other layers are chained that many times.
REPEATING = {'BottleneckCSP', 'C3', 'C3x', 'C3TR', 'C3Ghost'}
JOINING = {'Concat', 'Sum', 'Classify', 'Detect'}  # several maps may come in
WORDS = {'None': None, 'True': True, 'False': False}
MODES = {'nearest', 'linear', 'bilinear', 'bicubic', 'area', 'zeros'}  # strings that a layer itself takes


@dataclass(frozen=True)
class Row:
    """One row of a model file. `source` is -1 for the row before, or row numbers counted from the start or back."""

    file: str
    index: int
    source: int | list[int]
    repeats: int
    name: str
    args: list[Any]

    def error(self, what: str, mend: str) -> ConfigError:
        return ConfigError(f'{self.file}: row {self.index} ({self.name}): {what}', mend)

    @property
    def sources(self) -> list[int]:
        return self.source if isinstance(self.source, list) else [self.source]


def read_config(
    cfg: str | Path | dict, ch: int = 3, nc: int | None = None, anchors: float | list | None = None
) -> tuple[dict[str, Any], str]:
    """A model's description as a dict of its own, and the name of its file ('' when `cfg` is a dict already).

    Args:
        cfg: a file, found by bare name in models/ and models/hub/, or its content.
        ch: input channels where the description has none.
        nc, anchors: replace the description's.

    Raises:
        ConfigError: no such file, or something is missing in it.
    """
    name = '' if isinstance(cfg, dict) else Path(cfg).name
    config = copy.deepcopy(cfg if isinstance(cfg, dict) else read_yaml(find_file(cfg, MODEL_DIRS, kind='model file')))
    shown = name or 'model description'
    if not isinstance(config, dict):
        raise ConfigError(f'{shown}: not a model description', 'it needs nc, anchors, backbone, head, ...')
    config.setdefault('ch', ch)
    anchors = anchors if anchors is None or isinstance(anchors, list) else round(anchors)
    for key, value in (('nc', nc), ('anchors', anchors)):
        if value is not None and value != config.get(key):
            LOGGER.info(f'{shown}: {key} is {quoted(config.get(key))}, using {quoted(value)}')
            config[key] = value
    _check_keys(config, shown)
    return config, name


def _check_keys(config: dict[str, Any], file: str) -> None:
    for key in ('nc', 'depth_multiple', 'width_multiple', 'anchors', 'backbone', 'head'):
        if key not in config:
            raise ConfigError(f'{file}: has no "{key}"', 'see models/yolov5s.yaml for a complete one')
    most = {'nc': limits.MAX_CLASSES, 'ch': limits.MAX_IMAGE_CHANNELS, 'depth_multiple': 1000, 'width_multiple': 1000}
    for key, limit in most.items():
        kinds = int if key in ('nc', 'ch') else (int, float)
        if isinstance(config[key], bool) or not isinstance(config[key], kinds) or not 0 < config[key] <= limit:
            raise ConfigError(
                f'{file}: {key} is {quoted(config[key])}', f'it must be a positive number, {limit:,} at most'
            )
    for key in ('backbone', 'head'):
        if not isinstance(config[key], list):
            raise ConfigError(f'{file}: {key} is {quoted(config[key])}', 'it must be a list of rows')
    if not _are_anchors(config['anchors']):
        raise ConfigError(
            f'{file}: anchors are {quoted(config["anchors"])}',
            'give how many a level has, or per level as many pairs w, h in a list',
        )


def _are_anchors(anchors: Any) -> bool:
    """Whether this is how many anchors a level has, or for each level a list w, h, w, h, ... of one length."""
    if isinstance(anchors, int):
        return 0 < anchors <= limits.MAX_ANCHORS
    if not isinstance(anchors, list) or not 0 < len(anchors) <= limits.MAX_ANCHORS:
        return False
    sizes = {len(level) if isinstance(level, list) else 0 for level in anchors}
    fine = len(sizes) == 1 and all(0 < size <= 2 * limits.MAX_ANCHORS and size % 2 == 0 for size in sizes)
    return fine and all(_is_number(value, 1e9) for level in anchors for value in level)


def _is_number(value: Any, most: float = limits.MAX_ARGUMENT) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -most <= value <= most


def parse_model(d: dict[str, Any], ch: list[int], file: str = 'model description') -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a description.

    Args:
        d: the description, complete (see `read_config`).
        ch: [input channels].
        file: its name, for messages.

    Returns:
        the layers in a chain; each knows its row number `i`, its sources `f`, its class's name `type`, its number of
        parameters `np`, its chain length `n` and its arguments `args`. And the rows whose output a later row needs.

    Raises:
        ConfigError: a row is wrong; the message names it.
    """
    incoming, channels, layers, save = ch[-1], [], [], []
    for row in _rows(d, file):
        index = row.index
        widths = [incoming if index == 0 else channels[source] for source in row.sources]
        args, repeats = _resolve(row, d, widths)
        layer = _build(row, args, repeats)
        cls = LAYERS[row.name]
        layer.i, layer.f, layer.type = index, row.source, f'{cls.__module__}.{cls.__name__}'
        layer.np, layer.n, layer.args = sum(p.numel() for p in layer.parameters()), row_repeats(row, d), args
        layers.append(layer)
        channels.append(_channels_out(row.name, args, widths))
        save.extend(source % index for source in row.sources if source != -1)
    return nn.Sequential(*layers), sorted(save)


def _rows(d: dict[str, Any], file: str) -> list[Row]:
    """The rows of a description, checked one by one and in number."""
    raw = [*d['backbone'], *d['head']]
    rows = [_check_row(file, index, row) for index, row in enumerate(raw[: limits.MAX_ROWS])]
    if not rows or len(raw) > len(rows):
        raise ConfigError(f'{file}: has {len(raw)} rows', f'write 1 to {limits.MAX_ROWS}')
    layers = 0
    for row in rows:
        layers += row_repeats(row, d)
        if layers > limits.MAX_LAYERS:
            mend = 'lower its repeats or depth_multiple'
            raise row.error(f'makes more than {limits.MAX_LAYERS:,} layers with those before', mend)
    return rows


def row_repeats(row: Row, d: dict[str, Any]) -> int:
    """The row's repeats after scaling by depth_multiple, at least 1."""
    return max(round(row.repeats * d['depth_multiple']), 1) if row.repeats > 1 else row.repeats


def _check_row(file: str, index: int, raw: Any) -> Row:
    shape = 'write [from, repeats, module, [arguments]]'
    if not isinstance(raw, list) or len(raw) != 4:
        raise ConfigError(f'{file}: row {index} is {quoted(raw)}', shape)
    row = Row(file, index, *raw)
    if not isinstance(row.name, str) or row.name not in LAYERS:
        near = difflib.get_close_matches(str(row.name), LAYERS, 1)
        hint = f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(LAYERS)
        raise ConfigError(f'{file}: row {index}: no layer is called {quoted(row.name)}', hint)
    if not isinstance(row.repeats, int) or not 1 <= row.repeats <= limits.MAX_LAYERS:
        raise row.error(f'repeats are {quoted(row.repeats)}', 'write a whole number from 1')
    if not isinstance(row.args, list):
        raise row.error(f'arguments are {quoted(row.args)}', 'write a list')
    if not _are_arguments(row.args):
        raise row.error(
            f'arguments are {quoted(row.args)}', f'they can be words, lists, and numbers up to {limits.MAX_ARGUMENT:,}'
        )
    first, last = -max(index, 1), max(index - 1, -1)
    if not row.sources:
        raise row.error('has no input', 'write -1 for the row before')
    for source in row.sources:
        if not isinstance(source, int) or not first <= source <= last:
            raise row.error(f'takes its input from row {quoted(source)}', 'it can only take -1 or an earlier row')
    if isinstance(row.source, list) and row.name not in JOINING:
        raise row.error('takes several inputs', f'only {", ".join(sorted(JOINING))} do')
    return row


def _are_arguments(args: list[Any], depth: int = 3) -> bool:
    """Whether these are words, numbers of a sane size, and lists of those: nothing that could take long."""
    return len(args) <= limits.MAX_ANCHORS and all(
        _are_arguments(arg, depth - 1) if isinstance(arg, list) and depth else
        _is_number(arg) or isinstance(arg, (str, bool, type(None)))
        for arg in args
    )  # fmt: skip


def _resolve(row: Row, d: dict[str, Any], widths: Sequence[int]) -> tuple[list[Any], int]:
    """The arguments a layer is built with, and how many such layers follow each other."""
    args = [_value(row, d, arg) for arg in row.args]
    repeats = row_repeats(row, d)
    if row.name in SCALED:
        if not args or not isinstance(args[0], int):
            raise row.error('has no number of output channels', 'make it the first argument')
        if args[0] != _outputs(d):
            args[0] = make_divisible(args[0] * d['width_multiple'], 8)
        if not 0 < args[0] <= limits.MAX_ARGUMENT:
            raise row.error(f'has {args[0]:,} output channels', f'1 to {limits.MAX_ARGUMENT:,} can be built')
        args = [widths[0], *args]
        if row.name in REPEATING:
            args.insert(2, repeats)
            repeats = 1
    elif row.name == 'Detect':
        args = _detect_args(row, args, widths)
    elif row.name == 'nn.BatchNorm2d':
        args = [widths[0]]
    elif row.name == 'Classify':
        args = [sum(widths), *args]
    return args, repeats


def _value(row: Row, d: dict[str, Any], arg: Any) -> Any:
    """An argument as the layer takes it: `nc`, `anchors` and Python's constants by name, all else as written."""
    if not isinstance(arg, str) or arg in MODES:
        return arg
    known = {'nc': d['nc'], 'anchors': d['anchors'], **WORDS}
    if arg not in known:
        raise row.error(f'argument {quoted(arg)} means nothing', f'use a number, a list, or one of {", ".join(known)}')
    return known[arg]


def _detect_args(row: Row, args: list[Any], widths: Sequence[int]) -> list[Any]:
    if len(args) != 2:
        raise row.error(f'arguments are {quoted(row.args)}', 'write [nc, anchors]')
    nc, anchors = args
    if isinstance(anchors, int):
        anchors = [list(range(anchors * 2))] * len(widths)  # placeholders: AutoAnchor finds better ones
    if not isinstance(anchors, list) or len(anchors) != len(widths):
        raise row.error(f'{len(widths)} inputs, and anchors are {quoted(anchors)}', 'give every level its anchors')
    return [nc, anchors, list(widths)]


def _outputs(d: dict[str, Any]) -> int:
    """Values per cell of a raw map: layers of so many channels are an output, and not scaled."""
    anchors = d['anchors']
    return (len(anchors[0]) // 2 if isinstance(anchors, list) else anchors) * (d['nc'] + 5)


def _build(row: Row, args: list[Any], repeats: int) -> nn.Module:
    cls = LAYERS[row.name]
    try:
        return nn.Sequential(*(cls(*args) for _ in range(repeats))) if repeats > 1 else cls(*args)
    except limits.TooLarge as problem:
        raise row.error(str(problem), 'lower nc, width_multiple, depth_multiple or its arguments') from problem
    except (TypeError, ValueError, AssertionError, ArithmeticError, IndexError, RuntimeError) as problem:
        raise row.error(
            f'can not be built with {quoted(row.args)} ({printable(problem, 200)})', 'check its arguments'
        ) from problem


def _channels_out(name: str, args: list[Any], widths: Sequence[int]) -> int:
    if name in SCALED or name == 'Classify':
        return args[1]
    if name == 'Concat':
        return sum(widths)
    if name == 'Contract':
        return widths[0] * (args[0] if args else 2) ** 2
    if name == 'Expand':
        return widths[0] // (args[0] if args else 2) ** 2
    return widths[0]
