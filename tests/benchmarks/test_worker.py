"""The child process's side of the pipe."""

from __future__ import annotations

import io
import json

import numpy as np

from benchmarks import worker
from benchmarks.cases import Case


class Kit:
    def about(self):
        return 'a kit'

    def suppress(self, rows):
        return lambda: rows[0, :3, :6]


def answers(*requests):
    out = io.StringIO()
    worker.serve([json.dumps(request) + '\n' for request in requests], out, worker.Session(Kit))
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_answer_a_request(capsys):
    prepared, value, check, peak = answers(
        {'prepare': {'kind': 'nms', 'count': 40}}, {'run': 3}, {'check': 1}, {'peak': 1}
    )
    assert prepared['about'] == 'a kit'
    assert prepared['check'] == check['check']
    assert prepared['check'][0] == 3
    assert 0 < value['value'] < 0.1
    assert peak['peak'] > 10 << 20
    assert capsys.readouterr().out == ''


def test_errors_are_answers_and_the_next_request_is_served(capsys):
    wrong, right = answers({'prepare': {'kind': 'load'}}, {'prepare': {'kind': 'nms', 'count': 40}})
    assert wrong == {'error': "AttributeError: 'Kit' object has no attribute 'loader'"}
    assert right['check'][0] == 3
    assert 'Traceback' in capsys.readouterr().err


def test_seconds_a_repetition_without_what_comes_before():
    class Fake(Case):
        now = 0.0

        def before(self):
            Fake.now += 100

        def step(self):
            Fake.now += 2

        clock = staticmethod(lambda: Fake.now)

    assert Fake(None, {}).run(4) == 2


def test_candidates_all_pass_and_overlap():
    from benchmarks.cases import candidates
    from utils.nms import non_max_suppression

    rows = candidates(300)
    assert rows.shape == (1, 300, 85)
    assert ((rows[0, :, 4:5] * rows[0, :, 5:]).max(1) > 0.001).all()
    kept = non_max_suppression(rows, 0.001, 0.6, multi_label=True)[0]
    assert 15 <= len(kept) < 200
    np.testing.assert_array_equal(rows, candidates(300))
