"""YAML from outside: what is too much of it is refused at once, and what hides something is said."""

from __future__ import annotations

import logging
import sys

import pytest
import yaml

from tests.fuzz import bounded
from utils.data.yaml import load_data
from utils.errors import ConfigError, DataError
from utils.paths import read_yaml
from utils.yaml_text import MAX_CHARACTERS, MAX_VALUES, parse_yaml, quoted


def laughs(first: str, row: str) -> str:
    """Nine lines, each nine times the one before."""
    lines = [f'a: &a {first}']
    lines += [f'{c}: &{c} ' + row.format(', '.join([f'*{b}'] * 9)) for b, c in zip('abcdefgh', 'bcdefghi')]
    return '\n'.join(lines)


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        (laughs('[lol]', '[{}]'), 'f.yaml line 7: not valid YAML (more than 200,000 values'),
        (laughs('{k: lol}', '{{<<: [{}]}}'), 'f.yaml line 7: not valid YAML (more than 200,000 values'),
        ('\na: &a [1, {b: *a}]', 'line 2: not valid YAML (an alias of what it is itself part of)'),
        ('[' * 100_000, 'line 1: not valid YAML (more than 32 lists or mappings within each other)'),
        ('- ' * 10_000, 'line 1: not valid YAML (more than 32 lists'),
        ('a: &a ' + '[' * 20 + ']' * 20 + '\nb: ' + '[' * 20 + '*a' + ']' * 20, 'more than 32 lists'),
        ('nc: ' + '9' * 5000, 'line 1: not valid YAML (a number of 5000 characters)'),
        ('nc: 0x' + 'f' * 5000, '(a number of 5002 characters)'),
        ('nc: 1' + ':59' * 100_000, '(a number of 300001 characters)'),
        ('x: ' + 'y' * MAX_CHARACTERS, 'f.yaml: 1,048,579 characters of YAML. At most 1,048,576 are read'),
        ('\n\na: 2020-13-45', 'a value is not what it looks like: month must be in 1..12'),
        ('a: !!int x', 'a value is not what it looks like'),
        ('a: !!bool x', 'a value is not what it looks like'),
        ('a: !!timestamp x', 'a value is not what it looks like'),
        ('a: 1\nb: \x00', 'f.yaml line 2: not valid YAML (special characters are not allowed)'),
        ('x: *' + 'q' * 9999, 'found undefined alias'),
        ('!!python/object/apply:os.system [ls]', 'could not determine a constructor'),
    ],
)
def test_too_much_or_no_yaml_is_one_short_line(text, complaint):
    with bounded(megabytes=64, seconds=5), pytest.raises(ConfigError) as error:
        parse_yaml(text, 'f.yaml')
    assert complaint in str(error.value)
    assert len(str(error.value)) < 400


def test_aliases_are_fine_within_reason():
    assert parse_yaml('a: &a [1, 2]\nb: [*a, *a]\nc: {<<: {d: *a}}', 'f') == yaml.safe_load(
        'a: [1, 2]\nb: [[1, 2], [1, 2]]\nc: {d: [1, 2]}'
    )
    assert len(parse_yaml('\n'.join(f'{i}: n' for i in range(999)), 'f')) == 999
    assert MAX_VALUES > 4 * 21_841  # a data set of so many numbered names


def test_keys_given_twice_are_said_once_a_file(caplog):
    with caplog.at_level(logging.WARNING, 'yolov5'):
        assert parse_yaml('train: a\nnames: {0: x, 1: y, 1: z}\ntrain: b\n', 'f.yaml')['names'] == {0: 'x', 1: 'z'}
        parse_yaml('a: 1\n"1": x\n1: y\n', 'f.yaml')  # a text and a number
    assert caplog.messages == ['WARNING: f.yaml: given twice, and the last one counts: train (line 3), 1 (line 2)']
    caplog.clear()
    parse_yaml('\n'.join('ab' * 50).replace('\n', ': 1\n') + ': 1', 'f.yaml')
    assert caplog.messages[0].endswith('a (line 3), b (line 4), a (line 5) and 95 more')


@pytest.mark.parametrize(
    ('data', 'encoding'),
    [
        ('names: [猫, 自行车]'.encode('gbk'), 'GBK'),
        ('names: [café]'.encode('cp1252'), 'Windows-1252'),
        ('names: [猫]'.encode('utf-16'), 'UTF-16'),
    ],
)
def test_other_encodings_are_refused_by_name(tmp_path, data, encoding):
    (file := tmp_path / 'data.yaml').write_bytes(data)
    with pytest.raises(DataError, match=f'not UTF-8 text but, as it seems, {encoding}'):
        load_data(file)
    with pytest.raises(ConfigError, match=encoding):
        read_yaml(file)


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / 'disk.iso', 'wb') as file:
        file.truncate(1 << 40)
    with (
        bounded(megabytes=8, seconds=1),
        pytest.raises(ConfigError, match='disk.iso: 1048576 MB, too large for a YAML'),
    ):
        read_yaml(tmp_path / 'disk.iso')


def test_values_in_messages_are_short_and_made_so_without_building_the_whole():
    value = ['x' * 99] * 9
    for _ in range(30):
        value = [value] * 9
    with bounded(megabytes=8, seconds=1):
        assert len(quoted(value)) <= 100
    assert quoted('fast') == "'fast'"
    assert quoted({'a': 'b'}) == "{'a': 'b'}"
    assert quoted('\x1b[2J') == "'\\x1b[2J'"
    assert sys.getsizeof(quoted('é' * 10_000)) < 1000
