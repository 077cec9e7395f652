"""What to run a detector on: pictures and videos from files, folders, globs and lists, or streams."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.data.bit_depth import ImageNotes
from utils.data.image_check import load_image
from utils.data.images import IMG_FORMATS
from utils.data.letterbox import letterbox
from utils.data.streams import LoadStreams, is_stream, list_lines
from utils.data.video import breaks_off, frame_count, frame_rate, next_frame, open_capture
from utils.downloads import check_file, is_url, url2file
from utils.errors import DataError, UsageError
from utils.log import LOGGER
from utils.paths import ROOT

VID_FORMATS = ('asf', 'avi', 'gif', 'm4v', 'mkv', 'mov', 'mp4', 'mpeg', 'mpg', 'ts', 'webm', 'wmv')

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
        vid_stride: take every Nth frame of a video.

    Raises:
        DataError: there is nothing under `path`.
        UsageError: `path` is or lists a webcam or a stream, or `vid_stride` is below 1.
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
        self.fps = 0.0  # frames a second of the current video, skipped ones not counted
        self.problems: list[str] = []
        self.notes = ImageNotes()  # how pictures were converted; logged at the end

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
                    yield self._item(path, load_image(path, self.notes), None, f'image {number}/{self.nf} {path}: ')
            except DataError as error:
                self.problems.append(str(error))
                LOGGER.warning(f'{self.mode} {number}/{self.nf} {error}')
        self.notes.log()

    def _frames(self, path: str, text: str) -> Iterator[Item]:
        capture = open_capture(path)
        try:
            announced, stride = frame_count(capture), self.vid_stride
            self.fps = frame_rate(capture, stride)
            while (image := next_frame(capture, stride)) is not None:
                self.frame += 1
                yield self._item(path, image, capture, f'{text} ({self.frame}/{announced // stride}) {path}: ')
            if self.frame == 0:
                raise DataError(f'{path}: unreadable video', 'see whether a player shows it')
            if breaks_off(self.frame, stride, announced):
                raise DataError(f'{path}: the video breaks off after frame {self.frame * stride} of {announced}')
        finally:
            capture.release()

    def _item(self, path: str, im0: np.ndarray, capture: cv2.VideoCapture | None, text: str) -> Item:
        im = letterbox(im0, self.img_size, stride=self.stride, auto=self.auto)[0]
        return path, np.ascontiguousarray(im.transpose(2, 0, 1)[::-1]), im0, capture, text


def open_source(source: Source, vid_stride: int = 1) -> LoadImages | LoadStreams:
    """What --source names, to be gone through frame by frame: files, or webcams and streams.

    Streams are a webcam's number, an address, a .streams list, and a .txt list that names one of those. The address of
    a picture or a video is downloaded, and a name that is not there is looked for in the project's folder too.

    Raises:
        DataError, UsageError: there is nothing of that name, or nothing in it.
        ResourceError: a download failed.
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if not name.strip():
            raise UsageError('--source: nothing given', 'name a picture, a video, a folder or a stream')
        if is_url(name) and is_media(url2file(name)):
            return LoadImages(check_file(name), vid_stride=vid_stride)
        source = name if os.path.exists(name) or not (ROOT / name).exists() else str(ROOT / name)
        if _names_streams(source):
            return LoadStreams(source, vid_stride=vid_stride)
    elif source and all(is_stream(os.fspath(one)) for one in source):
        return LoadStreams(source, vid_stride=vid_stride)
    return LoadImages(source, vid_stride=vid_stride)


def _names_streams(source: str) -> bool:
    if _suffix(source) == 'txt' and os.path.isfile(source):
        return any(is_stream(line) and not is_media(url2file(line)) for line in list_lines(source))
    return _suffix(source) == 'streams' or (is_stream(source) and not os.path.exists(source))


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
            f'{source}: a webcam or a stream among files',
            'name streams alone, or in a .streams list',
        )
    raise DataError(f'{source}: no such file or folder', 'check the path, and quote a glob')


def _listed(file: Path) -> list[str]:
    """The files named on a list's lines, relative to the working directory or else to the list."""
    files = []
    for name in list_lines(str(file)):
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


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1][1:].lower()
