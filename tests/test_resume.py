"""Runs that stop and go on: the end is the same as without a stop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
import val
from models.yolo import Model
from tests.test_train import Marks, same
from tests.test_train_options import official
from tests.tiny import make_tiny
from tests.utils.pt_files import write_pt
from utils import paths
from utils.callbacks import Callbacks
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import DataError, UsageError
from utils.paths import read_yaml, write_yaml

pytestmark = pytest.mark.usefixtures('messages')


def stop_at(hook: str, call: int) -> Callbacks:
    """Callbacks that press Ctrl-C at a hook's call of that number, counted from 1."""
    callbacks, calls = Callbacks(), []

    def act(*_: Any, **__: Any) -> None:
        calls.append(hook)
        if len(calls) == call:
            raise KeyboardInterrupt

    callbacks.register_action(hook, callback=act)
    return callbacks


def interrupt(options: dict[str, Any], hook: str = 'on_train_batch_end', call: int = 1) -> str:
    """Begin a run and stop it; what the interrupt says."""
    with pytest.raises(KeyboardInterrupt) as caught:
        train.run(stop_at(hook, call), **options)
    return str(caught.value)


def file_of(folder: Path, name: str = 'last') -> Path:
    return folder / 'weights' / f'{name}.safetensors'


def leaves(tree: Any, where: str = '') -> Iterator[tuple[str, Any]]:
    """All values of nested dicts and lists, by their place."""
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, f'{where}/{key}')
    else:
        yield where, tree


def assert_same_state(a: Path, b: Path) -> None:
    """Two checkpoints of unfinished runs are equal to the bit; their project folders may differ."""
    one, two = (load_checkpoint(path) for path in (a, b))
    assert (one.epoch, one.best_fitness, one.ema_updates) == (two.epoch, two.best_fitness, two.ema_updates)
    for name in ('state', 'ema', 'optimizer', 'trainer'):
        first, second = (dict(leaves(getattr(ckpt, name))) for ckpt in (one, two))
        assert first.keys() == second.keys()
        differing = [place for place in first if not np.array_equal(first[place], second[place])]
        assert [place for place in differing if place != '/options/project'] == [], name


def judge_by_weights(data: Any, model: Any, **_: Any) -> tuple:
    """Takes the place of `val.run`, which finds nothing after so few steps: mAPs that depend on the weights alone."""
    maps = np.abs(model.model[0].conv.weight.numpy()).reshape(-1)[:4].astype(float) * 100 % 1
    return (0.5, 0.5, *(float(maps.mean()),) * 2, 0.1, 0.1, 0.1), maps, (0.0, 0.0, 0.0)


# The same end ---------------------------------------------------------------------------------------------------------

PLAIN = {}
WORKERS = {'optimizer': 'Adam', 'workers': 2, 'image_weights': True, 'multi_scale': True, 'cos_lr': True}


@pytest.mark.parametrize(('changes', 'judge'), [(PLAIN, None), (WORKERS, judge_by_weights)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tiny, tmp_path, monkeypatch, changes, judge):
    if judge:
        monkeypatch.setattr(val, 'run', judge)
    options = tiny.options(tmp_path / 'whole', epochs=4, save_period=1, **changes)
    train.run(**options)
    interrupt(
        options | {'project': str(tmp_path / 'parts')}, call=6
    )  # in epoch 2, the first whose first batch is no step of the optimiser
    whole, parts = tmp_path / 'whole' / 'exp', tmp_path / 'parts' / 'exp'
    kept = {name: (parts / name).read_bytes() for name in ('hyp.yaml', 'opt.yaml')}
    assert load_checkpoint(file_of(parts)).epoch == 1
    assert (parts / 'results.csv').read_text().count('\n') == 3

    train.run(resume=parts)

    for name in ('epoch2', 'epoch3'):
        assert_same_state(file_of(whole, name), file_of(parts, name))
    for name in ('last', 'best'):
        assert same(*(load_checkpoint(file_of(folder, name)).state for folder in (whole, parts)))
    assert (whole / 'results.csv').read_bytes() == (parts / 'results.csv').read_bytes()
    assert {name: (parts / name).read_bytes() for name in kept} == kept
    assert [path.name for path in (tmp_path / 'parts').iterdir()] == ['exp']


def test_a_run_stopped_in_the_last_evaluation_ends_as_one_that_was_not(tiny, tmp_path, messages):
    options = tiny.options(tmp_path / 'whole', epochs=2)
    results = train.run(**options)
    interrupt(options | {'project': str(tmp_path / 'parts')}, 'on_val_start', 3)
    assert load_checkpoint(file_of(tmp_path / 'parts' / 'exp')).epoch == 1
    assert train.run(resume=tmp_path / 'parts' / 'exp') == results
    assert '\n0 epochs completed' in messages()
    whole, parts = (load_checkpoint(file_of(tmp_path / name / 'exp')) for name in ('whole', 'parts'))
    assert (parts.epoch, parts.trainer) == (-1, {})
    assert same(whole.state, parts.state)


def best_logged(folder: Path) -> tuple[int, float]:
    """Epoch and mAP50 of the best epoch, as the end of a run writes them to TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return tuple(events.Scalars(f'best/{name}')[0].value for name in ('epoch', 'mAP_0.5'))


@pytest.mark.parametrize(('hook', 'call'), [('on_train_epoch_start', 4), ('on_train_end', 1)])
def test_patience_and_best_outlast_a_stop(tiny, tmp_path, monkeypatch, hook, call):
    """Best in epoch 1, stopped in epoch 3 or when the patience of two epochs had ended the training after it."""
    monkeypatch.setattr(val, 'run', Marks(0.1, 0.3, 0.2, 0.2))
    if hook == 'on_train_end':
        monkeypatch.setattr(train, 'finish', lambda run: run.callbacks.run(hook))
    interrupt(tiny.options(tmp_path, epochs=9, patience=2, save_period=1), hook, call)
    monkeypatch.undo()
    monkeypatch.setattr(val, 'run', Marks(0.2, 0.2, 0.2))
    folder = tmp_path / 'exp'
    train.run(resume=folder)
    assert [line.split(',')[0].strip() for line in (folder / 'results.csv').read_text().splitlines()[1:]] == [*'0123']
    assert same(load_checkpoint(file_of(folder, 'best')).state, load_checkpoint(file_of(folder, 'epoch1')).ema)
    assert best_logged(folder) == (1, pytest.approx(0.3))


# What is resumed ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def stopped(tiny, tmp_path_factory) -> Path:
    """A project with a run that was stopped in epoch 1. Not to be changed."""
    project = tmp_path_factory.mktemp('runs')
    interrupt(tiny.options(project, epochs=2), call=3)
    return project


def copy_of(stopped: Path, tmp_path: Path, name: str = 'exp') -> Path:
    return shutil.copytree(stopped / 'exp', tmp_path / name)


def test_the_line_that_says_how_to_go_on(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = tiny.options('my runs', epochs=2)
    how = "To go on: python train.py --resume 'my runs/exp/weights/last.safetensors'"
    assert interrupt(options, call=3) == f'Interrupted in epoch 1. {how}'
    assert interrupt(options | {'nosave': True}, call=3) == ''  # nothing is there to go on with
    assert interrupt(options | {'exist_ok': True}) == ''  # what is there is of another run
    assert interrupt(options, 'on_train_end') == ''  # all is done


def test_stopped_as_soon_as_the_first_checkpoint_is_in_its_place_it_can_go_on(tiny, tmp_path, monkeypatch):
    options, before = tiny.options(tmp_path / 'runs', epochs=2), paths.sync_folder

    def stopped(folder: Path) -> None:
        if (Path(folder) / 'last.safetensors').exists():
            raise KeyboardInterrupt
        before(folder)

    monkeypatch.setattr(paths, 'sync_folder', stopped)
    with pytest.raises(KeyboardInterrupt, match=r'Interrupted in epoch 0\. To go on: .*/exp/weights/last.safetensors'):
        train.run(**options)


def test_without_a_path_it_is_the_latest_run(stopped, tmp_path, monkeypatch, messages):
    for name, age in (('exp', 20), ('exp2', 10), ('group/exp', 30)):
        file = file_of(copy_of(stopped, tmp_path / 'runs' / 'train', name))
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    monkeypatch.chdir(tmp_path)
    train.main(['--resume'])
    assert 'Resuming runs/train/exp2/weights/last.safetensors after epoch 0' in messages()
    assert 'ignored' not in messages()
    assert load_checkpoint(file_of(Path('runs/train/exp2'))).epoch == -1
    os.utime(file_of(Path('runs/train/exp2')), (0, 0))
    train.main(['--resume', '--project', 'runs/train/group'])
    assert 'Resuming runs/train/group/exp/' in messages()


@pytest.mark.parametrize('where', ['exp/weights/last.safetensors', 'exp', 'exp/weights/best.safetensors'])
def test_a_folder_or_a_checkpoint(stopped, tmp_path, where):
    folder = copy_of(stopped, tmp_path)
    train.main(['--resume', str(tmp_path / where)])
    assert load_checkpoint(file_of(folder)).epoch == -1
    assert (folder / 'results.csv').read_text().count('\n') == 3


def test_from_within_its_folder(stopped, tmp_path, monkeypatch):
    folder = copy_of(stopped, tmp_path)
    monkeypatch.chdir(folder / 'weights')
    train.main(['--resume', 'last.safetensors'])
    assert load_checkpoint(file_of(folder)).epoch == -1
    assert {path.name for path in (folder / 'weights').iterdir()} == {'last.safetensors', 'best.safetensors'}


def test_its_options_stay_and_that_is_said(stopped, tmp_path, messages):
    folder = copy_of(stopped, tmp_path)
    train.main(['--resume', str(folder), '--epochs', '7', '--batch-size', '2', '--data', 'gone.yaml'])
    assert 'a resumed run keeps its options; ignored: --data, --epochs, --batch-size' in messages()
    assert (folder / 'results.csv').read_text().count('\n') == 3


def test_what_is_of_the_machine_may_be_another(stopped, tmp_path, messages, monkeypatch):
    folder = copy_of(stopped, tmp_path)
    monkeypatch.setattr(train, 'finish', lambda run: run)
    run = train.run(resume=folder, cache='ram', workers=1)
    assert (run.opt.cache, run.opt.workers, run.opt.device) == ('ram', 1, 'cpu')  # as given, and as begun
    assert run.train_loader.workers == 1
    assert 'ignored' not in messages()


def test_its_hyper_parameters_and_anchors_stay(tiny, tmp_path, monkeypatch):
    write_yaml(tmp_path / 'hyp.yaml', {'lr0': 0.02, 'anchors': 2})
    interrupt(tiny.options(tmp_path, epochs=2, hyp=tmp_path / 'hyp.yaml', label_smoothing=0.1), call=3)
    (tmp_path / 'hyp.yaml').unlink()
    folder = tmp_path / 'exp'
    ckpt = load_checkpoint(file_of(folder))
    for state in (ckpt.state, ckpt.ema):
        state['model.24.anchors'] = state['model.24.anchors'] * 1.5  # as AutoAnchor would
    save_checkpoint(file_of(folder), ckpt)
    monkeypatch.setattr(train, 'finish', lambda run: runs.append(run))
    runs: list[train.Run] = []
    train.run(resume=folder)
    assert (runs[0].hyp['lr0'], runs[0].hyp['label_smoothing']) == (0.02, 0.1)
    assert runs[0].schedule.hyp['lr0'] == 0.02
    for anchors in (runs[0].model.detect.anchors.numpy(), runs[0].compute_loss.anchors):
        np.testing.assert_allclose(anchors, ckpt.anchors * 1.5)


def test_fine_tuning_begins_at_epoch_0(tiny, stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    train.run(resume=folder)
    for weights in (file_of(folder), file_of(stopped / 'exp')):  # of a finished run and of an unfinished one
        train.run(**tiny.options(tmp_path, weights=weights, cfg='', name='tuned', exist_ok=True, save_period=1))
        first = load_checkpoint(file_of(tmp_path / 'tuned', 'epoch0'))
        assert (first.epoch, first.ema_updates, first.trainer['last_step']) == (0, 2, 1)
        rows = (tmp_path / 'tuned' / 'results.csv').read_text().splitlines()[1:]
        assert [row.split(',')[0].strip() for row in rows] == ['0']


# What can't be resumed ------------------------------------------------------------------------------------------------


def refusal(resume: Any, project: str | Path = 'unused') -> str:
    with pytest.raises(UsageError) as caught:
        train.run(resume=resume, project=project)
    return str(caught.value)


def test_a_finished_run_is_refused(stopped, tmp_path):
    folder = copy_of(stopped, tmp_path)
    train.run(resume=folder)
    file, before = file_of(folder), file_of(folder).read_bytes()
    said = f'--resume {file}: its training is over. To train on from these weights, give --weights {file}'
    assert refusal(folder) == refusal(file) == refusal(True, project=tmp_path) == said
    assert file.read_bytes() == before


@pytest.mark.parametrize(('epoch', 'what'), [(-1, 'its training is over'), (7, 'it holds weights, but no state of a')])
def test_an_official_file_is_refused(tiny, tmp_path, epoch, what):
    path = write_pt(tmp_path / 'a.pt', {'epoch': epoch, 'model': official(Model(tiny.cfg, nc=4))})
    assert what in refusal(path)
    assert f'give --weights {path}' in refusal(path)


def test_what_is_not_there_is_named(stopped, tmp_path):
    assert refusal(True, project=tmp_path).startswith(f'--resume: there is no run under {tmp_path}. Give ')
    assert refusal(tmp_path / 'a').startswith(f'--resume {tmp_path}/a: no such file. ')
    assert refusal(tmp_path).startswith(f'--resume {tmp_path}/weights/last.safetensors: no such file. ')
    shutil.copy(file_of(stopped / 'exp'), tmp_path)
    assert 'last.safetensors: is in no run. Put it into' in refusal(tmp_path / 'last.safetensors')


def test_a_data_set_that_is_gone_or_another(tmp_path):
    tiny = make_tiny(tmp_path)
    interrupt(tiny.options(tmp_path, epochs=2), call=3)
    content = read_yaml(tiny.data)
    write_yaml(tiny.data, content | {'names': [*'abcd']})
    with pytest.raises(DataError, match='has the classes a, b, c, d. The run to be resumed was started with circle, '):
        train.run(resume=tmp_path / 'exp')
    write_yaml(tiny.data, content)
    (tiny.data.parent / 'images').rename(tmp_path / 'elsewhere')
    with pytest.raises(DataError, match='shapes.yaml: its train pictures are missing; looked for '):
        train.run(resume=tmp_path / 'exp')
    tiny.data.unlink()
    with pytest.raises(DataError, match='shapes.yaml: no such data set YAML'):
        train.run(resume=tmp_path / 'exp')


def test_pictures_may_go_in_between(tmp_path):
    """Say, because one made the loss infinite."""
    tiny = make_tiny(tmp_path)
    interrupt(tiny.options(tmp_path, epochs=3, batch_size=1, save_period=1), call=17)  # of eight batches in epoch 0
    for file in sorted((tiny.data.parent / 'images' / 'train').iterdir())[:6]:
        file.unlink()
    train.run(resume=tmp_path / 'exp')
    last_steps = [load_checkpoint(file_of(tmp_path / 'exp', f'epoch{i}')).trainer['last_step'] for i in (1, 2)]
    assert last_steps[0] > 6
    assert last_steps[1] == 3  # two batches an epoch: as if it had been that of the end of epoch 1
