"""The command: which figures it measures, with which sides, and what it says of those that are not there."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.__main__ as command
from benchmarks import gpu, plan
from benchmarks.plan import OURS, PYTORCH, REFERENCE, Figure, Job
from benchmarks.sides import Command, Race, Side, Worker
from utils.errors import UsageError

ALL_SIDES = {
    OURS: Side(OURS, 'python', 'ours'),
    PYTORCH: Side(PYTORCH, 'other', 'pytorch'),
    REFERENCE: Side(REFERENCE, 'other', 'reference', '/theirs'),
}


@pytest.fixture
def job(tmp_path):
    return Job(ALL_SIDES, {}, 'set.yaml', ['images'], ['a', 'b'], 'best.safetensors', tmp_path, files=3)


def test_every_goal_of_the_issue_has_a_figure(job):
    figures = [figure for section in plan.SECTIONS.values() for figure in section(job)]
    goals = {(figure.name, figure.setting): figure for figure in figures}
    for model in ('yolov5n', 'yolov5s'):
        for setting in ('batch 16 at 320', 'batch 4 at 640'):
            step = goals['training step', f'{model}, {setting}']
            assert (step.goal, step.memory, list(step.sides)) == (1.0, 1.2, [OURS, PYTORCH, REFERENCE])
        assert goals['inference, folded', f'{model}, batch 1 at 640'].goal == 0.95
        assert goals['inference, folded', f'{model}, batch 8 at 640'].goal == 0.7
    assert [f.setting.split()[0] for f in figures if f.name == 'NMS'] == ['300', '1000', '5000', '30000']
    assert goals['start-up', 'train.py --help'].limit == 0.5
    assert goals['detect on one picture', 'at 640'].limit == 2.5
    assert len([f for f in figures if f.x is not None]) == 2 + 6 + 6 + 4  # workers, batches twice, sizes
    assert (job.folder / 'labels/labels/2.txt').is_file()


def test_large_label_sets_have_a_limit_and_small_ones_none(job, monkeypatch):
    monkeypatch.setattr('benchmarks.labels.write_set', lambda folder, files: None)
    assert [f.limit for f in plan.loading(job)][-2:] == [None, None]
    (job.folder / 'labels').rmdir()
    assert [f.limit for f in plan.loading(replace(job, files=60_000))][-2:] == [30, 1]


def test_two_cards_go_through_each_librarys_launcher(job):
    figures = list(gpu.on_gpu(job, count=2))
    step = [f for f in figures if f.name == 'training step on a GPU by batch']
    assert [f.x for f in step] == [4, 8, 16, 32, 64]
    assert all(isinstance(side, Worker) and side.device == 'cuda' for f in step for side in f.sides.values())
    last = figures[-1]
    assert last.name == 'an epoch on 2 GPUs'
    ours, theirs = last.sides[OURS], last.sides[REFERENCE]
    assert ours.words[:5] == ['python', '-m', 'oneflow.distributed.launch', '--nproc_per_node', '2']
    assert theirs.words[:3] == ['other', '-m', 'torch.distributed.run']
    assert theirs.cwd == '/theirs'
    assert last.sides['ours, plain operators'].words == [*ours.words, '--no-fused']
    assert ours.words[ours.words.index('--device') + 1] == '0,1'
    assert ours.words[ours.words.index('--batch-size') + 1] == '128'
    assert {f.name for f in gpu.on_gpu(job, count=1)} == {'training step on a GPU by batch', 'an epoch on 1 GPU'}


def test_rows_of_times_and_memory():
    figure = Figure('step', 'n', {}, goal=1.0, memory=1.2)
    result = Race({OURS: [1.0], PYTORCH: [2.0], 'plain OneFlow': [8.0]}, {OURS: 30, PYTORCH: 20, 'plain OneFlow': 10})
    rows = command.rows_of(figure, result)
    assert [(row.unit, row.against, row.ratio, row.goal) for row in rows] == [
        ('s', PYTORCH, 0.5, 1.0), ('s', 'plain OneFlow', 0.125, None),
        ('bytes', PYTORCH, 1.5, 1.2), ('bytes', 'plain OneFlow', 3.0, None),
    ]  # fmt: skip


def test_a_limit_is_of_our_value_alone():
    rows = command.rows_of(Figure('start', 'x', {}, limit=0.5), Race({OURS: [0.4], REFERENCE: [2.0]}))
    assert [(row.against, row.ratio, row.goal) for row in rows] == [('', None, 0.5), (REFERENCE, 0.2, None)]


def test_what_is_missing_is_said(job, monkeypatch, messages):
    monkeypatch.setattr(command, 'count_gpus', lambda: 0)
    monkeypatch.setitem(command.SECTIONS, 'start', lambda job: [Figure('a', 'b', {OURS: Command(['/no/such'])})])
    monkeypatch.setattr(command, 'race', lambda *_, **__: Race(dropped={OURS: 'why'}))
    rows, left_out, about = command.measure(command.Options(sections=['start', 'gpu']), replace(job, sides={}))
    assert (rows, about) == ([], [])
    assert left_out[0] == 'PyTorch (no --torch-python)'
    assert left_out[4:] == ['a, b: ours (why)', 'everything on a GPU (OneFlow sees none on this machine)']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--reference', '/'], '--reference without --torch-python'),
        (['--torch-python', '/no/python'], '--torch-python /no/python: is not there'),
        (['--rounds', '0'], 'too small'),
        (['--sections', 'nonsense'], 'nonsense'),
    ],
)
def test_wrong_options(words, message):
    with pytest.raises(UsageError, match=message):
        command.main(words)


def test_paths_of_sides_are_absolute_but_links_stay(tmp_path, monkeypatch):
    (tmp_path / 'python').symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    opt = command.Options(torch_python='python', reference='.', plain=True)
    command.check(opt)
    sides = command.find_sides(opt)
    assert sides[PYTORCH].python == sides[REFERENCE].python == str(tmp_path / 'python')
    assert sides[REFERENCE].checkout == str(tmp_path)
    assert [side.kind for side in sides.values()] == ['ours', 'pytorch', 'reference', 'plain']


def test_the_whole_command(tmp_path, messages):
    """Its least section, and one that needs the random checkpoint."""
    command.main(['--small', '--sections', 'nms', 'val', '--rounds', '2', '--project', str(tmp_path)])
    folder = tmp_path / 'exp'
    assert {path.name for path in folder.iterdir()} == {'results.csv', 'results.md'}
    text = (folder / 'results.md').read_text()
    assert '| NMS | 50 candidates | ' in text
    share = next(line for line in text.splitlines() if line.startswith('| NMS and matching')).split(' | ')[2]
    assert 0 < float(share.rstrip('%')) < 100
    assert '- PyTorch (no --torch-python)' in text
    assert f'Results saved to {folder}' in messages()
    assert not list(Path(tmp_path).glob('exp/*.tmp'))
