import numpy as np
import pytest
from matplotlib.colors import to_rgb

from utils.annotate import colors
from utils.plots import plot_confusion_matrix, plot_mc_curve, plot_pr_curve

X = np.linspace(0, 1, 1000)


def curves(n):
    return np.stack([1 - X ** (i + 1) for i in range(n)])


def test_pr_curve_has_a_line_per_class_and_the_mean(tmp_path, drawn, look):
    ap = np.array([[0.5, 0.1], [0.7, 0.2]])
    plot_pr_curve(X, list(curves(2)), ap, tmp_path / 'PR_curve.png', ['cat', 'dog'])
    assert look(tmp_path / 'PR_curve.png').std() > 10
    (ax, *_) = drawn['PR_curve.png'].axes
    assert [line.get_label() for line in ax.lines] == ['cat 0.500', 'dog 0.700', 'all classes 0.600 mAP@0.5']
    np.testing.assert_allclose(ax.lines[1].get_ydata(), curves(2)[1])
    np.testing.assert_allclose(ax.lines[2].get_ydata(), curves(2).mean(0))
    assert to_rgb(ax.lines[1].get_color()) == pytest.approx(np.divide(colors(1), 255))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('Recall', 'Precision')


def test_metric_curve_names_the_best_confidence_of_the_smoothed_mean(tmp_path, drawn):
    hill = np.stack([1 - abs(X - 0.4), 1 - abs(X - 0.4)])
    plot_mc_curve(X, hill, tmp_path / 'F1_curve.png', {3: 'cat', 5: 'dog'}, ylabel='F1')
    (ax,) = drawn['F1_curve.png'].axes
    assert [line.get_label() for line in ax.lines][:2] == ['cat', 'dog']
    text, at = ax.lines[2].get_label().rsplit(' at ')
    assert text == 'all classes 0.99'
    assert float(at) == pytest.approx(0.4, abs=2e-3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('Confidence', 'F1')


def test_many_classes_are_grey_and_unnamed(tmp_path, drawn):
    plot_mc_curve(X, curves(21), tmp_path / 'R_curve.png', [f'c{i}' for i in range(21)])
    (ax,) = drawn['R_curve.png'].axes
    assert len(ax.lines) == 22
    assert {line.get_color() for line in ax.lines[:-1]} == {'grey'}
    assert len(ax.get_legend().get_texts()) == 1


def test_no_class_has_labels(tmp_path, look):
    plot_pr_curve(X, [], np.zeros((0, 10)), tmp_path / 'PR_curve.png', [])
    plot_mc_curve(X, np.zeros((0, 1000)), tmp_path / 'P_curve.png')
    assert look(tmp_path / 'PR_curve.png').size > 0
    assert look(tmp_path / 'P_curve.png').size > 0


def test_confusion_matrix_shows_shares_of_each_column(tmp_path, drawn, look):
    matrix = np.array([[8.0, 0, 3], [1, 0, 1], [1, 5, 0]])
    plot_confusion_matrix(matrix, tmp_path, ['cat', 'dog'])
    assert look(tmp_path / 'confusion_matrix.png').std() > 10
    ax = drawn['confusion_matrix.png'].axes[0]
    assert {t.get_position(): t.get_text() for t in ax.texts} == {
        (0, 0): '0.80', (0, 1): '0.10', (0, 2): '0.10', (1, 2): '1.00', (2, 0): '0.75', (2, 1): '0.25'
    }  # fmt: skip
    assert [t.get_text() for t in ax.get_xticklabels()] == ['cat', 'dog', 'background']
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('True', 'Predicted')


def test_confusion_matrix_counts_without_normalisation(tmp_path, drawn):
    plot_confusion_matrix(np.array([[8.0, 2], [1, 0]]), tmp_path, normalize=False)
    assert sorted(t.get_text() for t in drawn['confusion_matrix.png'].axes[0].texts) == ['1', '2', '8']


def test_an_empty_confusion_matrix_is_drawn(tmp_path, look):
    plot_confusion_matrix(np.zeros((4, 4)), tmp_path, ['a', 'b', 'c'])
    assert look(tmp_path / 'confusion_matrix.png').size > 0


def test_a_confusion_matrix_of_many_classes_has_no_numbers(tmp_path, drawn):
    plot_confusion_matrix(np.eye(81), tmp_path, [str(i) for i in range(80)])
    ax = drawn['confusion_matrix.png'].axes[0]
    assert len(ax.texts) == 0
    assert len(ax.get_xticklabels()) == 81
