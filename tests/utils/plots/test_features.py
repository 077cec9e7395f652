import numpy as np
import pytest

from utils.plots import feature_visualization


def test_channels_are_drawn_and_kept(tmp_path, drawn, look):
    maps = np.random.default_rng(0).random((2, 10, 6, 7), np.float32)
    feature_visualization(maps, 'models.common.C3', 4, n=9, save_dir=tmp_path)
    assert look(tmp_path / 'stage4_C3_features.png').std() > 10
    pictures = [ax.images[0].get_array() for ax in drawn['stage4_C3_features.png'].axes if ax.images]
    assert len(pictures) == 9
    np.testing.assert_array_equal(pictures[8], maps[0, 8])
    np.testing.assert_array_equal(np.load(tmp_path / 'stage4_C3_features.npy'), maps[0])


def test_a_tensor_is_drawn_too(tmp_path):
    flow = pytest.importorskip('oneflow')
    feature_visualization(flow.ones(1, 3, 4, 4, requires_grad=True), 'Conv', 0, save_dir=tmp_path)
    assert np.load(tmp_path / 'stage0_Conv_features.npy').shape == (3, 4, 4)


def test_detect_and_single_pixels_are_left_out(tmp_path):
    feature_visualization([np.zeros((1, 3, 4, 4, 7))], 'models.head.Detect', 24, save_dir=tmp_path)
    feature_visualization(np.zeros((1, 3, 1, 1)), 'models.common.Conv', 9, save_dir=tmp_path)
    assert not list(tmp_path.iterdir())
