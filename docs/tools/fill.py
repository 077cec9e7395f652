"""python -m docs.tools.fill [page ...]: write numbers, tables, recordings and the blocks' real output into the pages.

Pages are files of docs/en or README.md; without any, all are done. The Chinese page gets the same output.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from docs.tools.numbers import fill
from docs.tools.pages import ROOT, Block, Page, chapters, translation
from docs.tools.runner import make_place, run_page

NUMBER = re.compile(r'-?\d+(?:\.\d+)?(?:e-?\d+)?')


def outputs(page: Page) -> dict[int, str]:
    """What the page's blocks print, by line."""
    if not any(block.output for block in page.blocks):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        records = run_page(page, make_place(Path(folder)))
    for record in records:
        if record['error']:
            sys.exit(f'{page.name}:{record["line"]}: {record["error"]}')
    return by_line(records)


def by_line(records: list[dict]) -> dict[int, str]:
    """What each block prints: one of commands may have several."""
    printed: dict[int, str] = {}
    for record in records:
        if record['kind'] == 'python' or record.get('fails'):
            printed[record['line']] = printed.get(record['line'], '') + record['output']
    return printed


def words(text: str) -> str:
    """The text with each number as 0 and each stretch of blanks as one."""
    return ' '.join(NUMBER.sub('0', text).split())


def worth_writing(block: Block, printed: str | None) -> str | None:
    """What a block prints, but for times alone: those are new each time, and the page says so by its mark."""
    same = printed is not None and 'loose' in block.marks and words(printed) == words(block.output.code)
    return None if same else printed


def with_outputs(page: Page, printed: list[str | None]) -> str:
    """The page's text with the output of its n-th block that has one replaced by the n-th of `printed`."""
    shown = [block.output for block in page.blocks if block.output]
    if len(shown) != len(printed):
        sys.exit(f'{page.name}: shows {len(shown)} outputs, the English page {len(printed)}')
    text, end = '', 0
    for output, new in zip(shown, printed):
        text += page.text[end : output.span[0]] + (output.code if new is None else new.rstrip('\n') + '\n')
        end = output.span[1]
    return text + page.text[end:]


def chapter_list(language: str) -> str:
    """A line for each numbered chapter that is there, for the first page."""
    numbered = [page for page in chapters(language) if page.path.name[:1].isdigit()]
    return ''.join(f'- [{int(page.path.name[:2])}. {page.title}]({page.path.name})\n' for page in numbered)


def with_chapter_list(text: str, language: str) -> str:
    between = f'<!-- chapters -->\n{chapter_list(language)}<!-- end -->'
    return re.sub('<!-- chapters -->\n.*?<!-- end -->', between, text, flags=re.DOTALL)


def main(argv: list[str]) -> None:
    for page in [Page(Path(name).resolve()) for name in argv] or [Page(ROOT / 'README.md'), *chapters()]:
        found = outputs(page)
        printed = [worth_writing(block, found.get(block.line)) for block in page.blocks if block.output]
        for version in (page, translation(page)):
            if version.path.is_file():
                text = with_chapter_list(fill(with_outputs(version, printed)), version.path.parent.name)
                version.path.write_text(text, 'utf-8')
        print(page.name)


if __name__ == '__main__':
    main(sys.argv[1:])
