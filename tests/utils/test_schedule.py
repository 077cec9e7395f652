from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from utils.schedule import EarlyStopping, Schedule, lr_factor, one_cycle

HYP = {'lr0': 0.01, 'lrf': 0.1, 'momentum': 0.9, 'warmup_epochs': 2.0, 'warmup_momentum': 0.5, 'warmup_bias_lr': 0.2}


def schedule(batches: int = 60, batch_size: int = 16, epochs: int = 10, momentum: bool = True, **more) -> Schedule:
    groups = [{'lr': 9.0, 'momentum': 9.0} if momentum else {'lr': 9.0} for _ in range(3)]
    return Schedule(SimpleNamespace(param_groups=groups), HYP, epochs, batches, batch_size, **more)


def test_factors_go_from_1_to_lrf():
    for cos in (False, True):
        factor = lr_factor(10, 0.1, cos)
        assert factor(0) == 1
        assert factor(10) == pytest.approx(0.1)
        assert factor(5) == pytest.approx(0.55)
    assert lr_factor(10, 0.1, True)(2) > lr_factor(10, 0.1, False)(2)


def test_one_cycle():
    ramp = one_cycle(2.0, 6.0, 8)
    assert [ramp(0), ramp(4), ramp(8)] == pytest.approx([2, 4, 6])
    assert ramp(2) == pytest.approx(4 - 2 * math.cos(math.pi / 4))


def test_warmup_lines():
    s = schedule()
    assert s.warmup == 120
    s.before_batch(0, 0)
    assert s.rates() == [0.2, 0, 0]
    assert [g['momentum'] for g in s.optimizer.param_groups] == [0.5] * 3
    assert s.accumulate == 1
    s.before_batch(1, 60)
    half = 0.01 * 0.91 / 2
    assert s.rates() == pytest.approx([0.1 + half, half, half])
    assert s.optimizer.param_groups[2]['momentum'] == pytest.approx(0.7)
    assert s.accumulate == 2, '2.5 is rounded to even'
    s.before_batch(2, 120)
    assert s.rates() == pytest.approx([0.01 * 0.82] * 3)
    assert (s.optimizer.param_groups[0]['momentum'], s.accumulate) == (0.9, 4)


def test_warmup_has_at_least_100_batches():
    assert schedule(batches=3).warmup == 100


def test_after_warmup_the_rate_lags_an_epoch():
    s = schedule(batches=50)  # warm-up ends with the first batch of epoch 2
    s.before_batch(2, 149)
    assert s.rates() == pytest.approx([0.01 * s.factor(2)] * 3)
    s.before_batch(3, 150)
    assert s.rates() == pytest.approx([0.01 * s.factor(2)] * 3)
    s.before_batch(9, 499)
    assert s.rates() == pytest.approx([0.01 * s.factor(8)] * 3)


def test_adam_has_no_momentum_to_warm_up():
    s = schedule(momentum=False)
    s.before_batch(0, 10)
    assert all('momentum' not in group for group in s.optimizer.param_groups)


def test_steps_are_due_every_accumulate_batches():
    s = schedule()
    s.accumulate = 3
    assert [ni for ni in range(10) if s.step_due(ni)] == [2, 5, 8]
    assert s.last_step == 8


def test_a_resumed_schedule_goes_on_alike():
    def run(s: Schedule, start: int) -> list:
        seen = []
        for ni in range(start, 300):
            s.before_batch(ni // 60, ni)
            seen.append((s.rates(), s.accumulate, s.step_due(ni)))
        return seen

    whole, resumed = schedule(cos_lr=True), schedule(cos_lr=True)
    expected = run(whole, 0)
    first = schedule(cos_lr=True)
    for ni in range(180):
        first.before_batch(ni // 60, ni)
        first.step_due(ni)
    resumed.last_step = first.last_step
    assert run(resumed, 180) == expected[180:]


def test_early_stopping_waits_from_the_best(caplog):
    stopper = EarlyStopping(patience=2)
    with caplog.at_level('INFO', logger='yolov5'):
        seen = [(stopper(e, f), stopper.possible_stop) for e, f in enumerate([0.1, 0.3, 0.3, 0.2, 0.1])]
    assert seen == [(False, False), (False, False), (False, False), (False, True), (True, True)]
    assert (stopper.best_epoch, stopper.best_fitness) == (2, 0.3)
    assert 'best was epoch 2' in caplog.messages[-1]


@pytest.mark.parametrize(('epoch', 'stopped', 'possible'), [(2, False, False), (3, False, True), (4, True, True)])
def test_early_stopping_goes_on_from_a_stored_state(epoch, stopped, possible):
    stopper = EarlyStopping(patience=2)
    assert stopper.resume(epoch, best_epoch=2, best_fitness=0.3) is stopped
    assert stopper.possible_stop is possible
    assert stopper(epoch + 1, 0.29) is possible
    assert not stopper(epoch + 1, 0.3)


def test_patience_0_never_stops():
    stopper = EarlyStopping(patience=0)
    assert not any(stopper(epoch, -epoch) for epoch in range(1000))
    assert not stopper.possible_stop
