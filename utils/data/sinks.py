"""Where annotated frames go: into videos and to the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from utils.data.letterbox import letterbox
from utils.data.video import frame_count, open_capture, opencv_name
from utils.errors import ResourceError
from utils.log import LOGGER
from utils.terminal import printable

LONGEST_SIDE = 8191  # pixels of a frame that MPEG-4 holds (ISO/IEC 14496-2: 13 bits)
LARGEST_PART = 65535  # of the fraction that is its rate (16 bits)
LEAST_FPS = 0.01  # OpenCV ends the process from 0.001 to 0.002


class VideoSink:
    """Writes videos frame by frame, several at once if need be; a context manager, which finishes them all.

    Args:
        most: videos open at a time. One more closes the one that has waited longest for a frame.
        on_fault: told of a video that turns out to be incomplete when it is closed; without it, that is raised.
    """

    def __init__(self, most: int = 1, on_fault: Callable[[Path, ResourceError], None] | None = None) -> None:
        self._most, self._on_fault = most, on_fault
        self._open: dict[Path, _Video] = {}  # the one written to last comes last

    def write(self, path: Path, im: np.ndarray, fps: float, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            path: the video, MP4.
            im: (h, w, 3) uint8 BGR; one that differs from the video's first in size is fitted into that. What MPEG-4
                can't hold is scaled, which is logged.
            fps: frames a second; only the first frame's counts. What MPEG-4 can't hold is rounded, which is logged.
            seconds: when the frame was taken. The last frame is repeated until then, or this one left out where it
                comes early, so that the video lasts as long as its stream. None: frames follow at their rate.

        Raises:
            ResourceError: the video can't be made.
        """
        video = self._open.pop(path, None)
        if video is None:
            while len(self._open) >= self._most:
                self._close(next(iter(self._open)))
            video = _Video(path, im.shape[:2], fps, seconds or 0.0)
        self._open[path] = video
        video.write(im, seconds)

    def close(self) -> None:
        """Finish the videos: players need what is written last."""
        while self._open:
            self._close(next(reversed(self._open)))

    def _close(self, path: Path) -> None:
        try:
            self._open.pop(path).close()
        except ResourceError as error:
            if self._on_fault is None:
                raise
            self._on_fault(path, error)

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Video:
    """One video that is being written."""

    def __init__(self, path: Path, shape: tuple[int, int], fps: float, began: float) -> None:
        self.path, self.shape, self.fps, self.began = path, video_shape(*shape), video_fps(fps), began
        self.frames = 0
        self.last: np.ndarray | None = None
        if self.shape != shape:
            (h, w), (height, width) = shape, self.shape
            limits = f'2 to {LONGEST_SIDE} pixels a side'
            LOGGER.warning(f'WARNING: {path}: frames of {w}x{h} are written as {width}x{height}: MPEG-4 holds {limits}')
        if abs(self.fps - fps) > 1e-3:
            LOGGER.warning(f'WARNING: {path}: written at {self.fps:g} frames a second: MPEG-4 does not hold {fps:g}')
        with opencv_name(str(path)) as name:
            self.writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*'mp4v'), self.fps, self.shape[::-1])
        if not self.writer.isOpened():
            raise ResourceError(f'{path}: OpenCV can not make it', 'check the folder, the disk and the frame size')

    def write(self, im: np.ndarray, seconds: float | None) -> None:
        if im.shape[:2] != self.shape:  # OpenCV would leave it out without a word
            im = letterbox(im, self.shape, auto=False)[0]
        place = self.frames if seconds is None else round((seconds - self.began) * self.fps)
        while self.frames < place and self.last is not None:
            self._add(self.last)
        if self.frames <= place:
            self._add(im)
        self.last = im

    def _add(self, im: np.ndarray) -> None:
        self.writer.write(im)
        self.frames += 1

    def close(self) -> None:
        self.writer.release()
        # OpenCV does not tell of a full disk; what is missing is found by looking.
        capture = open_capture(str(self.path))
        written = frame_count(capture)
        capture.release()
        if written < self.frames:
            raise ResourceError(f'{self.path}: only {written} of {self.frames} frames are in it', 'free some space')


def video_fps(fps: float) -> float:
    """The nearest rate that MPEG-4 holds, to three digits behind the point at most, as OpenCV writes it."""
    rates = (Fraction(round(fps * scale), scale) for scale in (1000, 100, 10, 1))
    return max(float(next(rate for rate in rates if rate.numerator <= LARGEST_PART)), LEAST_FPS)


def video_shape(height: int, width: int) -> tuple[int, int]:
    """Height and width of frames as MPEG-4 holds them: theirs, or scaled to its limit; at least two pixels each."""
    longest = max(height, width)
    scale = 1.0 if longest <= LONGEST_SIDE else (LONGEST_SIDE - 1) / longest
    return max(round(height * scale), 2), max(round(width * scale), 2)


def has_display() -> bool:
    """Whether there is a screen to open windows on."""
    return sys.platform != 'linux' or any(os.environ.get(name) for name in ('DISPLAY', 'WAYLAND_DISPLAY'))


def can_show() -> bool:
    """Whether OpenCV can open a window here; if not, that is said."""
    with suppress(cv2.error):
        if has_display():  # without one, some builds of OpenCV end the process
            cv2.imshow('YOLOv5', np.zeros((1, 1, 3), np.uint8))
            cv2.destroyAllWindows()
            return True
    LOGGER.warning('WARNING: --view-img: no display here (or an OpenCV without windows), so nothing is shown')
    return False


def show(title: str, im: np.ndarray) -> None:
    """Put a picture, (h, w, 3) uint8 BGR, into the window of that title."""
    cv2.imshow(printable(title), im)  # which takes UTF-8 alone


def asked_to_end() -> bool:
    """Let the windows draw, and see whether q or Escape was pressed in one."""
    return cv2.waitKey(1) & 0xFF in (ord('q'), 27)
