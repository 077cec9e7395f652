"""python -m docs.figures [name ...]: draw the documentation's figures and work out its numbers.

Each other file of this folder is one script with a function `make()`, which saves its figures by
`docs.figures.style.save` and its numbers by `docs.tools.numbers.write_numbers`. With the same packages the files come
out the same, byte by byte. Without names all are run but those that measure times, which differ from machine to
machine, or train for long (`MEASURES = True`).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

SCRIPTS = sorted(p.stem for p in Path(__file__).parent.glob('*.py') if p.stem not in ('__main__', 'style'))


def main(names: list[str]) -> None:
    for name in names or SCRIPTS:
        script = importlib.import_module(f'docs.figures.{name}')
        if names or not getattr(script, 'MEASURES', False):
            script.make()
            print(name, flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
