"""The table of formats: each is exported and evaluated, and what fails is in the table as well."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pandas
import pytest

from benchmarks import formats
from benchmarks.formats import NOT_HERE, Row, judge
from utils.errors import WeightsError
from utils.options import parse_options
from utils.paths import ROOT


@pytest.fixture
def export(exports, tmp_path, monkeypatch):
    """A stand-in for export.py that hands out files made before; its calls are noted."""
    damaged = tmp_path / 'x.onnx'
    damaged.write_text('x')
    made = {'onnx': exports['dynamic'], 'openvino': exports['openvino-dynamic'], 'state': damaged, 'damaged': damaged}
    calls = []

    def run(include, **options):
        calls.append((include, options))
        if include == ['refused']:
            raise RuntimeError('no such operation')  # as a converter may
        return [made[include[0]]]

    table = {name: SimpleNamespace(cpu=name != 'state', gpu=False) for name in [*made, 'refused']}
    stand_in = SimpleNamespace(FORMATS=table, ELSEWHERE={'tflite': 'made of the .onnx file'}, run=run, calls=calls)
    monkeypatch.setitem(sys.modules, 'export', stand_in)
    return stand_in


def measure(files, tiny, folder, **options) -> pandas.DataFrame:
    return formats.run(
        weights=str(files['checkpoint']), data=str(tiny.data), imgsz=64, workers=0, project=str(folder), device='cpu',
        **options,
    ).set_index('format')  # fmt: skip


def test_every_format_has_its_row(exports, export, tiny, tmp_path, messages):
    table = measure(exports, tiny, tmp_path, batch_size=2)
    assert list(table.index) == ['checkpoint', 'onnx', 'openvino', 'state', 'damaged', 'refused', 'tflite']
    assert table.status['state'] == 'exported'  # nothing here can run it
    assert list(table.status[:3]) == ['ok'] * 3
    assert (table.ms[:3] > 0).all()
    assert table.size_mb['onnx'] == pytest.approx(exports['dynamic'].stat().st_size / 1e6, abs=0.01)
    assert table.size_mb['openvino'] > 0
    assert table.status['damaged'] == 'evaluation failed'
    assert (table.status['refused'], table.note['refused']) == ('export failed', 'no such operation')
    assert (table.status['tflite'], table.note['tflite']) == (NOT_HERE, 'made of the .onnx file')
    assert export.calls[0][1] == {
        'weights': str(exports['checkpoint']), 'data': str(tiny.data), 'imgsz': [64], 'batch_size': 2, 'device': 'cpu',
        'half': False,
    }  # fmt: skip
    written = pandas.read_csv(tmp_path / 'exp' / 'benchmarks.csv', index_col='format')
    pandas.testing.assert_frame_equal(written.fillna(''), table.fillna(''), check_dtype=False)
    line = next(line for line in messages().splitlines() if line.split()[:1] == ['onnx'])
    assert line.split()[-1] == 'ok'
    assert len(line.split()) == 5


def test_test_only_exports(exports, export, tiny, tmp_path, messages):
    table = measure(exports, tiny, tmp_path, test=True)
    assert list(table.status[:5]) == ['exported'] * 5
    assert table.map50_95.isna().all()
    assert 'None' not in messages().split('Format')[1]


def test_hard_fail_ends_the_command_after_the_table_is_written(exports, export, tiny, tmp_path):
    with pytest.raises(WeightsError, match='damaged, refused failed'):
        measure(exports, tiny, tmp_path, hard_fail=0.0)
    assert (tmp_path / 'exp' / 'benchmarks.csv').is_file()


def test_the_exit_code_tells_what_failed_after_all_was_measured(exports, export, tiny, tmp_path):
    words = ['--weights', exports['checkpoint'], '--data', tiny.data, '--imgsz', 64, '--device', 'cpu', '--test']
    with pytest.raises(WeightsError, match=r'^1 of 7 formats failed: refused \(no such operation\)$'):
        formats.main([*map(str, words), '--project', str(tmp_path)])
    assert (tmp_path / 'exp' / 'benchmarks.csv').is_file()


def test_the_floor():
    rows = [Row('a', 'ok', map50_95=0.3), Row('b', 'ok', map50_95=0.29), Row('c', NOT_HERE), Row('d', 'exported')]
    judge(rows, 0.29)
    with pytest.raises(WeightsError, match=r'mAP50-95 under 0\.295: b 0\.29'):
        judge(rows, 0.295)
    with pytest.raises(WeightsError, match='e failed'):
        judge([*rows, Row('e', 'export failed')], 0.0)


def test_the_script():
    done = subprocess.run([sys.executable, 'benchmarks.py', '--imgsz', 'x'], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, '')
    assert '--imgsz' in done.stderr
    options = parse_options(formats.BenchmarkOptions, ['--hard-fail', '--half'], '', '')
    assert (options.hard_fail, options.half, options.test, options.batch_size) == (0.0, True, False, 1)


def test_a_checkpoint_that_can_not_be_read_ends_it(export, tiny, tmp_path):
    with pytest.raises(WeightsError, match='gone.pt'):
        measure({'checkpoint': 'gone.pt'}, tiny, tmp_path)
