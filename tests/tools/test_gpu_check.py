"""The owners' command: cards by a stand-in for nvidia-smi, and comparisons that pass, fail, abort or hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import gpu_check
from tools.gpu_check import Card, find_cards, main, run_check

CHILD = """
import os, sys, time, json
name = sys.argv[1]
if name == 'fails':
    print('differs by 2'); sys.exit(1)
if name == 'aborts':
    os.abort()
if name == 'hangs':
    time.sleep(60)
if name == 'speed':
    print(json.dumps({'a step': 0.5 if sys.argv[3] == 'cpu' else 0.01})); sys.exit()
print('the same', os.environ.get('NVIDIA_TF32_OVERRIDE'))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Comparisons called passes, fails, aborts and two in place of ours; the working directory is empty."""
    from tools import gpu_checks

    (tmp_path / 'stand_in_checks.py').write_text(CHILD)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(gpu_check, 'CHILD', 'stand_in_checks')
    checks = dict.fromkeys(('passes', 'fails', 'aborts'), gpu_checks.CHECKS['upload'])
    checks['two'] = gpu_checks.CHECKS['two processes']
    monkeypatch.setattr(gpu_checks, 'CHECKS', checks)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fake_nvidia_smi(folder: Path, monkeypatch, rows: str, old: bool = False) -> None:
    (folder / 'bin').mkdir()
    tool = folder / 'bin' / 'nvidia-smi'
    refuse = 'case "$1" in *compute_cap*) exit 2 ;; esac\n' if old else ''
    tool.write_text(f"#!/bin/sh\n{refuse}printf '{rows}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder / "bin"}:/usr/bin:/bin')


def test_without_a_card_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert capsys.readouterr().out == (
        'GPU check: no NVIDIA GPU here (nvidia-smi names none); --device cpu is a dry run\n'
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('capability', ['5.2', '9.0', '12.0'])
def test_a_card_that_the_wheel_has_no_code_for(monkeypatch, tmp_path, capsys, capability):
    fake_nvidia_smi(tmp_path, monkeypatch, f'Some GPU, 535.1, 81559 MiB, {capability}\\n')
    assert main([]) == 1
    assert f'capability {capability}: OneFlow 0.9.0' in capsys.readouterr().out


def test_cards(monkeypatch, tmp_path):
    fake_nvidia_smi(tmp_path, monkeypatch, 'GTX 1080, 470.1, 8119 MiB, 6.1\\nRTX 3090, 470.1, 24268 MiB, 8.6\\n')
    cards = find_cards()
    assert [(card.capability, card.covered) for card in cards] == [((6, 1), True), ((8, 6), True)]
    assert str(cards[0]) == 'GTX 1080, 8119 MiB, driver 470.1, compute capability 6.1'


def test_an_old_driver_does_not_tell_the_capability(monkeypatch, tmp_path):
    fake_nvidia_smi(tmp_path, monkeypatch, 'Tesla P100, 418.1, 16280 MiB\\n', old=True)
    assert find_cards() == [Card('Tesla P100', '418.1', '16280 MiB', None)]


def test_what_becomes_of_each(stand_in, monkeypatch, capsys):
    """One that aborts does not lose the others; what needs two cards is not run on one."""
    fake_nvidia_smi(stand_in, monkeypatch, 'RTX 3090, 535.1, 24268 MiB, 8.6\\n')
    assert main([]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[:4] == [
        'passed   passes: the same 0',
        'failed   fails: differs by 2',
        'failed   aborts: its process was ended by signal 6 (no output)',
        'not run  two: needs 2 cards',
    ]
    assert out[-1] == f'1 passed, 2 failed, 1 not run. Written to {stand_in / "gpu_check.md"}'
    text = (stand_in / 'gpu_check.md').read_text()
    assert '- card 0: RTX 3090, 24268 MiB, driver 535.1, compute capability 8.6' in text
    assert '| passes | passed |' in text
    assert '| a step | 0.0100 s | 0.5000 s | 50.0 |' in text


def test_one_that_hangs_is_ended(stand_in):
    result = run_check('hangs', 'cpu', limit=0.1)
    assert (result.verdict, result.detail) == ('failed', 'still running after 0.1 s')


def test_all_passed(stand_in, monkeypatch):
    monkeypatch.setenv('PATH', str(stand_in))
    assert main(['--device', 'cpu', '--only', 'passes', '--no-speed']) == 0
    assert 'a dry run: the CPU is compared with itself' in (stand_in / 'gpu_check.md').read_text()


def test_an_earlier_report_is_kept(stand_in, capsys):
    (stand_in / 'gpu_check.md').write_text('earlier')
    assert main(['--device', 'cpu', '--only', 'passes', '--no-speed']) == 0
    assert (stand_in / 'gpu_check.md').read_text() == 'earlier'
    assert capsys.readouterr().out.endswith(f'Written to {stand_in / "gpu_check2.md"}\n')


@pytest.mark.parametrize('words', [['--device', 'gpu'], ['--only', 'nothing', '--device', 'cpu']])
def test_usage(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_time_for_all_runs_out(stand_in, monkeypatch, capsys):
    """What was not compared for lack of time is no success; a comparison that has begun gets its whole time."""
    monkeypatch.setattr(gpu_check, 'IN_ALL', 0)
    assert main(['--device', 'cpu', '--only', 'passes', 'fails', '--no-speed']) == 1
    out = capsys.readouterr().out.splitlines()
    assert out == [
        'not run  passes: out of time',
        'not run  fails: out of time',
        '',
        f'0 passed, 0 failed, 2 not run. Written to {stand_in / "gpu_check.md"}',
        'To run what lacked time: python -m tools.gpu_check --device cpu --only passes fails',
    ]


def test_cards_that_the_wheel_has_no_code_for_do_not_count(stand_in, monkeypatch, capsys):
    fake_nvidia_smi(stand_in, monkeypatch, 'RTX 3090, 535.1, 24268 MiB, 8.6\\nH100, 535.1, 81559 MiB, 9.0\\n')
    assert main(['--only', 'passes', 'two', '--no-speed']) == 0
    assert 'not run  two: needs 2 cards' in capsys.readouterr().out


def test_a_real_comparison_in_its_own_process():
    result = run_check('upload', 'cpu')
    assert (result.verdict, result.detail.split(' of')[0][:18]) == ('passed', 'largest difference')
