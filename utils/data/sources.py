"""What to run a detector on: pictures and videos from files, folders, globs and lists, or streams."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from utils.data.bit_depth import ImageNotes
from utils.data.image_check import load_image
from utils.data.letterbox import letterbox
from utils.data.lists import list_lines
from utils.data.media import Source, check_file_there, find_media, is_media
from utils.data.streams import LoadStreams, is_stream
from utils.data.video import breaks_off, count_frames, frame_count, frame_rate, next_frame, open_capture
from utils.downloads import check_file, is_url, url2file
from utils.errors import DataError, UsageError
from utils.faults import Faults
from utils.paths import ROOT
from utils.terminal import printable

# path, network input (3, h, w) uint8 RGB, picture (h0, w0, 3) uint8 BGR, the frame's video or None, start of its line
Item = tuple[str, np.ndarray, np.ndarray, cv2.VideoCapture | None, str]


class LoadImages:
    """Goes through pictures, then videos frame by frame, and letterboxes them.

    A file that can't be read is reported on one line, kept in `faults`, and left out.

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
        self.media = find_media(path)
        images, videos = self.media.images, self.media.videos
        self.files = images + videos
        self.nf = len(self.files)
        self.total = self.nf + self.media.faults.count()  # inputs, with those that are not there
        self.video_flag = [False] * len(images) + [True] * len(videos)
        self.img_size, self.stride, self.auto, self.vid_stride = img_size, stride, auto, vid_stride
        self.mode = 'image'  # or 'video': what the current item is
        self.frame = 0  # number of the current frame, from 1; 0 for a picture
        self.fps = 0.0  # frames a second of the current video, skipped ones not counted
        self.faults = Faults(self.media.faults)
        self.notes = ImageNotes()  # how pictures were converted; logged at the end
        self._given_up = ''  # the video whose other frames are skipped

    def __len__(self) -> int:
        """The number of files, not of frames."""
        return self.nf

    def __iter__(self) -> Iterator[Item]:
        self.faults, self._given_up = Faults(self.media.faults), ''
        for number, (path, is_video) in enumerate(zip(self.files, self.video_flag), 1):
            self.mode, self.frame = 'video' if is_video else 'image', 0
            try:
                check_file_there(path)
                if is_video:
                    yield from self._frames(path, f'video {number}/{self.nf}')
                else:
                    yield self._item(path, load_image(path, self.notes), None, f'image {number}/{self.nf}')
            except Exception as error:
                self.faults.add(path, error, f'{self.mode} {number}/{self.nf} ')
        self.notes.log()

    def fail(self, path: str, error: Exception) -> None:
        """Report what happened to a file after it was read; the other frames of a video are skipped.

        Raises:
            the error itself: it would meet the other files, too.
        """
        self.faults.add(path, error, f'WARNING: {self.mode} ')
        self._given_up = path

    def _frames(self, path: str, text: str) -> Iterator[Item]:
        capture = open_capture(path)
        try:
            announced, stride = frame_count(capture), self.vid_stride
            self.fps = frame_rate(capture, stride)
            while self._given_up != path and (image := next_frame(capture, stride)) is not None:
                self.frame += 1
                yield self._item(path, image, capture, f'{text} ({self.frame}/{announced // stride})')
        finally:
            capture.release()
        if self._given_up == path:
            return
        if self.frame == 0:
            if frames := count_frames(path, stride):
                raise DataError(f'{path}: has {frames} frames, fewer than --vid-stride {stride}', 'give a smaller one')
            raise DataError(f'{path}: unreadable video', 'see whether a player shows it')
        if breaks_off(self.frame, stride, announced):
            raise DataError(f'{path}: the video breaks off after frame {self.frame * stride} of {announced}')

    def _item(self, path: str, im0: np.ndarray, capture: cv2.VideoCapture | None, text: str) -> Item:
        im = letterbox(im0, self.img_size, stride=self.stride, auto=self.auto)[0]
        return path, np.ascontiguousarray(im.transpose(2, 0, 1)[::-1]), im0, capture, f'{text} {printable(path)}: '


def open_source(source: Source, vid_stride: int = 1) -> LoadImages | LoadStreams:
    """What --source names, to be gone through frame by frame: files, or webcams and streams.

    Streams are a webcam's number, an address, a .streams list, and a .txt list that names one of those. The address of
    a picture or a video is downloaded, and a name that is not there is looked for in the project's folder too.

    Raises:
        DataError, UsageError: there is nothing of that name, or nothing in it.
        ResourceError: a download failed.
    """
    if isinstance(source, str | bytes | os.PathLike):
        name = os.fsdecode(source)
        if not name.strip():
            raise UsageError('--source: nothing given', 'name a picture, a video, a folder or a stream')
        if is_url(name) and is_media(url2file(name)):
            return LoadImages(check_file(name), vid_stride=vid_stride)
        source = name if os.path.exists(name) or not (ROOT / name).exists() else str(ROOT / name)
        if _names_streams(source):
            return LoadStreams(source, vid_stride=vid_stride)
    elif source and all(is_stream(os.fsdecode(one)) for one in source):
        return LoadStreams(source, vid_stride=vid_stride)
    return LoadImages(source, vid_stride=vid_stride)


def _names_streams(source: str) -> bool:
    kind = os.path.splitext(source)[1].lower()
    if kind == '.txt' and os.path.isfile(source):
        return any(is_stream(line) and not is_media(url2file(line)) for line in list_lines(source))
    return kind == '.streams' or (is_stream(source) and not os.path.exists(source))
