"""Where annotated pictures and videos go."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from utils.errors import ResourceError

# Pictures in other formats (DNG, MPO) become JPEGs: OpenCV can't write those.
WRITABLE = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
FALLBACK_FPS = 30.0  # for videos that don't say theirs


def write_picture(path: str | Path, im: np.ndarray) -> Path:
    """Write a picture, whole or not at all; returns where.

    Args:
        path: the file; a suffix that can't be written becomes .jpg.
        im: (h, w, 3) uint8 BGR.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    path = Path(path)
    path = path if path.suffix.lower() in WRITABLE else path.with_suffix('.jpg')
    # Encoded in memory and written by Python: cv2.imwrite tells neither of a full disk nor of a missing folder.
    encoded = cv2.imencode(path.suffix, im)[1]
    try:
        path.write_bytes(encoded.tobytes())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


class VideoSink:
    """Writes one video after another: a frame for another path closes the one before. A context manager."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._writer: cv2.VideoWriter | None = None

    def write(self, path: Path, im: np.ndarray, fps: float) -> None:
        """Add a frame.

        Args:
            path: the video, MP4.
            im: (h, w, 3) uint8 BGR; all frames of a video have one size.
            fps: frames a second; 0 where it isn't known.

        Raises:
            ResourceError: the video can't be made.
        """
        if path != self._path:
            self.close()
            height, width = im.shape[:2]
            code = cv2.VideoWriter_fourcc(*'mp4v')
            writer = cv2.VideoWriter(str(path), code, fps or FALLBACK_FPS, (width, height))
            if not writer.isOpened():
                raise ResourceError(f'{path}: OpenCV can not make it', 'check the folder, the disk and the frame size')
            self._path, self._writer = path, writer
        self._writer.write(im)

    def close(self) -> None:
        """Finish the current video: players need what is written last."""
        if self._writer is not None:
            self._writer.release()
            if not self._path.exists() or os.path.getsize(self._path) == 0:
                raise ResourceError(f'{self._path}: the video could not be written', 'free some space')
        self._path = self._writer = None

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
