"""States for PyTorch: read back by our own restricted reader, and by PyTorch where it is installed."""

from __future__ import annotations

import os
import pickletools
import zipfile

import numpy as np
import pytest

from utils.pt_reader import read_pt
from utils.pt_writer import write_pt

STATE = {
    'model.0.conv.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    'model.0.bn.num_batches_tracked': np.array(7, np.int64),
    'turned': np.arange(6, dtype=np.float64).reshape(2, 3).T,  # not in order in memory
    'half': np.array([0.5, -2], np.float16),
    'mask': np.array([[True], [False]]),
    'nothing': np.zeros((0, 4), np.float32),
    'Ünïcode': np.array([-1], np.int32),
}


def test_round_trip(tmp_path):
    write_pt(tmp_path / 'state.pt', STATE)
    found = read_pt(tmp_path / 'state.pt')
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_pickle_is_what_torch_save_writes(tmp_path):
    """A GLOBAL is all that names code; and there are three kinds of them."""
    write_pt(tmp_path / 'state.pt', STATE)
    with zipfile.ZipFile(tmp_path / 'state.pt') as archive:
        assert archive.namelist()[:3] == ['archive/data.pkl', 'archive/byteorder', 'archive/version']
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        opcodes = list(pickletools.genops(archive.read('archive/data.pkl')))
    names = {argument for opcode, argument, _ in opcodes if opcode.name == 'GLOBAL'}
    assert {name for name in names if 'Storage' not in name} == {
        'collections OrderedDict', 'torch._utils _rebuild_tensor_v2',
    }  # fmt: skip
    # torch/_weights_only_unpickler.py knows these, among others.
    assert {opcode.name for opcode, _, _ in opcodes} <= {
        'PROTO', 'GLOBAL', 'EMPTY_TUPLE', 'REDUCE', 'MARK', 'BINUNICODE', 'BININT', 'TUPLE', 'BINPERSID', 'NEWFALSE',
        'SETITEMS', 'STOP',
    }  # fmt: skip


def test_equal_states_make_equal_files(tmp_path):
    for name in 'ab':
        write_pt(tmp_path / f'{name}.pt', STATE)
    assert (tmp_path / 'a.pt').read_bytes() == (tmp_path / 'b.pt').read_bytes()


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match='PyTorch has no tensors of complex64'):
        write_pt(tmp_path / 'state.pt', {'a': np.zeros(2, np.complex64)})
    assert os.listdir(tmp_path) == []


def test_pytorch_reads_it(tmp_path):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed; the project does without')
    write_pt(tmp_path / 'state.pt', STATE)
    found = torch.load(tmp_path / 'state.pt', weights_only=True)
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
