"""The model as a whole: forward, folding, augmentation, hooks, copies, and its command line."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import oneflow as torch
import pytest

from models.backend import wrap
from models.yolo import Model, main
from tests.models.tiny import TINY, deep
from utils.errors import ConfigError
from utils.paths import ROOT, read_yaml, write_yaml


@pytest.fixture
def model() -> Model:
    """With running statistics that folding has to get right."""
    torch.manual_seed(0)
    network = Model(TINY)
    for name, buffer in network.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.copy_(torch.rand(*buffer.shape) + 0.5)
    return network.eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).random((2, 3, 64, 96), np.float32))


def test_maps_and_boxes(model, pictures):
    boxes, maps = model(pictures)
    assert [tuple(m.shape) for m in maps] == [(2, 2, 16, 24, 9), (2, 2, 8, 12, 9)]
    assert tuple(boxes.shape) == (2, 2 * 16 * 24 + 2 * 8 * 12, 9)
    raw = model.train()(pictures)
    assert isinstance(raw, list)
    assert [tuple(m.shape) for m in raw] == [tuple(m.shape) for m in maps]


def test_building_leaves_no_trace():
    """The pass that finds the strides changes no statistic, and the model is in training mode."""
    built = Model(TINY)
    assert built.stride.tolist() == [4, 8]
    assert all(part.training for part in built.modules())
    for name, buffer in built.named_buffers():
        if not name.endswith('anchors'):
            assert buffer.numpy().min() == buffer.numpy().max() == (1 if name.endswith('running_var') else 0)
    norm = built.model[0].bn
    assert (norm.eps, norm.momentum) == (1e-3, 0.03)


def test_class_names_and_numbers(model):
    assert model.names == ['0', '1', '2', '3']
    assert model.nc == 4
    assert model.detect is model.model[-1]


def test_folding_keeps_the_results(model, pictures):
    before = model(pictures)[0].detach().numpy().copy()
    assert model.fuse() is model
    np.testing.assert_allclose(model(pictures)[0].numpy(), before, rtol=1e-4, atol=1e-4)
    assert not any(p.requires_grad for p in model.parameters())
    assert not any('.bn.' in name for name in model.state_dict())
    model.fuse()  # a second time changes nothing
    np.testing.assert_allclose(model(pictures)[0].numpy(), before, rtol=1e-4, atol=1e-4)


def test_a_copy_is_a_model_of_its_own(model, pictures):
    expected = model(pictures)[0].detach().numpy().copy()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.model[0].conv.weight.mul_(0.0)
    np.testing.assert_array_equal(model(pictures)[0].detach().numpy(), expected)
    assert np.abs(twin(pictures)[0].detach().numpy() - expected).max() > 0
    folded = copy.deepcopy(model.fuse())(pictures)[0].detach().numpy()
    np.testing.assert_allclose(folded, model(pictures)[0].numpy(), rtol=1e-5, atol=1e-5)


def test_augmented_passes(model, pictures):
    """The first rows are those of the plain pass without its coarsest level; the numbers of rows add up."""
    with torch.no_grad():
        plain, _ = model(pictures)
        boxes, nothing = model(pictures, augment=True)
    assert nothing is None
    finest, coarsest = 2 * 16 * 24, 2 * 8 * 12
    np.testing.assert_array_equal(boxes[:, :finest].numpy(), plain[:, :finest].numpy())
    # 64 x 96 scaled by 0.83 and 0.67, up to multiples of 8: 56 x 80 and 48 x 72
    second = 2 * 14 * 20 + 2 * 7 * 10
    third = 2 * 6 * 9
    assert boxes.shape[1] == finest + second + third
    assert plain.shape[1] == finest + coarsest


def test_augmented_boxes_are_in_pixels_of_the_picture(model):
    """A mirrored picture gives mirrored boxes in the second pass: cell centres stay inside the picture."""
    boxes = model(torch.zeros(1, 3, 64, 64), augment=True)[0].detach().numpy()[0]
    assert boxes[:, :2].min() > -8
    assert boxes[:, :2].max() < 64 + 16  # the padding right and below is seen too


@pytest.mark.parametrize(('halvings', 'largest'), [(0, 8), (1, 16), (3, 64)])
def test_augmented_images_are_multiples_of_the_largest_stride_of_any_row(halvings, largest):
    """As in yolov5-p34, whose head ends at stride 16 while its backbone goes to 32."""
    network = Model(deep(halvings)).eval()
    assert (network.stride.tolist(), network.largest_stride) == ([4, 8], largest)
    images = np.random.default_rng(0).random((1, 3, 64, 128), np.float32)
    with torch.no_grad():
        boxes = network(torch.tensor(images), augment=True)[0].numpy()
    np.testing.assert_allclose(wrap(network, frozen=True)(images, augment=True), boxes, atol=0.05)


def test_p34_augmented():
    config = read_yaml(ROOT / 'models/hub/yolov5-p34.yaml') | {'width_multiple': 0.125, 'nc': 2}
    network = Model(config).eval()
    assert network.largest_stride == 32
    boxes = network(torch.zeros(1, 3, 96, 160), augment=True)[0]
    # 96 x 160, 96 x 160 (79.7 x 132.8 filled up) and 96 x 128 (64.3 x 107.2), less the levels that are left out
    cells = [12 * 20, 12 * 20 + 6 * 10, 6 * 8]
    assert tuple(boxes.shape) == (1, 3 * sum(cells), 7)


def test_observer_sees_every_layer(model, pictures):
    seen = []
    model(pictures, visualize=lambda x, kind, row: seen.append((row, kind.rsplit('.', 1)[-1], type(x))))
    assert [row for row, _, _ in seen] == list(range(9))
    assert [kind for _, kind, _ in seen[:3]] == ['Conv', 'Conv', 'C3']
    assert seen[-1][2] is tuple


def test_profile_prints_a_line_per_layer(model, pictures, capsys):
    with torch.no_grad():
        model(pictures, profile=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ['time', '(ms)', 'GFLOPs', 'params', 'module']
    assert [line.split()[-1].rsplit('.', 1)[-1] for line in lines[1:4]] == ['Conv', 'Conv', 'C3']
    assert lines[-1].split()[1:] == ['-', '-', 'Total']
    assert len(lines) == 1 + 9 + 1


def test_a_classifier_can_be_built():
    """A description need not end in Detect."""
    config = copy.deepcopy(TINY)
    config['head'] = [[[-1, 2], 1, 'Classify', ['nc']]]
    classifier = Model(config).eval()
    assert tuple(classifier(torch.zeros(2, 3, 64, 64)).shape) == (2, 4)
    assert classifier.stride.tolist() == [32]


def test_every_parameter_is_reached(model, pictures):
    model.train()
    loss = sum((m * m).sum() for m in model(pictures))
    loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert np.isfinite(p.grad.numpy()).all(), name
        assert np.abs(p.grad.numpy()).max() > 0, name


def test_command_prints_the_table(tmp_path, capsys):
    write_yaml(tmp_path / 'mine.yaml', TINY)
    main(['--cfg', str(tmp_path / 'mine.yaml'), '--device', 'cpu'])
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ['from', 'n', 'params', 'module', 'arguments']
    assert 'models.common.SPPF' in out
    assert out.splitlines()[-1].startswith('mine summary: ')


@pytest.mark.parametrize(('switch', 'column'), [('--profile', 'backward'), ('--line-profile', 'module')])
def test_command_times(switch, column, tmp_path, capsys):
    write_yaml(tmp_path / 'mine.yaml', TINY)
    main(['--cfg', str(tmp_path / 'mine.yaml'), '--device', 'cpu', switch])
    lines = capsys.readouterr().out.splitlines()
    assert any(column in line for line in lines[10:])
    assert lines[-1].startswith('mine summary: ')


def test_command_names_all_files_that_fail(tmp_path, capsys, monkeypatch):
    write_yaml(tmp_path / 'yolo-good.yaml', TINY)
    write_yaml(tmp_path / 'yolo-bad.yaml', TINY | {'nc': -1})
    monkeypatch.setattr('models.yolo.MODEL_DIRS', [tmp_path])
    with pytest.raises(ConfigError, match=r'yolo-bad.yaml: can not be built'):
        main(['--test', '--device', 'cpu'])
    out = capsys.readouterr().out
    assert 'yolo-bad.yaml: nc is -1' in out
    assert 'yolo-good summary: ' in out


def run_by_path(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / 'models' / 'yolo.py'), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_run_by_its_path_from_anywhere(tmp_path):
    """As a file it starts itself again as a module; the working directory stays, so relative paths mean the same."""
    write_yaml(tmp_path / 'mine.yaml', TINY)
    done = run_by_path(tmp_path, '--cfg', 'mine.yaml', '--device', 'cpu')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines()[-1].startswith('mine summary: ')
    wrong = run_by_path(tmp_path, '--cfg', 'other.yaml', '--device', 'cpu')
    assert wrong.returncode == 1
    assert wrong.stderr.startswith('Error: other.yaml: no such model file')
    assert len(wrong.stderr.splitlines()) == 1
    unknown = run_by_path(tmp_path, '--config', 'mine.yaml')
    assert (unknown.returncode, len(unknown.stderr.splitlines())) == (2, 1)
