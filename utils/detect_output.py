"""What detect.py leaves of a picture or a frame: label file, crops, the annotated copy, in files and in windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.data.names import safe_name
from utils.log import LOGGER, colorstr
from utils.paths import fit_name, folder_name, increment_path
from utils.terminal import counted

if TYPE_CHECKING:
    from utils.data.sinks import VideoSink


@dataclass
class Shot:
    """A picture or a frame, and what is said and written about it."""

    path: str
    im0: np.ndarray  # (h, w, 3) uint8 BGR
    text: str  # start of its line
    stem: str  # of the names of its results
    frame: int = 0  # number in its video or stream, 0 for a picture
    fps: float = 0.0
    seconds: float | None = None  # when a stream gave it

    @property
    def tag(self) -> str:
        return f'{self.stem}_{self.frame}' if self.frame else self.stem

    def say_name(self) -> None:
        """Say it where a file's results are not named as it is."""
        own = Path(self.path).stem
        if self.stem != own:
            renamed = 'its name is not UTF-8' if own != safe_name(own) else 'those of another file have that name'
            LOGGER.info(f'{self.path}: its results are named {self.stem}, not {own}: {renamed}')


@dataclass
class Output:
    """The results of a run, as far as they are wanted. Detections are (n, 6) as `detect.find` gives them."""

    opt: Any  # detect.DetectOptions
    names: Sequence[str]  # of the classes
    folder: Path
    videos: dict[Path, str] = field(default_factory=dict)  # those written, and the inputs they are of

    def write(self, shot: Shot, detections: np.ndarray, sink: VideoSink) -> None:
        """A shot's label file, its crops, the annotated picture on the screen and in the folder."""
        from utils.evaluate import save_one_txt

        opt, labels = self.opt, self.folder / 'labels'
        if opt.save_txt and len(detections):
            save_one_txt(detections[::-1], opt.save_conf, shot.im0.shape, labels / fit_name(f'{shot.tag}.txt'))
        if opt.save_crop:
            self.save_crops(shot, detections)
        if opt.view_img or not opt.nosave:
            self.show_and_save(shot, self.draw(shot.im0, detections), sink)

    def save_crops(self, shot: Shot, detections: np.ndarray) -> None:
        """Write each box as crops/<class name>/<tag>.jpg, with a number from the second on."""
        from utils.annotate import save_one_box

        for row in detections[::-1]:
            name = folder_name(self.names[int(row[5])])
            save_one_box(row[:4], shot.im0, file=self.folder / 'crops' / name / f'{shot.tag}.jpg', BGR=True)

    def draw(self, im0: np.ndarray, detections: np.ndarray) -> np.ndarray:
        """The picture (h, w, 3) uint8 BGR with its boxes, the most confident on top."""
        from utils.annotate import Annotator, colors

        if not len(detections):
            return im0
        opt = self.opt
        pen = Annotator(im0, line_width=opt.line_thickness, example=self.names)
        for *box, confidence, c in detections[::-1]:
            name = self.names[int(c)]
            label = '' if opt.hide_labels else name if opt.hide_conf else f'{name} {confidence:.2f}'
            pen.box_label(box, label, color=colors(c, bgr=True))
        return pen.result()

    def show_and_save(self, shot: Shot, drawn: np.ndarray, sink: VideoSink) -> None:
        """Put an annotated picture or frame on the screen and into the folder."""
        from utils.data.images import write_image
        from utils.data.sinks import show

        if not self.opt.nosave:
            if shot.fps:  # a frame
                path = self.folder / fit_name(f'{shot.stem}.mp4')
                self.videos[path] = shot.path
                sink.write(path, drawn, shot.fps, shot.seconds)
            else:
                write_image(self.folder / f'{shot.stem}{Path(shot.path).suffix}', drawn)
        if self.opt.view_img:
            show(shot.path, drawn)

    def observer(self, shots: Sequence[Shot]) -> Callable[[Any, str, int], None] | None:
        """What --visualize calls after every layer: each shot's channels, drawn and as an array, in its own folder."""
        if not self.opt.visualize:
            return None
        from utils.plots import feature_visualization

        folders = [increment_path(self.folder / fit_name(shot.tag)) for shot in shots]

        def observe(x: Any, kind: str, row: int) -> None:
            for i, folder in enumerate(folders):
                feature_visualization(x[i : i + 1], kind, row, save_dir=folder)

        return observe

    def say_where(self) -> None:
        """Print where the results are."""
        opt, labels = self.opt, self.folder / 'labels'
        if opt.save_txt:
            LOGGER.info(f'{counted(len(list(labels.glob("*.txt"))), "label")} saved to {labels}')
        if not opt.nosave or opt.save_txt or opt.save_crop or opt.visualize:
            LOGGER.info(f'Results saved to {colorstr("bold", str(self.folder))}')
