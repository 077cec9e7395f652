"""What each process of a run is made of; whole runs are in tests/test_train.py and tests/cli/test_distributed.py."""

from __future__ import annotations

import pytest

from train import TrainOptions
from utils.ema import ModelEMA
from utils.options import make_options
from utils.train_setup import build_loaders, build_model, build_optimizer, close, start

pytestmark = pytest.mark.usefixtures('messages')


@pytest.mark.parametrize('rank', [0, 1])
def test_only_process_0_evaluates(tiny, tmp_path, monkeypatch, rank):
    """It alone has validation pictures, twice one process's batch at a time, and an average of the weights."""
    for name, value in {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': 2}.items():
        monkeypatch.setenv(name, str(value))
    run = start(make_options(TrainOptions, **tiny.options(tmp_path, batch_size=2)), None)
    build_model(run)
    build_loaders(run)
    build_optimizer(run)
    assert run.train_loader.batch_size == run.batch_size == 1
    if rank == 0:
        assert run.val_loader.batch_size == 2
        assert isinstance(run.ema, ModelEMA)
    else:
        assert run.val_loader is None
        assert run.ema is None
    close(run)
