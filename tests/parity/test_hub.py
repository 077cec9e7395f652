"""The Python API on yolov5n.pt and the two photographs, as the reference's (hub.json)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import hubconf
from tests.golden import SHARED, golden_json, needs_golden, shared

pytestmark = needs_golden
CASES = list(golden_json('hub.json')['cases']) if (SHARED / 'golden').is_dir() else []


@pytest.fixture(scope='module')
def model():
    return hubconf.custom(shared('weights/yolov5n.pt'), device='cpu')


def pictures(kind):
    zidane, bus = (shared(f'data/images/{name}.jpg') for name in ('zidane', 'bus'))
    array = np.asarray(Image.open(zidane))
    return {
        'paths': lambda: [zidane, bus],
        'one_path': lambda: bus,
        'pil': lambda: Image.open(bus),
        'array': lambda: array,
        'grey': lambda: Image.open(bus).convert('L'),
        'channels_first': lambda: np.asarray(Image.open(bus)).transpose(2, 0, 1),
        'four_channels': lambda: np.asarray(Image.open(zidane).convert('RGBA')),
        'mixed': lambda: [bus, array, Image.open(bus).resize((300, 500))],
    }[kind]()


@pytest.mark.parametrize('case', CASES)
def test_results(model, monkeypatch, case):
    golden = golden_json('hub.json')['cases'][case]
    for name, value in golden.get('set', {}).items():
        monkeypatch.setattr(model, name, value)
    results = model(pictures(golden['kind']), size=golden.get('size', 640), augment=golden.get('augment', False))
    assert list(results.s) == golden['network_input']
    assert (results.files, results.n) == (golden['files'], golden['n'])
    assert [list(im.shape) for im in results.ims] == golden['images_hwc']
    for kind in ('xyxy', 'xywh', 'xyxyn', 'xywhn'):
        limit = 0.1 if kind[-1] != 'n' else 0.1 / 500
        for ours, theirs in zip(getattr(results, kind), golden[kind]):
            ours, theirs = ours.numpy(), np.array(theirs, np.float32)
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=0, atol=limit)
            np.testing.assert_allclose(ours[:, 4], theirs[:, 4], rtol=0, atol=5e-4)
            np.testing.assert_array_equal(ours[:, 5], theirs[:, 5])
    tables = results.pandas()
    for kind, columns in golden['pandas_columns'].items():
        assert getattr(tables, kind)[0].columns.tolist() == columns
    assert [table['name'].tolist() for table in tables.xyxy] == golden['pandas_names']
    assert [len(one.xyxy[0]) for one in results.tolist()] == golden['tolist_lengths']
