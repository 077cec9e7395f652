"""Reading torch.save's files: what is read, what is refused and how damage is told."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import bounded
from tests.utils.pt_files import Call, Global, Stored, Writer, nested, raw_pickle, write_pt, write_zip
from utils.errors import WeightsError
from utils.pt_reader import MAX_PICKLE, Bag, read_pt


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / 'weights.pt'


@pytest.mark.parametrize('dtype', ['<f2', '<f4', '<f8', '<i8', '<i4', '<i2', '|i1', '|u1', '|b1'])
def test_every_storage_type_comes_back_exactly(file: Path, dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 5 - 2).astype(dtype)
    read = read_pt(write_pt(file, {'x': array}))['x']
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_bfloat16_is_widened_to_float32(file: Path) -> None:
    upper = (np.array([1.5, -2.25, 3e38], np.float32).view(np.uint32) >> 16).astype('<u2')
    read = read_pt(write_pt(file, Stored(upper, kind='BFloat16')))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, (upper.astype(np.uint32) << 16).view(np.float32))
    assert list(read[:2]) == [1.5, -2.25]


def test_views_strides_scalars_and_empty_tensors(file: Path) -> None:
    base = np.arange(12, dtype=np.float32)
    tensors = {
        'transposed': Stored(base, size=(4, 3), stride=(1, 4)),
        'part': Stored(base, size=(2, 2), stride=(4, 1), offset=5),
        'expanded': Stored(base[:1], size=(3, 2), stride=(0, 0)),
        'scalar': Stored(np.array(7, np.int64), size=(), stride=()),
        'empty': Stored(np.zeros(0, np.float32), size=(0, 3), stride=(3, 1)),
    }
    read = read_pt(write_pt(file, tensors))
    np.testing.assert_array_equal(read['transposed'], base.reshape(3, 4).T)
    np.testing.assert_array_equal(read['part'], [[5, 6], [9, 10]])
    assert read['expanded'].shape == (3, 2)
    assert read['scalar'] == 7
    assert read['scalar'].shape == ()
    assert read['empty'].shape == (0, 3)
    assert not read['part'].flags.writeable


def test_big_endian_files(file: Path) -> None:
    array = np.array([1.5, 2.5], '>f4')
    stored = Stored(array, kind='Float')
    np.testing.assert_array_equal(read_pt(write_pt(file, stored, byteorder=b'big')), [1.5, 2.5])


def test_plain_data_objects_and_calls_on_the_list(file: Path) -> None:
    value = {
        'list': [1, -2.5, None, True, 2**40, 'grün', b'bytes'],
        'tuple': ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        'set': Call('__builtin__.set', ([3, 1],)),
        'ordered': Call('collections.OrderedDict', ([('b', 1), ('a', 2)],)),
        'size': Call('torch.Size', ((3, 4),)),
        'device': Call('torch.device', ('cuda', 0)),
        'dtype': Global('torch.float16'),
        'path': Call('pathlib.PosixPath', ('runs', 'exp')),
        'parameter': Call('torch._utils._rebuild_parameter', (np.ones(2, np.float32), True, None)),
        'object': Bag('models.yolo.Model', {'training': False}),
        'layer': Bag('torch.nn.modules.conv.Conv2d', {'stride': (2, 2)}),
    }
    read = read_pt(write_pt(file, value))
    assert read['list'] == value['list']
    assert read['tuple'] == value['tuple']
    assert read['set'] == {1, 3}
    assert list(read['ordered']) == ['b', 'a']
    assert (read['size'], read['device'], read['dtype'], read['path']) == ((3, 4), 'cuda', 'float16', 'runs/exp')
    np.testing.assert_array_equal(read['parameter'], [1, 1])
    assert (read['object'].kind, read['object'].attrs) == ('models.yolo.Model', {'training': False})
    assert read['layer'].attrs == {'stride': (2, 2)}


@pytest.mark.parametrize('value', [np.float64(0.25), np.float32(0.25), np.int64(7), np.bool_(True)])
def test_numpy_scalars(file: Path, value: np.generic) -> None:
    assert read_pt(raw_pickle(file, pickle.dumps(value, 2))) == value.item()


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_numpy_arrays_in_a_pickle_of_any_protocol(file: Path, protocol: int) -> None:
    read = read_pt(raw_pickle(file, pickle.dumps([np.array([[0.5, 2]]), 'text'], protocol)))
    np.testing.assert_array_equal(read[0].attrs['value'], [[0.5, 2]])
    assert read[1] == 'text'


class Exploit:
    def __init__(self, function: object, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple:
        return self.function, self.args


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ('function', 'args', 'name'),
    [
        (os.system, ('touch {trace}',), 'posix.system'),
        (eval, ('open("{trace}", "w")',), 'eval'),
        (exec, ('open("{trace}", "w")',), 'exec'),
        (__import__, ('os',), '__import__'),
        (getattr, ('', 'join'), 'getattr'),
        (open, ('{trace}', 'w'), 'io.open'),
    ],
)
def test_a_file_that_tries_to_run_code_is_refused_by_name(
    file: Path, protocol: int, function: object, args: tuple, name: str
) -> None:
    trace = file.with_name('trace')
    exploit = Exploit(function, *(a.format(trace=trace) for a in args))
    with pytest.raises(WeightsError, match='refused') as refused:
        read_pt(raw_pickle(file, pickle.dumps({'model': exploit}, protocol)))
    assert str(file) in str(refused.value)
    assert name in str(refused.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    'name',
    [
        'os.system', 'subprocess.Popen', 'builtins.eval', '__builtin__.getattr', 'torch.load', 'torch.hub.load',
        'torch.serialization.load', 'torch.nn.modulesx.Evil', 'modelsx.Evil', 'models.yolo.Model.__init__', 'models',
        'numpy.load', 'functools.partial', 'torch.storage._load_from_bytes', 'torch._utils._rebuild_tensor',
        'utils.general.check_requirements', 'codecs.open', 'collections.abc.OrderedDict', 'torch.jit.load',
    ],
)  # fmt: skip
def test_names_that_are_not_on_the_list(file: Path, name: str) -> None:
    with pytest.raises(WeightsError, match='refused'):
        read_pt(write_pt(file, {'x': Call(name, ())}))


def test_protocol_0_instances_are_refused_by_name(file: Path) -> None:
    with pytest.raises(WeightsError, match=r'os\.system'):
        read_pt(raw_pickle(file, b"(S'true'\nios\nsystem\n."))


def test_a_class_named_like_ours_is_never_imported(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models' / 'trap.py').write_text('open("trace", "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert read_pt(write_pt(file, Bag('models.trap.Model', {'__class__': 'x'}))).kind == 'models.trap.Model'
    assert not (tmp_path / 'trace').exists()


@pytest.mark.parametrize(
    'tensor',
    [
        Stored(np.zeros(4, np.float32), size=(5,), stride=(1,)),
        Stored(np.zeros(4, np.float32), size=(2,), stride=(4,)),
        Stored(np.zeros(4, np.float32), offset=1),
        Stored(np.zeros(4, np.float32), offset=-1),
        Stored(np.zeros(4, np.float32), offset='0'),
        Stored(np.zeros(4, np.float32), size=(-4,)),
        Stored(np.zeros(4, np.float32), stride=(-1,)),
        Stored(np.zeros(4, np.float32), size=(4, 1)),
        Stored(np.zeros(4, np.float32), size=(1,) * 9, stride=(1,) * 9),
        Stored(np.zeros(4, np.float32), size=(1 << 62,), stride=(0,)),
        Stored(np.zeros(4, np.float32), size=(1 << 40,), stride=(0,)),
        Stored(np.zeros(4, np.float32), count=3),
        Stored(np.zeros(4, np.float32), count=1 << 45),
        Stored(np.zeros(4, np.float32), count=-4),
        Stored(np.zeros(4, np.float32), kind='Double'),
        Stored(np.zeros(4, np.float32), kind='ComplexFloat'),
        Stored(np.zeros(4, np.float32), key='../../etc/passwd', count=5),
        Call('torch._utils._rebuild_tensor_v2', ('storage', 0, (1,), (1,), False, {})),
    ],
)
def test_tensors_that_lie_about_themselves(file: Path, tensor: Stored) -> None:
    with pytest.raises(WeightsError, match=r'weights\.pt'):
        read_pt(write_pt(file, tensor))


def test_missing_storage(file: Path) -> None:
    writer = Writer()
    with pytest.raises(WeightsError, match='storage'):
        read_pt(raw_pickle(file, writer.pickle(np.zeros(4, np.float32))))


PROGRAMS = {
    'no stop': b'\x80\x02}',
    'empty': b'',
    'stack underflow': b'\x80\x02R.',
    'missing memo': b'\x80\x02h\x05.',
    'call of a string': b'\x80\x02X\x02\x00\x00\x00os)R.',
    'state for a list': b'\x80\x02]}b.',
    'state for an int': b'\x80\x02K\x01}b.',
    'extension registry': b'\x80\x02\x82\x01.',
    'future protocol': b'\x80\x63.',
    'cut text': b'\x80\x02X\xff\xff\xff\x7fabc',
    'huge long': b'\x80\x02\x8b\xff\xff\xff\x7f.',
    'huge bytes': b'\x80\x04\x8e' + struct.pack('<Q', 1 << 60) + b'.',
    'deep key': b'\x80\x02}' + nested(100_000)[2:-1] + b'K\x01s.',
    'doubling key': b'\x80\x02})' + b'q\x00h\x00\x86' * 60 + b'K\x01s.',
    'object as key': b'\x80\x02}cmodels.yolo\nModel\n)\x81K\x01s.',
    'set of a tuple': b'\x80\x02c__builtin__\nset\n])a\x85R.',
    'arguments for an object': b'\x80\x02cmodels.yolo\nModel\nK\x01\x85\x81.',
    'reduce of a class': b'\x80\x02cmodels.yolo\nModel\n)R.',
    'numbers as attributes': b'\x80\x02cmodels.yolo\nModel\n)\x81}K\x01K\x02sb.',
    'persistent nonsense': b'\x80\x02K\x01Q.',
    'global without end': b'\x80\x02cos',
}


@pytest.mark.parametrize('name', PROGRAMS)
def test_broken_pickles_give_one_error(file: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r'weights\.pt'):
        read_pt(raw_pickle(file, PROGRAMS[name]))


def test_deep_nesting_alone_is_harmless(file: Path) -> None:
    value = read_pt(raw_pickle(file, nested(200_000)))
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 200_000


def test_a_huge_memo_index_takes_no_memory(file: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_pt(raw_pickle(file, b'\x80\x02]r\xff\xff\xff\x7f.')) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_zip_bombs_and_large_pickles(file: Path) -> None:
    bomb = Stored(np.zeros(30_000_000, np.uint8))
    with pytest.raises(WeightsError, match='larger than itself'):
        read_pt(write_pt(file, bomb, zipfile.ZIP_DEFLATED))
    with pytest.raises(WeightsError, match='its pickle has'):
        read_pt(raw_pickle(file, b'\x80\x02' + b'N0' * (MAX_PICKLE // 2) + b'N.'))


def test_many_views_of_one_storage_run_out_of_budget(file: Path) -> None:
    wide = Stored(np.zeros(1, np.float32), size=(1 << 22,), stride=(0,))
    with pytest.raises(WeightsError, match='more memory than the file has'):
        read_pt(write_pt(file, [wide] * 20))


def test_compressed_archives_are_read(file: Path) -> None:
    array = np.random.default_rng(0).random(100).astype(np.float32)
    np.testing.assert_array_equal(read_pt(write_pt(file, array, zipfile.ZIP_DEFLATED)), array)


@pytest.mark.parametrize('cut', [1, 10, 100, 600, -30, -1])
def test_truncated_files(file: Path, cut: int) -> None:
    write_pt(file, {'x': np.arange(100.0)})
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r'weights\.pt: .*(damaged|not a PyTorch)'):
        read_pt(file)


def test_flipped_bytes_give_an_error_or_the_same_data(file: Path) -> None:
    write_pt(file, {'x': np.arange(30.0), 'o': Bag('models.yolo.Model', {'a': [1, 2]})})
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            refused += 1
            np.testing.assert_array_equal(read_pt(file)['x'], np.arange(30.0))  # e.g. a bit of a time stamp
            refused -= 1
    assert refused > 100


@pytest.mark.filterwarnings('ignore:invalid escape sequence')
def test_random_pickles_never_crash(file: Path) -> None:
    rng = np.random.default_rng(1)
    start = Writer().pickle({'x': Bag('models.yolo.Model', {'a': [1, (2, 3)], 'b': Call('torch.Size', ((1,),))})})
    harmless = 0
    for _ in range(400):
        damaged = bytearray(start)
        for position in rng.integers(0, len(start), 3):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(WeightsError):
            read_pt(raw_pickle(file, bytes(damaged)))
            harmless += 1
    assert 0 < harmless < 400


def test_other_kinds_of_file(file: Path) -> None:
    with pytest.raises(WeightsError, match=r'cannot be read \(No such file'):
        read_pt(file)
    file.write_bytes(pickle.dumps([1, 2, 3], 2))
    with pytest.raises(WeightsError, match='old PyTorch file'):
        read_pt(file)
    file.write_bytes(b'hello')
    with pytest.raises(WeightsError, match='not a PyTorch file'):
        read_pt(file)
    write_zip(file, {'a.txt': b'', 'b/c.txt': b''})
    with pytest.raises(WeightsError, match='no single data.pkl'):
        read_pt(file)
    write_pt(file, {}, **{'constants.pkl': b'', 'code/__torch__.py': b''})
    with pytest.raises(WeightsError, match='TorchScript'):
        read_pt(file)
    with pytest.raises(WeightsError, match='cannot be read'):
        read_pt(file.parent)


# Kilobytes that make gigabytes ------------------------------------------------------------------------


def again(build: bytes, use: bytes, times: int = 4000) -> bytes:
    """A pickle that makes something, and then does something with it again and again."""
    return b'\x80\x02](' + build + b'q\x01' + use * times + b'e.'


LONG_TEXT = b'X' + struct.pack('<I', 1 << 20) + b'a' * (1 << 20)
LONG_LIST = b'](' + b'N' * 200_000 + b'e'
PAIRS = b'](' + b'K\x01N\x86' * 100_000 + b'e'
MULTIPLIERS = {
    'joined paths': again(LONG_TEXT, b'cpathlib\nPosixPath\nh\x01h\x01\x86R'),
    'sizes': again(LONG_LIST, b'ctorch\nSize\nh\x01\x85R'),
    'sets': again(LONG_LIST, b'c__builtin__\nset\nh\x01\x85R'),
    'dicts': again(PAIRS, b'ccollections\nOrderedDict\nh\x01\x85R'),
    'encoded text': again(LONG_TEXT, b'c_codecs\nencode\nh\x01X\x01\x00\x00\x00a\x86R'),
    'attributes': again(
        b'}(' + b''.join(b'X\x05\x00\x00\x00%05dN' % i for i in range(50_000)) + b'u',
        b'cmodels.yolo\nModel\n)\x81h\x01b',
    ),
    'dicts of a byte': b'\x80\x02(' + b'}' * 2_000_000 + b't.',
    'marks': b'\x80\x02' + b'(' * 2_000_000 + b'.',
    'memo': b'\x80\x04N' + b'\x94' * 2_000_000 + b'.',
}


@pytest.mark.parametrize('name', MULTIPLIERS)
def test_what_multiplies_runs_out_of_budget(file: Path, name: str) -> None:
    write_zip(file, {'archive/data.pkl': MULTIPLIERS[name], 'archive/other': os.urandom(1 << 19)}, zipfile.ZIP_DEFLATED)
    with bounded(megabytes=250, seconds=20), pytest.raises(WeightsError, match='more memory than the file has'):
        read_pt(file)


@pytest.mark.parametrize('compression', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_streams_longer_than_they_claim(file: Path, compression: int) -> None:
    """The size in the directory says 100 bytes; what the stream makes is cut there, but has to be made first."""
    write_zip(file, {'archive/data.pkl': bytes(60 << 20)}, compression)
    data = file.read_bytes().replace(struct.pack('<I', 60 << 20), struct.pack('<I', 100))
    file.write_bytes(data + bytes(1 << 20))
    with bounded(megabytes=30), pytest.raises(WeightsError, match=r'weights\.pt'):
        read_pt(file)
