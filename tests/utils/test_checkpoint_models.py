"""From checkpoints to models and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import oneflow as torch
import pytest

from models.ensemble import Ensemble
from models.yolo import Model
from tests.fuzz import bounded
from utils.checkpoint import Checkpoint, attempt_load, build_model, load_state, save_checkpoint, state_arrays
from utils.errors import WeightsError

NAMES = ['cat', 'dog']
SMALL = {
    'nc': 2,
    'depth_multiple': 1.0,
    'width_multiple': 1.0,
    'anchors': 3,
    'head': [[[0], 1, 'Detect', ['nc', 'anchors']]],
}


def shuffled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The model with random parameters and batch norm statistics, as if trained."""
    rng = np.random.default_rng(seed)
    state = state_arrays(model)
    for name, a in state.items():
        if a.dtype == np.int64:
            state[name] = np.array(1000 + seed)
        elif not name.endswith('anchors'):
            state[name] = (0.5 + rng.random(a.shape) if 'running_var' in name else 0.1 * rng.random(a.shape)).astype(
                'f4'
            )
    load_state(model, state)
    return model


def checkpoint_of(model: Model, **changes: object) -> Checkpoint:
    strides, anchors = model.stride.numpy().tolist(), model.detect.anchors.numpy().copy()
    ckpt = Checkpoint(model.yaml, state_arrays(model), NAMES, strides, anchors, {'lr0': 0.5}, path=Path('a/last'))
    return replace(ckpt, config_name=model.yaml_file, **changes)


@pytest.fixture(scope='module')
def model() -> Model:
    return shuffled(Model('yolov5n.yaml', nc=2), 0).eval()


@pytest.fixture(scope='module')
def picture() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, 64, 64), np.float32))


def test_state_arrays_are_copies_of_every_type(model: Model) -> None:
    state = state_arrays(model)
    assert list(state) == list(model.state_dict())
    assert {a.dtype.name for a in state.values()} == {'float32', 'int64'}
    before = model.model[0].bn.bias.numpy().copy()
    state['model.0.bn.bias'] += 1
    np.testing.assert_array_equal(model.model[0].bn.bias.numpy(), before)
    for name, tensor in list(model.state_dict().items())[:12]:
        np.testing.assert_array_equal(state_arrays(model)[name], tensor.numpy())


def test_state_arrays_of_a_single_tensor_is_a_copy_too() -> None:
    layer = torch.nn.Linear(2, 3, bias=False)
    state_arrays(layer)['weight'][:] = 7
    assert not (layer.weight.numpy() == 7).any()


def test_a_model_comes_back_bit_for_bit(model: Model, picture: torch.Tensor, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / 'best', checkpoint_of(model))
    back = attempt_load(tmp_path / 'best', fuse=False)
    assert isinstance(back, Model)
    assert not back.training
    assert (back.names, back.hyp, back.yaml_file) == (NAMES, {'lr0': 0.5}, 'yolov5n.yaml')
    assert back.model[0].bn.num_batches_tracked.numpy() == 1000
    np.testing.assert_array_equal(back(picture)[0].numpy(), model(picture)[0].numpy())


def test_fusing_changes_only_the_rounding(model: Model, picture: torch.Tensor) -> None:
    fused = build_model(checkpoint_of(model), fuse=True)
    assert fused.model[0].bn is None
    plain = model(picture)[0].numpy()
    np.testing.assert_allclose(fused(picture)[0].numpy(), plain, rtol=1e-4, atol=1e-4)


def test_the_average_is_taken_where_there_is_one(model: Model) -> None:
    ema = {name: a + 1 if name.endswith('bn.bias') else a for name, a in state_arrays(model).items()}
    built = state_arrays(build_model(checkpoint_of(model, ema=ema, epoch=3)))
    np.testing.assert_array_equal(built['model.0.bn.bias'], ema['model.0.bn.bias'])


def test_the_checkpoint_stays_as_it_was(model: Model) -> None:
    ckpt = checkpoint_of(model)
    built = build_model(ckpt)
    built.names.append('x')
    built.yaml['nc'] = 9
    with torch.no_grad():
        built.model[0].bn.bias.fill_(9)
    assert (ckpt.names, ckpt.config['nc']) == (NAMES, 2)
    assert not (ckpt.state['model.0.bn.bias'] == 9).any()


def test_anchors_found_by_training_come_back(model: Model) -> None:
    state = state_arrays(model)
    state['model.24.anchors'] = state['model.24.anchors'] * np.float32(1.5)
    built = build_model(checkpoint_of(model, state=state))
    np.testing.assert_array_equal(built.detect.anchors.numpy(), state['model.24.anchors'])


def test_several_files_are_an_ensemble(model: Model, picture: torch.Tensor, tmp_path: Path) -> None:
    other = shuffled(Model('yolov5n.yaml', nc=2), 1).eval()
    for name, one in (('a', model), ('b', other)):
        save_checkpoint(tmp_path / name, checkpoint_of(one))
    both = attempt_load([tmp_path / 'a', tmp_path / 'b'], fuse=False)
    assert isinstance(both, Ensemble)
    assert not both.training
    rows = np.concatenate([one(picture)[0].numpy() for one in (model, other)], 1)
    np.testing.assert_array_equal(both(picture)[0].numpy(), rows)
    assert isinstance(attempt_load([tmp_path / 'a'], fuse=False), Model)


def test_a_state_that_does_not_fit_is_listed(model: Model) -> None:
    state = state_arrays(model)
    state['model.0.conv.weight'] = state['model.0.conv.weight'][:8]
    state['model.99.weight'] = state.pop('model.1.bn.bias')
    with pytest.raises(WeightsError) as failed:
        build_model(checkpoint_of(model, state=state))
    for part in (
        'a/last: does not fit the model',
        '1 missing (model.1.bn.bias)',
        '1 not in the model (model.99.weight)',
        '1 of another shape (model.0.conv.weight (8, 3, 6, 6) for (16, 3, 6, 6))',
    ):
        assert part in str(failed.value)


def test_a_failed_load_leaves_the_module_alone(model: Model) -> None:
    layer = torch.nn.Linear(2, 3)
    before = state_arrays(layer)
    with pytest.raises(WeightsError, match='1 missing'):
        load_state(layer, {'weight': np.ones((3, 2), np.float32)}, 'x')
    np.testing.assert_array_equal(state_arrays(layer)['weight'], before['weight'])


def test_a_part_of_a_state() -> None:
    layer = torch.nn.Linear(2, 3)
    before = state_arrays(layer)
    load_state(layer, {'bias': np.arange(3, dtype=np.float32)}, strict=False)
    after = state_arrays(layer)
    np.testing.assert_array_equal(after['weight'], before['weight'])
    np.testing.assert_array_equal(after['bias'], [0, 1, 2])
    with pytest.raises(WeightsError, match='1 not in the model'):
        load_state(layer, {'b': np.zeros(3, np.float32)}, strict=False)
    with pytest.raises(WeightsError, match='1 of another shape'):
        load_state(layer, {'bias': np.zeros(4, np.float32)}, strict=False)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'config': {'nc': 2, 'backbone': [], 'head': []}}, 'a/last: its model description is wrong'),
        ({'config': {**SMALL, 'backbone': [[-1, 1, 'os.system', ['true']]]}}, 'os.system'),
        ({'stride': [8.0, 16.0, 64.0]}, 'a/last: says strides'),
    ],
)
def test_descriptions_that_are_wrong(model: Model, change: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        build_model(checkpoint_of(model, **change))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'width_multiple': 400}, 'makes more parameters than the 1,7.* numbers that the file holds'),
        ({'depth_multiple': 300}, 'makes more (parameters|than 5,000 layers)'),
        ({'width_multiple': 2000}, 'width_multiple is 2000'),
        ({'ch': 900_000}, 'ch is 900000'),
    ],
)
def test_a_description_of_far_more_than_the_file_holds(model: Model, changes: dict, message: str) -> None:
    ckpt = checkpoint_of(model)
    with (
        bounded(megabytes=400),
        pytest.raises(WeightsError, match=f'a/last: its model description is wrong.*{message}'),
    ):
        build_model(replace(ckpt, config=ckpt.config | changes))
