import os

import pytest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    """No logger is asked for by the environment of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(('WANDB_', 'CLEARML_', 'COMET_')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
