"""Links lead somewhere, numbers are those that scripts wrote, and the Chinese pages go with the English ones."""

from __future__ import annotations

import ast
import io
import itertools
import json
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from docs.tools.numbers import fill
from docs.tools.pages import DOCS, ROOT, Block, Page, all_pages, anchor, chapters, translation

PAGES = all_pages()
PAIRS = [(page, translation(page)) for page in [Page(ROOT / 'README.md'), *chapters()]]
each_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
each_pair = pytest.mark.parametrize(('english', 'chinese'), PAIRS, ids=lambda page: page.name)


@each_page
def test_links(page):
    for text, target in page.links:
        path, _, place = target.partition('#')
        if re.match(r'https?://[\w.-]+\.\w+', target):
            continue
        file = (page.path.parent / path).resolve() if path else page.path
        assert file.exists(), f'{page.name}: {target}'
        assert ROOT in (file, *file.parents), f'{page.name}: {target} is outside the repository'
        if place:
            assert file.suffix == '.md', f'{page.name}: {target}'
            assert place in Page(file).anchors, f'{page.name}: {target}: {sorted(Page(file).anchors)}'
        code = re.fullmatch(r'`([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?`', text)
        if code and file.suffix == '.py' and code[1] != file.name:
            assert code[1] in names_in(file), f'{page.name}: {path} has no {code[1]}'


@cache
def names_in(file: Path) -> set[str]:
    """Functions, classes, methods and fields (Class.name) and top-level variables."""
    return set(_names(ast.parse(file.read_text('utf-8')), ''))


def _names(tree: ast.AST, prefix: str):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from _names(node, f'{node.name}.')
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name))


@each_page
def test_pictures(page):
    for about, target in page.images:
        assert (page.path.parent / target).is_file(), f'{page.name}: {target}'
        assert about, f'{page.name}: {target} has no description'


@each_page
def test_numbers_are_those_of_the_scripts(page):
    assert fill(page.text) == page.text, 'run `python -m docs.tools.fill`'


@each_page
def test_form(page):
    """One title, levels without a gap, every block with a language."""
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1, page.headings
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), page.headings
    assert not re.search(r'^ *```', page.prose, re.MULTILINE), f'{page.name}: a block that is never closed'
    for block in page.blocks:
        assert block.language or page.path.parent == ROOT, f'{page.name}:{block.line}: no language'


@each_page
def test_what_the_site_can_show(page):
    """Formulas of kinds that latex2mathml knows (others come out as one line with its marks); captions in italics;
    brackets whose ends are of one width."""
    assert set(re.findall(r'\\begin\{([^}]*)\}', page.text)) <= {'align*', 'pmatrix', 'cases'}
    for caption in re.findall(r'^!\[[^\]]*\]\([^)]*\)\n\n(.+(?:\n.+)*)', page.text, re.MULTILINE):
        assert re.fullmatch(r'\*[^*].*\*', caption, re.DOTALL) or page.path.parent == ROOT, f'{page.name}: {caption}'
    assert not re.findall(r'\([^()（）\n]*）|（[^()（）\n]*\)', page.text)


def test_a_number_takes_nothing_of_the_words_before_it():
    """In Chinese no blank stands between them."""
    for before in ('。', '（约', '$n$ 份，', '*', '`a`'):
        text = f'{before}0<!--=letterbox.width--> 像素'
        assert fill(text) == f'{before}{json_number("letterbox", "width")}<!--=letterbox.width--> 像素'


@each_page
def test_something_stands_between_two_numbers(page):
    assert not re.search(r'--> ?[\d.,%]+<!--=', page.text)


def json_number(file: str, key: str):
    return json.loads((DOCS / f'numbers/{file}.json').read_text('utf-8'))[key]


def test_every_chapter_is_in_both_languages():
    english, chinese = ({p.path.relative_to(DOCS / lang) for p in chapters(lang)} for lang in ('en', 'zh'))
    assert english == chinese
    index = {target for _, target in Page(DOCS / 'en/index.md').links}
    assert {path.as_posix() for path in english} - {'index.md'} <= index, 'docs/en/index.md links to every page'


@each_pair
def test_the_translation_goes_with_the_original(english, chinese):
    assert [level for level, _ in chinese.headings] == [level for level, _ in english.headings]
    assert [target for _, target in chinese.images] == [target for _, target in english.images]
    assert _numbers(chinese) == _numbers(english)
    assert sorted(_files(chinese)) == sorted(_files(english))
    assert len(chinese.blocks) == len(english.blocks)
    for ours, theirs in zip(chinese.blocks, english.blocks):
        assert (ours.language, bare(ours)) == (theirs.language, bare(theirs)), f'{chinese.name}:{ours.line}'
        assert set(ours.marks) == set(theirs.marks), f'{chinese.name}:{ours.line}'
    assert re.search('[一-鿿]{4}', chinese.title + chinese.prose)


@pytest.mark.parametrize('page', [chinese for _, chinese in PAIRS], ids=lambda page: page.name)
def test_comments_in_chinese_blocks_are_chinese(page):
    """Sentences; not a list of names."""
    for block in page.blocks:
        comments = re.findall(r'(?:^|\s)#(.*)', block.code) if block.language != 'text' else ()
        for comment in comments:
            assert re.search('[一-鿿]', comment) or not re.search('[a-z]{2,} [a-z]{2,}', comment), comment


def test_headings_that_come_back_have_one_translation():
    translations: dict[str, set[str]] = {}
    for english, chinese in PAIRS:
        for (_, ours), (_, theirs) in zip(english.headings, chinese.headings):
            translations.setdefault(ours, set()).add(theirs)
    assert {ours: theirs for ours, theirs in translations.items() if len(theirs) > 1} == {}


def _numbers(page: Page) -> list[str]:
    return sorted(re.findall(r'<!--=(.*?)-->|<!-- rows: (.*?) -->', page.text))


def _files(page: Page) -> list[str]:
    """Targets of links, without anchors, which are words of the language, and without links between the languages."""
    return [target.split('#')[0] for _, target in page.links if not re.search(r'README|/(zh|en)/|\.zh\.', target)]


def bare(block: Block) -> str:
    """A block's code without comments."""
    if block.language == 'python':
        tokens = tokenize.generate_tokens(io.StringIO(block.code).readline)
        kept = (t for t in tokens if t.type not in (tokenize.COMMENT, tokenize.NL))
        return ' '.join(t.string for t in kept)
    if block.language in ('sh', 'yaml', ''):
        return '\n'.join(re.split(r'(?:^|\s+)#|\s{3,}', line)[0].rstrip() for line in block.code.splitlines())
    return block.code


@pytest.mark.parametrize('page', [chinese for _, chinese in PAIRS], ids=lambda page: page.name)
def test_chinese_sentences_have_chinese_punctuation(page):
    """Beside a Chinese word, a piece of code, a link or bold text: not the narrow signs of English."""
    text = re.sub(r'!(?=\[)|(?<=\])\([^()\s]*\)', '', page.prose)  # marks of pictures, targets of links
    text = re.sub(r'`[^`\n]+`|\$[^$\n]+\$', '码', text).replace('**', '')
    assert not re.findall(r'.{0,9}(?:[一-鿿）」\]][,;:?!]|[,;:?!][一-鿿（「\[]).{0,9}', text)


def test_anchors_are_made_as_code_hosts_make_them():
    assert anchor('What a run writes: `best.safetensors`') == 'what-a-run-writes-bestsafetensors'
    assert anchor('锚框 (anchor) 与匹配') == '锚框-anchor-与匹配'


def test_the_layout_of_the_readme_names_what_is_there():
    for readme, title in (('README.md', 'Layout'), ('README.zh.md', '目录结构')):
        layout = re.search(rf'## {title}\n+```\n(.*?)```', (ROOT / readme).read_text('utf-8'), re.DOTALL)[1]
        for line in layout.splitlines():
            for name in re.split(r'\s{2,}', line)[0].split():
                assert (ROOT / name).exists(), name
