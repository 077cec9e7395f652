"""val.py on the reference-trained BCCD checkpoint, against what the reference measured with it (val_results.json).

The network runs once for each picture size; both IoU thresholds are scored from its outputs.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import val
from models.backend import Backend
from models.graph.build import build_onnx
from tests.golden import golden_json, needs_golden, shared
from utils.boxes import box_iou
from utils.callbacks import Callbacks
from utils.checkpoint import build_model, load_checkpoint
from utils.coco import STATS, evaluate_json
from utils.evaluate import Scores, Tally
from utils.options import make_options

pytestmark = needs_golden

RUNS = [
    'img320_iou0.60',
    'img320_iou0.65',
    pytest.param('img640_iou0.60', marks=pytest.mark.slow),
    pytest.param('img640_iou0.65', marks=pytest.mark.slow),
]
CLASSES = ('RBC', 'WBC', 'Platelets')


@dataclass
class Outcome:
    tally: Tally
    scores: Scores
    predictions: Path  # the file of --save-json


class Evaluations:
    """The outcome of each run, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[int, val.Job] = {}
        self.outcomes: dict[str, Outcome] = {}

    def __getitem__(self, name: str) -> Outcome:
        if name not in self.outcomes:
            about = golden_json('val_results.json')['runs'][name]
            job = self._job(about['imgsz'])
            opt = replace(job.opt, iou_thres=about['iou_thres'])
            job = replace(job, opt=opt, folder=self.folder / name)
            tally = val.evaluate(job)
            job.files.finish((0.0, 0.0, 0.0, 0.0))
            self.outcomes[name] = Outcome(tally, tally.scores(), job.folder / 'bccd_yolov5n_ref_predictions.json')
        return self.outcomes[name]

    def _job(self, imgsz: int) -> val.Job:
        """What the command would make of its options, but with a model that computes each batch only once."""
        if imgsz not in self.jobs:
            weights, data = shared('weights/bccd_yolov5n_ref.pt'), shared('data/bccd/bccd.yaml')
            opt = make_options(
                val.ValOptions,
                weights=str(weights),
                data=str(data),
                imgsz=imgsz,
                save_json=True,
                device='cpu',
                workers=0,
            )
            job = val.load_job(opt, self.folder / str(imgsz), Callbacks(), plots=False)
            self.jobs[imgsz] = replace(job, backend=Remembering(job.backend, len(job.loader)))
        return self.jobs[imgsz]


class Remembering:
    """A backend that answers the same batches in turn from memory."""

    def __init__(self, backend: Backend, batches: int) -> None:
        self.backend, self.batches = backend, batches
        self.names, self.prepare, self.suppress = backend.names, backend.prepare, backend.suppress
        self.device = backend.device
        self.answers: list[Any] = []
        self.calls = 0

    def __call__(self, x: Any, augment: bool = False) -> Any:
        if len(self.answers) < self.batches:
            self.answers.append(self.backend(x, augment))
        self.calls += 1
        return self.answers[(self.calls - 1) % self.batches]


@pytest.fixture(scope='module')
def evaluations(tmp_path_factory) -> Evaluations:
    return Evaluations(tmp_path_factory.mktemp('val'))


@pytest.mark.parametrize('name', RUNS)
def test_scores(evaluations, name):
    scores, expected = evaluations[name].scores, golden_json('val_results.json')['runs'][name]
    p, r, map50, map50_95 = scores.means()
    assert (p, r) == pytest.approx((expected['all']['P'], expected['all']['R']), abs=2e-3)
    assert map50 == pytest.approx(expected['all']['mAP50'], abs=1e-4)
    assert map50_95 == pytest.approx(expected['all']['mAP50_95'], abs=1e-4)
    np.testing.assert_allclose(scores.maps(), expected['maps'], atol=5e-4)
    for i, about in enumerate(expected['per_class'][c] for c in CLASSES):
        assert scores.labels[i] == about['labels']
        assert (scores.p[i], scores.r[i], scores.f1[i]) == pytest.approx([about[k] for k in ('P', 'R', 'F1')], abs=2e-3)
        assert scores.ap[i] == pytest.approx(about['AP_by_iou'], abs=5e-4)
        assert scores.tp[i] == pytest.approx(about['tp_at_best_F1'], abs=2)
        assert scores.fp[i] == pytest.approx(about['fp_at_best_F1'], abs=2)


@pytest.mark.parametrize('name', RUNS)
def test_printed_table(evaluations, name):
    scores = evaluations[name].scores
    lines = [scores.total_line(), *scores.class_lines(CLASSES)]
    for line, expected in zip(lines, golden_json('val_results.json')['runs'][name]['printed'], strict=True):
        assert len(line) == len(expected)
        assert line.split()[:3] == expected.split()[:3]
        numbers, numbers_expected = (np.float64(text.split()[3:]) for text in (line, expected))
        np.testing.assert_allclose(numbers, numbers_expected, atol=2e-3)


@pytest.mark.parametrize('name', RUNS)
def test_counts(evaluations, name):
    correct, confidence, predicted, _ = evaluations[name].tally.arrays()
    expected = golden_json('val_results.json')['runs'][name]
    assert len(correct) == expected['predictions']
    assert confidence.sum(dtype=np.float64) == pytest.approx(expected['confidence_sum'], rel=1e-3)
    np.testing.assert_allclose(correct.sum(0), expected['true_positives_by_iou'], atol=2)
    by_class = [expected['per_class'][c]['predictions'] for c in CLASSES]
    np.testing.assert_allclose(np.bincount(predicted.astype(int)), by_class, atol=5)


def test_confusion_matrix(evaluations):
    expected = golden_json('val_results.json')['runs']['img320_iou0.60']['confusion_matrix_pred_by_true']
    difference = evaluations['img320_iou0.60'].tally.confusion.matrix - expected
    # Seven labels are claimed by two classes of one and the same box. The reference's sort is not stable and gave one
    # of them, a platelet, to the less confident class; here the more confident has it.
    np.testing.assert_array_equal(difference, [[0, 0, -1, 1], [0, 0, 0, 0], [0, 0, 1, -1], [0, 0, 0, 0]])


@pytest.mark.parametrize('name', RUNS)
def test_pycocotools_on_the_written_json(evaluations, name, tmp_path):
    annotations = tmp_path / 'annotations.json'
    with gzip.open(shared('golden/bccd_val_coco.json.gz')) as packed, open(annotations, 'wb') as unpacked:
        shutil.copyfileobj(packed, unpacked)
    expected = golden_json('val_results.json')['runs'][name]['coco']
    stats = dict(zip(STATS, evaluate_json(evaluations[name].predictions, annotations)))
    off = {stat for stat in STATS if stats[stat] != pytest.approx(expected[stat], abs=5e-4)}
    if off:
        turned = tmp_path / 'turned.json'
        turned.write_text(json.dumps(with_ties_turned(json.loads(evaluations[name].predictions.read_text()))))
        other = dict(zip(STATS, evaluate_json(turned, annotations)))
        assert {stat: other[stat] for stat in off} == pytest.approx({stat: expected[stat] for stat in off}, abs=5e-4)


def with_ties_turned(rows: list[dict]) -> list[dict]:
    """The same detections with the other order wherever rounding decides which of two is counted.

    pycocotools counts the best 1, 10 and 100 of a class in an image. At 640 and IoU 0.6 the tenth and eleventh white
    cell of BloodImage_00349 have scores of 0.0500854 and 0.0500851, closer than two engines or instruction sets agree
    (2.6e-6), and only one of them is right: AR_10 is 0.3303 or 0.3319. In no run does more than one such pair count.
    """
    groups = defaultdict(list)
    for row in rows:
        groups[row['image_id'], row['category_id']].append(dict(row))
    for group in groups.values():
        group.sort(key=lambda row: -row['score'])
        for a, b in (group[cut - 1 : cut + 1] for cut in (1, 10, 100) if len(group) > cut):
            if a['score'] - b['score'] < 1.5e-5:  # the file has five digits
                a['bbox'], b['bbox'] = b['bbox'], a['bbox']
    return [row for group in groups.values() for row in group]


def test_a_tie_is_turned():
    """Only at a cut, and only where scores are that close."""
    row = {'image_id': 'x', 'category_id': 1}
    rows = [row | {'bbox': [i], 'score': score} for i, score in enumerate((0.9, 0.89999, 0.5, 0.49999))]
    assert [row['bbox'] for row in with_ties_turned(rows)] == [[1], [0], [2], [3]]
    rows[1]['score'] = 0.8
    assert with_ties_turned(rows) == rows


def test_pycocotools_on_the_references_json(tmp_path):
    for name in ('bccd_val_coco.json', 'bccd_val_predictions.json'):
        with gzip.open(shared(f'golden/{name}.gz')) as packed, open(tmp_path / name, 'wb') as unpacked:
            shutil.copyfileobj(packed, unpacked)
    stats = evaluate_json(tmp_path / 'bccd_val_predictions.json', tmp_path / 'bccd_val_coco.json')
    expected = golden_json('val_results.json')['runs']['img320_iou0.60']['coco']
    assert dict(zip(STATS, stats)) == pytest.approx(expected, abs=1e-4)


def test_the_written_json(evaluations):
    ours, theirs = defaultdict(list), defaultdict(list)
    rows = json.loads(evaluations['img320_iou0.60'].predictions.read_text())
    for found, source in ((ours, rows), (theirs, golden_json('bccd_val_predictions.json.gz'))):
        for row in source:
            if row['score'] > 0.05 - 1e-4:
                found[row['image_id']].append((row['category_id'], *row['bbox'], row['score']))
    assert ours.keys() == theirs.keys()
    # Where a box overlaps a better one by 0.6 to the fifth digit, rounding decides whether it stays, and then whether
    # those stay that it overlaps: at home in BloodImage_00145, with other rounding in BloodImage_00338.
    for i in theirs:
        lone = [(row, a) for a, b in ((ours[i], theirs[i]), (theirs[i], ours[i])) for row in strangers(a, b)]
        assert not lone or any(barely_suppressed(row, rows) for row, rows in lone), (i, lone)
        assert len(lone) <= 2
    assert sum(map(len, theirs.values())) > 3000


def strangers(rows: list[tuple], others: list[tuple]) -> list[tuple]:
    """Of rows (category, x, y, w, h, score) those with scores over 0.05 that have no equal among the others."""
    a, b = np.array(rows), np.array(others)
    distance = np.abs(a[:, None] - b)
    same = (distance[..., 0] == 0) & (distance[..., 1:5] < 0.05).all(2) & (distance[..., 5] < 1e-4)
    return [row for row, found in zip(rows, same.any(1)) if row[5] > 0.05 and not found]


def barely_suppressed(row: tuple, rows: list[tuple]) -> bool:
    """Whether a row's overlap with another of its class is at the limit, but for rounding of the file's."""
    boxes = np.array([other[1:5] for other in rows if other[0] == row[0]])
    corners = np.hstack((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]))
    x, y, w, h = row[1:5]
    return bool((np.abs(box_iou(np.array([[x, y, x + w, y + h]]), corners) - 0.6) < 2e-5).any())


# Exported files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('dynamic', 'task'), [(True, 'val'), (False, 'speed')])
def test_an_export_scores_as_its_checkpoint_on_the_same_pictures(tmp_path, dynamic, task):
    """A file of any size on pictures of their own shape; one of a fixed size on squares, which is what `speed` has."""
    weights, size = shared('weights/bccd_yolov5n_ref.pt'), 160
    pictures = sorted(shared('data/bccd/images/val').iterdir())[:12]
    (tmp_path / 'val.txt').write_text('\n'.join(map(str, pictures)))
    data = {'val': str(tmp_path / 'val.txt'), 'names': list(CLASSES)}
    exported = tmp_path / 'bccd.onnx'
    onnx.save(build_onnx(build_model(load_checkpoint(weights)), (size, size), dynamic=dynamic), str(exported))
    common = {'imgsz': size, 'batch_size': 8, 'workers': 0, 'device': 'cpu', 'plots': False, 'project': str(tmp_path)}
    expected, _, _ = val.run(data, weights=[str(weights)], task=task, **common)
    found, _, _ = val.run(data, weights=[str(exported)], **common)
    assert expected[2] > 0.4
    np.testing.assert_allclose(found[:4], expected[:4], rtol=0, atol=1e-3)
