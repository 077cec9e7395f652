"""Parameter groups, schedules, warm-up, accumulation, EMA and early stopping against the reference."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest
from oneflow import nn

from models.yolo import Model
from tests.golden import golden_json, needs_golden
from utils.ema import ModelEMA
from utils.optim import accumulation, parameter_groups, scale_gains, scaled_weight_decay, smart_optimizer
from utils.schedule import EarlyStopping, Schedule, lr_factor

pytestmark = needs_golden

HYP = {
    'lr0': 0.01, 'lrf': 0.01, 'momentum': 0.937, 'weight_decay': 0.0005,
    'warmup_epochs': 3.0, 'warmup_momentum': 0.8, 'warmup_bias_lr': 0.1,
}  # fmt: skip


def small_optimizer(name: str = 'SGD', weight_decay: float = 0.0005) -> torch.optim.Optimizer:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    return smart_optimizer(model, name, HYP['lr0'], HYP['momentum'], weight_decay)


@pytest.mark.parametrize('key', ['yolov5n', 'yolov5s-transformer', 'yolov5n@nc3'])
def test_groups(key, caplog):
    golden = golden_json('optim.json')['groups'][key]
    model = Model(f'{key.split("@")[0]}.yaml', nc=golden['nc'])
    groups = parameter_groups(model)
    untrained = set(golden['in_no_group'])
    kept = [[name for name in group if name not in untrained] for group in groups]
    assert [len(names) for names in kept] == golden['tensors']
    assert [sum(g[n].numel() for n in names) for g, names in zip(groups, kept)] == golden['elements']
    if 'names' in golden:
        assert kept == golden['names']
    # Ours trains what the reference forgot: the matrix decays, the bias does not.
    ours = [[name for name in group if name in untrained] for group in groups]
    assert ours == [[n for n in golden['in_no_group'] if n.endswith('bias')],
                    [n for n in golden['in_no_group'] if n.endswith('weight')], []]  # fmt: skip

    for name, expected in golden['optimizers'].items():
        caplog.clear()
        with caplog.at_level('INFO', logger='yolov5'):
            optimizer = smart_optimizer(model, name, lr=0.01, momentum=0.937, weight_decay=0.0005)
        if not untrained:
            assert caplog.messages[-1].endswith(expected['line'])
        assert type(optimizer).__name__ == name
        for group, options in zip(optimizer.param_groups, expected['groups']):
            shared = {'lr', 'momentum', 'dampening', 'nesterov', 'weight_decay', 'betas', 'eps'} & set(options)
            for option in shared:
                wanted = tuple(options[option]) if option == 'betas' else options[option]
                assert group[option] == wanted, option


def test_decay_and_gains_by_batch_size():
    for batch, expected in golden_json('optim.json')['decay_by_batch'].items():
        batch = int(batch)
        decay = scaled_weight_decay(HYP['weight_decay'], batch)
        assert decay == pytest.approx(expected['scaled_weight_decay'], rel=1e-12)
        optimizer = small_optimizer(weight_decay=decay)
        assert [g['weight_decay'] for g in optimizer.param_groups] == pytest.approx(expected['group_weight_decay'])

        schedule = Schedule(optimizer, HYP, epochs=5, batches=expected['nb'], batch_size=batch)
        assert schedule.warmup == expected['nw']
        schedule.before_batch(epoch=0, ni=0)
        assert schedule.rates() == pytest.approx(expected['lr_at_ni_0'], abs=1e-9)
        assert [g['momentum'] for g in optimizer.param_groups] == pytest.approx(expected['momentum_at_ni_0'])
        assert schedule.accumulate == expected['accumulate_at_ni_0']
        # The loop that was watched trained 2 classes at 64 pixels on 3 levels.
        gains = scale_gains({'box': 0.05, 'cls': 0.5, 'obj': 1.0}, nl=3, nc=2, imgsz=64)
        assert gains == pytest.approx(expected['gains'], rel=1e-12)
    assert [accumulation(b) for b in (1, 16, 24, 64, 128)] == [64, 4, 3, 1, 1]


@pytest.mark.parametrize('name', ['sgd_linear', 'adam_first_batches'])
def test_run_batch_by_batch(name):
    run = golden_json('optim.json')['runs'][name]
    batch, epochs = run['options']['batch_size'], run['options']['epochs']
    optimizer = small_optimizer(run['optimizer'], scaled_weight_decay(HYP['weight_decay'], batch))
    schedule = Schedule(optimizer, HYP, epochs, run['nb'], batch, cos_lr=run['options'].get('cos_lr', False))
    assert schedule.warmup == run['nw']
    stepped = []
    for k, ni in enumerate(run['ni']):
        schedule.before_batch(ni // run['nb'], ni)
        np.testing.assert_allclose(schedule.rates(), run['lr'][k], rtol=0, atol=1e-9)
        momentum = run['momentum_of_all_groups'][k]
        for group in optimizer.param_groups:
            if momentum is None:
                assert 'momentum' not in group
                assert list(group['betas']) == run['betas_first_last'][0][0]
            else:
                assert group['momentum'] == pytest.approx(momentum, abs=1e-9)
        assert schedule.accumulate == run['accumulate'][k]
        if schedule.step_due(ni):
            stepped.append(ni)
    assert stepped == run['stepped_at']


def test_schedules():
    for name, expected in golden_json('optim.json')['schedules'].items():
        kind, epochs = name.split('_')
        factor = lr_factor(int(epochs), 0.01, cos=kind == 'cosine')
        np.testing.assert_allclose([factor(e) for e in range(int(epochs))], expected, rtol=0, atol=1e-9)


def test_ema_decay():
    golden = golden_json('optim.json')['ema_decay']
    ema = ModelEMA(nn.Conv2d(1, 1, 1))
    np.testing.assert_allclose([ema.decay_at(n) for n in golden['updates']], golden['decay'], rtol=1e-12)


@pytest.mark.parametrize('name', ['ema_example', 'ema_example_fast'])
def test_ema(name):
    golden = golden_json('optim.json')[name]
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))

    def fill(state: dict, count: int) -> None:
        shapes = {k: v.shape for k, v in model.state_dict().items()}
        arrays = {k: torch.tensor(np.float32(v)).reshape(*shapes[k]) for k, v in state.items()}
        model.load_state_dict(arrays | {'1.num_batches_tracked': torch.tensor(count)})

    fill(golden['start'], 0)
    ema = ModelEMA(model, golden['decay'], golden['tau'])
    for count, state in enumerate(golden['fed'], 1):
        fill(state, count)
        ema.update(model)
    assert ema.updates == golden['updates']
    averaged = {name: tensor.numpy() for name, tensor in ema.ema.state_dict().items()}
    for key, expected in golden['after'].items():
        np.testing.assert_allclose(averaged[key].reshape(-1), expected, rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.parametrize('case', range(6))
def test_early_stopping(case):
    run = golden_json('optim.json')['early_stopping'][case]
    stopper = EarlyStopping(run['patience'])
    for i, (fitness, expected) in enumerate(zip(run['fitness'], run['stop_possible_best_epoch_best'])):
        stop = stopper(run['first_epoch'] + i, fitness)
        assert [stop, stopper.possible_stop, stopper.best_epoch, stopper.best_fitness] == expected
