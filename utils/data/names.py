"""Names of results: no two inputs write one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from utils.paths import Distinct


def result_stems(images: Sequence[str], videos: Sequence[str]) -> dict[str, str]:
    """For each input the name, without suffix, of what is written for it: its own stem, if no other input has that.

    An image's results are STEM.jpg and labels/STEM.txt, a video's STEM.mp4 and labels/STEM_1.txt, STEM_2.txt, ...
    So an image and a video may share a stem, but cam_1.jpg and cam.mp4 would write the same labels.

    Returns:
        Stems by path; they are UTF-8, see `safe_name`.
    """
    of_image, of_video = Distinct(sep=''), Distinct(sep='')
    stems = {path: of_image(safe_name(Path(path).stem)) for path in dict.fromkeys(images)}
    numbered = (re.fullmatch(r'(.*)_[1-9][0-9]*', stem, re.DOTALL) for stem in stems.values())
    of_video.given.update(match[1] for match in numbered if match)  # what would be a video's frame is an image's
    return stems | {path: of_video(safe_name(Path(path).stem)) for path in dict.fromkeys(videos)}


def safe_name(name: str) -> str:
    """A file name in UTF-8, which OpenCV and other systems need: bytes that are none are written as %B2, as in URLs."""
    return re.sub('[\ud800-\udfff]', lambda byte: f'%{ord(byte[0]) & 0xFF:02X}', name)
