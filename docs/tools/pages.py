"""What the tests and tools see in a Markdown page: headings, links, pictures, code blocks, and marks.

Marks are HTML comments, which no reader sees, neither here nor on a code host. Above a code block:

    <!-- skip: why it can't run here -->       the block is not run
    <!-- fails -->                             each command ends with an error, which the ```text block after it shows
    <!-- loose -->                             the output's words count, its numbers do not (times, say)
    <!-- file: mydata/mydata.yaml -->          the block is the content of this file, which later blocks find
    <!-- recorded: training.txt -->            the block is docs/numbers/training.txt, which a script has written

A ```text block right after a ```python block is what that one prints. Of commands only errors are shown this way: their
other output depends on sizes, which are small in the tests.

In the text, `0.743<!--=iou.far.giou-->` is the number `far: giou:` of docs/numbers/iou.json, and in a table that
follows `<!-- rows: models.table -->` all rows but the first two are the rows `table` of docs/numbers/models.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'

_FENCE = re.compile(r'^(?P<fence>```+)(?P<language>\w*)[^\n`]*\n(?P<code>.*?)^(?P=fence) *$', re.MULTILINE | re.DOTALL)
_MARKS = re.compile(r'((?:<!-- [^\n]*? -->\n+)+)\Z')
_MARK = re.compile(r'<!-- (\w+)(?:: ([^\n]*?))? -->')
_LINK = re.compile(r'(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]*(?:\([^()\s]*\))?)\)')
_IMAGE = re.compile(r'!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)')


@dataclass
class Block:
    """A fenced block of code: where its code lies in the page's text, and what is marked above it."""

    language: str
    code: str
    line: int
    span: tuple[int, int]
    marks: dict[str, str] = field(default_factory=dict)
    output: Block | None = None  # the block with what this one prints

    @property
    def prints(self) -> bool:
        return self.language == 'python' or 'fails' in self.marks


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding='utf-8')

    @cached_property
    def prose(self) -> str:
        """The text with code blocks and code spans' content left out, as long as the text itself."""
        blank = _FENCE.sub(lambda match: re.sub(r'[^\n]', ' ', match[0]), self.text)
        return re.sub(r'<!--.*?-->', lambda match: re.sub(r'[^\n]', ' ', match[0]), blank, flags=re.DOTALL)

    @cached_property
    def blocks(self) -> list[Block]:
        blocks: list[Block] = []
        end = 0
        for match in _FENCE.finditer(self.text):
            between, end = self.text[end : match.start()], match.end()
            marks = _MARKS.search(between)
            block = Block(
                match['language'],
                match['code'],
                self.text.count('\n', 0, match.start()) + 1,
                match.span('code'),
                {m[1]: m[2] or '' for m in _MARK.finditer(marks[1])} if marks else {},
            )
            if block.language == 'text' and blocks and blocks[-1].prints and not between.strip():
                blocks[-1].output = block
            blocks.append(block)
        return blocks

    @cached_property
    def headings(self) -> list[tuple[int, str]]:
        """Level and title."""
        return [(len(m[1]), m[2].strip()) for m in re.finditer(r'^(#{1,6}) (.+)$', self.prose, re.MULTILINE)]

    @property
    def title(self) -> str:
        return self.headings[0][1]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link to this page may have after its #, made as code hosts and our site make it."""
        found: list[str] = []
        for _, title in self.headings:
            slug = anchor(title)
            found.append(f'{slug}-{found.count(slug)}' if slug in found else slug)
        return set(found)

    @cached_property
    def links(self) -> list[tuple[str, str]]:
        """Text and target."""
        return [(m['text'], m['target']) for m in _LINK.finditer(self.prose)]

    @cached_property
    def images(self) -> list[tuple[str, str]]:
        """Description and target."""
        return [(m['text'], m['target']) for m in _IMAGE.finditer(self.prose)]

    @cached_property
    def commands(self) -> list[tuple[str, Block | None]]:
        """Commands of sh blocks, a line each, and those in the text that begin with python, unless cut short; with
        their block."""
        found: list[tuple[str, Block | None]] = []
        for block in self.blocks:
            if block.language == 'sh':
                lines = re.sub(r'\\\n\s*', '', block.code).splitlines()
                found += [(code, block) for line in lines if (code := without_comment(line))]
        inline = re.findall(r'`([^`\n]+)`', self.prose)
        return found + [(code, None) for code in inline if code.startswith('python ') and '...' not in code]


def anchor(title: str) -> str:
    words = re.sub(r'[`*]|\[([^\]]*)\]\([^)]*\)', r'\1', title).strip().lower()
    return re.sub(r'[^\w\- ]', '', words).replace(' ', '-')


def without_comment(line: str) -> str:
    return re.split(r'(?:^|\s)#', line)[0].strip()


def chapters(language: str = 'en') -> list[Page]:
    return [Page(path) for path in sorted((DOCS / language).rglob('*.md'))]


def all_pages() -> list[Page]:
    """Every page for readers: those at the root, then docs/en and docs/zh."""
    return [Page(path) for path in sorted(ROOT.glob('*.md'))] + chapters('en') + chapters('zh')


def translation(page: Page) -> Page:
    """The Chinese page that goes with an English one."""
    if page.path.parent == ROOT:
        return Page(page.path.with_suffix('.zh.md'))
    return Page(DOCS / 'zh' / page.path.relative_to(DOCS / 'en'))
