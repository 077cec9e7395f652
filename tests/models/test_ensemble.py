"""Several models as one."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from models.ensemble import Ensemble
from models.yolo import Model
from tests.models.tiny import TINY
from utils.errors import WeightsError


def test_rows_of_all_models():
    models = [Model(TINY).eval(), Model(TINY).eval()]
    ensemble = Ensemble(models).eval()
    x = torch.tensor(np.random.default_rng(0).random((1, 3, 64, 64), np.float32))
    boxes, nothing = ensemble(x)
    assert nothing is None
    expected = np.concatenate([model(x)[0].detach().numpy() for model in models], 1)
    np.testing.assert_array_equal(boxes.detach().numpy(), expected)
    augmented = ensemble(x, augment=True)[0]
    assert augmented.shape[1] == sum(model(x, augment=True)[0].shape[1] for model in models)


def test_attributes():
    wide = Model(TINY | {'head': [[-1, 1, 'Conv', [128, 3, 2]], [[2, 5], 1, 'Detect', ['nc', 'anchors']]]})
    ensemble = Ensemble([Model(TINY), wide])
    assert wide.stride.tolist() == [4, 16]
    assert ensemble.stride.tolist() == [4, 16]
    assert ensemble.names == ['0', '1', '2', '3']
    assert ensemble.nc == 4
    assert len(ensemble) == 2


def test_models_of_other_classes_are_refused():
    other = Model(TINY)
    other.names = ['cat', 'dog', 'cow', 'hen']
    with pytest.raises(WeightsError, match=r'model 1 has the 4 classes .*Join only models of one data set'):
        Ensemble([Model(TINY), other])
