"""TensorBoard event files, written with TensorBoard's own record writer: no other framework, no thread."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.log import LOGGER, colorstr
from utils.loggers.base import Log
from utils.loggers.graph import model_graph


class TensorBoardLog(Log):
    """One event file in the run's folder, where `tensorboard --logdir` finds it.

    Every call's records are flushed before it returns.
    """

    title = 'TensorBoard'
    package = 'tensorboard'

    def __init__(self, folder: str | Path, resume: str = '') -> None:
        # Imported when asked for: protobuf and TensorBoard cost a fifth of a second.
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._metadata = summary_pb2.SummaryMetadata
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.0'
        self._file = open(folder / name, 'ab')  # noqa: SIM115 (closed by close)
        self._records = RecordWriter(self._file)
        self._write(self._event(wall_time=time.time(), file_version='brain.Event:2'))
        LOGGER.info(
            f"{colorstr('TensorBoard: ')}start with 'tensorboard --logdir {folder.parent}', "
            'view at http://localhost:6006/'
        )

    def params(self, values: Mapping[str, Any]) -> None:
        """A table, as text."""
        rows = ''.join(f'|{name}|{value}|\n' for name, value in values.items())
        self.text('params', '|name|value|\n|-|-|\n' + rows, 0)

    def graph(self, model: Any) -> None:
        """A node for each row, drawn on TensorBoard's page Graphs."""
        self._write(self._event(wall_time=time.time(), graph_def=model_graph(model).SerializeToString()))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Numbers by tag."""
        self._add([self._summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], epoch)

    def pictures(self, title: str, files: Sequence[Path], epoch: int) -> None:
        """Each by its own name."""
        for file in files:
            self.image_file(file.stem, file, epoch)

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
        from utils.data.image_header import open_with_pillow

        with open_with_pillow(file) as picture:
            width, height = picture.size
        image = self._summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=Path(file).read_bytes()
        )
        self._add([self._summary.Value(tag=tag, image=image)], step)

    def close(self, finished: bool = True) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, values: list[Any], step: int) -> None:
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=values)))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()
