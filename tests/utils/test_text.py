from __future__ import annotations

import codecs
import os

import pytest

from utils.errors import ConfigError, DataError
from utils.text import decode_text, foreign_encoding, read_text

CHINESE = 'names: [猫, 自行车, 交通灯]\n'


def test_utf8_with_a_mark_and_with_what_dos_leaves_behind():
    assert decode_text(codecs.BOM_UTF8 + CHINESE.encode() + b'\x1a\x00\x00', 'a.yaml') == CHINESE
    assert decode_text(b'', 'a.yaml') == ''


@pytest.mark.parametrize(
    ('data', 'encoding'),
    [
        (CHINESE.encode('gbk'), 'GBK'),
        ('names: [café, Brücke, señal]'.encode('cp1252'), 'Windows-1252'),
        ('names: [\u2019s-Hertogenbosch\u2019]'.encode('cp1252'), 'Windows-1252'),
        (CHINESE.encode('utf-16'), 'UTF-16'),
        ('0 0.5 0.5 0.1 0.1'.encode('utf-16-le'), 'UTF-16'),
        ('0 0.5 0.5 0.1 0.1'.encode('utf-32'), 'UTF-32'),
    ],
)
def test_other_encodings_are_named(data, encoding):
    with pytest.raises(ConfigError, match=f'a.yaml: .*{encoding}.*iconv -f {encoding} -t UTF-8 a.yaml'):
        decode_text(data, 'a.yaml', ConfigError)


def test_a_list_keeps_names_of_any_bytes(tmp_path):
    name = b'\xb2\xe2.jpg'
    (tmp_path / 'list.txt').write_bytes(name + b'\n')
    assert read_text(tmp_path / 'list.txt', names=True) == os.fsdecode(name) + '\n'
    with pytest.raises(DataError, match='UTF-16'):
        decode_text('a.jpg\n'.encode('utf-16'), 'list.txt', names=True)


@pytest.mark.parametrize(
    'data',
    [
        b'PK\x03\x04\x14\x00\x00\x00\x08\x00' + bytes(range(200)),
        b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x80\x00\x00\x01\xe0\x08\x02',
        bytes(range(256)),
        b'\x01\x02\xff\xfe\xff',
        b'0 .5\x00 .5 .1 .1',
    ],
)
def test_a_binary_file_is_called_binary(data):
    with pytest.raises(DataError, match=r'^a.yaml: not text but binary data\. Give a text file, in UTF-8$'):
        decode_text(data, 'a.yaml')


@pytest.mark.parametrize('encoding', ['utf-16-le', 'utf-16-be', 'utf-32-le', 'utf-32-be'])
def test_wide_text_without_a_mark(encoding):
    want = encoding[:6].upper()
    assert foreign_encoding((CHINESE * 100).encode(encoding)) == want
    assert foreign_encoding('0 .5 .5 .1 .1\n'.encode(encoding)) == want
    assert foreign_encoding(CHINESE.encode()) == ''
