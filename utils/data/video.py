"""Reading videos and streams with OpenCV: within a time, every Nth frame, at a rate that makes sense."""

from __future__ import annotations

import cv2
import numpy as np

FALLBACK_FPS, MOST_FPS = 30.0, 1000.0
TIMEOUT = 5.0  # seconds within which a stream opens and every frame of it arrives; OpenCV's own limit is 30


def open_capture(source: str) -> cv2.VideoCapture:
    """A webcam by its number, a video file or a stream; whether it could be opened is asked by `isOpened()`."""
    if source.isnumeric():
        return cv2.VideoCapture(int(source))
    limit = int(TIMEOUT * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)


def next_frame(capture: cv2.VideoCapture, stride: int = 1) -> np.ndarray | None:
    """The frame to look at next, (h, w, 3) uint8 BGR, or None at the end: every `stride`th."""
    for _ in range(stride):
        if not capture.grab():  # decodes; only `retrieve` converts to BGR
            return None
    whole, image = capture.retrieve()
    return image if whole else None


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
