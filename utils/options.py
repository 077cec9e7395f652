"""A script's options as one dataclass: each option's name, default, flags and help stand in one place.

    @dataclass
    class Options:
        weights: list[str] = option(['yolov5s.pt'], nargs='+', help='checkpoint file or files')
        imgsz: int = option(640, '--imgsz', '--img', '--img-size', help='image size in pixels')
        nosave: bool = option(False, help='keep no checkpoints')

    options = parse_options(Options, argv, 'Train a detector')     # from the command line
    options = make_options(Options, imgsz=320)                     # from Python, by the same names, checked alike

Only the standard library is imported here, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import difflib
from typing import Any, NoReturn, TypeVar

from utils.errors import UsageError
from utils.values import is_text, items, number, switch, text, whole_number

T = TypeVar('T')
_UNSET = object()
_CONVERT = {int: whole_number, float: number, str: text}


def option(default: Any, *flags: str, help: str, type: Any = _UNSET, **argument: Any) -> Any:
    """A dataclass field that is also a command-line option.

    From Python it takes what `utils.values` makes its type of; a field annotated `Any` (its reader knows more than
    text) also anything else, as it is.

    Args:
        default: the value without the option. False makes it a switch.
        flags: the option's spellings; none means `--name-of-the-field`.
        help: one line for `--help`.
        type: converts the text; the default's own type where it is not given.
        argument: more of `ArgumentParser.add_argument`: nargs, choices, const, metavar.
    """
    if type is _UNSET:
        sample = default[0] if isinstance(default, list) and default else default
        type = str if sample is None or isinstance(sample, (bool, list)) else sample.__class__
    metadata = {'flags': flags, 'help': help, 'type': type, 'argument': argument}
    return dataclasses.field(default_factory=lambda: copy.copy(default), metadata=metadata)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is a `UsageError`: one line instead of the whole usage text."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f'{self.prog}: {message}', f'see python {self.prog} --help')


def parse_options(cls: type[T], argv: list[str] | None, description: str, prog: str) -> T:
    """Options from command-line words (`None`: the process's own).

    An option may be cut to a prefix that fits no other (`--batch`, `--iou`).

    Raises:
        UsageError: an unknown option or an unusable value.
        SystemExit: after --help.
    """
    parser = _Parser(prog=prog, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for field in dataclasses.fields(cls):
        _add(parser, field)
    parser.add_argument('--debug', action='store_true', default=argparse.SUPPRESS, help='show the traceback of errors')
    values = vars(parser.parse_args(argv))
    values.pop('debug', None)
    return cls(**values)


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    argument = dict(field.metadata['argument'], default=field.default_factory(), help=field.metadata['help'])
    argument |= {'action': 'store_true'} if _is_switch(field) else {'type': field.metadata['type']}
    parser.add_argument(*_flags(field), dest=field.name, **argument)


def _flags(field: dataclasses.Field) -> tuple[str, ...]:
    return field.metadata['flags'] or ('--' + field.name.replace('_', '-'),)


def _is_switch(field: dataclasses.Field) -> bool:
    return field.default_factory() is False and 'nargs' not in field.metadata['argument']


def make_options(cls: type[T], **values: Any) -> T:
    """Options from Python keywords: numpy numbers, paths, tuples and single items in place of lists are taken.

    Raises:
        UsageError: a keyword that is no option (the message names the nearest), or a value that the command line would
            refuse.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            raise UsageError(f'{name}: no such option', f'did you mean {near[0]}' if near else f'known: {list(fields)}')
    return cls(**{name: _from_python(fields[name], value) for name, value in values.items()})


def _from_python(field: dataclasses.Field, value: Any) -> Any:
    """A keyword's value as the option's type, as if it had been written on the command line."""
    what, argument, default = _flags(field)[0], field.metadata['argument'], field.default_factory()
    if value is None and default is None:
        return value
    if field.type == 'Any':
        return text(what, value) if is_text(value) else value
    if _is_switch(field):
        return switch(what, value)
    nargs = argument.get('nargs')
    if nargs == '?' and isinstance(value, bool):  # the option without a value, or no option
        return argument['const'] if value else default
    several = items(what, value) if nargs == '+' else [value]
    if not several and default is not None:
        raise UsageError(f'{what}: nothing given', field.metadata['help'])
    converted = [_CONVERT[field.metadata['type']](what, one) for one in several]
    for one in converted:
        if one not in argument.get('choices', converted):
            raise UsageError(f'{what} {one}: no such choice', f'there are {", ".join(argument["choices"])}')
    return converted if nargs == '+' else converted[0]


def describe_options(options: Any) -> str:
    """The options on one line, `name=value, name=value`."""
    return ', '.join(f'{k}={v}' for k, v in dataclasses.asdict(options).items())
