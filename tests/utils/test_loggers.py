import csv
import logging
import subprocess
import sys

import cv2
import numpy as np
import pytest

from utils.callbacks import Callbacks
from utils.loggers import BEST_COLUMNS, RESULT_COLUMNS, Loggers
from utils.loggers.csv_log import CsvLog
from utils.loggers.tensorboard import TensorBoardLog
from utils.paths import ROOT

VALUES = [0.1, 0.02, 0.003, 0.5, 0.4, 0.3, 0.2, 0.11, 0.022, 0.0033, 0.01, 0.01, 0.07012345]


def read_csv(path):
    with open(path, newline='') as f:
        return [[cell.strip() for cell in row] for row in csv.reader(f)]


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={'scalars': 0, 'images': 0, 'tensors': 0})
    return events.Reload()


def test_csv_is_a_padded_table(tmp_path):
    CsvLog(tmp_path / 'results.csv', ['a', 'b']).write(0, [1 / 3, 12345678])
    assert (tmp_path / 'results.csv').read_text() == (
        '               epoch,                   a,                   b\n'
        '                   0,             0.33333,          1.2346e+07\n'
    )


def test_csv_goes_on_where_an_earlier_process_stopped(tmp_path):
    path = tmp_path / 'results.csv'
    for epoch in range(3):
        CsvLog(path, ['a']).write(epoch, [epoch / 10])
    assert read_csv(path) == [['epoch', 'a'], ['0', '0'], ['1', '0.1'], ['2', '0.2']]


def test_csv_replaces_the_row_of_an_epoch_that_is_trained_again_and_half_a_row(tmp_path):
    path = tmp_path / 'results.csv'
    log = CsvLog(path, ['a', 'b'])
    for epoch in range(4):
        log.write(epoch, [epoch, epoch])
    with open(path, 'a') as f:
        f.write('                   4,          ')
    CsvLog(path, ['a', 'b']).write(2, [7, 8])
    assert read_csv(path) == [['epoch', 'a', 'b'], ['0', '0', '0'], ['1', '1', '1'], ['2', '7', '8']]


def test_csv_refuses_a_row_of_the_wrong_length(tmp_path):
    with pytest.raises(ValueError, match='1 values for the 2 columns'):
        CsvLog(tmp_path / 'results.csv', ['a', 'b']).write(0, [1])


def test_a_run_leaves_csv_and_events(tmp_path):
    callbacks, loggers = Callbacks(), Loggers(tmp_path)
    cv2.imwrite(str(tmp_path / 'results.png'), np.zeros((8, 12, 3), np.uint8))
    callbacks.register_all(loggers)
    callbacks.run('on_params_update', {'lr0': 0.01})
    for epoch, fitness in enumerate([0.1, 0.3, 0.2]):
        callbacks.run(
            'on_fit_epoch_end', [v * (epoch + 1) for v in VALUES], epoch, max(0.1, 0.3 * (epoch > 0)), fitness
        )
    callbacks.run('on_train_end', tmp_path / 'last', tmp_path / 'best', 2, VALUES[3:10])
    callbacks.run('teardown')
    callbacks.run('teardown')

    rows = read_csv(tmp_path / 'results.csv')
    assert rows[0] == ['epoch', *RESULT_COLUMNS]
    assert rows[3] == ['2', *(f'{v * 3:.5g}' for v in VALUES)]

    events = read_events(tmp_path)
    for column, value in zip(RESULT_COLUMNS, VALUES):
        assert [(e.step, e.value) for e in events.Scalars(column)] == [
            (epoch, pytest.approx(value * (epoch + 1), rel=1e-6)) for epoch in range(3)
        ]
    assert events.Scalars('best/epoch')[0].value == 1
    assert events.Scalars('best/mAP_0.5')[0].value == pytest.approx(VALUES[5] * 2)
    image = events.Images('results')[0]
    assert (image.width, image.height) == (12, 8)
    assert image.encoded_image_string == (tmp_path / 'results.png').read_bytes()
    assert b'|lr0|0.01|' in events.Tensors('params/text_summary')[0].tensor_proto.string_val[0]


def test_a_resumed_run_logs_the_best_of_the_epochs_before(tmp_path):
    loggers = Loggers(tmp_path, ['tensorboard'], best=(3, 0.1, 0.2, 0.3, 0.4), done=4)
    loggers.on_fit_epoch_end(VALUES, 4, 0.9, 0.8)
    loggers.on_train_end(tmp_path / 'last', tmp_path / 'best', 4, VALUES[3:10])
    events = read_events(tmp_path)
    assert [events.Scalars(name)[0].value for name in BEST_COLUMNS] == pytest.approx([3, 0.1, 0.2, 0.3, 0.4])


def test_events_are_on_disk_before_the_file_is_closed(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.scalars({'a': 1.5}, 7)
    assert [(e.step, e.value) for e in read_events(tmp_path).Scalars('a')] == [(7, 1.5)]
    log.close()


def test_without_tensorboard_one_line_and_the_csv(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    for name in [m for m in sys.modules if m.startswith('tensorboard.')]:
        monkeypatch.delitem(sys.modules, name)
    with caplog.at_level(logging.INFO, 'yolov5'):
        loggers = Loggers(tmp_path)
    loggers.on_fit_epoch_end(VALUES, 0, 0.1, 0.1)
    loggers.on_params_update({})
    loggers.on_train_end(tmp_path, tmp_path, 0, [])
    loggers.teardown()
    assert [r.getMessage() for r in caplog.records if 'not installed' in r.getMessage()] == [caplog.messages[0]]
    assert len(read_csv(tmp_path / 'results.csv')) == 2
    assert not list(tmp_path.glob('events*'))


@pytest.mark.parametrize('names', [['csv'], []])
def test_the_csv_is_always_written(tmp_path, names):
    Loggers(tmp_path, names).on_fit_epoch_end(VALUES, 0, 0.1, 0.1)
    assert [file.name for file in tmp_path.iterdir()] == ['results.csv']


def test_the_graph_is_that_of_the_first_batch(tmp_path, tiny):
    from models.yolo import Model

    loggers = Loggers(tmp_path, ['tensorboard'])
    for iteration in range(2):
        loggers.on_train_batch_end(Model(tiny.cfg), iteration, None, None, [])
    nodes = [node.name for node in read_events(tmp_path).Graph().node]
    assert nodes.count('head/24_Detect') == 1


def test_nothing_heavy_is_imported_before_it_is_asked_for():
    code = 'import sys, utils.loggers; print([m for m in ("tensorboard", "oneflow", "PIL", "csv") if m in sys.modules])'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == '[]'
