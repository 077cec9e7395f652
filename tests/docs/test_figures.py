"""Each figure and each file of numbers has a script that writes it, and a script writes the same again."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from docs.figures import letterbox, style
from docs.tools import numbers
from docs.tools.pages import DOCS, all_pages

SCRIPTS = {path.stem: path.read_text('utf-8') for path in (DOCS / 'figures').glob('*.py')}


def test_every_file_has_its_script():
    code = ''.join(SCRIPTS.values())
    shown = {target.rsplit('/', 1)[-1] for page in all_pages() for _, target in page.images}
    for path in (DOCS / 'img').iterdir():
        assert f"'{path.name}'" in code, f'no script writes {path.name}'
    for path in (DOCS / 'numbers').iterdir():
        assert f"'{path.stem if path.suffix == '.json' else path.name}'" in code, f'no script writes {path.name}'
    assert shown <= {path.name for path in (DOCS / 'img').iterdir()}


def test_figures_stay_small():
    for path in (DOCS / 'img').iterdir():
        assert path.suffix in ('.svg', '.png')
        assert path.stat().st_size < 200_000, path.name


def test_a_script_writes_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr(style, 'IMAGES', tmp_path)
    monkeypatch.setattr(numbers, 'NUMBERS', tmp_path)
    letterbox.make()
    assert json.loads((tmp_path / 'letterbox.json').read_text()) == numbers._content('letterbox')
    ours, theirs = (np.asarray(Image.open(folder / 'letterbox.png').convert('RGB'), float) for folder in
                    (tmp_path, DOCS / 'img'))  # fmt: skip
    assert np.abs(ours - theirs).mean() < 1
