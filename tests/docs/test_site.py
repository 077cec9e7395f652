"""The site builds without a word, has every chapter in both languages, and its links lead somewhere."""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.tools.pages import ROOT, chapters

MKDOCS = ROOT / '.venv-docs/bin/mkdocs'


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """As `make docs` builds it, elsewhere."""
    if not (ROOT / '.venv-docs/ready').is_file():
        pytest.skip('no .venv-docs: `make docs` and `make test` make it')
    folder = tmp_path_factory.mktemp('site')
    recipe = re.search(r'(?<=/mkdocs )build .*', (ROOT / 'Makefile').read_text())[0].split()
    done = subprocess.run(
        [MKDOCS, *recipe, '--site-dir', folder],
        cwd=ROOT, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'}, capture_output=True, text=True,
    )  # fmt: skip
    assert '--strict' in recipe
    assert (done.returncode, done.stdout + done.stderr) == (0, '')
    return folder


def test_the_continuous_integration_builds_it():
    """Its command is make test, which sees to it that `site` is not skipped."""
    assert re.search(r'^test: .*\.venv-docs/ready$', (ROOT / 'Makefile').read_text(), re.MULTILINE)


def test_every_page_is_there(site):
    for language, place in (('en', ''), ('zh', 'zh/')):
        for page in chapters(language):
            text = (site / f'{place}{page.path.stem}.html').read_text('utf-8')
            assert f'<html lang="{language}"' in text
            assert page.title in re.sub(r'<[^>]+>', '', text), page.name
            assert text.count('<math') == page.prose.count('$$') // 2 + len(inline_formulas(page.prose)), page.name
            assert 'arithmatex' not in text, f'{page.name}: a formula that is not shown'


def inline_formulas(prose: str) -> list[str]:
    without = re.sub(r'\$\$.*?\$\$', '', prose, flags=re.DOTALL)
    return re.findall(r'\$[^$]+\$', re.sub(r'`[^`]*`', '', without))


def test_links_lead_somewhere(site):
    """Of the chapters' pages, into the API reference and to files, with their anchors."""
    names: dict[Path, set[str]] = {}
    for page in [*site.glob('*.html'), *(site / 'zh').glob('*.html')]:
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text('utf-8')):
            if re.match(r'[a-z]+:|//|/', target):
                continue
            path, _, anchor = unquote(target).partition('#')
            file = site / posixpath.normpath(posixpath.join(page.parent.relative_to(site).as_posix(), path))
            file = page if not path else file / 'index.html' if file.is_dir() else file
            assert file.is_file(), f'{page.name}: {target}'
            if anchor and file.suffix == '.html':
                if file not in names:
                    names[file] = set(re.findall(r'\bid="([^"]+)"', file.read_text('utf-8')))
                assert anchor in names[file], f'{page.name}: {target}'


def test_chinese_words_are_found(site):
    """The search's index has an invisible blank between them, at which the search has to divide."""
    index = json.loads((site / 'search/search_index.json').read_text('utf-8'))
    title = next(entry['title'] for entry in index['docs'] if entry['location'] == 'zh/14-nms.html')
    assert len(re.split(index['config']['separator'], title)) > 1
    assert 'zh' in index['config']['lang']


def test_options_are_not_broken_across_lines(site):
    text = (site / '03-quickstart.html').read_text('utf-8')
    assert '<code><span class="nobr">--iou-thres</span></code>' in text
    assert '<span class="nobr">--save-txt</span>' in text, 'in commands, too'


def test_lines_of_errors_wrap_and_tables_of_text_do_not(site):
    text = (site / '18-faq.html').read_text('utf-8')
    kinds = re.findall(r'<div class="language-text highlight([^"]*)">(.*?)</code>', text, re.DOTALL)
    errors = [re.sub(r'<[^>]+>', '', code).startswith('Error: ') for _, code in kinds]
    assert 0 < sum(errors) < len(errors)
    assert [kind == ' wraps' for kind, _ in kinds] == errors


def test_formulas_are_spaced_as_tex_spaces_them(site):
    """MathML alone would give log2, a bar as wide as a relation, and a full stop at the beginning of a line."""
    loss = (site / 'zh/13-loss.html').read_text('utf-8')
    assert '<mi>log</mi><mspace width="0.167em"/><mn>2</mn>' in loss
    assert '<mi>arctan</mi><mo stretchy="false">&#x00028;' in (site / 'zh/10-iou.html').read_text('utf-8')
    assert '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>' in loss
    assert re.search(r'<span class="nobr"><math(?:(?!</math>).)*</math>[，。；：、]</span>', loss)


def test_the_api_reference_names_each_module_once(site):
    names = re.findall(r'<li><a href="([\w.]+)\.html">', (site / 'reference/index.html').read_text('utf-8'))
    assert len(names) == len(set(names)) > 100
