"""Hyper-parameter evolution: the genes, parents and mutations, the files, going on, and three true generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import train
from utils.callbacks import Callbacks
from utils.errors import ConfigError, DataError, TrainingError, UsageError
from utils.evolve import GENES, RESULTS, History, evolve, first_hyp, limit, mutation, next_hyp
from utils.hyps import KEYS, load_hyp
from utils.options import make_options, parse_options
from utils.paths import HYP_DIRS, read_yaml

pytestmark = pytest.mark.usefixtures('messages')


class Fake:
    """Takes the place of training: the mAP is the higher the nearer lr0 is to 0.02; remembers the options."""

    def __init__(self, fails: tuple[int, ...] = (), stops: int = -1) -> None:
        self.fails, self.stops = fails, stops
        self.seen: list[Any] = []
        self.callbacks: list[Callbacks] = []

    def __call__(self, opt: Any, callbacks: Callbacks) -> tuple:
        number = len(self.seen)
        self.seen.append(opt)
        self.callbacks.append(callbacks)
        weights = Path(opt.project) / opt.name / 'weights'
        weights.mkdir(parents=True)  # of the generation before nothing is left
        if number in self.fails:
            raise TrainingError('the loss is not finite')
        if number == self.stops:
            raise KeyboardInterrupt
        score = 1 - abs(np.log(opt.hyp['lr0'] / 0.02)) / 10
        return (0.5, 0.25, score, score, 0.1, 0.2, 0.3)


def options(project: Path, **changes: Any) -> train.TrainOptions:
    given = {'project': str(project), 'evolve': 3, 'noplots': True} | changes
    return make_options(train.TrainOptions, **given)


def table(folder: Path) -> tuple[list[str], np.ndarray]:
    header, *rows = (folder / 'evolve.csv').read_text().splitlines()
    return [name.strip() for name in header.split(',')], np.array([[float(c) for c in row.split(',')] for row in rows])


# Genes ----------------------------------------------------------------------------------------------------------------


def test_every_hyper_parameter_is_a_gene_and_its_limits_are_allowed():
    assert list(GENES) == [key for key in KEYS if key != 'label_smoothing']  # that is an option
    for bound in ('low', 'high'):
        load_hyp({name: getattr(gene, bound) for name, gene in GENES.items()})


REFERENCE = """lr0 1 1e-5 1e-1, lrf 1 .01 1, momentum .3 .6 .98, weight_decay 1 0 .001, warmup_epochs 1 0 5,
    warmup_momentum 1 0 .95, warmup_bias_lr 1 0 .2, box 1 .02 .2, cls 1 .2 4, cls_pw 1 .5 2, obj 1 .2 4, obj_pw 1 .5 2,
    iou_t 0 .1 .7, anchor_t 1 2 8, anchors 2 2 10, fl_gamma 0 0 2, hsv_h 1 0 .1, hsv_s 1 0 .9, hsv_v 1 0 .9,
    degrees 1 0 45, translate 1 0 .9, scale 1 0 .9, shear 1 0 10, perspective 0 0 .001, flipud 1 0 1, fliplr 0 0 1,
    mosaic 1 0 1, mixup 1 0 1, copy_paste 1 0 1"""  # gain, lower and upper limit


def test_the_references_table():
    for row in REFERENCE.split(','):
        name, *numbers = row.split()
        assert GENES[name] == tuple(map(float, numbers)), name
    assert len(GENES) == len(REFERENCE.split(','))


@pytest.mark.parametrize('file', sorted(HYP_DIRS[0].glob('*.yaml')), ids=lambda path: path.stem)
def test_shipped_files_lie_within_the_limits(file, messages):
    hyp = load_hyp(file)
    assert first_hyp(file, anchors=True) == pytest.approx({'anchors': 3.0} | {k: hyp[k] for k in GENES if k in hyp})
    assert 'the limit' not in messages()


def test_what_lies_outside_is_brought_in_and_that_is_said(messages):
    assert first_hyp({'lr0': 0.5}, anchors=True)['lr0'] == 0.1
    assert 'lr0 is 0.5, beginning with 0.1, the limit' in messages()


def test_anchors_evolve_unless_the_model_is_to_keep_its_own():
    assert first_hyp({}, anchors=True)['anchors'] == 3
    assert first_hyp({'anchors': 0}, anchors=True)['anchors'] == 3
    assert first_hyp({'anchors': 4.5}, anchors=True)['anchors'] == 4.5
    assert 'anchors' not in first_hyp({'anchors': 4.5}, anchors=False)


def test_limits_and_digits():
    assert limit('lr0', 0.012345678) == 0.012346
    assert limit('weight_decay', 0.000123456) == 0.00012346
    assert (limit('momentum', 0.1), limit('momentum', 2)) == (0.6, 0.98)


def test_mutations():
    gains = [1.0, 0.3, 0.0]
    factors = np.array([mutation(gains, np.random.default_rng(seed)) for seed in range(4000)])
    assert (factors != 1).any(axis=1).all()
    assert (factors[:, 2] == 1).all()
    # Given that one of the two was struck (0.96 of the draws).
    np.testing.assert_allclose((factors[:, :2] != 1).mean(axis=0), 0.8 / 0.96, atol=0.02)
    # The standard deviation of normal * uniform(0, 1) * 0.2, of those that were struck.
    moved = [column[column != 1] for column in factors.T[:2]]
    assert moved[0].std() == pytest.approx(0.2 / 3**0.5, rel=0.05)
    assert moved[1].std() == pytest.approx(0.3 * 0.2 / 3**0.5, rel=0.05)


def test_factors_are_cut():
    factors = np.array([mutation([100.0], np.random.default_rng(seed)) for seed in range(200)])
    assert (factors.min(), factors.max()) == (0.3, 3.0)


def history(tmp_path: Path, scores: list[float]) -> History:
    """Generations whose lr0 tells their number."""
    made = History(tmp_path / 'evolve.csv', ['lr0', 'fliplr'])
    for number, score in enumerate(scores):
        made.add([0, 0, score, score, 0, 0, 0], {'lr0': 0.01 * 3.0**-number, 'fliplr': 0.5})
    return made


def parents(made: History, count: int) -> np.ndarray:
    """How often each generation is the parent; a mutation of lr0 changes it by far less than a factor of 3."""
    drawn = [next_hyp(made, np.random.default_rng(seed))['lr0'] for seed in range(count)]
    numbers = np.rint(np.log(np.array(drawn) / 0.01) / np.log(1 / 3)).astype(int)
    return np.bincount(numbers, minlength=len(made.rows)) / count


def test_parents_are_the_five_fittest_by_how_fit(tmp_path):
    made = history(tmp_path, [0.1, 0.5, 0.3, 0.2, 0.4, 0.0])
    # The distance to the least of the five: 0, 0.4, 0.2, 0.1, 0.3.
    np.testing.assert_allclose(parents(made, 2000), [0, 0.4, 0.2, 0.1, 0.3, 0], atol=0.03)


def test_equals_are_equally_likely(tmp_path):
    np.testing.assert_allclose(parents(history(tmp_path, [0.2] * 2), 1000), 0.5, atol=0.05)


def test_children_are_mutated_within_the_limits(tmp_path):
    made = history(tmp_path, [0.5])
    children = [next_hyp(made, np.random.default_rng(seed)) for seed in range(50)]
    assert all(child['fliplr'] == 0.5 and child['lr0'] != 0.01 for child in children)
    made = History(tmp_path / 'other.csv', ['lr0', 'box'])
    made.add([0] * 7, {'lr0': 0.1, 'box': 0.05})
    assert max(next_hyp(made, np.random.default_rng(seed))['lr0'] for seed in range(50)) == 0.1


# Files and going on ---------------------------------------------------------------------------------------------------


def test_files(tmp_path, messages):
    fake = Fake()
    results = evolve(options(tmp_path, evolve=6), fake)
    columns, rows = table(tmp_path / 'exp')
    assert columns == [
        'metrics/precision', 'metrics/recall', 'metrics/mAP_0.5', 'metrics/mAP_0.5:0.95',
        'val/box_loss', 'val/obj_loss', 'val/cls_loss', *GENES,
    ]  # fmt: skip
    np.testing.assert_allclose(rows[:, :3] / [0.5, 0.25, 1], [[1, 1, row[3]] for row in rows])
    np.testing.assert_array_equal(rows[:, 7:], [list(opt.hyp.values()) for opt in fake.seen])
    assert fake.seen[0].hyp == pytest.approx(first_hyp('hyp.scratch-low.yaml', anchors=True))
    best = int(rows[:, 3].argmax())
    assert best > 0
    assert results == tuple(rows[best, :7])
    text = (tmp_path / 'exp' / 'hyp_evolve.yaml').read_text()
    assert text.startswith(f'# The fittest of 6 generations of hyper-parameter evolution: number {best + 1}\n')
    assert f'metrics/mAP_0.5:0.95: {rows[best, 3]:.5g}\n' in text
    assert load_hyp(tmp_path / 'exp' / 'hyp_evolve.yaml').items() >= fake.seen[best].hyp.items()
    assert sorted(path.name for path in (tmp_path / 'exp').iterdir()) == ['evolve.csv', 'hyp_evolve.yaml']
    assert f'generation 6 of 6: fitness {rows[5, 3]:.5g}, the best so far {rows[best, 3]:.5g}' in messages()


def test_a_training_gets_the_options_but_for_what_a_generation_needs_not(tmp_path):
    fake = Fake()
    evolve(options(tmp_path, evolve=1, epochs=7, optimizer='Adam', save_period=2), fake)
    (opt,) = fake.seen
    assert (opt.epochs, opt.optimizer, opt.evolve) == (7, 'Adam', None)
    assert (opt.noval, opt.nosave, opt.noplots, opt.save_period) == (True, True, True, -1)
    assert not (Path(opt.project) / opt.name).exists()


def test_without_autoanchor_the_number_of_anchors_is_no_gene(tmp_path):
    fake = Fake()
    evolve(options(tmp_path, noautoanchor=True, hyp={'anchors': 5}), fake)
    assert table(tmp_path / 'exp')[0] == [*RESULTS, *(gene for gene in GENES if gene != 'anchors')]
    assert not any('anchors' in opt.hyp for opt in fake.seen)


def test_runs_lie_in_runs_evolve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        evolve(make_options(train.TrainOptions, evolve=1, noplots=True, name='mine'), Fake())
    assert sorted(map(str, Path().rglob('evolve.csv'))) == [f'runs/evolve/mine{n}/evolve.csv' for n in ('', '2')]


def test_an_interrupted_evolution_goes_on_as_if_it_had_not_been(tmp_path, messages):
    evolve(options(tmp_path / 'whole', evolve=6), Fake())
    with pytest.raises(
        KeyboardInterrupt, match='generation 4 of 6. To go on: the same command with --name exp --exist'
    ):
        evolve(options(tmp_path / 'parts', evolve=6), Fake(stops=3))
    fake = Fake()
    evolve(options(tmp_path / 'parts', evolve=6, exist_ok=True), fake)
    assert len(fake.seen) == 3
    assert 'going on after the 3 generations of ' in messages()
    for name in ('evolve.csv', 'hyp_evolve.yaml'):
        assert (tmp_path / 'parts/exp' / name).read_text() == (tmp_path / 'whole/exp' / name).read_text()


def test_what_a_killed_generation_left_is_removed(tmp_path):
    evolve(options(tmp_path, evolve=1), Fake())
    (tmp_path / 'exp/generation/weights').mkdir(parents=True)
    evolve(options(tmp_path, evolve=2, exist_ok=True), Fake())
    assert len(table(tmp_path / 'exp')[1]) == 2


def test_a_finished_evolution_trains_no_more(tmp_path):
    results = evolve(options(tmp_path, evolve=2), Fake())
    fake = Fake()
    assert evolve(options(tmp_path, evolve=2, exist_ok=True), fake) == results
    assert fake.seen == []


def test_the_seed_decides(tmp_path):
    tables = []
    for number, seed in enumerate((1, 1, 2)):
        evolve(options(tmp_path / str(number), seed=seed), Fake())
        tables.append(table(tmp_path / str(number) / 'exp')[1])
    np.testing.assert_array_equal(tables[0], tables[1])
    assert (tables[0][1:, 7] != tables[2][1:, 7]).all()


def test_a_generation_that_can_not_be_trained_counts_nothing(tmp_path, messages):
    results = evolve(options(tmp_path, evolve=4), Fake(fails=(0, 2)))
    rows = table(tmp_path / 'exp')[1]
    assert [bool(row.any()) for row in rows[:, :7]] == [False, True, False, True]
    assert results[3] == rows[:, 3].max()
    assert 'fitness 0, since the loss is not finite' in messages()


def test_another_error_ends_it_and_leaves_no_folder(tmp_path):
    def bad_data(opt: Any, callbacks: Callbacks) -> None:
        raise DataError('no such pictures')

    with pytest.raises(DataError):
        evolve(options(tmp_path / 'runs'), bad_data)
    assert not (tmp_path / 'runs').exists()


def test_every_training_gets_the_hooks_given(tmp_path):
    callbacks, fake = Callbacks(), Fake()
    evolve(options(tmp_path, evolve=2), fake, callbacks)
    assert [given is callbacks for given in fake.callbacks] == [True, True]


@pytest.mark.parametrize(('change', 'complaint'), [
    (lambda text: text.replace('lr0', 'lr1'), 'has other columns than'),
    (lambda text: text.replace('0.25', 'half'), "damaged .* half'"),
    (lambda text: text.rsplit(',', 1)[0] + '\n', 'damaged'),
    (lambda text: '', 'has other columns than'),
])  # fmt: skip
def test_a_file_that_is_not_ours_is_refused_and_kept(tmp_path, change, complaint):
    evolve(options(tmp_path), Fake())
    file = tmp_path / 'exp' / 'evolve.csv'
    file.write_text(change(file.read_text()))
    before = file.read_bytes()
    with pytest.raises(ConfigError, match=complaint):
        evolve(options(tmp_path, evolve=9, exist_ok=True), Fake())
    assert file.read_bytes() == before


# The option -----------------------------------------------------------------------------------------------------------


def test_the_option():
    parsed = [
        parse_options(train.TrainOptions, words, '', '').evolve for words in ([], ['--evolve'], ['--evolve', '5'])
    ]
    assert parsed == [None, 300, 5]


@pytest.mark.parametrize('number', [0, -1])
def test_no_generations(tmp_path, number):
    with pytest.raises(UsageError, match=f'--evolve {number}: out of range'):
        train.run(project=tmp_path / 'runs', evolve=number)
    assert not (tmp_path / 'runs').exists()


def test_it_is_for_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(UsageError, match='one of 2. Start without a launcher'):
        evolve(options(tmp_path, evolve=2), Fake())


def test_it_goes_on_by_name_and_not_by_resume(tmp_path):
    with pytest.raises(UsageError, match='does not go with --resume. Give the --name to go on with, and --exist-ok'):
        evolve(options(tmp_path, resume=True), Fake())


def test_three_generations(tiny, tmp_path):
    seen = []
    callbacks = Callbacks()
    callbacks.register_action('on_params_update', callback=lambda params: seen.append(params))
    results = train.run(callbacks, **tiny.options(tmp_path, evolve=3, noplots=False))
    assert sum(map(len, callbacks.get_registered_actions().values())) == 1  # the loggers of no training are left
    folder = tmp_path / 'exp'
    columns, rows = table(folder)
    assert rows.shape == (3, 7 + len(GENES))
    assert (rows[:, 4:7] > 0).all()  # validation losses: every generation was evaluated
    assert len({tuple(row[7:]) for row in rows}) == 3
    np.testing.assert_array_equal(rows[:, 7:], [[params[gene] for gene in columns[7:]] for params in seen])
    assert {params['label_smoothing'] for params in seen} == {0.0}
    assert results in [tuple(row[:7]) for row in rows]
    assert sorted(path.name for path in folder.iterdir()) == ['evolve.csv', 'evolve.png', 'hyp_evolve.yaml']
    assert cv2.imread(str(folder / 'evolve.png')).std() > 5
    assert read_yaml(folder / 'hyp_evolve.yaml').keys() == GENES.keys()
