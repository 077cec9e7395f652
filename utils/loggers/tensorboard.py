"""TensorBoard event files, written with TensorBoard's own record writer: no other framework, no thread."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.log import LOGGER, colorstr


class TensorBoardLog:
    """One event file. Make it with `open`; every call's records are flushed before it returns.

    Args:
        log_dir: the folder to write into; `tensorboard --logdir` finds the file there.
    """

    def __init__(self, log_dir: str | Path) -> None:
        # Imported when asked for: protobuf and TensorBoard cost a fifth of a second.
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._metadata = summary_pb2.SummaryMetadata
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.0'
        self._file = open(folder / name, 'ab')  # noqa: SIM115 (closed by close)
        self._records = RecordWriter(self._file)
        self._write(self._event(wall_time=time.time(), file_version='brain.Event:2'))

    @classmethod
    def open(cls, log_dir: str | Path) -> TensorBoardLog | None:
        """A log in `log_dir`, or None and one line where TensorBoard is not installed."""
        prefix = colorstr('TensorBoard: ')
        try:
            log = cls(log_dir)
        except ImportError:
            LOGGER.info(f"{prefix}not installed, so no events are written; 'pip install tensorboard==2.12.3' adds it")
            return None
        LOGGER.info(f"{prefix}start with 'tensorboard --logdir {Path(log_dir).parent}', view at http://localhost:6006/")
        return log

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by tag."""
        self._add([self._summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A text, shown as Markdown."""
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=shape)
        plugin = self._metadata(plugin_data=self._metadata.PluginData(plugin_name='text'))
        self._add([self._summary.Value(tag=f'{tag}/text_summary', metadata=plugin, tensor=tensor)], step)

    def image_file(self, tag: str, file: str | Path, step: int) -> None:
        """A JPEG or PNG file as it is."""
        from PIL import Image

        with Image.open(file) as picture:
            width, height = picture.size
        image = self._summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=Path(file).read_bytes()
        )
        self._add([self._summary.Value(tag=tag, image=image)], step)

    def close(self) -> None:
        """Close the file; calling it twice does no harm."""
        self._file.close()

    def _add(self, values: list[Any], step: int) -> None:
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
