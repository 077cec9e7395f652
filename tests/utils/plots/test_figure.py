from __future__ import annotations

import numpy as np
import pytest

from utils.annotate import save_one_box
from utils.plots import feature_visualization, plot_images
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
