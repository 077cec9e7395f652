import numpy as np
import pytest

from utils.plots import feature_visualization


def test_channels_are_drawn_and_kept(tmp_path, look):
    maps = np.random.default_rng(0).random((2, 10, 6, 10), np.float32)
    maps[0, 8] = 5  # a constant channel has no span
    feature_visualization(maps, 'models.common.C3', 4, n=9, save_dir=tmp_path / 'new')
    np.testing.assert_array_equal(np.load(tmp_path / 'new' / 'stage4_C3_features.npy'), maps[0])
    mosaic = look(tmp_path / 'new' / 'stage4_C3_features.png')
    assert mosaic.shape == (2 * 126 + 6, 8 * 206 + 6, 3)  # 6x10 becomes 120x200, with gaps of 6
    assert (mosaic[200, 300:] == 255).all()  # nine channels: one in the second row
    assert (mosaic[132:252, 6:206] == mosaic[132, 6]).all()
    # The third channel: its least value is dark blue, its greatest yellow, where they are.
    tile = mosaic[6:126, 418:618][10::20, 10::20].astype(int)
    brightness = tile[..., 0] + tile[..., 1]
    assert brightness.argmin() == maps[0, 2].argmin()
    assert brightness.argmax() == maps[0, 2].argmax()


def test_a_tensor_is_drawn_too(tmp_path):
    flow = pytest.importorskip('oneflow')
    feature_visualization(flow.ones(1, 3, 4, 4, requires_grad=True), 'Conv', 0, save_dir=tmp_path)
    assert np.load(tmp_path / 'stage0_Conv_features.npy').shape == (3, 4, 4)


def test_detect_and_single_pixels_are_left_out(tmp_path):
    feature_visualization([np.zeros((1, 3, 4, 4, 7))], 'models.head.Detect', 24, save_dir=tmp_path)
    feature_visualization(np.zeros((1, 3, 1, 1)), 'models.common.Conv', 9, save_dir=tmp_path)
    assert not list(tmp_path.iterdir())
