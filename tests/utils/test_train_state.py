"""A run's state as a checkpoint; the whole of it is tested where it is written, in tests/test_train.py."""

from __future__ import annotations

import numpy as np
import pytest

from utils.checkpoint import Checkpoint
from utils.errors import TrainingError
from utils.train_state import check_finite


def checkpoint(value: float, average: float) -> Checkpoint:
    arrays = [{'w': np.float32([1, number])} for number in (value, average)]
    return Checkpoint({}, arrays[0], ['a'], [8.0], np.ones((1, 1, 2)), epoch=3, ema=arrays[1])


@pytest.mark.parametrize(('value', 'average'), [(np.nan, 1), (1, np.inf)])
def test_broken_weights_are_refused(tmp_path, value, average):
    last = tmp_path / 'last.safetensors'
    with pytest.raises(TrainingError, match='not finite after epoch 3. Lower lr0; nothing was saved'):
        check_finite(checkpoint(value, average), last)
    last.touch()
    with pytest.raises(TrainingError, match='last.safetensors is kept from before'):
        check_finite(checkpoint(value, average), last)


def test_good_weights_pass(tmp_path):
    check_finite(checkpoint(1, 2), tmp_path / 'last.safetensors')
