import numpy as np
import pytest

from utils.annotate import colors
from utils.plots import output_to_target, plot_images

BOX = [0, 1, 0.5, 0.5, 0.5, 0.5]  # picture, class, x, y, w, h: the middle quarter


def has_box(tile, class_):
    """Whether the tile has the middle quarter's lower and right side in the class's colour."""
    h, w = tile.shape[:2]
    low, right = tile[round(0.75 * h) - 1 :, w // 2][:3], tile[h // 2, round(0.75 * w) - 1 :][:3]
    return all((side == colors(class_)).all(1).any() for side in (low, right))


@pytest.mark.parametrize('kind', ['uint8', 'float32'])
@pytest.mark.parametrize('unit', ['normalised', 'pixels'])
def test_a_tile_for_each_picture_with_its_boxes(tmp_path, look, kind, unit):
    images = np.stack([np.full((3, 200, 300), v, np.uint8) for v in (40, 90, 140, 190, 240)])
    images = images if kind == 'uint8' else (images / 255).astype(np.float32)
    targets = np.array([BOX, [4, 7, 0.5, 0.5, 0.5, 0.5]], np.float32)
    if unit == 'pixels':
        targets[:, 2:] *= (300, 200, 300, 200)
    plot_images(images, targets, fname=tmp_path / 'new' / 'm.png')
    mosaic = look(tmp_path / 'new' / 'm.png')
    assert mosaic.shape == (600, 900, 3)  # five pictures: three columns
    tiles = [mosaic[200 * (i // 3) :, 300 * (i % 3) :][:200, :300] for i in range(9)]
    shades = [int(np.median(tile)) for tile in tiles]
    assert shades == pytest.approx([40, 90, 140, 190, 240, 255, 255, 255, 255], abs=2)
    assert [has_box(tile, 1) for tile in tiles] == [True] + [False] * 8
    assert has_box(tiles[4], 7)


def test_large_batches_are_cut_and_shrunk(tmp_path, look):
    images = np.full((20, 3, 400, 640), 50, np.uint8)
    targets = np.array([[3, 1, 320, 200, 320, 200]], np.float32)
    plot_images(images, targets, fname=tmp_path / 'm.png', max_size=800)
    mosaic = look(tmp_path / 'm.png')
    assert mosaic.shape == (500, 800, 3)  # 16 tiles of 200x125
    assert has_box(mosaic[:125, 600:], 1)


def test_predictions_need_more_than_a_quarter_of_confidence(tmp_path, look):
    images = np.full((2, 3, 200, 200), 50, np.uint8)
    targets = np.array([[*BOX, 0.25], [1, 1, 0.5, 0.5, 0.5, 0.5, 0.26]], np.float32)
    plot_images(images, targets, fname=tmp_path / 'm.png', names=['a', 'b'])
    mosaic = look(tmp_path / 'm.png')
    assert not has_box(mosaic[:200, :200], 1)
    assert has_box(mosaic[:200, 200:], 1)


def test_names_and_file_names_are_written(tmp_path, look):
    images, targets = np.full((1, 3, 300, 300), 50, np.uint8), np.array([BOX], np.float32)

    def bright(paths, names):
        plot_images(images, targets, paths, tmp_path / 'm.png', names)
        picture = look(tmp_path / 'm.png')
        return (picture[3:20, 5:150] > 180).all(2).sum(), (picture[60:75, 70:240] > 180).all(2).sum()

    nothing, number = bright(None, None)
    title, name = bright(['/some/where/picture.jpg'], {1: 'long class name'})
    assert nothing == 0
    assert title > 50
    assert name > 2 * number > 0


@pytest.mark.parametrize('width', [6, 7])
def test_no_targets_at_all(tmp_path, look, width):
    plot_images(np.full((1, 3, 64, 64), 50, np.uint8), np.zeros((0, width)), fname=tmp_path / 'm.png')
    assert int(np.median(look(tmp_path / 'm.png'))) == 50


def test_oneflow_tensors_are_drawn_too(tmp_path, look):
    flow = pytest.importorskip('oneflow')
    images, targets = flow.full((1, 3, 64, 64), 0.2), flow.tensor([BOX])
    plot_images(images, targets, fname=tmp_path / 'm.png')
    assert has_box(look(tmp_path / 'm.png'), 1)


def test_nms_output_becomes_rows():
    output = [
        np.array([[10, 20, 30, 60, 0.9, 5]], np.float32),
        np.zeros((0, 6), np.float32),
        np.array([[0, 0, 2, 4, 0.5, 1]]),
    ]
    rows = output_to_target(output)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0, 5, 20, 40, 20, 40, 0.9], [2, 1, 1, 2, 2, 4, 0.5]], rtol=1e-6)
    assert output_to_target([]).shape == (0, 7)
