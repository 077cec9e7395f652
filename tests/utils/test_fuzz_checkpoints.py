"""Damaged checkpoints: whatever is in them, they are read or refused in one line, with little memory and time."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import bounded, damaged, fuzzed, refusals
from tests.utils.pt_files import Writer, write_zip
from tests.utils.test_checkpoint import official, small
from utils import checkpoint
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.checkpoint_report import describe
from utils.trees import split_tree

PIECES = [
    b'[',
    b']',
    b'{',
    b'}',
    b'"',
    b',',
    b'null',
    b'1e999',
    b'-1',
    b'9' * 40,
    b'"$tensor":',
    b'"$dict":[[',
    b'\\ud800',
]
# Opcodes and names that a pickle of PyTorch has, and some that it has not.
OPCODES = [
    b'(', b')', b'.', b'0', b'2', b']', b'}', b'a', b'b', b'e', b'h\x00', b'j\x01\x00\x00\x00', b'q\x00',
    b'r\x01\x00\x00\x00', b's', b't', b'u', b'R', b'Q', b'\x81', b'\x85', b'\x86', b'\x87', b'\x94', b'cos\nsystem\n',
    b'ctorch\nSize\n', b'c__builtin__\nset\n', b'cpathlib\nPosixPath\n', b'cnumpy\ndtype\n',
    b'ccollections\nOrderedDict\n', b'ctorch._utils\n_rebuild_tensor_v2\n', b'cmodels.yolo\nModel\n',
    b'c_codecs\nencode\n',
]  # fmt: skip


def whole_file(tmp: Path) -> bytes:
    save_checkpoint(tmp / 'x', small(trainer={'x': (1, 2)}))
    return (tmp / 'x').read_bytes()


def with_header(data: bytes) -> bytes:
    """A checkpoint whose header, right in all else, is this."""
    _, arrays = split_tree({name: getattr(small(), name) for name in checkpoint._TYPES})
    arrays = {name: array.copy(order='C') for name, array in arrays.items()}
    text, offset, entries = data.decode('utf-8', 'replace'), 0, {}
    metadata = {'format': checkpoint.FORMAT, 'version': checkpoint.VERSION, 'header': text}
    metadata['crc32'] = checkpoint._checksum(text, arrays)
    kinds = {'float32': 'F32', 'int64': 'I64', 'uint32': 'U32'}
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        ends = [offset, offset := offset + array.nbytes]
        entries[name] = {'dtype': kinds[array.dtype.name], 'shape': list(array.shape), 'data_offsets': ends}
    head = json.dumps({'__metadata__': metadata, **entries}).encode()
    content = b''.join(arrays[name].tobytes() for name in entries)
    return struct.pack('<Q', len(head)) + head + content


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with bounded(megabytes=100, seconds=20), refusals():
        assert len(describe(load_checkpoint(path), tensors=True)) < 200_000


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('fuzz') / 'x.pt'


def test_the_header_put_in_by_hand_is_read(path):
    header, _ = split_tree({name: getattr(small(), name) for name in checkpoint._TYPES})
    path.write_bytes(with_header(header.encode()))
    assert load_checkpoint(path).names == ['cat', 'dog']


def test_fuzz_files_of_ours(path, tmp_path):
    @fuzzed(2000, data=damaged([whole_file(tmp_path)], inserts=PIECES))
    def run(data):
        check(path, data)

    run()


HEADER = split_tree({name: getattr(small(trainer={'x': (1, 2)}, optimizer=None), name) for name in checkpoint._TYPES})[
    0
]


@fuzzed(2000, data=damaged([HEADER.encode()], inserts=PIECES))
def test_fuzz_headers(path, data):
    check(path, with_header(data))


WRITER = Writer()
PICKLE = WRITER.pickle(official(best_fitness=0.5, updates=np.array([1.0])))


@pytest.mark.filterwarnings('ignore:invalid escape sequence')
@fuzzed(2000, data=damaged([PICKLE], inserts=OPCODES))
def test_fuzz_pickles(path, data):
    files = {'a/data.pkl': data, **{f'a/data/{key}': value for key, value in WRITER.storages.items()}}
    check(path, write_zip(path, files).read_bytes())


def zipped(compression: int) -> bytes:
    target, files = io.BytesIO(), {'a/data.pkl': PICKLE, 'a/data/0': WRITER.storages['0'], 'a/version': b'3'}
    with zipfile.ZipFile(target, 'w', compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


@pytest.mark.filterwarnings('ignore')
@fuzzed(2000, data=damaged([zipped(zipfile.ZIP_STORED), zipped(zipfile.ZIP_DEFLATED)], inserts=[b'PK\x01\x02']))
def test_fuzz_zips(path, data):
    check(path, data)
