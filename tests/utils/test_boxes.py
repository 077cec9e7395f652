from __future__ import annotations

import subprocess
import sys

import numpy as np
import oneflow as torch
import pytest

from utils import boxes
from utils.paths import ROOT


def random_corners(n: int, seed: int, size: int = 100) -> np.ndarray:
    """Whole-pixel xyxy boxes (n, 4), at least one pixel wide and high."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, size - 1, (n, 2))
    return np.concatenate((corner, rng.integers(corner + 1, size, (n, 2))), 1).astype(np.float32)


def painted(box: np.ndarray, size: int = 100) -> np.ndarray:
    """The box as a mask of pixels."""
    x1, y1, x2, y2 = box.astype(int)
    mask = np.zeros((size, size), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_overlaps_equal_counted_pixels():
    a, b = random_corners(12, seed=1), random_corners(9, seed=2)
    masks_a, masks_b = [painted(x) for x in a], [painted(x) for x in b]
    counted = np.array([[(m & n).sum() / (m | n).sum() for n in masks_b] for m in masks_a])
    np.testing.assert_allclose(boxes.box_iou(a, b), counted, atol=1e-6)
    np.testing.assert_allclose(boxes.bbox_iou(a[:9], b, xywh=False)[:, 0], np.diag(counted), atol=1e-6)
    covered = [(masks_a[0] & n).sum() / n.sum() for n in masks_b]
    np.testing.assert_allclose(boxes.bbox_ioa(a[0], b), covered, atol=1e-6)


def test_the_iou_variants_on_boxes_worked_out_by_hand():
    # Two 2x2 squares, 4 apart: no overlap, enclosed by 6x2, centres 4 apart.
    a, b = np.float32([[1, 1, 2, 2]]), np.float32([[5, 1, 2, 2]])
    assert boxes.bbox_iou(a, b).item() == 0
    assert boxes.bbox_iou(a, b, GIoU=True).item() == pytest.approx(0 - (12 - 8) / 12, abs=1e-6)
    assert boxes.bbox_iou(a, b, DIoU=True).item() == pytest.approx(-(4**2) / (6**2 + 2**2), abs=1e-6)
    # Same centre, 2x1 in 4x4: IoU 1/8, aspect ratios 2 and 1.
    a, b = np.float32([[0, 0, 2, 1]]), np.float32([[0, 0, 4, 4]])
    v = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
    assert boxes.bbox_iou(a, b, CIoU=True).item() == pytest.approx(1 / 8 - v * v / (v - 1 / 8 + 1), abs=1e-6)


def test_ciou_gradient_takes_alpha_as_constant():
    box1, box2 = np.array([10.0, 10, 8, 3]), np.array([11.0, 9, 4, 6])
    tensor = torch.tensor(box1[None], requires_grad=True)
    boxes.bbox_iou(tensor, torch.tensor(box2[None]), CIoU=True).sum().backward()

    def ciou_with_alpha_of(box: np.ndarray, fixed: np.ndarray) -> float:
        def v(b):
            return 4 / np.pi**2 * (np.arctan(box2[2] / box2[3]) - np.arctan(b[2] / b[3])) ** 2

        alpha = v(fixed) / (v(fixed) - boxes.bbox_iou(fixed[None], box2[None]).item() + 1)
        return boxes.bbox_iou(box[None], box2[None], DIoU=True).item() - v(box) * alpha

    steps = 1e-5 * np.eye(4)
    numeric = [(ciou_with_alpha_of(box1 + d, box1) - ciou_with_alpha_of(box1 - d, box1)) / 2e-5 for d in steps]
    np.testing.assert_allclose(tensor.grad.numpy()[0], numeric, atol=1e-6)


@pytest.mark.parametrize('variant', ['GIoU', 'DIoU', 'CIoU'])
def test_a_box_overlaps_itself_fully(variant):
    a = random_corners(20, seed=3)
    np.testing.assert_allclose(boxes.bbox_iou(a, a, xywh=False, **{variant: True}), 1, atol=1e-5)


def test_boxes_without_area_give_numbers():
    point = np.float32([[5, 5, 0, 0]])
    for variant in ({}, {'GIoU': True}, {'DIoU': True}, {'CIoU': True}):
        assert np.isfinite(boxes.bbox_iou(point, point, **variant)).all()
    assert boxes.box_iou(point, point).item() == 0


def test_formats_round_trip():
    corners = random_corners(30, seed=4)
    np.testing.assert_allclose(boxes.xywh2xyxy(boxes.xyxy2xywh(corners)), corners, atol=1e-4)
    normalised = boxes.xyxy2xywhn(corners, w=100, h=50)
    np.testing.assert_allclose(boxes.xywhn2xyxy(normalised, w=100, h=50), corners, atol=1e-4)
    np.testing.assert_allclose(boxes.xywhn2xyxy(normalised, 200, 100, 7, 9), corners * 2 + [7, 9, 7, 9], atol=1e-4)


def test_formats_take_one_box_many_batches_and_none():
    for shape in ((4,), (0, 4), (2, 3, 4)):
        x = np.ones(shape, np.float32)
        assert boxes.xywh2xyxy(x).shape == shape
        assert boxes.xyxy2xywh(torch.tensor(x)).shape == shape


def test_xyxy2xywhn_clips_a_copy():
    corners = np.float32([[-10, -10, 50, 120]])
    out = boxes.xyxy2xywhn(corners, w=100, h=100, clip=True)
    np.testing.assert_allclose(out, [[0.25, 0.5, 0.5, 1.0]])
    assert corners[0, 0] == -10


@pytest.mark.parametrize('kind', [np.array, torch.tensor])
def test_scale_coords_undoes_a_letterbox_in_place(kind):
    # 100 high, 200 wide -> 320 x 320: ratio 1.6, 80 px of grey above and below.
    picture = np.float32([[20, 10, 150, 90], [-9, 5, 260, 50]])
    coords = kind(picture * np.float32(1.6) + np.float32([0, 80, 0, 80]))
    out = boxes.scale_coords((320, 320), coords[:, :4], (100, 200))
    expected = [[20, 10, 150, 90], [0, 5, 200, 50]]
    np.testing.assert_allclose(out if kind is np.array else out.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(coords if kind is np.array else coords.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize('upright', [False, True])
def test_a_side_of_which_one_pixel_is_left_comes_back_whole(upright):
    def turned(values):
        return np.float32(values)[[1, 0, 3, 2]] if upright else np.float32(values)

    picture = (20_000, 12) if upright else (12, 20_000)
    # Detection: scaled by 0.032 to 640x1 and 15.5 pixels of grey around it.
    network = (640, 32) if upright else (32, 640)
    inner = turned([64, 15.5, 320, 16.5])
    np.testing.assert_allclose(boxes.scale_coords(network, inner, picture), turned([2000, 0, 10_000, 12]), rtol=1e-5)
    # Validation: the same, with a margin, and its own ratios (height, width).
    ratios = (640 / 20_000, 1 / 12) if upright else (1 / 12, 640 / 20_000)
    pads = (31.5, 16) if upright else (16, 31.5)
    inner = turned([64 + 16, 31.5, 320 + 16, 32.5])
    out = boxes.scale_coords((704, 64) if upright else (64, 704), inner, picture, (ratios, pads))
    np.testing.assert_allclose(out, turned([2000, 0, 10_000, 12]), rtol=1e-5)


def test_segment2box_counts_points_on_the_border_only_inside():
    square = np.float32([[-5, 2], [10, 2], [10, 20], [3, 20]])
    np.testing.assert_array_equal(boxes.segment2box(square, width=10, height=20), [3, 2, 10, 20])
    np.testing.assert_array_equal(boxes.segment2box(square + 100, width=10, height=20), np.zeros(4))


def test_resample_keeps_the_corners_of_a_closed_polygon():
    triangle = np.float32([[0, 0], [4, 0], [0, 4]])
    (out,) = boxes.resample_segments([triangle], n=4)
    np.testing.assert_array_equal(out, [[0, 0], [4, 0], [0, 4], [0, 0]])
    assert boxes.segments2boxes([]).shape == (0, 4)


def test_numpy_callers_never_import_oneflow():
    code = (
        'import sys, numpy as np; from utils import boxes;'
        'boxes.bbox_iou(np.ones((2, 4)), np.ones((2, 4)), CIoU=True); boxes.clip_coords(np.ones((2, 4)), (2, 2));'
        'sys.exit("oneflow" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0
