"""OneFlow imports quietly in every process of the environment, and set-up can be repeated."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from utils import runtime


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    keep = {k: v for k, v in os.environ.items() if k not in ('GLOG_minloglevel', 'LD_LIBRARY_PATH')}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env={**keep, **environment})


def test_import_is_quiet_and_ctrl_c_is_pythons():
    code = 'import oneflow, signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)'
    done = run('-c', code)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'True\n', '')


def test_the_launcher_is_quiet(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text("import oneflow, os; print('rank', os.environ['RANK'])")
    done = run('-m', 'oneflow.distributed.launch', '--nproc_per_node', '1', str(script), OMP_NUM_THREADS='1')
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, 'rank 0', '')


def test_an_error_during_the_import_is_not_swallowed(capfd):
    with runtime.drop_noise():
        os.write(2, b'libibverbs not available, ibv_fork_init skipped\na real problem\n')
    assert capfd.readouterr().err == 'a real problem\n'


def test_install_is_repeatable_and_relative(tmp_path):
    for name in runtime.LIBRARIES:
        library = tmp_path / 'nvidia' / 'x' / 'lib' / name
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_text(name)
    (tmp_path / 'oneflow').mkdir()
    for _ in range(2):
        runtime.install(tmp_path)
    link = tmp_path / 'oneflow.libs' / runtime.LIBRARIES[0]
    assert link.read_text() == runtime.LIBRARIES[0]
    assert not os.path.isabs(os.readlink(link))
    assert (tmp_path / f'{runtime.SITE_MODULE}.pth').read_text().startswith('import ')


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='oneflow is not installed'):
        runtime.install(tmp_path)
    (tmp_path / 'oneflow').mkdir()
    with pytest.raises(FileNotFoundError, match=r'lacks libcudnn\.so\.8, libcublas\.so\.11'):
        runtime.install(tmp_path)
