"""utils/boxes.py against the reference's numbers (boxes.npz), for NumPy arrays and OneFlow tensors."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from tests.golden import golden_npz, needs_golden
from utils import boxes

pytestmark = needs_golden

KINDS = [pytest.param(np.array, id='numpy'), pytest.param(torch.tensor, id='oneflow')]
VARIANTS = {'iou': {}, 'giou': {'GIoU': True}, 'diou': {'DIoU': True}, 'ciou': {'CIoU': True}}


def golden(name: str) -> np.ndarray:
    return golden_npz('boxes.npz')[name]


def check(ours, name: str, atol: float) -> None:
    ours = ours if isinstance(ours, np.ndarray) else ours.numpy()
    expected = golden(name)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize(('form', 'atol'), [('xywh', 5e-6), ('xyxy', 1e-6)])
def test_bbox_iou(kind, name, form, atol):
    box1, box2 = (kind(golden(f'bbox_iou.{form}.{b}')) for b in ('box1', 'box2'))
    check(boxes.bbox_iou(box1, box2, xywh=form == 'xywh', **VARIANTS[name]), f'bbox_iou.{form}.{name}', atol)


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize(('form', 'atol'), [('xywh', 2e-5), ('xyxy', 2e-6)])
def test_bbox_iou_gradient(name, form, atol):
    box1 = torch.tensor(golden(f'bbox_iou.{form}.box1'), requires_grad=True)
    box2 = torch.tensor(golden(f'bbox_iou.{form}.box2'))
    boxes.bbox_iou(box1, box2, xywh=form == 'xywh', **VARIANTS[name]).sum().backward()
    check(box1.grad, f'bbox_iou.{form}.{name}.grad1', atol)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', VARIANTS)
def test_bbox_iou_one_to_many_and_edges(kind, name):
    one, many = kind(golden('bbox_iou.one_to_many.box1')), kind(golden('bbox_iou.xywh.box2'))
    check(boxes.bbox_iou(one, many, **VARIANTS[name]), f'bbox_iou.one_to_many.{name}', 5e-6)
    box1, box2 = (kind(golden(f'bbox_iou.edge.{b}')) for b in ('box1', 'box2'))
    check(boxes.bbox_iou(box1, box2, **VARIANTS[name]), f'bbox_iou.edge.{name}', 1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_pairwise_overlaps(kind):
    box1, box2 = kind(golden('box_iou.box1')), kind(golden('box_iou.box2'))
    check(boxes.box_iou(box1, box2), 'box_iou.out', 1e-6)
    check(boxes.box_iou(box1[:0], box2), 'box_iou.no_rows.out', 1e-6)
    check(boxes.box_iou(box1, box2[:0]), 'box_iou.no_cols.out', 1e-6)
    check(boxes.wh_iou(kind(golden('wh_iou.wh1')), kind(golden('wh_iou.wh2'))), 'wh_iou.out', 1e-6)
    check(boxes.bbox_ioa(kind(golden('bbox_ioa.box1')), kind(golden('bbox_ioa.box2'))), 'bbox_ioa.out', 1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_formats(kind):
    check(boxes.xyxy2xywh(kind(golden('xyxy2xywh.in'))), 'xyxy2xywh.out', 1e-4)
    check(boxes.xywh2xyxy(kind(golden('xywh2xyxy.in'))), 'xywh2xyxy.out', 1e-4)
    normalised = kind(golden('xywhn2xyxy.in'))
    check(boxes.xywhn2xyxy(normalised), 'xywhn2xyxy.default.out', 1e-4)
    for i in range(3):
        w, h, padw, padh = golden(f'xywhn2xyxy.{i}.w_h_padw_padh').tolist()
        check(boxes.xywhn2xyxy(normalised, w, h, padw, padh), f'xywhn2xyxy.{i}.out', 1e-4)
    for i in range(4):
        w, h, clip, eps = golden(f'xyxy2xywhn.{i}.w_h_clip_eps').tolist()
        corners = kind(golden('xyxy2xywhn.in'))
        check(boxes.xyxy2xywhn(corners, w, h, bool(clip), eps), f'xyxy2xywhn.{i}.out', 1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_scaling_and_clipping(kind):
    for i in range(6):
        shapes = golden(f'scale_coords.{i}.net_hw_image_hw').tolist()
        ratio_pad = golden_npz('boxes.npz').get(f'scale_coords.{i}.ratio_h_ratio_w_padw_padh')
        if ratio_pad is not None:
            ratio_pad = (ratio_pad[:2].tolist(), ratio_pad[2:].tolist())
        ours = boxes.scale_coords(shapes[:2], kind(golden('scale_coords.in')), shapes[2:], ratio_pad)
        check(ours, f'scale_coords.{i}.out', 1e-3)
    for i in range(2):
        shape = golden(f'clip_coords.{i}.hw').tolist()
        check(boxes.clip_coords(kind(golden('clip_coords.in')), shape), f'clip_coords.{i}.out', 0)


def polygons(points: str, lengths: str) -> list[np.ndarray]:
    return np.split(golden(points), np.cumsum(golden(lengths))[:-1])


def test_polygons():
    segments = polygons('segments.points', 'segments.lengths')
    ours = [boxes.xyn2xy(s, *golden('segments.xyn2xy.w_h_padw_padh')) for s in segments]
    check(np.concatenate(ours), 'segments.xyn2xy.out', 1e-4)
    check(boxes.segments2boxes(segments), 'segments.segments2boxes.out', 1e-6)
    for n in (1000, 50, 7):
        step = int(golden(f'segments.resample_{n}.step'))
        check(np.stack(boxes.resample_segments(segments, n))[:, ::step], f'segments.resample_{n}.out', 1e-6)


def test_segment2box():
    width, height = golden('segment2box.width_height').tolist()
    ours = [boxes.segment2box(s, width, height) for s in polygons('segment2box.points', 'segment2box.lengths')]
    check(np.stack(ours), 'segment2box.out', 1e-4)
