"""The loader's benchmark runs and counts; how fast is not a matter for tests."""

from __future__ import annotations

import itertools

from benchmarks.loader import main, rate
from tests.utils.data.pictures import draw_set


def test_it_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    draw_set(tmp_path / 'images', 3)
    (tmp_path / 'set.yaml').write_text('train: images\nval: images\nnames: [a, b, c]\n')
    main(['--data', str(tmp_path / 'set.yaml'), '--imgsz', '64', '--seconds', '0.1', '--workers', '1'])
    lines = capsys.readouterr().out.splitlines()
    assert 'one process: ' in lines[1]
    assert '1 workers: ' in lines[2]
    assert int(lines[1].split()[2]) > 0


def test_the_rate_leaves_out_the_first_batch(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr('benchmarks.loader.time.perf_counter', lambda: next(ticks))
    clock = iter([10.0, 14.0])
    assert rate([([0] * 8,)], 5.5, lambda: next(clock)) == 8 * 5 / 4
