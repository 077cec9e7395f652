"""What the site needs beyond plain Markdown, as hooks of MkDocs (named in mkdocs.yml).

Pages are written so that they read well on a code host, too: links lead into the repository, formulas stand between
dollars. Here such links become links to the API reference or to a page with the file's content, formulas become MathML,
which browsers draw without a script, and the navigation is made from the files that are there.
"""

from __future__ import annotations

import ast
import html
import json
import logging
import posixpath
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
LANGUAGES = {'.py': 'python', '.yaml': 'yaml', '.yml': 'yaml', '.sh': 'sh', '.toml': 'toml'}
_LINK = re.compile(r'(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()#\s]+)(?P<anchor>#[^()\s]*)?\)')
_ERROR = re.compile(r'(?<=<div class="language-text highlight)(?="><pre><span></span><code>(?:<[^>]*>)*Error: )')
_NAME = re.compile(r'`([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?`')  # a link's text: a name in the file it leads to
GENERATED = ('reference', 'source')  # folders below docs/, not kept in git
ROOMS = ('models', 'utils', 'tools', 'examples', 'benchmarks')


@cache
def modules() -> list[str]:
    """The repository's Python files that have a page in the API reference, without suffix."""
    files = [*ROOT.glob('*.py'), *(file for room in ROOMS for file in sorted((ROOT / room).rglob('*.py')))]
    names = [file.relative_to(ROOT).with_suffix('').as_posix() for file in files]
    return sorted({name.removesuffix('/__init__') for name in names if not name.endswith('__main__')})


def on_config(config):
    """Chapters are the numbered files of docs/en, in their order."""
    logging.getLogger('jieba').setLevel(logging.WARNING)  # it reports that it reads its dictionary
    if config.nav is None:
        _write_generated()
        chapters = sorted(path.name for path in (DOCS / 'en').glob('[0-9]*.md'))
        project = ['contributing.md', {'Changelog': 'source/CHANGELOG.md.md'}, {'API': 'reference/index.md'}]
        config.nav = [{'Overview': 'index.md'}, {'Tutorials': chapters}, {'Project': project}]
    return config


def _write_generated() -> None:
    """Write the API reference, the changelog, and a page for each other file that a page links to, below docs/."""
    for folder in GENERATED:
        shutil.rmtree(DOCS / folder, ignore_errors=True)
        (DOCS / folder).mkdir()
    linked = _linked_names()
    for name in modules():
        text = f'# {name.replace("/", ".")}\n\n::: {name.replace("/", ".")}\n'
        page = _page_of(_file(name).relative_to(ROOT).as_posix())
        if options := _options(linked.get(page, set()), _file(name)):
            text += f'    options: {json.dumps(options)}\n'
        (DOCS / page).write_text(text, 'utf-8')
    (DOCS / 'reference/index.md').write_text(_index(), 'utf-8')
    for path in _linked():
        page = DOCS / f'source/{path}.md'
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_source(path), 'utf-8')


def _file(module: str) -> Path:
    package = ROOT / module / '__init__.py'
    return package if package.is_file() else ROOT / f'{module}.py'


def _index() -> str:
    lines = ['# API\n']
    for name in modules():
        about = (ast.get_docstring(ast.parse(_file(name).read_text('utf-8'))) or '').split('\n\n')[0].replace('\n', ' ')
        dotted = name.replace('/', '.')
        lines.append(f'- [{dotted}]({dotted}.md): {html.escape(about, quote=False)}')
    return '\n'.join(lines) + '\n'


def _links() -> Iterator[tuple[str, str]]:
    """Text, and file of the repository, of each link of a page to one."""
    for page in (*ROOT.glob('*.md'), *(DOCS / 'en').rglob('*.md'), *(DOCS / 'zh').rglob('*.md')):
        for match in _LINK.finditer(page.read_text('utf-8')):
            path = posixpath.normpath(posixpath.join(page.parent.relative_to(ROOT).as_posix(), match['target']))
            if (ROOT / path).is_file():
                yield match['text'], path


def _linked() -> set[str]:
    """Files other than modules and what is on the site as it is, to which a page links."""
    found = {path for _, path in _links() if not _on_site(path) and _page_of(path).startswith('source/')}
    return found | {'CHANGELOG.md'}


def _linked_names() -> dict[str, set[str]]:
    """By page of the API reference, the names on it that pages link to."""
    found: dict[str, set[str]] = {}
    for text, path in _links():
        if path.endswith('.py') and (name := _NAME.fullmatch(text)):
            found.setdefault(_page_of(path), set()).add(name[1])
    return found


def _options(linked: set[str], file: Path) -> dict:
    """What makes a page of the API reference show all names that others link to: private ones and undocumented ones."""
    tree, parts = ast.parse(file.read_text('utf-8')), {part for name in linked for part in name.split('.')}
    private = sorted(part[1:] for part in parts if part.startswith('_'))
    options: dict = {'filters': [f'!^_(?!({"|".join(private)})$)' if private else '!^_']}
    if linked - set(_documented(tree)):
        attributes = sorted(_attributes(tree) - parts)
        options |= {'show_if_no_docstring': True}
        options['filters'] += [f'!^({"|".join(attributes)})$'] if attributes else []
    return options if private or len(options) > 1 else {}


def _attributes(tree: ast.AST) -> set[str]:
    """What methods set, `self.x = ...`."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == 'self'}


def _documented(tree: ast.AST, prefix: str = '') -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if ast.get_docstring(node):
                yield prefix + node.name
            yield from _documented(node, f'{prefix}{node.name}.')


def _on_site(path: str) -> bool:
    return path.startswith('docs/') and not path.endswith('.py')


def _source(path: str) -> str:
    content = (ROOT / path).read_text('utf-8')
    if path.endswith('.md'):
        return content
    return f'# {path}\n\n`````{LANGUAGES.get(Path(path).suffix, "text")}\n{content}\n`````\n'


def _page_of(path: str) -> str:
    """The page of our site that shows a file of the repository."""
    name = path.removesuffix('.py').removesuffix('/__init__')
    if path.endswith('.py') and name in modules() and _file(name) == ROOT / path:
        return f'reference/{name.replace("/", ".")}.md'
    return f'source/{path}.md'


def on_page_markdown(markdown, page, config, files):
    uri, dest = page.file.src_uri, page.file.dest_uri
    if uri.startswith(('reference/', 'source/')):
        path = uri.removeprefix('source/').removesuffix('.md')
        return _repository_links(markdown, uri, posixpath.dirname(path), dest) if path.endswith('.md') else markdown
    if number := re.match(r'\d+', posixpath.basename(uri)):
        page.meta['title'] = f'{int(number[0])}. {re.search(r"^# (.+)$", markdown, re.MULTILINE)[1]}'
    return _repository_links(markdown, uri, posixpath.join('docs', posixpath.dirname(uri)), dest)


def _in_other_language(path: str, dest: str) -> str:
    """The link from one of the site's pages to a chapter, if that has the other language: MkDocs builds the languages
    one after the other and does not know it. English pages lie at the root."""
    chapter = re.fullmatch(r'docs/(en|zh)/(.+)\.md', path)
    if not chapter or (chapter[1] == 'zh') == dest.startswith('zh/'):
        return ''
    to = f'{chapter[2]}.html' if chapter[1] == 'en' else f'zh/{chapter[2]}.html'
    return posixpath.relpath(to, posixpath.dirname(dest) or '.')


def _repository_links(markdown: str, uri: str, base: str, dest: str) -> str:
    """Links out of docs/ lead to the page that shows the file; a link whose text is a name in it, to that name.

    Args:
        uri: the page below docs/.
        base: the folder that its links start from.
        dest: the page on the site.
    """

    def replace(match: re.Match) -> str:
        text, target, anchor = match['text'], match['target'], match['anchor'] or ''
        path = posixpath.normpath(posixpath.join(base, target))
        if re.match(r'[a-z]+:', target) or not (ROOT / path).is_file():
            return match[0]
        if other := _in_other_language(path, dest):
            return f'<a href="{other}">{text}</a>'
        if _on_site(path):
            to = path.removeprefix('docs/')
        else:
            to = _page_of(path)
            if to.startswith('reference/') and (name := _NAME.fullmatch(text)):
                anchor = f'#{Path(to).stem}.{name[1]}' if f'{name[1]}.py' != path.rsplit('/')[-1] else ''
        return f'[{text}]({posixpath.relpath(to, posixpath.dirname(uri) or ".")}{anchor})'

    parts = re.split(r'(^```.*?^```)', markdown, flags=re.MULTILINE | re.DOTALL)
    return ''.join(part if part.startswith('```') else _LINK.sub(replace, part) for part in parts)


def _whole_options(code: re.Match) -> str:
    """No line ends between the dashes of an option and its name."""
    return re.sub(
        r'(<[^>]*>)|(?<![\w-])(--?[a-z][\w-]*)', lambda m: m[1] or f'<span class="nobr">{m[2]}</span>', code[0]
    )


def on_page_content(content, page, config, files):
    """Formulas to MathML; errors wrap; the search looks through docstrings and leaves the code below them out."""
    uri = page.file.src_uri
    if not uri.startswith(GENERATED) or uri.endswith('.md.md'):
        content = re.sub(r'<code>.*?</code>', _whole_options, content, flags=re.DOTALL)
    content = content.replace(
        '<details class="mkdocstrings-source"', '<details data-search-exclude class="mkdocstrings-source"'
    )
    content = _ERROR.sub(' wraps', content)
    content = re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>([，。；：、？）]*)',
        lambda m: f'<span class="nobr">{_mathml(m[1])}{m[2]}</span>' if m[2] else _mathml(m[1]),
        content,
        flags=re.DOTALL,
    )
    return re.sub(
        r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>',
        lambda m: _mathml(m[1], 'block'),
        content,
        flags=re.DOTALL,
    )


def _mathml(formula: str, display: str = 'inline') -> str:
    """MathML, with the spaces that TeX makes around functions, bars and a minus at the beginning."""
    text = convert(html.unescape(formula), display=display)
    text = text.replace('<mi>&#x0007E;</mi>', '<mo>&#x0223C;</mo>')
    text = text.replace('<mo stretchy="false">&#x0007C;', '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;')
    text = re.sub('<mo>(max|min)</mo>(?=<mo stretchy="false">&#x00028;)', r'<mo lspace="0" rspace="0">\1</mo>', text)
    text = re.sub('(<mo>&#x0003D;</mo>)<mo>(?=&#x02212;)', r'\1<mo form="prefix">', text)
    function, space = '(?<!<msup>)(?<!<msub>)<mi>(?:log|ln|exp|sin|cos|tan|arctan)</mi>', '<mspace width="0.167em"/>'
    text = re.sub(f'(?<=</mi>)(?={function})|(?<=</mn>)(?={function})', space, text)
    return re.sub(f'({function})(?!<mo stretchy="false">&#x00028;)', rf'\1{space}', text)
