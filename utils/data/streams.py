"""Webcams and network streams to run a detector on: a thread reads each, and of each the newest frame counts."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from utils.data.letterbox import letterbox
from utils.data.lists import list_lines
from utils.data.video import (
    FALLBACK_FPS,
    TIMEOUT,
    breaks_off,
    frame_count,
    frame_rate,
    is_webcam,
    next_frame,
    open_capture,
)
from utils.errors import DataError, UsageError
from utils.faults import Fault, Faults, ends_run
from utils.log import LOGGER
from utils.paths import Distinct

STREAM_SCHEMES = ('rtsp://', 'rtmp://', 'tcp://', 'udp://', 'http://', 'https://')
PATIENCE = 60.0  # seconds for which a stream that broke off is opened again and again
BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between those attempts; the last one repeats
QUIET = 60.0  # seconds between two reports that one stream broke off
GATHER = 0.03  # seconds for which the first new frame waits for those of the other streams, to be run as one batch

# names, network input (b, 3, h, w) uint8 RGB, pictures (h0, w0, 3) uint8 BGR, None, '': as `LoadImages` gives, by lists
Batch = tuple[list[str], np.ndarray, list[np.ndarray], None, str]


class LoadStreams:
    """Goes through the frames of webcams and streams as they come, letterboxed to one size.

    Every stream has a thread that reads it, so that none holds up the others. A batch has one frame of every stream
    that has a new one: the newest, so a slow detector skips frames and never lags behind. Only what has an end, such
    as a video served as a file, waits to be taken and skips none. A stream that breaks off is opened again with
    growing pauses; one that does not come back in time is left out. Iteration ends when all streams have.

    Args:
        sources: a webcam's number, an address, a list of such in a .streams or .txt file, or a sequence of them.
        img_size, stride, auto: as for `LoadImages`; padding is to the whole size where the frames' shapes differ.
        vid_stride: take every Nth frame.
        patience: seconds for which a stream that broke off is tried again.

    Raises:
        DataError: the list is missing or empty; while iterating: not one of the streams can be opened.
        UsageError: an address that can't be read, or `vid_stride` below 1.
    """

    mode = 'stream'

    def __init__(
        self,
        sources: str | os.PathLike | Sequence[str] = 'streams.txt',
        img_size: int | Sequence[int] = 640,
        stride: int = 32,
        auto: bool = True,
        vid_stride: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        if vid_stride < 1:
            raise UsageError(f'--vid-stride {vid_stride}: not a number of frames', 'give 1 or more')
        self.addresses = read_addresses(sources)
        self.nf = self.total = len(self.addresses)
        self.sources = clean_names(self.addresses)
        self.img_size, self.stride, self.auto, self.vid_stride = img_size, stride, auto, vid_stride
        self.patience = patience
        self.rect = True  # whether all frames have one shape once letterboxed to the stride
        self.count = 0  # batches so far
        self.streams: list[Stream] = []
        self.faults = Faults()

    def __len__(self) -> int:
        """The number of streams."""
        return self.nf

    def __iter__(self) -> Iterator[Batch]:
        changed, stop = threading.Condition(), threading.Event()
        self.count, self.faults = 0, Faults()
        self.streams = [Stream(a, self.vid_stride, self.patience, changed, stop) for a in self.addresses]
        try:
            for stream in self.streams:
                stream.thread.start()
            self._await_first(changed)
            while fresh := self._fresh(changed):
                self.count += 1
                yield self._batch(fresh)
        finally:
            self._close(changed, stop)

    def _close(self, changed: threading.Condition, stop: threading.Event) -> None:
        stop.set()
        with changed:
            changed.notify_all()
        until = time.monotonic() + TIMEOUT
        for stream in self.streams:  # a driver may hang for ever: its thread is left to end with the process
            stream.thread.join(max(until - time.monotonic(), 0))
        self.faults += [Fault(stream.shown, stream.problem) for stream in self.streams if stream.problem]

    def fail(self, name: str, error: Exception) -> None:
        """Report what happened to frames of a stream, once: it goes on.

        Args:
            name: of the stream, one of `sources`.
            error: what was raised.

        Raises:
            the error itself: it would meet the other streams, too.
        """
        stream = self.streams[self.sources.index(name)]
        if ends_run(error) or all(fault.name != stream.shown for fault in self.faults):
            self.faults.add(stream.shown, error, 'WARNING: ')

    def _await_first(self, changed: threading.Condition) -> None:
        """Wait until every stream has given a frame or failed to; say which failed."""
        with changed:
            changed.wait_for(lambda: all(s.tried for s in self.streams), timeout=3 * TIMEOUT)
            missing = [s for s in self.streams if s.image is None]
        if len(missing) == self.nf:
            names = ', '.join(s.shown for s in missing)
            raise DataError(f'{names}: can not be opened', 'check the address, the network or the camera')
        for stream in filter(lambda s: s.patience, missing):  # the others have said that nothing comes
            LOGGER.warning(f'WARNING: {stream.shown}: can not be opened; trying again for {stream.patience:.0f} s')

    def _fresh(self, changed: threading.Condition) -> list[tuple[int, np.ndarray]]:
        """Number and newest frame of every stream that has a new one; nothing when all are over."""
        with changed:
            while not any(s.image is not None for s in self.streams):
                if all(s.over for s in self.streams):
                    return []
                changed.wait(TIMEOUT)
            changed.wait_for(lambda: all(s.image is not None for s in self.streams if s.live), GATHER)
            fresh = [(i, s.take()) for i, s in enumerate(self.streams) if s.image is not None]
            changed.notify_all()
            return fresh

    def _batch(self, fresh: list[tuple[int, np.ndarray]]) -> Batch:
        pictures = [picture for _, picture in fresh]
        boxed = self._letterboxed(pictures)
        if len({im.shape for im in boxed}) > 1:
            self.rect = False
            LOGGER.info('The streams differ in shape and are padded to one: equal shapes would be faster')
            boxed = self._letterboxed(pictures)
        batch = np.stack(boxed)[..., ::-1].transpose(0, 3, 1, 2)
        return [self.sources[i] for i, _ in fresh], np.ascontiguousarray(batch), pictures, None, ''

    def _letterboxed(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        auto = self.auto and self.rect
        return [letterbox(im, self.img_size, stride=self.stride, auto=auto)[0] for im in pictures]


class Stream:
    """One webcam or stream, and the thread that reads it.

    What both threads touch is touched under the condition `changed`.
    """

    def __init__(
        self, address: str, vid_stride: int, patience: float, changed: threading.Condition, stop: threading.Event
    ) -> None:
        self.address, self.shown = address, hide_password(address)
        self.vid_stride, self.changed, self.stop = vid_stride, changed, stop
        self.patience = 0 if os.path.isfile(address) else patience
        self.fps, self.length = FALLBACK_FPS, 0  # of the frames to be taken; all frames, 0 where it has no end
        self.image: np.ndarray | None = None  # the newest frame, until it is taken
        self.number = 0  # of the frame taken last, from 1
        self.seconds: float | None = None  # when that was read, by a clock that stands while the stream is away
        self.tried = self.live = self.over = False  # one attempt is made; frames are coming; no more will come
        self.problem = ''
        self._newest = 0.0  # `seconds` of the newest frame
        self._reported, self._quiet_until = False, 0.0  # that it is away
        self.thread = threading.Thread(target=self._run, name=f'stream {self.shown}', daemon=True)

    def take(self) -> np.ndarray:
        """The newest frame, which is no longer new then."""
        image, self.image = self.image, None
        self.number += 1
        self.seconds = None if self.length else self._newest
        return image

    def _run(self) -> None:
        try:
            while (opened := self._open()) is not None:
                frames = self._read(*opened)
                if self.stop.is_set() or self._ended(frames):
                    return
                self._tell(live=False)
                self._report_away()
                self.stop.wait(BACK_OFF[0])
        except (cv2.error, MemoryError) as error:
            self._fault(str(error))
        finally:
            self._tell(tried=True, live=False, over=True)

    def _open(self) -> tuple[cv2.VideoCapture, np.ndarray] | None:
        """An open capture and its first frame, if need be after several attempts; None if there won't be any."""
        until, pauses = time.monotonic() + self.patience, iter(BACK_OFF)
        while not self.stop.is_set():
            capture = open_capture(self.address)
            image = next_frame(capture, self.vid_stride)
            if image is not None:
                return capture, image
            capture.release()
            self._tell(tried=True)
            left = until - time.monotonic()
            if left <= 0:
                self._fault('nothing comes from it')
                break
            self.stop.wait(min(next(pauses, BACK_OFF[-1]), left))
        return None

    def _read(self, capture: cv2.VideoCapture, image: np.ndarray | None) -> int:
        """Publish frames until there are no more; how many there were."""
        if self._reported:
            LOGGER.info(f'{self.shown}: is back')
            self._reported = False
        self.length, self.fps = frame_count(capture), frame_rate(capture, self.vid_stride)
        frames, offset = 0, self._newest - time.monotonic()
        try:
            while image is not None and not self.stop.is_set():
                frames += 1
                self._publish(image, offset + time.monotonic())
                image = next_frame(capture, self.vid_stride)
        finally:
            capture.release()
        return frames

    def _publish(self, image: np.ndarray, seconds: float) -> None:
        with self.changed:
            if self.length:
                self.changed.wait_for(lambda: self.image is None or self.stop.is_set())
            self.image, self._newest, self.tried, self.live = image, seconds, True, True
            self.changed.notify_all()

    def _ended(self, frames: int) -> bool:
        """Whether there is nothing to wait for any more; a stream that stops before its end is reported."""
        if not self.patience and not self.length:
            self._fault('broke off')
        if breaks_off(frames, self.vid_stride, self.length):
            self._fault(f'breaks off after frame {frames * self.vid_stride} of {self.length}')
        return bool(self.length) or not self.patience

    def _report_away(self) -> None:
        """Say that the stream broke off; of one that does so again and again, not each time."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._reported, self._quiet_until = True, now + QUIET
            LOGGER.warning(f'WARNING: {self.shown}: broke off; trying again for {self.patience:.0f} s')

    def _fault(self, problem: str) -> None:
        self.problem = problem
        LOGGER.warning(f'WARNING: {self.shown}: {problem}')

    def _tell(self, **state: bool) -> None:
        with self.changed:
            for name, value in state.items():
                setattr(self, name, value)
            self.changed.notify_all()


# Which streams ----------------------------------------------------------------------------------------------------


def is_stream(source: str) -> bool:
    """Whether a source is a webcam's number or an address."""
    return is_webcam(source) or source.lower().startswith(STREAM_SCHEMES)


def read_addresses(sources: str | os.PathLike | Sequence[str]) -> list[str]:
    """The streams that a source names, each once: itself, or the lines of a .streams or .txt file.

    Raises:
        DataError: the list is missing or empty.
        UsageError: an address that can't be read.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    addresses: dict[str, None] = {}
    for one in map(os.fspath, given):
        addresses |= dict.fromkeys(list_lines(one) if one.lower().endswith(('.streams', '.txt')) else [one.strip()])
    if not addresses:
        raise DataError(f'{", ".join(map(str, given)) or "source"}: names no streams', 'write an address a line')
    for address in addresses:
        if re.match(r'https?://([\w-]+\.)*(youtube\.com|youtu\.be)/', address, re.IGNORECASE):
            mend = 'save the video with a program made for that, such as yt-dlp, and give the file'
            raise UsageError(f"{address}: a YouTube page, which OpenCV can't read", mend)
        if not is_stream(address) and not os.path.isfile(address):
            kinds = f"a webcam's number, an address ({' '.join(STREAM_SCHEMES)}) or a video file"
            raise UsageError(f'{address}: no stream', f'give {kinds}')
    return list(addresses)


def hide_password(text: str) -> str:
    """The text with the user and password of its addresses left out: logs are read by others."""
    return re.sub(r'(://)[^/@\s]+@', r'\1***@', text)


def clean_names(addresses: Sequence[str]) -> list[str]:
    """Addresses as different paths whose last parts can name files: without passwords, odd signs turned into _."""
    public = (re.sub(r'://([^/@\s]+@)?', '_//', address) for address in addresses)
    return [*map(Distinct(), (re.sub(r'[^\w\-./]', '_', name).rstrip('/')[-200:] for name in public))]
