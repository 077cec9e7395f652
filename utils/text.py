"""Text files from outside, read by their encoding.

Everything a user writes by hand (data set and model YAMLs, label files, lists of images) is UTF-8. Anything else is
refused by the name of its encoding, for characters that are dropped or guessed end up in class names. File names are
bytes to the system: what a list of images holds besides UTF-8 is kept as `os.fsdecode` keeps it (PEP 383).
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from utils.errors import DataError, UserError
from utils.terminal import printable

# A byte order mark tells the encoding; those of UTF-32 begin like those of UTF-16, so they come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, 'UTF-32'), (codecs.BOM_UTF32_BE, 'UTF-32'),
    (codecs.BOM_UTF16_LE, 'UTF-16'), (codecs.BOM_UTF16_BE, 'UTF-16'),
)  # fmt: skip
# The same without a mark: wider ones first, since much of them reads as the narrower.
_WIDE = (('utf-32-le', 'UTF-32'), ('utf-32-be', 'UTF-32'), ('utf-16-le', 'UTF-16'), ('utf-16-be', 'UTF-16'))
_CONTROL = re.compile(rb'[\x00-\x08\x0e-\x1a\x1c-\x1f]')  # no text in a single- or double-byte encoding has these
_SAMPLE = 1000  # bytes from the beginning that tell what a file is
BINARY = 'binary data'
_PADDING = b'\x00\x1a'  # what DOS programs (Ctrl-Z) and disk blocks (NUL) leave behind a text


def read_text(path: str | Path, error: type[UserError] = DataError, names: bool = False) -> str:
    """The text of a file that a person wrote, see `decode_text`.

    Raises:
        error: it is not UTF-8; the message names what it seems to be and how to convert it.
        OSError: it can't be read.
    """
    return decode_text(Path(path).read_bytes(), path, error, names)


def decode_text(data: bytes, name: str | Path, error: type[UserError] = DataError, names: bool = False) -> str:
    """UTF-8 as text, without a byte order mark and without NULs or Ctrl-Z behind the end.

    Args:
        data: the whole file.
        name: of the file, for messages.
        error: the class of what is raised.
        names: whether it lists files. Their names may hold any byte; such bytes are kept as `os.fsdecode` does.

    Raises:
        error: it is not UTF-8.
    """
    encoding = foreign_encoding(data, names)
    if encoding == BINARY:
        raise error(f'{name}: not text but {BINARY}', 'give a text file, in UTF-8')
    if encoding:
        converted = f'iconv -f {encoding} -t UTF-8 {printable(name)} > new.txt'
        raise error(
            f'{name}: not UTF-8 text but, as it seems, {encoding}', f'save it as UTF-8, for example by {converted}'
        )
    return data.rstrip(_PADDING).decode('utf-8-sig', 'surrogateescape' if names else 'strict')


def foreign_encoding(data: bytes, names: bool = False) -> str:
    """What a file seems to hold that is not text in UTF-8: an encoding, or `BINARY`; '' for text in UTF-8.

    Args:
        data, names: as for `decode_text`.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    data = data.rstrip(_PADDING)
    if b'\x00' in data[:_SAMPLE]:  # text in UTF-8 has none
        return next((encoding for codec, encoding in _WIDE if _reads_as(data[:_SAMPLE], codec)), BINARY)
    try:
        data.decode('utf-8', 'surrogateescape' if names else 'strict')
    except UnicodeDecodeError:
        return BINARY if _CONTROL.search(data[:_SAMPLE]) else _guess(data)
    return ''


def _reads_as(data: bytes, codec: str) -> bool:
    """Whether the beginning of a file is text in an encoding of two or four bytes a character."""
    text = data.decode(codec, 'replace').removesuffix('\ufffd')  # the last character may be cut
    readable = text and all(c != '\ufffd' and (c.isprintable() or c in '\t\r\n') for c in text)
    return bool(readable) and data.count(0) > len(data) / 5


def _guess(data: bytes) -> str:
    """The encoding of text that is not UTF-8: GBK where all of it makes Chinese characters, else Windows-1252."""
    try:
        foreign = [c for c in data.decode('gbk') if c > '\x7f']
    except UnicodeDecodeError:
        return 'Windows-1252'
    # Accented letters in a Western text stand between ASCII ones, which would make rare characters with them.
    common = sum(c.encode('gbk') < b'\xd8' or '\u3000' <= c <= '\u303f' or c >= '\uff00' for c in foreign)
    return 'GBK' if common > len(foreign) / 2 and not _letter_pairs(data) else 'Windows-1252'


def _letter_pairs(data: bytes) -> bool:
    """Whether most bytes above ASCII stand alone between ASCII ones, as accented letters do."""
    runs = re.findall(rb'[\x80-\xff]+', data)
    return sum(len(run) == 1 for run in runs) > len(runs) / 2
