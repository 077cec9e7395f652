"""What Weights & Biases, ClearML and Comet are told in a run, seen by stand-ins for their packages."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.utils.loggers.stand_ins import install
from utils.callbacks import Callbacks
from utils.loggers import BEST_COLUMNS, RESULT_COLUMNS, Loggers

pytestmark = pytest.mark.usefixtures('messages')
VALUES = [round(0.1 * n, 1) for n in range(1, 14)]
EPOCH = dict(zip(RESULT_COLUMNS, VALUES))
BEST = dict(zip(BEST_COLUMNS, [0, *VALUES[3:7]]))


def draw(file: Path) -> None:
    cv2.imwrite(str(file), np.zeros((8, 12, 3), np.uint8))


def begin(folder: Path, name: str, done: int = 0) -> Callbacks:
    (folder / 'weights').mkdir(parents=True, exist_ok=True)
    callbacks = Callbacks()
    callbacks.register_all(Loggers(folder, ['csv', name], done=done))
    return callbacks


def train(folder: Path, name: str) -> None:
    """The hooks of a run of one epoch, in their order."""
    weights, callbacks = folder / 'weights', begin(folder, name)
    callbacks.run('on_params_update', {'lr0': 0.01, 'save_period': 1})
    draw(folder / 'labels.jpg')
    callbacks.run('on_pretrain_routine_end')
    draw(folder / 'train_batch0.jpg')
    callbacks.run('on_train_batch_end', object(), 0, None, None, [])
    callbacks.run('on_train_epoch_end', epoch=0)
    callbacks.run('on_val_end')  # nothing is drawn during training
    callbacks.run('on_fit_epoch_end', VALUES, 0, 0.3, 0.3)
    for file in ('best', 'epoch0', 'last'):
        (weights / f'{file}.safetensors').touch()
    callbacks.run('on_model_save', weights / 'last.safetensors', 0, True, 0.3, 0.3)
    draw(folder / 'val_batch0_pred.jpg')
    draw(folder / 'PR_curve.png')
    callbacks.run('on_val_end')
    draw(folder / 'results.png')
    callbacks.run('on_train_end', weights / 'last.safetensors', weights / 'best.safetensors', 0, VALUES[3:10])
    callbacks.run('teardown')


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / 'runs' / 'train' / 'exp2'


def test_wandb(folder, monkeypatch, messages):
    calls = install(monkeypatch, 'wandb')
    train(folder, 'wandb')
    named = [(name, given) for name, given in calls if name not in ('Image', 'add_file', 'Artifact', 'log_artifact')]
    assert named == [
        ('init', {'project': 'YOLOv5', 'name': 'exp2', 'dir': str(folder)}),
        ('config.update', {'d': {'lr0': 0.01, 'save_period': 1}, 'allow_val_change': True}),
        ('log', {'data': {'Labels': ['labels.jpg']}, 'step': 0}),
        ('log', {'data': {'Mosaics': ['train_batch0.jpg']}, 'step': 0}),
        ('log', {'data': EPOCH, 'step': 0}),
        ('log', {'data': {'Validation': ['val_batch0_pred.jpg']}, 'step': 0}),
        ('log', {'data': BEST, 'step': 0}),
        ('log', {'data': {'Results': ['PR_curve.png', 'results.png']}, 'step': 0}),
        ('finish', {'exit_code': 0}),
    ]
    files = [given for name, given in calls if name == 'add_file']
    assert [given['name'] for given in files] == ['epoch0.safetensors', 'best.safetensors']
    artifacts = [given for name, given in calls if name == 'Artifact']
    assert artifacts == [{'name': 'run_run7_model', 'type': 'model', 'metadata': {'epoch': 0}}] * 2
    assert [given['aliases'] for name, given in calls if name == 'log_artifact'] == [['epoch0'], ['best']]
    assert messages() == ''


def test_wandb_is_filed_where_its_environment_says(folder, monkeypatch):
    calls = install(monkeypatch, 'wandb')
    monkeypatch.setenv('WANDB_PROJECT', 'cells')
    monkeypatch.setenv('WANDB_NAME', 'first')
    train(folder, 'wandb')
    assert (calls[0][1]['project'], calls[0][1]['name']) == ('cells', 'first')


def test_clearml(folder, monkeypatch, messages):
    calls = install(monkeypatch, 'clearml')
    train(folder, 'clearml')
    name, given = calls[0]
    assert (name, given['project_name'], given['task_name']) == ('init', 'YOLOv5', 'exp2')
    assert (given['reuse_last_task_id'], given['auto_connect_frameworks']) == (False, False)
    assert 'continue_last_task' not in given
    assert calls[2] == ('connect', {'mutable': {'lr0': 0.01, 'save_period': 1}, 'name': 'Options'})
    scalars = [given for name, given in calls if name == 'report_scalar']
    assert [f'{given["title"]}/{given["series"]}' for given in scalars] == [*RESULT_COLUMNS, *BEST_COLUMNS]
    assert [given['value'] for given in scalars] == [*VALUES, *BEST.values()]
    assert {given['iteration'] for given in scalars} == {0}
    pictures = [(given['title'], Path(given['local_path']).name) for name, given in calls if name == 'report_image']
    assert pictures == [
        ('Labels', 'labels.jpg'), ('Mosaics', 'train_batch0.jpg'), ('Validation', 'val_batch0_pred.jpg'),
        ('Results', 'PR_curve.png'), ('Results', 'results.png'),
    ]  # fmt: skip
    models = [given for name, given in calls if name == 'update_weights']
    assert [given['target_filename'] for given in models] == ['epoch0.safetensors', 'best.safetensors']
    assert not any(given['auto_delete_file'] for given in models)
    assert [name for name, _ in calls[-2:]] == ['update_weights', 'close']
    assert messages() == ''


def test_comet(folder, monkeypatch, messages):
    calls = install(monkeypatch, 'comet')
    train(folder, 'comet')
    named = [(name, given) for name, given in calls if name not in ('log_image', 'log_model')]
    assert named == [
        ('Experiment', {'project_name': 'YOLOv5'}),
        ('set_name', {'name': 'exp2'}),
        ('log_parameters', {'parameters': {'lr0': 0.01, 'save_period': 1}}),
        ('log_metrics', {'dic': EPOCH, 'step': 0, 'epoch': 0}),
        ('log_metrics', {'dic': BEST, 'step': 0, 'epoch': 0}),
        ('log_other', {'key': 'finished', 'value': True}),
        ('end', {}),
    ]
    assert [given['name'] for name, given in calls if name == 'log_image'] == [
        'Labels/labels.jpg', 'Mosaics/train_batch0.jpg', 'Validation/val_batch0_pred.jpg', 'Results/PR_curve.png',
        'Results/results.png',
    ]  # fmt: skip
    models = [given['file_name'] for name, given in calls if name == 'log_model']
    assert models == ['epoch0.safetensors', 'best.safetensors']
    assert messages() == ''


@pytest.mark.parametrize(('name', 'again'), [
    ('wandb', [('init', {'id': 'run7', 'resume': 'allow'})]),
    ('clearml', [('init', {'continue_last_task': 'task7'}), ('set_initial_iteration', {'offset': 0})]),
    ('comet', [('ExistingExperiment', {'previous_experiment': 'key7'})]),
])  # fmt: skip
def test_a_run_that_goes_on_goes_on_there_too(folder, monkeypatch, name, again):
    calls = install(monkeypatch, name)
    begin(folder, name)
    for done in (3, 4):
        calls.clear()
        begin(folder, name, done)
        begun = dict(calls)
        assert all(given.items() <= begun[call].items() for call, given in again)
        assert 'reuse_last_task_id' not in begun.get('init', {})


def test_an_old_id_is_not_taken_for_a_new_runs(folder, monkeypatch):
    """--exist-ok begins anew in the folder, and without the logger."""
    calls = install(monkeypatch, 'wandb')
    begin(folder, 'wandb')
    Loggers(folder, ['csv'])
    calls.clear()
    begin(folder, 'wandb', done=1)
    assert 'id' not in calls[0][1]


@pytest.mark.parametrize(('name', 'last'), [
    ('wandb', [('finish', {'exit_code': 1})]),
    ('clearml', [('mark_stopped', {}), ('close', {})]),
    ('comet', [('log_other', {'key': 'finished', 'value': False}), ('end', {})]),
])  # fmt: skip
def test_a_run_that_is_interrupted(folder, monkeypatch, name, last):
    calls = install(monkeypatch, name)
    callbacks = begin(folder, name)
    callbacks.run('on_fit_epoch_end', VALUES, 0, 0.3, 0.3)
    for _ in range(2):
        callbacks.run('teardown')
    assert calls[-len(last) :] == last
    assert sum(call == last[-1] for call in calls) == 1


def test_files_of_an_earlier_run_are_not_this_ones(folder, monkeypatch):
    train(folder, 'tensorboard')
    calls = install(monkeypatch, 'wandb')
    callbacks = begin(folder, 'wandb')
    weights = folder / 'weights'
    callbacks.run('on_train_epoch_end', epoch=0)
    (weights / 'last.safetensors').write_bytes(b'this run')
    callbacks.run('on_train_end', weights / 'last.safetensors', weights / 'best.safetensors', 0, VALUES[3:10])
    assert [given['name'] for name, given in calls if name == 'add_file'] == ['last.safetensors']
    assert not [name for name, _ in calls if name == 'Image']


def test_one_that_fails_is_off_and_the_others_go_on(folder, monkeypatch, messages):
    calls, others = install(monkeypatch, 'wandb'), install(monkeypatch, 'comet')
    folder.mkdir(parents=True)
    callbacks = Callbacks()
    callbacks.register_all(Loggers(folder, ['wandb', 'comet']))

    def log(data, step):
        raise TimeoutError('no answer')

    sys.modules['wandb'].init().log = log
    for epoch in range(3):
        callbacks.run('on_fit_epoch_end', VALUES, epoch, 0.3, 0.3)
    callbacks.run('teardown')
    assert messages() == (
        'WARNING: Weights & Biases: scalars failed (TimeoutError: no answer), so the run goes on without it'
    )
    assert [name for name, _ in calls] == ['init', 'init']
    assert [name for name, _ in others].count('log_metrics') == 3
    assert (folder / 'results.csv').read_text().count('\n') == 4


def test_ctrl_c_goes_through(folder, monkeypatch):
    install(monkeypatch, 'wandb')
    callbacks = begin(folder, 'wandb')

    def log(data, step):
        raise KeyboardInterrupt

    sys.modules['wandb'].init().log = log
    with pytest.raises(KeyboardInterrupt):
        callbacks.run('on_fit_epoch_end', VALUES, 0, 0.3, 0.3)
