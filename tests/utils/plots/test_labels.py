import numpy as np
import pytest

from utils.plots import hist2d, plot_labels, plot_targets_txt

LABELS = np.array([[0, 0.1, 0.2, 0.1, 0.1], [2, 0.5, 0.5, 0.4, 0.2], [2, 0.9, 0.8, 0.2, 0.4]], np.float32)


def test_labels_are_counted_and_drawn(tmp_path, drawn, look):
    plot_labels(LABELS, ['cat', 'dog', 'cow'], tmp_path)
    assert look(tmp_path / 'labels.jpg').std() > 10
    counts, boxes, centres, sizes = drawn['labels.jpg'].axes
    assert [bar.get_height() for bar in counts.patches] == [1, 0, 2]
    assert [t.get_text() for t in counts.get_xticklabels()] == ['cat', 'dog', 'cow']
    (collection,) = boxes.collections
    extents = [path.get_extents().bounds for path in collection.get_paths()]
    np.testing.assert_allclose(extents[1], [0.3, 0.4, 0.4, 0.2], atol=1e-6)
    assert (centres.get_xlabel(), centres.get_ylabel()) == ('x', 'y')
    (mesh,) = sizes.collections
    grid = mesh.get_array()
    assert grid.sum() == 3
    assert grid[5, 5] == 1  # height 0.1, width 0.1 of 50 bins


def test_the_correlogram_pairs_every_two_columns(tmp_path, drawn, look):
    plot_labels(LABELS, save_dir=tmp_path)
    assert look(tmp_path / 'labels_correlogram.jpg').std() > 10
    axes = np.reshape(drawn['labels_correlogram.jpg'].axes, (4, 4))
    assert [[ax.axison for ax in row] for row in axes] == np.tri(4, dtype=bool).tolist()
    assert [ax.get_xlabel() for ax in axes[3]] == ['x', 'y', 'width', 'height']
    assert axes[3, 1].collections[0].get_array().sum() == 3


@pytest.mark.parametrize('labels', [np.zeros((0, 5), np.float32), np.array([[0, 0.5, 0.5, 1, 1]], np.float32)])
def test_none_and_one_label_are_drawn(tmp_path, look, labels):
    plot_labels(labels, {0: 'cat'}, tmp_path)
    assert look(tmp_path / 'labels.jpg').size > 0


def test_classes_beyond_the_names_are_drawn(tmp_path, drawn):
    plot_labels(LABELS, ['cat'], tmp_path)
    assert len(drawn['labels.jpg'].axes[0].patches) == 3


def test_hist2d_is_the_logarithm_of_the_crowd():
    x = np.array([0.0, 0.01, 0.02, 1.0])
    np.testing.assert_allclose(hist2d(x, x, n=4), np.log([3, 3, 3, 1]))


def test_hist2d_agrees_with_counting_cell_by_cell():
    x, y = np.random.default_rng(0).random((2, 300))
    cell = [np.minimum((8 * (v - v.min()) / np.ptp(v)).astype(int), 7) for v in (x, y)]
    crowd = [sum((cell[0] == i) & (cell[1] == j)) for i, j in zip(*cell)]
    np.testing.assert_allclose(hist2d(x, y, n=8), np.log(crowd))


def test_targets_txt_becomes_four_histograms(tmp_path, drawn, look):
    np.savetxt(tmp_path / 'targets.txt', np.column_stack([[0, 0, 1], LABELS]))
    plot_targets_txt(tmp_path / 'targets.txt')
    assert look(tmp_path / 'targets.jpg').std() > 10
    assert [ax.get_title() for ax in drawn['targets.jpg'].axes] == ['x', 'y', 'width', 'height']
    assert drawn['targets.jpg'].axes[0].get_legend().get_texts()[0].get_text() == '0.5 ± 0.327'
