"""Each figure and each file of numbers has a script that writes it, and a script writes the same again."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest
from PIL import Image

from docs.figures import style
from docs.figures.__main__ import SCRIPTS
from docs.tools import numbers
from docs.tools.pages import DOCS, all_pages

CODE = [path.read_text('utf-8') for path in (*(DOCS / 'figures').glob('*.py'), DOCS / 'tools/results.py')]
# These take seconds, for they train or evaluate; the last ones measure times or train for minutes.
SLOW = ('anchors', 'augmentation', 'iou_family', 'iou_metrics', 'network', 'pruning', 'quickstart',
        'receptive', 'suppression', 'tta')  # fmt: skip
MEASURED = ('ensemble', 'freezing', 'oneflow')
QUICK = sorted(set(SCRIPTS) - {*SLOW, *MEASURED})


def test_every_file_has_its_script():
    code = ''.join(CODE)
    shown = {target.rsplit('/', 1)[-1] for page in all_pages() for _, target in page.images}
    for path in (DOCS / 'img').iterdir():
        assert f"'{path.name}'" in code, f'no script writes {path.name}'
    for path in (DOCS / 'numbers').iterdir():
        name = path.stem if path.suffix == '.json' else path.name
        names = name, name.split('_')[0]  # results.py writes benchmarks_113.json, too, if told to
        assert any(f"'{name}'" in code for name in names), f'no script writes {path.name}'
    assert shown <= {path.name for path in (DOCS / 'img').iterdir()}


def test_figures_stay_small():
    for path in (DOCS / 'img').iterdir():
        assert path.suffix in ('.svg', '.png')
        assert path.stat().st_size < 200_000, path.name


@pytest.mark.parametrize('name', QUICK)
def test_a_script_writes_the_same_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(style, 'IMAGES', tmp_path)
    monkeypatch.setattr(numbers, 'NUMBERS', tmp_path)
    importlib.import_module(f'docs.figures.{name}').make()
    written = list(tmp_path.iterdir())
    assert written
    for path in written:
        if path.suffix == '.json':
            tolerance = 0.1 if name == 'project' else 2e-3  # the code grows a little with each change
            ours, theirs = (
                unrounded((folder / path.name).read_text('utf-8')) for folder in (tmp_path, DOCS / 'numbers')
            )
            assert_same_numbers(ours, theirs, tolerance)
        elif path.suffix == '.svg':
            ours, theirs = (unnamed((folder / path.name).read_text('utf-8')) for folder in (tmp_path, DOCS / 'img'))
            assert_same_numbers(ours, theirs, 2e-3)
        else:
            ours, theirs = (np.asarray(Image.open(folder / path.name).convert('RGB'), float) for folder in
                            (tmp_path, DOCS / 'img'))  # fmt: skip
            assert np.abs(ours - theirs).mean() < 1


def unnamed(svg: str) -> str:
    """An SVG without the names that matplotlib makes of what they name, to the last digit, and without what is drawn
    from rounding errors, which depend on the processor.
    """
    svg = re.sub(r'<g id="rounding">.*?</g>', '', svg, flags=re.DOTALL)
    return re.sub(r'\b[a-z][0-9a-f]{10}\b', 'name', svg)


def unrounded(numbers: str) -> str:
    """Numbers without those of one digit below a thousandth: they are rounding errors wherever they occur."""
    return re.sub(r'"0\.0000*\d"|"\d·10⁻[⁰¹²³⁴-⁹]+"', '"0"', numbers)


def assert_same_numbers(ours: str, theirs: str, tolerance: float) -> None:
    number = re.compile(r'-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?')
    assert number.sub('0', ours) == number.sub('0', theirs)
    values = [[float(value.replace(',', '')) for value in number.findall(text)] for text in (ours, theirs)]
    np.testing.assert_allclose(*values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('name', [*SLOW, *MEASURED])
def test_the_other_scripts_can_be_called(name):
    assert callable(importlib.import_module(f'docs.figures.{name}').make)


def test_what_is_written_is_compared():
    assert_same_numbers('{"a": 1.0001}', '{"a": 1}', 2e-3)
    for wrong in ('{"a": 1.1}', '{"b": 1}', '{"a": 1, "b": 2}'):
        with pytest.raises(AssertionError):
            assert_same_numbers('{"a": 1}', wrong, 2e-3)
    assert unrounded('["0.0002", "2·10⁻⁶", "0.00076", "2·10⁶"]') == '["0", "0", "0.00076", "2·10⁶"]'
    assert unnamed('<a/><g id="rounding">\n<path/>\n</g><b/>') == '<a/><b/>'
