"""Whole runs of train.py, in this process: what they write, call, keep and refuse."""

from __future__ import annotations

import csv
import errno
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import train
import val
from tests.tiny import SIZE, UNSEEN, Tiny, logged_lines, make_tiny
from tests.utils.loggers import stand_ins
from utils.callbacks import HOOKS, Callbacks
from utils.checkpoint import load_checkpoint
from utils.errors import TrainingError, UsageError, run_main
from utils.hyps import load_hyp
from utils.loggers import RESULT_COLUMNS
from utils.options import make_options
from utils.paths import read_yaml, write_yaml

pytestmark = pytest.mark.usefixtures('messages')


def listen() -> tuple[Callbacks, list[tuple[str, tuple]]]:
    """Callbacks that write down every call."""
    callbacks, calls = Callbacks(), []
    for hook in HOOKS:
        callbacks.register_action(
            hook, callback=lambda *args, hook=hook, **kw: calls.append((hook, (*args, *kw.values())))
        )
    return callbacks, calls


@pytest.fixture(scope='module')
def finished(tiny, tmp_path_factory) -> SimpleNamespace:
    """A run of three epochs with everything that it can write. Not to be changed."""
    callbacks, calls = listen()
    with logged_lines() as lines:
        options = tiny.options(tmp_path_factory.mktemp('runs'), epochs=3, save_period=2, noplots=False)
        results = train.run(callbacks, label_smoothing=0.1, **options)
    folder = Path(options['project']) / 'exp'
    return SimpleNamespace(folder=folder, calls=calls, lines=lines, results=results, options=options)


def rows_of(folder: Path) -> list[list[str]]:
    with open(folder / 'results.csv', newline='') as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file)]


def weights_of(folder: Path, name: str = 'last') -> dict[str, np.ndarray]:
    return load_checkpoint(folder / 'weights' / f'{name}.safetensors').state


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_cached_gpu_memory_is_freed_before_each_part(tiny, tmp_path, monkeypatch):
    """OneFlow's allocator joins no blocks: what training cut up would not serve an evaluation."""
    steps, callbacks, evaluate = [], Callbacks(), val.run
    monkeypatch.setattr('utils.device.free_cached_memory', lambda device: steps.append(f'free {device.type}'))

    def evaluated(**options: Any) -> tuple:
        steps.append(f'evaluate {options["batch_size"]}')
        return evaluate(**options)

    monkeypatch.setattr(val, 'run', evaluated)
    callbacks.register_action('on_train_batch_start', callback=lambda: steps.append('train'))
    train.run(callbacks, **tiny.options(tmp_path, epochs=2))
    assert steps == ['free cpu', 'train', 'train', 'free cpu', 'evaluate 8'] * 2 + ['free cpu', 'evaluate 8']


# What a run writes ----------------------------------------------------------------------------------------------------


def test_files(finished):
    files = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob('*') if path.is_file()}
    events = {name for name in files if name.startswith('events.out.tfevents')}
    assert len(events) == 1
    assert files - events == {
        'opt.yaml', 'hyp.yaml', 'results.csv', 'results.png', 'labels.jpg', 'labels_correlogram.jpg',
        'train_batch0.jpg', 'train_batch1.jpg', 'train_batch2.jpg', 'val_batch0_labels.jpg', 'val_batch0_pred.jpg',
        'confusion_matrix.png', 'F1_curve.png', 'P_curve.png', 'R_curve.png', 'PR_curve.png',
        'weights/last.safetensors', 'weights/best.safetensors', 'weights/epoch0.safetensors',
        'weights/epoch2.safetensors',
    }  # fmt: skip
    assert f'Results saved to {finished.folder}' in finished.lines


def test_batches_are_drawn_as_trained_on(finished):
    firsts = [args[2][0].numpy().transpose(1, 2, 0) for hook, args in finished.calls if hook == 'on_train_batch_end']
    for number in range(3):
        drawn = cv2.imread(str(finished.folder / f'train_batch{number}.jpg'))[..., ::-1]
        corner = cv2.resize(drawn[: len(drawn) // 2, : len(drawn) // 2], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        # The median does not see what boxes and names cover.
        differences = [np.median(np.abs(first * 255 - corner)) for first in firsts]
        assert np.argmin(differences) == number


def test_results_have_the_references_columns(finished):
    header, *rows = rows_of(finished.folder)
    assert header == ['epoch', *RESULT_COLUMNS]
    assert [row[0] for row in rows] == ['0', '1', '2']
    logged = [args for hook, args in finished.calls if hook == 'on_fit_epoch_end']
    for row, (values, epoch, best, fitness) in zip(rows, logged):
        assert int(row[0]) == epoch
        assert best >= fitness
        np.testing.assert_allclose([float(cell) for cell in row[1:]], values, rtol=1e-4)
    losses = np.array([row[1:4] + row[8:11] for row in rows], float)
    assert ((losses > 0) & (losses < 1)).all()
    # Biases come down from 0.1, the others up from 0; the last batch was number 5 of 100.
    assert [float(cell) for cell in rows[-1][-3:]] == pytest.approx(
        [0.1 - 0.05 * 0.0967, 0.05 * 0.0033, 0.05 * 0.0033], rel=0.05
    )


def test_options_and_hyper_parameters_read_back(finished):
    options = read_yaml(finished.folder / 'opt.yaml')
    assert options.pop('save_dir') == str(finished.folder)
    asked = train.TrainOptions(**finished.options, label_smoothing=0.1)
    assert make_options(train.TrainOptions, **options) == asked
    assert load_hyp(finished.folder / 'hyp.yaml') == load_hyp(asked.hyp) | {'label_smoothing': 0.1}


def test_a_checkpoint_in_the_middle_holds_all_of_the_run(finished):
    middle = load_checkpoint(finished.folder / 'weights' / 'epoch0.safetensors')
    assert (middle.epoch, middle.ema_updates) == (0, 2)
    assert middle.names == ['circle', 'square', 'triangle', 'star']
    parameters = [name for name in middle.state if name.endswith(('weight', 'bias'))]
    assert len(middle.optimizer['state']) == len(parameters) == 159
    assert middle.trainer['options']['epochs'] == 3
    assert middle.hyp['label_smoothing'] == 0.1
    assert not same(middle.state, middle.ema)


def test_what_is_left_is_the_average_without_the_rest(finished):
    before = load_checkpoint(finished.folder / 'weights' / 'epoch2.safetensors')
    last = load_checkpoint(finished.folder / 'weights' / 'last.safetensors')
    assert same(last.state, before.ema)
    assert not same(last.state, before.state)
    for name in ('last', 'best'):
        ckpt = load_checkpoint(finished.folder / 'weights' / f'{name}.safetensors')
        assert (ckpt.epoch, ckpt.ema, ckpt.optimizer, ckpt.trainer) == (-1, None, None, {})
        assert (ckpt.config['width_multiple'], ckpt.hyp['label_smoothing']) == (0.02, 0.1)


def test_the_results_are_those_of_the_best_weights(finished, tmp_path):
    best = finished.folder / 'weights' / 'best.safetensors'
    results, _, _ = val.run(
        finished.options['data'], weights=best, imgsz=SIZE, batch_size=8, workers=0, save_dir=tmp_path, plots=False
    )
    assert finished.results[:4] == pytest.approx(results[:4])
    assert len(finished.results) == 7


def test_tensorboard_has_the_numbers(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder)).Reload()
    losses = [float(row[1]) for row in rows_of(finished.folder)[1:]]
    assert [event.value for event in events.Scalars('train/box_loss')] == pytest.approx(losses, rel=1e-3)


def test_tensorboard_has_the_pictures_and_the_graph(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder)).Reload()
    pictures = {path.stem for path in finished.folder.iterdir() if path.suffix in {'.jpg', '.png'}}
    assert set(events.Tags()['images']) == pictures
    steps = [events.Images(name)[0].step for name in ('labels', 'train_batch1', 'train_batch2', 'results')]
    assert steps == [0, 0, 1, 2]
    assert events.Graph().node[-1].name == 'head/24_Detect'


def test_loggers(tiny, tmp_path, monkeypatch):
    """Those asked for hear of the run, the others do not."""
    asked, other = stand_ins.install(monkeypatch, 'wandb'), stand_ins.install(monkeypatch, 'clearml')
    train.run(**tiny.options(tmp_path, loggers=['wandb']))
    assert [name for name, _ in asked[:3]] == ['init', 'config.update', 'log']
    assert dict(asked)['config.update']['d']['loggers'] == ['wandb']
    assert asked[2][1]['data'].keys() == set(RESULT_COLUMNS)
    assert dict(asked)['add_file']['name'] == 'best.safetensors'
    assert asked[-1] == ('finish', {'exit_code': 0})
    assert not other
    assert not list((tmp_path / 'exp').glob('events*'))
    assert read_yaml(tmp_path / 'exp' / 'loggers.yaml') == {'wandb': 'run7'}


def test_noplots_and_paths_that_are_paths(tiny, tmp_path):
    train.run(**tiny.options(tmp_path) | {'data': tiny.data, 'cfg': tiny.cfg, 'project': tmp_path})
    names = {path.name for path in (tmp_path / 'exp').iterdir() if not path.name.startswith('events')}
    assert names == {'opt.yaml', 'hyp.yaml', 'results.csv', 'weights'}
    assert read_yaml(tmp_path / 'exp' / 'opt.yaml')['data'] == str(tiny.data)


def test_folders_are_numbered_unless_told_otherwise(tiny, tmp_path, monkeypatch):
    def folder(**changes: Any) -> str:
        run = train.start(make_options(train.TrainOptions, **tiny.options(tmp_path, **changes)), None)
        train.open_folder(run)
        return str(run.folder.relative_to(tmp_path))

    assert [folder(), folder(), folder(name='mine'), folder(exist_ok=True)] == ['exp', 'exp2', 'mine', 'exp']


# Hooks ----------------------------------------------------------------------------------------------------------------


def test_hooks(finished):
    batch = ['on_train_batch_start', 'on_before_zero_grad', 'optimizer_step', 'on_train_batch_end']
    gather = ['on_train_batch_start', 'on_train_batch_end']  # warming up, steps come to take two batches in epoch 2
    evaluation = [
        'on_val_start',
        'on_val_batch_start',
        *['on_val_image_end'] * UNSEEN,
        'on_val_batch_end',
        'on_val_end',
    ]
    after = ['on_train_epoch_end', *evaluation, 'on_fit_epoch_end', 'on_model_save']
    assert [hook for hook, _ in finished.calls] == [
        'on_pretrain_routine_start', 'on_params_update', 'on_pretrain_routine_end', 'on_train_start',
        'on_train_epoch_start', *batch, *batch, *after,
        'on_train_epoch_start', *batch, *batch, *after,
        'on_train_epoch_start', *gather, *batch, *after,
        *evaluation, 'on_train_end', 'teardown',
    ]  # fmt: skip


def test_what_hooks_are_given(finished):
    given = dict(finished.calls)  # the last call of each
    model, iteration, images, targets, paths = given['on_train_batch_end']
    assert (iteration, images.shape, targets.shape[1], len(paths)) == (5, (4, 3, SIZE, SIZE), 6, 4)
    assert model.names == ['circle', 'square', 'triangle', 'star']
    assert given['on_train_epoch_end'] == (2,)
    last, epoch, final, best_fitness, fitness = given['on_model_save']
    assert (last, epoch, final) == (finished.folder / 'weights' / 'last.safetensors', 2, True)
    assert best_fitness >= fitness
    assert given['on_train_end'] == (last, last.with_name('best.safetensors'), 2, finished.results)
    assert given['on_params_update'][0]['epochs'] == 3
    assert given['on_params_update'][0]['lr0'] == 0.01


def test_a_hook_can_stop_the_training(tiny, tmp_path):
    callbacks, calls = listen()
    callbacks.register_action('on_train_epoch_end', callback=lambda **_: setattr(callbacks, 'stop_training', True))
    train.run(callbacks, **tiny.options(tmp_path, epochs=5, noval=True, nosave=True))
    hooks = [hook for hook, _ in calls]
    assert hooks.count('on_train_epoch_start') == 1
    assert hooks.count('on_val_start') == 2  # the epoch has become the last one, and so is evaluated; then the best
    assert load_checkpoint(tmp_path / 'exp' / 'weights' / 'last.safetensors').epoch == -1
    assert len(rows_of(tmp_path / 'exp')) == 2


def test_callbacks_serve_several_trainings(tiny, tmp_path):
    """Each writes its own results.csv, and what one has ended by does not end the next; also after a failure."""
    callbacks, calls = listen()
    actions = callbacks.get_registered_actions
    mine = {hook: list(actions(hook)) for hook in HOOKS}
    callbacks.register_action('on_train_epoch_end', callback=lambda **_: setattr(callbacks, 'stop_training', True))
    callbacks.register_action('teardown', callback=lambda: 1 / 0)
    options = tiny.options(tmp_path, epochs=2, noval=True, loggers=[])
    with pytest.raises(ZeroDivisionError):
        train.run(callbacks, name='one', **options)
    actions('teardown').pop()
    actions('on_train_epoch_end').pop()
    assert {hook: actions(hook) for hook in HOOKS} == mine
    train.run(callbacks, name='two', **options)
    assert [len(rows_of(tmp_path / name)) - 1 for name in ('one', 'two')] == [1, 2]
    assert sum(hook == 'on_fit_epoch_end' for hook, _ in calls) == 3


def test_nosave_and_noval_leave_it_to_the_last_epoch(tiny, tmp_path):
    callbacks, calls = listen()
    train.run(callbacks, **tiny.options(tmp_path, epochs=2, noval=True, nosave=True))
    order = [hook for hook, _ in calls if hook in ('on_train_epoch_end', 'on_val_start', 'on_model_save')]
    assert order == ['on_train_epoch_end', 'on_train_epoch_end', 'on_val_start', 'on_model_save', 'on_val_start']
    first, last = rows_of(tmp_path / 'exp')[1:]
    assert [float(cell) for cell in first[8:11]] == [0, 0, 0]
    assert all(float(cell) > 0 for cell in last[8:11])


def test_an_older_best_in_the_folder_is_left_alone(tiny, tmp_path, marks):
    """--exist-ok --nosave, and a last epoch that is not the best: the folder's best is another run's."""
    older = tmp_path / 'exp' / 'weights' / 'best.safetensors'
    older.parent.mkdir(parents=True)
    older.write_bytes(b'an older run')
    marks.maps = [0.3, 0.2]
    train.run(**tiny.options(tmp_path, epochs=2, nosave=True, exist_ok=True))
    assert older.read_bytes() == b'an older run'
    assert len(marks.models) == 2  # nothing but the epochs was evaluated
    assert load_checkpoint(older.with_name('last.safetensors')).epoch == -1


# Best, patience, seed -------------------------------------------------------------------------------------------------


class Marks:
    """Takes the place of `val.run`: gives these mAPs one after the other, then 0, and remembers the models."""

    def __init__(self, *maps: float) -> None:
        self.maps, self.models = list(maps), []

    def __call__(self, data: Any, model: Any, **_: Any) -> tuple:
        value = self.maps[len(self.models)] if len(self.models) < len(self.maps) else 0.0
        self.models.append(model)
        return (0.5, 0.5, value, value, 0.1, 0.1, 0.1), np.full(4, value), (0.0, 0.0, 0.0)


@pytest.fixture
def marks(monkeypatch) -> Marks:
    marks = Marks()
    monkeypatch.setattr(val, 'run', marks)
    return marks


@pytest.fixture(scope='module')
def marked(tiny, tmp_path_factory) -> SimpleNamespace:
    """A run that was best in epoch 1 and whose patience lasts for two more epochs."""
    marks, (callbacks, calls) = Marks(0.1, 0.3, 0.2, 0.2, 0.2, 0.2), listen()
    options = tiny.options(tmp_path_factory.mktemp('runs'), epochs=6, patience=2, save_period=1)
    with pytest.MonkeyPatch.context() as patch, logged_lines() as lines:
        patch.setattr(val, 'run', marks)
        train.run(callbacks, **options)
    return SimpleNamespace(folder=Path(options['project']) / 'exp', lines=lines, models=marks.models, calls=calls)


def test_best_is_the_epoch_of_the_highest_fitness(marked):
    epochs = [load_checkpoint(marked.folder / 'weights' / f'epoch{epoch}.safetensors') for epoch in range(4)]
    assert same(weights_of(marked.folder, 'best'), epochs[1].ema)
    assert same(weights_of(marked.folder, 'last'), epochs[3].ema)
    assert [ckpt.best_fitness for ckpt in epochs] == pytest.approx([0.1, 0.3, 0.3, 0.3])


def test_patience_ends_a_run_that_gets_no_better(marked):
    assert [row[0] for row in rows_of(marked.folder)[1:]] == ['0', '1', '2', '3']
    assert any('The best was epoch 1' in line for line in marked.lines)


def test_it_is_the_average_that_is_evaluated(marked):
    trained = next(args[0] for hook, args in marked.calls if hook == 'on_train_batch_end')
    average, *others, final = marked.models
    assert average is not trained
    assert all(model is average for model in others)
    assert average.names == trained.names
    assert not average.training
    np.testing.assert_array_equal(average.model[0].bn.bias.numpy(), weights_of(marked.folder)['model.0.bn.bias'])
    assert final is not average  # the best file, loaded


def test_the_seed_is_all_that_decides(tiny, tmp_path, marks):
    def train_with(**changes: Any) -> dict[str, np.ndarray]:
        train.run(**tiny.options(tmp_path, **changes, exist_ok=True))
        return weights_of(tmp_path / 'exp')

    first = train_with(seed=3)
    assert same(first, train_with(seed=3, workers=2, local_rank=1))
    assert not same(first, train_with(seed=4))


# When things go wrong -------------------------------------------------------------------------------------------------


def poison(callbacks: Callbacks, iteration: int) -> None:
    """Break the model's weights after a batch."""

    def act(model: Any, now: int, *_: Any) -> None:
        if now == iteration:
            model.model[0].conv.weight.data.mul_(float('nan'))

    callbacks.register_action('on_train_batch_end', callback=act)


def test_any_seed_will_do(tiny, tmp_path):
    train.start(make_options(train.TrainOptions, **tiny.options(tmp_path, seed=10**20)), None)


@pytest.mark.filterwarnings('error::RuntimeWarning')  # the error says it; lines of NumPy before it confuse
def test_a_loss_that_is_no_number_ends_the_run(tiny, tmp_path, marks):
    callbacks, calls = listen()
    poison(callbacks, iteration=2)
    with pytest.raises(TrainingError) as caught:
        train.run(callbacks, **tiny.options(tmp_path, epochs=3, workers=2))
    trained_on = [args[-1] for hook, args in calls if hook == 'on_train_batch_end']
    assert len(trained_on) == 3
    names = [name for name in train_set(tiny) if name in str(caught.value)]
    assert sorted(names) == sorted(set(train_set(tiny)) - set(trained_on[2]))  # the other half of epoch 1
    assert 'in epoch 1' in str(caught.value)
    last = load_checkpoint(tmp_path / 'exp' / 'weights' / 'last.safetensors')
    assert last.epoch == 0
    assert all(np.isfinite(array).all() for array in last.state.values())
    assert calls[-1][0] == 'teardown'
    assert multiprocessing.active_children() == []


def train_set(tiny: Tiny) -> list[str]:
    return sorted(map(str, (tiny.data.parent / 'images' / 'train').iterdir()))


def test_broken_weights_are_not_saved_over_good_ones(tiny, tmp_path, marks):
    callbacks = Callbacks()
    poison(callbacks, iteration=3)  # the last batch of epoch 1, so that no loss tells
    with pytest.raises(TrainingError, match='not finite after epoch 1'):
        train.run(callbacks, **tiny.options(tmp_path, epochs=3))
    last = load_checkpoint(tmp_path / 'exp' / 'weights' / 'last.safetensors')
    assert last.epoch == 0
    assert all(np.isfinite(array).all() for array in last.state.values())


def test_a_full_disk_keeps_the_last_checkpoint(tiny, tmp_path, marks, monkeypatch, capsys):
    synced = []

    def fsync(handle: int) -> None:
        name = os.readlink(f'/proc/self/fd/{handle}')
        if name.startswith(str(tmp_path)) and os.path.isfile(name):  # not label caches, nor folders
            synced.append(handle)
        if len(synced) == 8:
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('utils.paths.os.fsync', fsync)
    # Written in order: hyp.yaml, opt.yaml; results.csv, best, last; results.csv, best, last.
    code = run_main(train.main, tiny.words(tmp_path / 'runs', epochs=3))
    weights = tmp_path / 'runs' / 'exp' / 'weights'
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert error.startswith(f'Error: {weights}/last.safetensors: the checkpoint could not be written (No space left')
    assert load_checkpoint(weights / 'last.safetensors').epoch == 0
    assert load_checkpoint(weights / 'best.safetensors').epoch == 1  # a resumed run would write the same again
    assert sorted(path.name for path in weights.iterdir()) == ['best.safetensors', 'last.safetensors']


def test_a_full_disk_names_the_file_whatever_it_is(tiny, tmp_path, monkeypatch, capsys):
    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('utils.paths.os.fsync', fsync)
    assert run_main(train.main, tiny.words(tmp_path / 'runs')) == 1
    assert capsys.readouterr().err == f'Error: {tmp_path}/runs/exp/hyp.yaml: No space left on device\n'


def no_names(tiny: Tiny) -> dict[str, Any]:
    write_yaml(tiny.folder / 'd.yaml', {'path': 'shapes', 'train': 'images/train', 'val': 'images/val'})
    return {'data': tiny.folder / 'd.yaml'}


def no_pictures(tiny: Tiny) -> dict[str, Any]:
    write_yaml(tiny.folder / 'd.yaml', read_yaml(tiny.data) | {'path': 'shapes', 'val': 'images/elsewhere'})
    return {'data': tiny.folder / 'd.yaml'}


def strange_class(tiny: Tiny) -> dict[str, Any]:
    file = tiny.data.parent / 'labels' / 'train' / '00003.txt'
    file.write_text(file.read_text() + '4 0.5 0.5 0.1 0.1\n')
    return {}


def no_labels(tiny: Tiny) -> dict[str, Any]:
    for file in (tiny.data.parent / 'labels' / 'train').iterdir():
        file.unlink()
    return {}


def corrupt_checkpoint(tiny: Tiny) -> dict[str, Any]:
    (tiny.folder / 'bad.safetensors').write_bytes(b'\x40\0\0\0\0\0\0\0{"state": ' + bytes(100))
    return {'weights': tiny.folder / 'bad.safetensors'}


def bad_hyp(tiny: Tiny) -> dict[str, Any]:
    write_yaml(tiny.folder / 'h.yaml', {'lr0': 0.01, 'learning_rate': 0.1})
    return {'hyp': tiny.folder / 'h.yaml'}


def bad_hyp_value(tiny: Tiny) -> dict[str, Any]:
    write_yaml(tiny.folder / 'h.yaml', {'momentum': 'much'})
    return {'hyp': tiny.folder / 'h.yaml'}


def bad_model(tiny: Tiny) -> dict[str, Any]:
    cfg = read_yaml(tiny.cfg)
    cfg['head'][3][2] = 'C4'
    write_yaml(tiny.folder / 'm.yaml', cfg)
    return {'cfg': tiny.folder / 'm.yaml'}


@pytest.mark.parametrize(('change', 'code', 'said'), [
    ({'data': 'gone.yaml'}, 1, 'gone.yaml: no such data set YAML. Looked for '),
    (no_names, 1, 'd.yaml: has no "names". Add a list of class names'),
    (no_pictures, 1, 'd.yaml: its val pictures are missing; looked for '),
    (strange_class, 1, 'labels/train/00003.txt line '),
    (no_labels, 1, '8 pictures, no labels'),
    ({'weights': 'gone.pt'}, 1, 'gone.pt: no such weights file'),
    (corrupt_checkpoint, 1, 'bad.safetensors: not readable'),
    ({'cfg': 'gone.yaml'}, 1, 'gone.yaml: no such model file'),
    (bad_model, 1, "m.yaml: row 13: no layer is called 'C4'"),
    ({'hyp': 'gone.yaml'}, 1, 'gone.yaml: no such hyper-parameter file'),
    (bad_hyp, 1, 'h.yaml: unknown hyper-parameter "learning_rate"'),
    (bad_hyp_value, 1, "h.yaml: momentum is 'much', not a number"),
    ({'cfg': ''}, 2, '--weights and --cfg are both empty'),
    ({'nonsense': True}, 2, 'unrecognized arguments: --nonsense'),
    ({'optimizer': 'Lion'}, 2, "invalid choice: 'Lion'"),
    ({'device': 99}, 2, '--device 99: '),
    ({'freeze': 99}, 2, '--freeze 99: the model has only layers 0 to 24'),
    ({'freeze': 25}, 2, '--freeze 25: leaves nothing to train'),
    ({'epochs': 0}, 2, '--epochs 0: out of range'),
    ({'batch_size': -2}, 2, '--batch-size -2: out of range'),
    ({'imgsz': 0}, 2, '--imgsz 0: out of range'),
    ({'seed': -1}, 2, '--seed -1: out of range'),
    ({'label_smoothing': 1.1}, 2, '--label-smoothing 1.1: out of range. It has to be between 0 and 1'),
    ({'loggers': 'wandb'}, 1, "--loggers wandb: it is not installed. 'pip install wandb' adds it"),
    ({'loggers': 'mlflow'}, 2, "invalid choice: 'mlflow'"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path, capsys, change, code, said):
    tiny = make_tiny(tmp_path)
    changes = change(tiny) if callable(change) else change
    assert run_main(train.main, tiny.words(tmp_path / 'runs', **changes)) == code
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith('Error: ')
    assert err.count('\n') == 1
    assert said in err
    assert not (tmp_path / 'runs').exists()


def test_an_option_that_python_gets_wrong_is_refused():
    with pytest.raises(UsageError, match='epoch: no such option. Did you mean epochs'):
        train.run(epoch=3)


@pytest.mark.parametrize(('changes', 'complaint'), [
    ({'evolve': 3}, '--evolve: is for one process, and this is one of 2'),
    ({'batch_size': -1}, '--batch-size -1: can be measured by one process only'),
])  # fmt: skip
def test_what_several_processes_refuse(tiny, tmp_path, monkeypatch, changes, complaint):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(UsageError, match=complaint):
        train.start_training(make_options(train.TrainOptions, **tiny.options(tmp_path, **changes)))
    assert not list(tmp_path.iterdir())
