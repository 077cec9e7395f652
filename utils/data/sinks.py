"""Where annotated frames go: into videos and to the screen."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from utils.data.letterbox import letterbox
from utils.data.video import frame_count, open_capture
from utils.errors import ResourceError
from utils.log import LOGGER


class VideoSink:
    """Writes videos frame by frame, several at once if need be; a context manager, which finishes them all.

    Args:
        most: videos open at a time. One more closes the one that has waited longest for a frame.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._open: dict[Path, _Video] = {}  # the one written to last comes last

    def write(self, path: Path, im: np.ndarray, fps: float, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            path: the video, MP4.
            im: (h, w, 3) uint8 BGR; one that differs from the video's first in size is fitted into that.
            fps: frames a second; only the first frame's counts.
            seconds: when the frame was taken. The last frame is repeated until then, or this one left out where it
                comes early, so that the video lasts as long as its stream. None: frames follow at their rate.

        Raises:
            ResourceError: the video can't be made.
        """
        video = self._open.pop(path, None)
        if video is None:
            while len(self._open) >= self._most:
                self._open.pop(next(iter(self._open))).close()
            video = _Video(path, im.shape[:2], fps, seconds or 0.0)
        self._open[path] = video
        video.write(im, seconds)

    def close(self) -> None:
        """Finish the videos: players need what is written last."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Video:
    """One video that is being written."""

    def __init__(self, path: Path, shape: tuple[int, int], fps: float, began: float) -> None:
        self.path, self.shape, self.fps, self.began = path, shape, fps, began
        self.frames = 0
        self.last: np.ndarray | None = None
        self.writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, shape[::-1])
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
    cv2.imshow(title, im)


def asked_to_end() -> bool:
    """Let the windows draw, and see whether q or Escape was pressed in one."""
    return cv2.waitKey(1) & 0xFF in (ord('q'), 27)
