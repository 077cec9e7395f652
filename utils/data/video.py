"""Reading videos and streams with OpenCV: within a time, every Nth frame, at a rate that makes sense."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from utils.data.names import safe_name

FALLBACK_FPS, MOST_FPS = 30.0, 1000.0
TIMEOUT = 5.0  # seconds within which a stream opens and every frame of it arrives; OpenCV's own limit is 30


def is_webcam(source: str) -> bool:
    """Whether a source is a webcam's number."""
    return source.isascii() and source.isdecimal()


def open_capture(source: str) -> cv2.VideoCapture:
    """A webcam by its number, a video file or a stream; whether it could be opened is asked by `isOpened()`."""
    if is_webcam(source):
        return cv2.VideoCapture(int(source))
    limit = int(TIMEOUT * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    # A whole path, for 12:30:00.mp4 alone would be an address.
    with opencv_name(os.path.abspath(source) if os.path.isfile(source) else source) as name:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, limits)


@contextmanager
def opencv_name(path: str) -> Iterator[str]:
    """A name under which OpenCV can open a file: names that are not UTF-8 end the process. It holds within the block.

    The file need not be there; if it is made, then under its own name.
    """
    if path == safe_name(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, f'video{safe_name(os.path.splitext(path)[1])}')
        os.symlink(os.path.abspath(path), link)
        yield link


def next_frame(capture: cv2.VideoCapture, stride: int = 1) -> np.ndarray | None:
    """The frame to look at next, (h, w, 3) uint8 BGR, or None at the end: every `stride`th."""
    for _ in range(stride):
        if not capture.grab():  # decodes; only `retrieve` converts to BGR
            return None
    whole, image = capture.retrieve()
    return image if whole else None


def count_frames(path: str, most: int) -> int:
    """How many of its first `most` frames a video gives."""
    capture = open_capture(path)
    try:
        return sum(1 for _ in itertools.takewhile(lambda _: capture.grab(), range(most)))
    finally:
        capture.release()


def frame_rate(capture: cv2.VideoCapture, stride: int = 1) -> float:
    """Frames a second of every `stride`th frame; of 30 where the source gives 0, NaN or nonsense."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return (fps if 0 < fps <= MOST_FPS else FALLBACK_FPS) / stride  # NaN compares as False


def frame_count(capture: cv2.VideoCapture) -> int:
    """Frames that a video announces; 0 for a stream without an end, which gives -1 or nonsense."""
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(announced) if 0 < announced < 2**31 else 0


def breaks_off(frames: int, stride: int, announced: int) -> bool:
    """Whether a video that gave `frames` of every `stride`th gave less than 90% of what it announced."""
    return (frames + 1) * stride <= 0.9 * announced
