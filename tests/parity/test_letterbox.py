"""letterbox against letterbox.npz: shapes and paddings exact, ratios to 1e-12, pictures bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden import golden_npz, needs_golden, recipes
from utils.data.augment import letterbox

pytestmark = needs_golden
CASES = [f'{i:02d}' for i in range(19)]


def test_no_case_is_left_out():
    assert golden_npz('letterbox.npz')['names'].tolist() == CASES


@pytest.mark.parametrize('name', CASES)
def test_letterbox(name):
    golden = golden_npz('letterbox.npz')

    def stored(what):
        return golden[f'{name}.{what}']

    height, width, seed = stored('image_h_w_seed').tolist()
    auto, scale_fill, scaleup = stored('auto_scaleFill_scaleup').tolist()
    out, ratio, pad = letterbox(
        recipes().patterned_image(height, width, seed),
        stored('new_hw').tolist(),
        stored('color').tolist(),
        auto=auto,
        scaleFill=scale_fill,
        scaleup=scaleup,
        stride=int(stored('stride')),
    )
    assert out.shape == tuple(stored('out_shape'))
    assert pad == tuple(stored('out_pad_w_h'))
    np.testing.assert_allclose(ratio, stored('out_ratio_w_h'), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(recipes().sample(out, 97), stored('out_sample_step97'))
    assert recipes().sha256(out) == str(stored('out_sha256'))


@pytest.mark.parametrize('name', CASES)
def test_the_picture_lies_where_the_padding_says(name):
    golden = golden_npz('letterbox.npz')
    height, width, _ = golden[f'{name}.image_h_w_seed'].tolist()
    auto, scale_fill, scaleup = golden[f'{name}.auto_scaleFill_scaleup'].tolist()
    marker = (1, 2, 3)
    out, _, _ = letterbox(
        np.full((height, width, 3), 200, np.uint8),
        golden[f'{name}.new_hw'].tolist(),
        marker,
        auto,
        scale_fill,
        scaleup,
        int(golden[f'{name}.stride']),
    )
    rows, columns = np.nonzero((out == 200).all(-1))
    found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert found == golden[f'{name}.out_content_y1_x1_y2_x2'].tolist()
