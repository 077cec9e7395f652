"""A font file that can show a text, found among those the machine has: nothing is downloaded."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from utils.log import LOGGER

FONT_DIRS = ('~/.local/share/fonts', '~/.fonts', '/usr/share/fonts', '/usr/local/share/fonts')
# Fonts with Chinese, Japanese and Korean glyphs, by the beginning of their file names, tried before all others.
WIDE_FONTS = ('NotoSansCJK', 'NotoSansSC', 'SourceHanSans', 'wqy-', 'DroidSansFallback', 'uming', 'ipag', 'NanumGothic')

_said: list[str] = []  # the characters that the log has named as missing: once a process is enough


def default_font() -> Path:
    """DejaVu Sans as matplotlib carries it: Latin, Greek, Cyrillic, Arabic and many symbols."""
    # find_spec does not import matplotlib, which would cost detect.py a quarter of a second.
    package = importlib.util.find_spec('matplotlib').submodule_search_locations[0]
    return Path(package) / 'mpl-data' / 'fonts' / 'ttf' / 'DejaVuSans.ttf'


def find_font(text: str) -> Path:
    """The first font file that has a glyph for every character of `text`.

    Where none has, DejaVu Sans, whose boxes then stand for the missing characters, and one line in the log.
    """
    return _find_font(frozenset(text.replace('\n', '')))


@lru_cache
def _find_font(characters: frozenset[str]) -> Path:
    default = default_font()
    if all(c.isascii() for c in characters) or not (missing := _missing(default, characters)):
        return default
    for path in _system_fonts():
        if not _missing(path, characters):
            return path
    if not _said:
        _said.extend(sorted(missing))
        LOGGER.warning(
            f'No font on this machine can show {"".join(_said)[:20]}: pictures will have boxes in their place. '
            'Install one, for example with: apt-get install fonts-noto-cjk'
        )
    return default


@lru_cache
def _system_fonts() -> list[Path]:
    """The font files of the machine, likely candidates for Asian scripts first."""
    found = {Path(root) / f for d in FONT_DIRS for root, _, files in os.walk(Path(d).expanduser()) for f in files}
    fonts = (f for f in found if f.suffix.lower() in {'.ttf', '.ttc', '.otf'})
    return sorted(fonts, key=lambda f: (not f.name.startswith(WIDE_FONTS), str(f)))


def _missing(path: Path, characters: frozenset[str]) -> set[str]:
    """The characters that a font file has no glyph for."""
    known = _code_points(path)
    return {c for c in characters if ord(c) not in known}


@lru_cache
def _code_points(path: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (RuntimeError, OSError):  # a damaged or unreadable font file shows nothing
        return frozenset()
