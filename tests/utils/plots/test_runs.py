import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from utils.errors import DataError
from utils.loggers import RESULT_COLUMNS
from utils.loggers.csv_log import CsvLog
from utils.paths import ROOT
from utils.plots import butter_lowpass_filtfilt, plot_evolve, plot_lr_scheduler, plot_results, plot_val_study

PANELS = [
    'train/box_loss', 'train/obj_loss', 'train/cls_loss', 'metrics/precision', 'metrics/recall',
    'val/box_loss', 'val/obj_loss', 'val/cls_loss', 'metrics/mAP_0.5', 'metrics/mAP_0.5:0.95',
]  # fmt: skip


def write_results(path, epochs, factor=1.0):
    log = CsvLog(path, RESULT_COLUMNS)
    for epoch in range(epochs):
        log.write(epoch, [factor * (column + 1) * (epoch + 1) for column in range(13)])


def test_results_are_ten_panels_by_epoch(tmp_path, drawn, look):
    write_results(tmp_path / 'results.csv', 3)
    plot_results(tmp_path / 'results.csv')
    assert look(tmp_path / 'results.png').std() > 10
    axes = drawn['results.png'].axes
    assert [ax.get_title() for ax in axes] == PANELS
    assert axes[0].lines[0].get_xydata().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert axes[8].lines[0].get_ydata().tolist() == [6, 12, 18]


def test_epochs_without_an_evaluation_are_left_out_of_its_panels(tmp_path, drawn):
    log = CsvLog(tmp_path / 'results.csv', RESULT_COLUMNS)
    for epoch in range(4):
        log.write(epoch, [1.0] * 3 + [0.5 * (epoch == 3)] * 7 + [0.01] * 3)
    plot_results(tmp_path / 'results.csv')
    lines = {ax.get_title(): ax.lines[0] for ax in drawn['results.png'].axes}
    assert lines['train/cls_loss'].get_xydata().tolist() == [[0, 1], [1, 1], [2, 1], [3, 1]]
    for title in ('metrics/recall', 'val/cls_loss', 'metrics/mAP_0.5:0.95'):
        assert lines[title].get_xydata().tolist() == [[3, 0.5]]


def test_several_results_of_a_folder_are_drawn_over_each_other(tmp_path, drawn):
    write_results(tmp_path / 'results.csv', 1)
    write_results(tmp_path / 'results_old.csv', 2)
    plot_results(dir=tmp_path)
    assert [line.get_label() for line in drawn['results.png'].axes[0].lines] == ['results', 'results_old']


@pytest.mark.parametrize(('text', 'match'), [(None, 'no such file'), ('', 'not a table'), ('a,b\n1,2\n', 'columns')])
def test_missing_and_strange_results_are_named(tmp_path, text, match):
    if text is not None:
        (tmp_path / 'results.csv').write_text(text)
    with pytest.raises(DataError, match=match):
        plot_results(tmp_path / 'results.csv')
    with pytest.raises(DataError):
        plot_results(dir=tmp_path / 'nowhere')


@pytest.mark.parametrize('schedule', [lambda e: 1 - e / 10, SimpleNamespace(lr_lambdas=[lambda e: 1 - e / 10])])
def test_learning_rates_are_drawn_and_nothing_is_stepped(tmp_path, drawn, schedule):
    optimizer = SimpleNamespace(param_groups=[{'lr': 0.005, 'initial_lr': 0.01}])
    plot_lr_scheduler(optimizer, schedule, epochs=10, save_dir=tmp_path)
    np.testing.assert_allclose(drawn['LR.png'].axes[0].lines[0].get_ydata(), 0.01 * (1 - np.arange(10) / 10))
    assert optimizer.param_groups == [{'lr': 0.005, 'initial_lr': 0.01}]


def test_evolution_marks_and_logs_the_fittest(tmp_path, drawn, look, caplog):
    rows = [[0, 0, 0.5, 0.2, 0, 0, 0, 0.01, 3.0], [0, 0, 0.1, 0.4, 0, 0, 0, 0.02, 5.0]]
    header = 'P,R,mAP_0.5,mAP_0.5:0.95,val/box_loss,val/obj_loss,val/cls_loss,lr0,warmup_epochs'
    np.savetxt(tmp_path / 'evolve.csv', rows, delimiter=',', header=header, comments='')
    with caplog.at_level('INFO', 'yolov5'):
        plot_evolve(tmp_path / 'evolve.csv')
    assert look(tmp_path / 'evolve.png').std() > 5
    axes = [ax for ax in drawn['evolve.png'].axes if ax.axison]
    assert [ax.get_title() for ax in axes] == ['lr0 = 0.02', 'warmup_epochs = 5']
    assert axes[0].lines[0].get_xydata().tolist() == [[0.02, pytest.approx(0.37)]]
    assert any('row 1' in line for line in caplog.messages)


def test_study_draws_the_sizes_and_the_speed_up_to_the_best(tmp_path, drawn):
    rows = np.arange(30.0).reshape(3, 10)
    rows[:, 3] = [0.3, 0.5, 0.4]
    np.savetxt(tmp_path / 'study_coco_yolov5s.txt', rows)
    np.savetxt(tmp_path / 'study_coco_yolov5n.txt', rows)
    plot_val_study(dir=tmp_path, x=np.array([256, 384, 512]))
    axes = drawn['study.png'].axes
    assert [line.get_label() for line in axes[0].lines] == ['coco_yolov5n', 'coco_yolov5s']
    assert axes[4].lines[0].get_xydata().tolist() == [[256, 7], [384, 17], [512, 27]]
    np.testing.assert_allclose(axes[7].lines[0].get_xydata(), [[7 + 8 + 9, 30], [17 + 18 + 19, 50]])


def test_a_study_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match='study'):
        plot_val_study(dir=tmp_path)
    with pytest.raises(DataError, match='gone.txt: no such file'):
        plot_val_study(tmp_path / 'gone.txt')


def test_lowpass_keeps_the_slow_wave_and_drops_the_fast_one():
    t = np.arange(0, 0.1, 1 / 50000)
    slow, fast = np.sin(2 * np.pi * 100 * t), np.sin(2 * np.pi * 10000 * t)
    smooth = butter_lowpass_filtfilt(slow + fast, cutoff=1500, fs=50000)
    assert np.abs(smooth - slow)[500:-500].max() < 0.01


def test_plots_need_no_pyplot_and_no_oneflow():
    code = 'import sys, utils.plots; print([m for m in ("matplotlib.pyplot", "pandas", "oneflow") if m in sys.modules])'
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == '[]'
