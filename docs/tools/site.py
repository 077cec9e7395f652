"""What the site needs beyond plain Markdown, as hooks of MkDocs (named in mkdocs.yml).

Pages are written so that they read well on a code host, too: links lead into the repository, formulas stand between
dollars. Here such links become links to the API reference or to a page with the file's content, formulas become MathML,
which browsers draw without a script, and the navigation is made from the files that are there.
"""

from __future__ import annotations

import ast
import html
import posixpath
import re
import shutil
from pathlib import Path

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
LANGUAGES = {'.py': 'python', '.yaml': 'yaml', '.yml': 'yaml', '.sh': 'sh', '.toml': 'toml'}
GENERATED = ('reference', 'source')  # folders below docs/, not kept in git
ROOMS = ('models', 'utils', 'tools', 'examples', 'benchmarks')


def modules() -> list[str]:
    """The repository's Python files that have a page in the API reference, without suffix."""
    files = [*ROOT.glob('*.py'), *(file for room in ROOMS for file in sorted((ROOT / room).rglob('*.py')))]
    names = [file.relative_to(ROOT).with_suffix('').as_posix() for file in files]
    return sorted(name.removesuffix('/__init__') for name in names if not name.endswith('__main__'))


def on_config(config):
    """Chapters are the numbered files of docs/en, in their order."""
    if config.nav is None:
        _write_generated()
        chapters = sorted(path.name for path in (DOCS / 'en').glob('[0-9]*.md'))
        project = ['contributing.md', {'Changelog': 'source/CHANGELOG.md.md'}, {'API': 'reference/index.md'}]
        config.nav = ['index.md', {'Tutorials': chapters}, {'Project': project}]
    return config


def _write_generated() -> None:
    """Write the API reference, the changelog, and a page for each other file that a page links to, below docs/."""
    for folder in GENERATED:
        shutil.rmtree(DOCS / folder, ignore_errors=True)
        (DOCS / folder).mkdir()
    for name in modules():
        dotted = name.replace('/', '.')
        (DOCS / f'reference/{dotted}.md').write_text(f'# {dotted}\n\n::: {dotted}\n', 'utf-8')
    (DOCS / 'reference/index.md').write_text(_index(), 'utf-8')
    for path in _linked():
        page = DOCS / f'source/{path}.md'
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_source(path), 'utf-8')


def _index() -> str:
    rows = ['# API\n', '| Module | |', '| --- | --- |']
    for name in modules():
        path = ROOT / f'{name}.py'
        path = path if path.is_file() else ROOT / name / '__init__.py'
        about = (ast.get_docstring(ast.parse(path.read_text('utf-8'))) or '').split('\n\n')[0].replace('\n', ' ')
        dotted = name.replace('/', '.')
        rows.append(f'| [{dotted}]({dotted}.md) | {html.escape(about).replace("|", "&#124;")} |')
    return '\n'.join(rows) + '\n'


def _linked() -> set[str]:
    """Files outside docs/, other than modules, to which a page links."""
    found = {'CHANGELOG.md'}
    for page in (path for language in ('en', 'zh') for path in (DOCS / language).rglob('*.md')):
        for target in re.findall(r'\]\(([^)#\s]+)', page.read_text('utf-8')):
            path = posixpath.normpath(posixpath.join(page.parent.relative_to(ROOT).as_posix(), target))
            if not path.startswith('docs/') and (ROOT / path).is_file() and _page_of(path).startswith('source/'):
                found.add(path)
    return found


def _source(path: str) -> str:
    content = (ROOT / path).read_text('utf-8')
    if path.endswith('.md'):
        return _repository_links(content, 'source/' + path, posixpath.dirname(path))
    return f'# {path}\n\n`````{LANGUAGES.get(Path(path).suffix, "text")}\n{content}\n`````\n'


def _page_of(path: str) -> str:
    """The page of our site that shows a file of the repository."""
    name = path.removesuffix('.py').removesuffix('/__init__')
    if path.endswith('.py') and name in modules():
        return f'reference/{name.replace("/", ".")}.md'
    return f'source/{path}.md'


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    if uri.startswith(('reference/', 'source/')):
        return markdown
    if number := re.match(r'\d+', posixpath.basename(uri)):
        page.meta['title'] = f'{int(number[0])}. {re.search(r"^# (.+)$", markdown, re.MULTILINE)[1]}'
    return _repository_links(markdown, uri, posixpath.join('docs', posixpath.dirname(uri)))


def _repository_links(markdown: str, uri: str, base: str) -> str:
    """Links out of docs/ lead to the page that shows the file; a link whose text is a name in it, to that name."""

    def replace(match: re.Match) -> str:
        text, target, anchor = match['text'], match['target'], match['anchor'] or ''
        path = posixpath.normpath(posixpath.join(base, target))
        if re.match(r'[a-z]+:', target) or not (ROOT / path).is_file():
            return match[0]
        if path.startswith('docs/'):
            to = path.removeprefix('docs/')
        else:
            to = _page_of(path)
            if to.startswith('reference/') and (name := re.fullmatch(r'`([A-Za-z]\w*(?:\.\w+)*)(?:\(.*\))?`', text)):
                anchor = f'#{Path(to).stem}.{name[1]}' if f'{name[1]}.py' != path.rsplit('/')[-1] else ''
        return f'[{text}]({posixpath.relpath(to, posixpath.dirname(uri) or ".")}{anchor})'

    pattern = r'(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()#\s]+)(?P<anchor>#[^()\s]*)?\)'
    parts = re.split(r'(^```.*?^```)', markdown, flags=re.MULTILINE | re.DOTALL)
    return ''.join(part if part.startswith('```') else re.sub(pattern, replace, part) for part in parts)


def on_page_content(content, page, config, files):
    """Formulas to MathML."""
    inline = re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>',
        lambda m: convert(html.unescape(m[1])),
        content,
        flags=re.DOTALL,
    )
    return re.sub(
        r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>',
        lambda m: convert(html.unescape(m[1]), display='block'),
        inline,
        flags=re.DOTALL,
    )
