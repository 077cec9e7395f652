"""A font file that can show a text, found among those the machine has: nothing is downloaded."""

from __future__ import annotations

import importlib.util
import os
import string
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
    """The font file that has glyphs for the most characters of `text`, and for digits: labels have confidences.

    DejaVu Sans comes first, then those of the machine in an order of likelihood. Where none has all, one line in the
    log: boxes stand for the missing characters.
    """
    return _find_font(frozenset(c for c in text if c.isprintable()) | frozenset(string.digits))


@lru_cache
def _find_font(characters: frozenset[str]) -> Path:
    default = default_font()
    if all(c.isascii() for c in characters):
        return default
    best, missing = default, _missing(default, characters)
    for path in _system_fonts() if missing else ():
        if len(left := _missing(path, characters)) < len(missing):
            best, missing = path, left
        if not missing:
            break
    if missing and not _said:
        _said.extend(sorted(missing))
        wide = any('\u2e80' <= c <= '\u9fff' or '\uac00' <= c <= '\ud7ff' for c in missing)  # Chinese, Japanese, Korean
        LOGGER.warning(
            f'No font on this machine can show all characters: boxes take the place of {"".join(_said)[:20]} '
            f'({len(missing)} of {len(characters)}). '
            + ('Install one, for example with: apt-get install fonts-noto-cjk' if wide else 'Install one that can')
        )
    return best


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
        font = FT2Font(str(path))
        return frozenset(font.get_charmap() if font.scalable else ())  # emoji in colours are bitmaps of one size
    except (RuntimeError, OSError):  # a damaged or unreadable font file shows nothing
        return frozenset()
