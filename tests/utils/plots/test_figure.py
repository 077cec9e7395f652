from __future__ import annotations

import cv2
import numpy as np
import pytest

from utils.annotate import save_one_box
from utils.plots import feature_visualization, plot_confusion_matrix, plot_images, plot_pr_curve
from utils.plots.figure import new_figure, save_figure

WRITERS = {
    'a.png': lambda folder: save_figure(new_figure()[0], folder / 'a.png'),
    'b.jpg': lambda folder: plot_images(np.zeros((1, 3, 32, 32)), np.zeros((0, 6)), None, folder / 'b.jpg'),
    'c.jpg': lambda folder: save_one_box((1, 1, 9, 9), np.zeros((32, 32, 3), np.uint8), folder / 'c.jpg', BGR=True),
    'stage0_Conv_features.png': lambda folder: feature_visualization(
        np.zeros((1, 2, 4, 4)), 'Conv', 0, save_dir=folder
    ),
}


@pytest.mark.parametrize('name', WRITERS)
def test_a_full_disk_is_an_error_that_names_the_picture(tmp_path, monkeypatch, name):
    (tmp_path / name).symlink_to('/dev/full')
    monkeypatch.setattr('utils.annotate.increment_path', lambda path: path)  # it would take another name
    with pytest.raises(OSError, match='No space left') as caught:
        WRITERS[name](tmp_path)
    assert caught.value.filename == str(tmp_path / name)


@pytest.mark.parametrize('name', ['\ud83d', '$\\frac$', 'a\nb\x1b[2J', 'x' * 500])
def test_any_class_name_can_be_drawn(tmp_path, name):
    plot_confusion_matrix(np.eye(3), tmp_path, [name, 'cat'])
    plot_pr_curve(np.linspace(0, 1, 5), np.ones((2, 5)), np.ones((2, 1)), tmp_path / 'pr.png', [name, 'cat'])
    for file in ('confusion_matrix.png', 'pr.png'):
        assert cv2.imread(str(tmp_path / file)).std() > 5
