"""Numbers, tables and recorded output that scripts have written to docs/numbers, and their places in the pages."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

NUMBERS = Path(__file__).resolve().parents[1] / 'numbers'

# Of what stands before a mark only this is the number: in Chinese no blank divides it from the words.
_NUMBER = re.compile(r'(?P<value>[A-Za-z0-9.,%+×–−-]+)<!--=(?P<key>[\w.@-]+)-->')
_ROWS = re.compile(r'(?P<head><!-- rows: (?P<key>[\w.@-]+) -->\n+\|[^\n]*\n\|[^\n]*\n)(?P<rows>(?:\|[^\n]*\n)*)')
_RECORDED = re.compile(r'(?P<head><!-- recorded: (?P<name>[\w.-]+) -->\n+```text\n)(?P<text>.*?)(?=^```)', re.M | re.S)


@cache
def _content(file: str) -> dict:
    return json.loads((NUMBERS / f'{file}.json').read_text('utf-8'))


def number(key: str) -> Any:
    """`iou.far.giou` is docs/numbers/iou.json's far, giou."""
    file, *keys = key.split('.')
    value = _content(file)
    for part in keys:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def write_numbers(name: str, values: dict) -> Path:
    """For figure scripts. Give numbers as the text shall show them: rounded, or as text ('1.9 M')."""
    NUMBERS.mkdir(exist_ok=True)
    path = NUMBERS / f'{name}.json'
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + '\n', 'utf-8')
    return path


def fill(text: str) -> str:
    """A page's text with every marked number, table and recording as docs/numbers has it."""
    text = _NUMBER.sub(lambda m: f'{number(m["key"])}<!--={m["key"]}-->', text)
    text = _ROWS.sub(lambda m: m['head'] + ''.join(_row(cells) for cells in number(m['key'])), text)
    return _RECORDED.sub(lambda m: m['head'] + (NUMBERS / m['name']).read_text('utf-8').rstrip('\n') + '\n', text)


def _row(cells: list) -> str:
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |\n'
