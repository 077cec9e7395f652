"""Pictures and video frames to run a detector on: files, folders, globs, lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.data.images import IMG_FORMATS, BadPicture, check_image, read_image
from utils.data.letterbox import letterbox
from utils.errors import DataError, UsageError
from utils.log import LOGGER

VID_FORMATS = ('asf', 'avi', 'gif', 'm4v', 'mkv', 'mov', 'mp4', 'mpeg', 'mpg', 'ts', 'webm', 'wmv')
STREAM_SCHEMES = ('rtsp://', 'rtmp://', 'tcp://', 'udp://', 'http://', 'https://')
ENDS_EARLY = 0.9  # a video that gives less than this share of the frames it announces is reported as damaged

Source = str | os.PathLike | Sequence[str | os.PathLike]
# path, network input (3, h, w) uint8 RGB, picture (h0, w0, 3) uint8 BGR, the frame's video or None, start of its line
Item = tuple[str, np.ndarray, np.ndarray, cv2.VideoCapture | None, str]


class LoadImages:
    """Goes through pictures, then videos frame by frame, and letterboxes them.

    A file that can't be read is reported on one line, kept in `problems`, and left out.

    Args:
        path: a picture, a video, a folder (its own files), a glob (`**` goes into folders), a .txt file that lists
            such on its lines, or a sequence of them.
        img_size: side, or (height, width), of the network's input; multiples of the stride.
        stride: the model's largest.
        auto: pad only to the next multiple of the stride instead of to the whole of `img_size`.
        vid_stride: take every so manieth frame of a video.

    Raises:
        DataError: there is nothing under `path`.
        UsageError: `path` is a webcam or a stream.
    """

    def __init__(
        self,
        path: Source,
        img_size: int | Sequence[int] = 640,
        stride: int = 32,
        auto: bool = True,
        vid_stride: int = 1,
    ) -> None:
        if vid_stride < 1:
            raise UsageError(f'--vid-stride {vid_stride}: not a number of frames', 'give 1 or more')
        images, videos = find_media(path)
        self.files = images + videos
        self.nf = len(self.files)
        self.video_flag = [False] * len(images) + [True] * len(videos)
        self.img_size, self.stride, self.auto, self.vid_stride = img_size, stride, auto, vid_stride
        self.mode = 'image'  # or 'video': what the current item is
        self.frame = 0  # number of the current frame, from 1; 0 for a picture
        self.problems: list[str] = []

    def __len__(self) -> int:
        """The number of files, not of frames."""
        return self.nf

    def __iter__(self) -> Iterator[Item]:
        for number, (path, is_video) in enumerate(zip(self.files, self.video_flag), 1):
            self.mode, self.frame = 'video' if is_video else 'image', 0
            try:
                if is_video:
                    yield from self._frames(path, f'video {number}/{self.nf}')
                else:
                    yield self._item(path, _read_whole(path), None, f'image {number}/{self.nf} {path}: ')
            except DataError as error:
                self.problems.append(str(error))
                LOGGER.warning(f'{self.mode} {number}/{self.nf} {error}')

    def _frames(self, path: str, text: str) -> Iterator[Item]:
        capture = cv2.VideoCapture(path)
        try:
            announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            while (image := self._next_frame(capture)) is not None:
                self.frame += 1
                yield self._item(path, image, capture, f'{text} ({self.frame}/{announced // self.vid_stride}) {path}: ')
            if self.frame == 0:
                raise DataError(f'{path}: unreadable video', 'see whether a player shows it')
            if (self.frame + 1) * self.vid_stride <= announced * ENDS_EARLY:
                read = self.frame * self.vid_stride
                raise DataError(f'{path}: the video breaks off after frame {read} of {announced}')
        finally:
            capture.release()

    def _next_frame(self, capture: cv2.VideoCapture) -> np.ndarray | None:
        """The next frame to look at, or None at the end. Frames in between are grabbed but not decoded to BGR."""
        for _ in range(self.vid_stride):
            if not capture.grab():
                return None
        whole, image = capture.retrieve()
        return image if whole else None

    def _item(self, path: str, im0: np.ndarray, capture: cv2.VideoCapture | None, text: str) -> Item:
        im = letterbox(im0, self.img_size, stride=self.stride, auto=self.auto)[0]
        return path, np.ascontiguousarray(im.transpose(2, 0, 1)[::-1]), im0, capture, text


def find_media(source: Source) -> tuple[list[str], list[str]]:
    """The pictures and the videos that a source names, each in the order of the names.

    Raises:
        DataError: it names none.
        UsageError: it is a webcam or a stream.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else source
    files = [file for one in sources for file in _expand(os.fspath(one))]
    images = [f for f in files if _suffix(f) in IMG_FORMATS]
    videos = [f for f in files if _suffix(f) in VID_FORMATS]
    if not images and not videos:
        known = f'pictures are {" ".join(IMG_FORMATS)}; videos are {" ".join(VID_FORMATS)}'
        raise DataError(f'{", ".join(map(str, sources)) or "source"}: no pictures or videos found', known)
    return images, videos


def _expand(source: str) -> list[str]:
    """The files under one source, of any kind."""
    path = str(Path(source).expanduser())
    if os.path.isdir(path):
        return sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    if os.path.isfile(path):
        return _listed(Path(path)) if _suffix(path) == 'txt' else [path]
    if glob.has_magic(path):
        return sorted(f for f in glob.glob(path, recursive=True) if os.path.isfile(f))
    if is_stream(source):
        raise UsageError(
            f'{source}: webcams and streams are no sources here',
            'give a picture, a video, a folder, a glob or a .txt list of them',
        )
    raise DataError(f'{source}: no such file or folder', 'check the path, and quote a glob')


def _listed(file: Path) -> list[str]:
    """The files named on a list's lines, relative to the working directory or else to the list."""
    files = []
    for line in file.read_text(encoding='utf-8').splitlines():
        name = line.strip()
        if not name or name.startswith('#'):
            continue
        beside = file.parent / name
        name = str(beside) if not os.path.exists(name) and beside.exists() else name
        if _suffix(name) == 'txt':
            raise DataError(f'{file}: names another list, {name}', 'name pictures, videos, folders or globs in it')
        # A file that is missing is reported when its turn comes, like one that can't be read.
        files += [name] if is_media(name) and not glob.has_magic(name) else _expand(name)
    return files


def is_media(name: str) -> bool:
    """Whether a name's suffix is that of a picture or a video."""
    return _suffix(name) in IMG_FORMATS + VID_FORMATS


def is_stream(source: str) -> bool:
    """Whether a source is a webcam's number or an address."""
    return source.isnumeric() or source.lower().startswith(STREAM_SCHEMES)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()


def _read_whole(path: str) -> np.ndarray:
    """A picture, (h, w, 3) uint8 BGR; one that is cut off is refused, where OpenCV would fill it with grey."""
    try:
        check_image(path)
        return read_image(path)
    except BadPicture as error:
        raise DataError(f'{path}: {error}') from None
    except (cv2.error, MemoryError):  # OpenCV's limit is 2^30 pixels
        raise DataError(f'{path}: too large a picture', 'scale it down or cut it') from None
