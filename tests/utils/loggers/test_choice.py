import sys

import pytest

from tests.utils.loggers.stand_ins import MODULES, install
from train import TrainOptions
from utils.errors import ResourceError, UsageError
from utils.loggers.choice import LOGS, check_loggers, open_loggers
from utils.options import parse_options

EVENTS = 'events.out.tfevents*'


def titles(logs):
    return [log.title for log in logs]


def test_the_command_line_knows_every_logger():
    names = ['csv', *LOGS]
    assert parse_options(TrainOptions, ['--loggers', *names], '', 'train.py').loggers == names


def test_tensorboard_alone_unless_asked(tmp_path, monkeypatch, messages):
    calls = [install(monkeypatch, name) for name in MODULES]
    assert titles(open_loggers(None, tmp_path)) == ['TensorBoard']
    assert list(tmp_path.glob(EVENTS))
    assert calls == [[], [], []]


@pytest.mark.parametrize('package', ['wandb', 'clearml', 'comet_ml'])
def test_what_is_not_asked_for_is_not_imported(tmp_path, monkeypatch, messages, package):
    (tmp_path / f'{package}.py').write_text('raise RuntimeError')
    monkeypatch.syspath_prepend(tmp_path)
    open_loggers(None, tmp_path)
    check_loggers(list(LOGS)[:1] + [name for name, log in LOGS.items() if log.package == package])
    assert package not in sys.modules
    assert 'WARNING' not in messages()


@pytest.mark.parametrize(('name', 'variable'), [
    ('wandb', 'WANDB_API_KEY'), ('wandb', 'WANDB_MODE'), ('clearml', 'CLEARML_API_HOST'), ('comet', 'COMET_API_KEY'),
])  # fmt: skip
def test_the_environment_asks(tmp_path, monkeypatch, messages, name, variable):
    calls = install(monkeypatch, name)
    monkeypatch.setenv(variable, 'something')
    assert titles(open_loggers(None, tmp_path)) == ['TensorBoard', LOGS[name].title]
    assert calls
    calls.clear()
    assert titles(open_loggers(['csv'], tmp_path)) == []  # what the option names is all there is
    assert not calls


def test_a_configuration_file_of_clearml_asks(tmp_path, monkeypatch, messages):
    install(monkeypatch, 'clearml')
    (tmp_path / 'clearml.conf').touch()
    assert titles(open_loggers(None, tmp_path)) == ['TensorBoard', 'ClearML']


def test_wandb_can_be_disabled(tmp_path, monkeypatch, messages):
    install(monkeypatch, 'wandb')
    monkeypatch.setenv('WANDB_API_KEY', 'key')
    monkeypatch.setenv('WANDB_MODE', 'disabled')
    assert titles(open_loggers(None, tmp_path)) == ['TensorBoard']


def test_the_environment_asks_for_what_is_not_installed(tmp_path, monkeypatch, messages):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    monkeypatch.setenv('WANDB_API_KEY', 'key')
    assert titles(open_loggers(None, tmp_path)) == ['TensorBoard']
    said = [line for line in messages().splitlines() if 'not installed' in line]
    assert said == [
        'Weights & Biases: WANDB_API_KEY asks for it, but it is not installed, so nothing is logged there; '
        "'pip install wandb' adds it"
    ]


@pytest.mark.parametrize(('name', 'package'), [('wandb', 'wandb'), ('clearml', 'clearml'), ('comet', 'comet_ml')])
def test_what_is_asked_for_has_to_be_installed(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ResourceError, match=f"--loggers {name}: it is not installed. 'pip install {package}' adds it"):
        check_loggers(['csv', name])


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match='--loggers mlflow: no such logger. There are csv, tensorboard, wandb'):
        check_loggers(['csv', 'mlflow'])


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / 'wandb').mkdir()  # W&B keeps its files in such a one
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert not LOGS['wandb'].is_installed()


def test_one_that_does_not_start_is_left_out(tmp_path, monkeypatch, messages):
    calls = install(monkeypatch, 'wandb')

    def init(**_):
        raise ConnectionError('api.wandb.ai:\n no route')

    monkeypatch.setattr(sys.modules['wandb'], 'init', init)
    assert titles(open_loggers(['wandb', 'tensorboard'], tmp_path)) == ['TensorBoard']
    assert not calls
    said = 'Weights & Biases: it did not start (ConnectionError: api.wandb.ai: no route), so the run goes on without it'
    assert messages().splitlines()[0] == f'WARNING: {said}'
