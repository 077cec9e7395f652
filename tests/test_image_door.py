"""Images are opened and written in one place: what it decides holds everywhere."""

from __future__ import annotations

import ast

import pytest

from tests.test_doors import MODULES

DOOR = {'utils.data.images', 'utils.data.image_header'}
GUARDED = {'imread', 'imreadmulti', 'imwrite', 'imencode', 'imdecode'}


@pytest.mark.parametrize('name', sorted(MODULES.keys() - DOOR))
def test_no_other_module_reads_or_writes_images(name):
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in GUARDED, f'{name}:{node.lineno}: cv2.{node.attr}, use utils.data.images'
            is_pillow = isinstance(node.value, ast.Name) and node.value.id in ('Image', 'PIL')
            assert not (is_pillow and node.attr == 'open'), f'{name}:{node.lineno}: Image.open, use open_with_pillow'
        if isinstance(node, ast.ImportFrom) and node.module in ('cv2', 'PIL.Image'):
            assert not GUARDED & {alias.name for alias in node.names}


def test_the_guard_finds_what_it_looks_for():
    found = {node.attr for name in DOOR for node in ast.walk(ast.parse(MODULES[name].read_text()))
             if isinstance(node, ast.Attribute)}  # fmt: skip
    assert {'imdecode', 'imencode', 'open'} <= found
