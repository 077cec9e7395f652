from __future__ import annotations

import numpy as np

import val


def test_study_and_speed_run_every_checkpoint(tmp_path, monkeypatch):
    calls = []

    def run(**options):
        calls.append(options)
        return (0.5, 0.6, 0.7, options['imgsz'] / 2000, 0.0, 0.0, 0.0), None, (0.1, options['imgsz'] / 100, 0.3)

    monkeypatch.setattr(val, 'run', run)
    val.main(f'--task study --data coco128.yaml --weights a.pt b/a.pt --project {tmp_path}'.split())
    sizes = list(range(256, 1537, 128))
    assert [(c['weights'], c['imgsz']) for c in calls] == [([w], s) for w in ('a.pt', 'b/a.pt') for s in sizes]
    rows = np.loadtxt(tmp_path / 'exp' / 'study_coco128_a.txt')
    assert rows.shape == (11, 10)
    np.testing.assert_allclose(rows[:, 8], np.array(sizes) / 100, rtol=1e-3)
    assert sorted(f.name for f in (tmp_path / 'exp').glob('*.*')) == [
        'study.png', 'study_coco128_a.txt', 'study_coco128_a_2.txt',
    ]  # fmt: skip

    calls.clear()
    val.main(['--task', 'speed', '--weights', 'a.pt', 'b.pt', '--data', 'coco.yaml'])
    assert not any(c['save_json'] for c in calls)
    assert [(c['weights'], c['conf_thres'], c['iou_thres'], c['plots']) for c in calls] == [
        (['a.pt'], 0.25, 0.45, False),
        (['b.pt'], 0.25, 0.45, False),
    ]
