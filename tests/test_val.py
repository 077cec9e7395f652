from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import oneflow as torch
import onnx
import pytest
from oneflow import nn

import val
from models.backend import wrap
from models.ensemble import Ensemble
from models.graph.build import build_onnx
from models.graph.nms import NMSOptions
from models.yolo import Model
from tests.models.exports import NAMES, save_small, small_model
from utils.boxes import xywhn2xyxy
from utils.callbacks import HOOKS, Callbacks
from utils.data.loader import create_dataloader
from utils.data.yaml import load_data
from utils.errors import DataError, UsageError
from utils.evaluate import DetectionFiles
from utils.hyps import load_hyp
from utils.log import LOGGER
from utils.loss import ComputeLoss
from utils.options import parse_options
from utils.paths import write_yaml

# Pictures (height, width) and their labels: class, x, y, w, h.
PICTURES = {
    'a': ((96, 128), [(0, 0.3, 0.4, 0.2, 0.3), (1, 0.7, 0.6, 0.4, 0.5)]),
    'b': ((128, 96), [(1, 0.5, 0.5, 0.6, 0.2)]),
    'c': ((80, 100), [(0, 0.25, 0.25, 0.3, 0.3), (0, 0.75, 0.75, 0.3, 0.3), (1, 0.25, 0.75, 0.2, 0.2)]),
    'd': ((64, 64), []),
}


class Oracle(nn.Module):
    """A network that knows the labels of every batch and answers with them, confident, in rows of its input's pixels.

    Args:
        batches: the loader's, in order.
        miss: leave out each picture's first label.
        wrong: also answer with a box of nothing, of class 0.
    """

    def __init__(self, batches: list, nc: int = 2, miss: bool = False, wrong: bool = False) -> None:
        super().__init__()
        self.names, self.largest_stride, self.nc = ['cell', 'star'][:nc], 32, nc
        self.weight = nn.Parameter(torch.zeros(1))
        self.batches, self.miss, self.wrong = batches, miss, wrong
        self.calls: list[bool] = []

    def forward(self, x: torch.Tensor, augment: bool = False, visualize=None):
        assert x.dtype == torch.float32
        assert 0 <= x.min().item() <= x.max().item() <= 1
        images, targets, _, _ = self.batches[len(self.calls) % len(self.batches)]
        np.testing.assert_allclose(x.numpy() * 255, images, atol=1e-3)
        self.calls.append(augment)
        height, width = images.shape[2:]
        answer = np.zeros((len(images), 20, 5 + self.nc), np.float32)
        for i in range(len(images)):
            labels = targets[targets[:, 0] == i, 1:][int(self.miss) :]
            rows = np.zeros((len(labels) + self.wrong, 5 + self.nc))
            rows[: len(labels), :4] = labels[:, 1:] * (width, height, width, height)
            rows[range(len(labels)), 5 + labels[:, 0].astype(int)] = 0.99
            rows[:, 4] = np.linspace(0.95, 0.85, len(rows))
            if self.wrong:
                rows[-1] = (width / 2, 4, 9, 7, 0.99, 0.99, *[0] * (self.nc - 1))
            answer[i, : len(rows)] = rows
        return torch.from_numpy(answer), ['maps']


@pytest.fixture
def data(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / 'cells'
    for kind in ('images', 'labels'):
        (folder / kind / 'val').mkdir(parents=True)
    for name, (shape, rows) in PICTURES.items():
        cv2.imwrite(str(folder / 'images/val' / f'{name}.png'), rng.integers(0, 255, (*shape, 3), np.uint8))
        text = ''.join(' '.join(map(str, row)) + '\n' for row in rows)
        (folder / 'labels/val' / f'{name}.txt').write_text(text)
    file = folder / 'cells.yaml'
    write_yaml(file, {'path': '.', 'train': 'images/val', 'val': 'images/val', 'names': ['cell', 'star']})
    return file


@pytest.fixture(autouse=True)
def messages():
    """A function that gives what was logged so far. `main` sets the logger up; afterwards it is as before."""
    lines: list[str] = []
    handler, before = logging.Handler(), (LOGGER.handlers, LOGGER.propagate, LOGGER.level)
    handler.emit = lambda record: lines.append(record.getMessage())
    LOGGER.handlers = [handler]
    LOGGER.setLevel(logging.INFO)
    yield lambda: '\n'.join(lines)
    LOGGER.handlers, LOGGER.propagate = before[:2]
    LOGGER.setLevel(before[2])


def make_loader(file: Path, batch_size: int = 2, single_cls: bool = False, nc: int = 2):
    loader, _ = create_dataloader(
        load_data(file).val, 128, batch_size, rect=True, pad=0.5, workers=0, nc=nc, single_cls=single_cls
    )
    return loader


def evaluate(file: Path, folder: Path, plots: bool = False, compute_loss=None, callbacks=None, **options):
    """`val.run` as train.py calls it, with an `Oracle`; its options begin with oracle_."""
    single_cls = options.get('single_cls', False)
    loader = make_loader(file, single_cls=single_cls)
    about_oracle = {k[7:]: options.pop(k) for k in list(options) if k.startswith('oracle_')}
    oracle = Oracle(list(loader), nc=1 if single_cls else 2, **about_oracle)
    return val.run(
        load_data(file), model=oracle, dataloader=loader, save_dir=folder, plots=plots, callbacks=callbacks,
        compute_loss=compute_loss, imgsz=128, **options,
    )  # fmt: skip


def test_perfect_detections(data, tmp_path, messages):
    (p, r, map50, map_, *losses), maps, milliseconds = evaluate(data, tmp_path, verbose=True)
    assert (p, r) == pytest.approx((1, 1), abs=1e-6)
    assert (map50, map_) == pytest.approx((0.995, 0.995))
    assert losses == [0, 0, 0]
    np.testing.assert_allclose(maps, [0.995, 0.995])
    assert len(milliseconds) == 3
    assert all(0 < t < 1000 for t in milliseconds)
    assert messages().splitlines()[-3:] == [
        '                 all          4          6          1          1      0.995      0.995',
        '                cell          4          3          1          1      0.995      0.995',
        '                star          4          3          1          1      0.995      0.995',
    ]


def test_misses_and_false_alarms_are_counted(data, tmp_path):
    (p, r, map50, *_), maps, _ = evaluate(data, tmp_path, oracle_miss=True, oracle_wrong=True)
    # Of three cells one is found, of three stars two; every picture has a false cell.
    assert r == pytest.approx((1 / 3 + 2 / 3) / 2, abs=1e-6)
    assert p == pytest.approx((1 / 5 + 1) / 2, abs=1e-6)
    assert 0 < maps[0] < maps[1] < 1
    assert 0 < map50 < 0.995


def test_losses_are_means_over_batches(data, tmp_path):
    seen = []

    def compute_loss(maps, targets):
        seen.append((maps, len(targets)))
        return None, torch.tensor([1.0, 2.0, 3.0]) * len(seen)

    results, _, _ = evaluate(data, tmp_path, compute_loss=compute_loss)
    assert results[4:] == pytest.approx((1.5, 3, 4.5))
    assert [maps for maps, _ in seen] == [['maps'], ['maps']]
    assert sum(count for _, count in seen) == 6


def test_hooks_are_called(data, tmp_path):
    calls, callbacks = [], Callbacks()
    for hook in HOOKS:
        callbacks.register_action(hook, callback=lambda *args, hook=hook: calls.append((hook, args)))
    evaluate(data, tmp_path, callbacks=callbacks)
    batch = ['on_val_batch_start', 'on_val_image_end', 'on_val_image_end', 'on_val_batch_end']
    assert [hook for hook, _ in calls] == ['on_val_start', *batch, *batch, 'on_val_end']
    detections, original, path, names, image = calls[2][1]
    assert detections.shape == original.shape
    assert (Path(path).suffix, names, image.shape[0]) == ('.png', ['cell', 'star'], 3)


@pytest.mark.parametrize('save_conf', [False, True])
def test_label_files_equal_the_labels(data, tmp_path, save_conf):
    evaluate(data, tmp_path, save_txt=True, save_conf=save_conf)
    assert sorted(p.name for p in (tmp_path / 'labels').iterdir()) == ['a.txt', 'b.txt', 'c.txt']
    for name in 'abc':
        rows = np.loadtxt(tmp_path / 'labels' / f'{name}.txt', ndmin=2)
        assert rows.shape[1] == 5 + save_conf
        expected = np.array(PICTURES[name][1])
        ours = rows[np.lexsort(rows[:, :3].T[::-1]), :5]
        np.testing.assert_allclose(ours, expected[np.lexsort(expected[:, :3].T[::-1])], atol=4e-3)


def test_pictures_of_one_name_have_label_files_of_their_own(data, tmp_path):
    files = DetectionFiles(tmp_path, load_data(data), 'val', txt=True)
    for folder in 'xy':
        files.add(f'{folder}/a.png', np.float32([[1, 1, 5, 5, 0.9, 0]]), (10, 10))
    assert sorted(p.name for p in (tmp_path / 'labels').iterdir()) == ['a.txt', 'a_2.txt']


def write_annotations(file: Path) -> None:
    """The pictures' labels in COCO's format, beside the data set."""
    annotations, images = [], []
    for name, ((height, width), rows) in PICTURES.items():
        images.append({'id': name})
        for row in rows:
            x1, y1, x2, y2 = xywhn2xyxy(np.array(row[1:]), width, height).tolist()
            box = {'bbox': [x1, y1, x2 - x1, y2 - y1], 'area': (x2 - x1) * (y2 - y1), 'iscrowd': 0}
            annotations.append(box | {'id': len(annotations) + 1, 'image_id': name, 'category_id': row[0]})
    categories = [{'id': 0, 'name': 'cell'}, {'id': 1, 'name': 'star'}]
    file.parent.mkdir()
    file.write_text(json.dumps({'images': images, 'annotations': annotations, 'categories': categories}))


def test_json_is_written_and_scored_by_pycocotools(data, tmp_path):
    write_annotations(data.parent / 'annotations' / 'instances_val.json')
    (_, _, map50, map_, *_), _, _ = evaluate(data, tmp_path, save_json=True)
    assert (map50, map_) == pytest.approx((1, 1))  # COCO's own mean over the 101 recalls
    rows = json.loads((tmp_path / 'predictions.json').read_text())
    assert sorted({row['image_id'] for row in rows}) == ['a', 'b', 'c']
    assert len(rows) == 6


def test_annotations_with_ids_of_their_own(data, tmp_path):
    """Numbers for pictures, and categories in another order: matched by name."""
    file = data.parent / 'annotations' / 'instances_val.json'
    write_annotations(file)
    content = json.loads(file.read_text())
    content['images'] = [{'id': 100 + i, 'file_name': f'val/{name}.png'} for i, name in enumerate(PICTURES)]
    content['categories'] = [{'id': 1, 'name': 'star'}, {'id': 2, 'name': 'cell'}]
    for row in content['annotations']:
        row['image_id'] = 100 + list(PICTURES).index(row['image_id'])
        row['category_id'] = 2 - row['category_id']
    file.rename(data.parent / 'mine.json')
    (data.parent / 'mine.json').write_text(json.dumps(content))
    with open(data, 'a') as yaml:
        yaml.write('annotations: mine.json\n')
    (_, _, map50, map_, *_), _, _ = evaluate(data, tmp_path, save_json=True)
    assert (map50, map_) == pytest.approx((1, 1))
    rows = json.loads((tmp_path / 'predictions.json').read_text())
    assert {row['image_id'] for row in rows} == {100, 101, 102}


def test_annotations_of_other_classes_are_said(data, tmp_path, messages):
    write_annotations(data.parent / 'annotations' / 'instances_val.json')
    write_yaml(data, {'path': '.', 'train': 'images/val', 'val': 'images/val', 'names': ['x', 'y']})
    (_, _, map50, *_), _, _ = evaluate(data, tmp_path, save_json=True)
    assert map50 == pytest.approx(0.995)
    assert 'not be scored by pycocotools' in messages()


def test_json_that_annotations_do_not_fit_keeps_our_scores(data, tmp_path, messages):
    file = data.parent / 'annotations' / 'instances_val.json'
    write_annotations(file)
    file.write_text(file.read_text().replace('"a"', '"z"'))
    (_, _, map50, *_), _, _ = evaluate(data, tmp_path, save_json=True)
    assert map50 == pytest.approx(0.995)
    assert 'not scored by pycocotools' in messages()


def test_one_class_for_all(data, tmp_path):
    results, maps, _ = evaluate(data, tmp_path, single_cls=True)
    assert results[2] == pytest.approx(0.995)
    assert maps.shape == (1,)


def test_hybrid_counts_the_labels_as_found(data, tmp_path):
    results, _, _ = evaluate(data, tmp_path, oracle_miss=True, save_hybrid=True)
    assert results[1] == pytest.approx(1, abs=1e-6)


def test_augmentation_reaches_the_model(data, tmp_path):
    loader = make_loader(data)
    oracle = Oracle(list(loader))
    val.run(data, model=oracle, dataloader=loader, save_dir=tmp_path, plots=False, augment=True)
    assert oracle.calls == [True, True]


def test_pictures_without_labels_are_said(data, tmp_path, messages):
    for file in (data.parent / 'labels' / 'val').iterdir():
        file.unlink()
    results, maps, _ = evaluate(data, tmp_path, oracle_wrong=True)
    assert results == (0,) * 7
    assert not maps.any()
    assert 'no labels in the val split' in messages()


def test_plots(data, tmp_path):
    evaluate(data, tmp_path, plots=True, oracle_wrong=True)
    names = {f'val_batch{i}_{kind}.jpg' for i in (0, 1) for kind in ('labels', 'pred')}
    names |= {'confusion_matrix.png', 'PR_curve.png', 'F1_curve.png', 'P_curve.png', 'R_curve.png'}
    assert {p.name for p in tmp_path.glob('*.*g')} == names


# On its own -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def oracle(data, monkeypatch):
    """Let --weights be an `Oracle`."""
    oracle = Oracle(list(make_loader(data)))
    monkeypatch.setattr('models.backend.load_backend', lambda *options: wrap(oracle))
    return oracle


def test_the_command(data, oracle, tmp_path, monkeypatch, messages):
    monkeypatch.chdir(tmp_path)
    for number in ('', '2'):
        val.main(f'--weights x.pt --data {data} --img 100 --batch 2 --workers 0 --save-txt --save-json'.split())
        folder = tmp_path / 'runs' / 'val' / f'exp{number}'
        assert len(list((folder / 'labels').iterdir())) == 3
        assert (folder / 'x_predictions.json').is_file()
        assert (folder / 'confusion_matrix.png').is_file()
    assert '--img 100 is no multiple' in messages()
    assert '                cell          4          3          1' in messages()
    assert 'ms inference' in messages()
    assert 'at shape (2, 3, 128, 128)' in messages()
    assert 'WARNING: --conf' not in messages()


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ({'conf_thres': 0.01}, 'not comparable'),
        ({'save_hybrid': True}, 'the scores below contain the truth'),
    ],
)
def test_what_makes_numbers_misleading_is_said(data, oracle, tmp_path, messages, option, said):
    val.run(data, imgsz=128, batch_size=2, workers=0, project=tmp_path, plots=False, **option)
    assert said in messages()


def test_weights_of_other_classes_are_refused(data, oracle, tmp_path):
    oracle.names = ['a', 'b', 'c']
    with pytest.raises(DataError, match=r'has 2 classes, but w\.pt knows 3'):
        val.run(data, weights='w.pt', project=tmp_path, imgsz=128)
    assert list(tmp_path.glob('exp*')) == []


def test_classes_of_other_names_are_said_with_the_first(data, oracle, tmp_path, messages):
    oracle.names = ['star', 'cell']
    val.run(data, weights='w.pt', project=tmp_path, imgsz=128, batch_size=2, workers=0, plots=False)
    assert (
        f'WARNING: {data} and w.pt: 2 of 2 classes have other names, the same ones in another order: class 0 is "cell" '
        'in the data set and "star" in the weights; the scores compare classes by number'
    ) in messages()


@pytest.mark.parametrize(
    'option', ['batch_size 0', 'imgsz -5', 'workers -1', 'max_det 0', 'conf_thres 1.5', 'iou_thres -0.1']
)
def test_options_out_of_range_are_refused(data, tmp_path, option):
    name, value = option.split()
    with pytest.raises(UsageError, match=f'--{name.replace("_", "-")} {value}: '):
        val.run(data, weights='w.pt', project=tmp_path, **{name: float(value) if '.' in value else int(value)})


# Weights of other kinds ----------------------------------------------------------------------------------------------


@pytest.fixture
def four_classes(data) -> Path:
    """The pictures as a data set of those classes that the exported model knows."""
    write_yaml(data, {'path': '.', 'train': 'images/val', 'val': 'images/val', 'names': NAMES})
    return data


def detections(weights: list[Path], data: Path, folder: Path, **options) -> dict[str, np.ndarray]:
    """Those of each picture that are surer than 0.5: (n, 6) category, x, y, w, h, score, best first."""
    val.run(
        data, weights=weights, save_dir=folder, workers=0, plots=False, save_json=True, device='cpu',
        **{'imgsz': 64, 'batch_size': 3, **options},
    )  # fmt: skip
    found = defaultdict(list)
    for row in json.loads((folder / f'{weights[0].stem}_predictions.json').read_text()):
        if row['score'] > 0.5:
            found[row['image_id']].append((row['category_id'], *row['bbox'], row['score']))
    return {name: np.array(rows) for name, rows in found.items()}


@pytest.mark.parametrize('name', ['dynamic', 'openvino-dynamic'])
def test_exports_find_what_their_checkpoint_finds(exports, four_classes, tmp_path, name):
    wanted = detections([exports['checkpoint']], four_classes, tmp_path / 'a')
    found = detections([exports[name]], four_classes, tmp_path / 'b')
    assert found.keys() == wanted.keys() == PICTURES.keys()
    for picture, rows in wanted.items():
        np.testing.assert_allclose(found[picture], rows, atol=5e-3)


def test_exports_of_a_fixed_size_and_batch_get_what_they_take(exports, four_classes, tmp_path, messages):
    graph = tmp_path / 'square.onnx'
    onnx.save(build_onnx(small_model(), (64, 64), 2), str(graph))
    wanted = detections([exports['checkpoint']], four_classes, tmp_path / 'a', task='speed')  # square as well
    for dnn in (False, True):
        found = detections([graph], four_classes, tmp_path / 'b', imgsz=640, dnn=dnn)
        for picture, rows in wanted.items():
            np.testing.assert_allclose(found[picture], rows, atol=5e-3)
    assert 'square.onnx: made for pictures of 64x64, used in place of 640x640' in messages()
    assert 'square.onnx: evaluated on square pictures' in messages()
    assert 'square.onnx: made for batches of 2, used in place of 3' in messages()
    assert 'at shape (2, 3, 64, 64)' in messages()
    with pytest.raises(UsageError, match=r'fixed\.onnx: made for pictures of 64x96, but evaluation needs square ones'):
        detections([exports['fixed']], four_classes, tmp_path / 'c')


def test_that_a_file_suppresses_boxes_itself_is_said(four_classes, tmp_path, messages):
    graph = tmp_path / 'nms.onnx'
    onnx.save(build_onnx(small_model(), (64, 64), nms=NMSOptions()), str(graph))
    detections([graph], four_classes, tmp_path)
    assert f'WARNING: {graph}: what its own thresholds leave out is missing, so mAP is not comparable' in messages()


def test_an_ensemble_and_augmentation_through_the_command(exports, four_classes, tmp_path):
    other = save_small(tmp_path / 'other.safetensors', small_model(1))
    loader, names = make_loader(four_classes, nc=4), (exports['checkpoint'], other)
    for weights, augment in ((names, False), (names[:1], True)):
        models = [small_model(i) for i in range(len(weights))]
        model = models[0] if len(models) == 1 else Ensemble(models)
        folder = tmp_path / str(augment)
        val.run(four_classes, model=model, dataloader=loader, save_dir=folder / 'a', plots=False, save_json=True,
                augment=augment)  # fmt: skip
        wanted = json.loads((folder / 'a' / 'predictions.json').read_text())
        found = detections(list(weights), four_classes, folder / 'b', imgsz=128, batch_size=2, augment=augment)
        for picture, rows in found.items():
            ours = [(r['category_id'], *r['bbox'], r['score']) for r in wanted if r['image_id'] == picture]
            np.testing.assert_allclose(rows, [row for row in ours if row[5] > 0.5], atol=5e-3)


def test_losses_and_scores_do_not_depend_on_the_engine(tiny, tmp_path, monkeypatch):
    torch.manual_seed(0)  # an untrained model's scores lie close together: rounding may swap two of them
    model = Model(tiny.cfg, nc=4)
    model.hyp = load_hyp('hyp.scratch-low.yaml') | {'label_smoothing': 0.0}
    config = load_data(tiny.data)
    loader, _ = create_dataloader(config.val, 64, 2, rect=True, pad=0.5, workers=0, nc=4)
    outcomes, calls = [], []
    forward = model._forward_once
    monkeypatch.setattr(model, '_forward_once', lambda *x, **options: calls.append(x) or forward(*x, **options))
    for engine in '01':
        monkeypatch.setenv('YOLOV5_CPU_ENGINE', engine)
        outcomes.append(
            val.run(config, model=model, dataloader=loader, save_dir=tmp_path, plots=False,
                    compute_loss=ComputeLoss(model))
        )  # fmt: skip
    (plain, _, _), (fast, _, _) = outcomes
    assert min(plain[4:]) > 0
    assert fast == pytest.approx(plain, abs=1e-4)
    assert len(calls) == len(loader)  # those of plain OneFlow


def test_options_have_the_reference_names_and_prefixes():
    def parse(text):
        return parse_options(val.ValOptions, text.split(), '', 'val.py')

    opt = parse('--img 320 --batch 8 --iou 0.65 --conf 0.1 --weights a.pt b.pt --task test')
    assert (opt.imgsz, opt.batch_size, opt.iou_thres, opt.conf_thres, opt.task) == (320, 8, 0.65, 0.1, 'test')
    assert opt.weights == ['a.pt', 'b.pt']
    default = parse('')
    assert (default.batch_size, default.imgsz, default.conf_thres, default.iou_thres) == (32, 640, 0.001, 0.6)
    assert (default.max_det, default.workers, default.task) == (300, 8, 'val')
    for wrong in ('--task nothing', '--img large', '--nonsense'):
        with pytest.raises(UsageError):
            parse(wrong)
