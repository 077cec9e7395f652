"""What was found on pictures, and what is usually done with it: print, show, save, crop, tables."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.boxes import xyxy2xywh
from utils.data.names import safe_name
from utils.errors import ResourceError, explain
from utils.log import LOGGER
from utils.paths import Distinct, folder_name, increment_path
from utils.terminal import counted, shown_name

if TYPE_CHECKING:
    import oneflow as torch

SAVE_DIR = 'runs/detect/exp'
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax', 'confidence', 'class', 'name')
CENTRES = ('xcenter', 'ycenter', 'width', 'height', 'confidence', 'class', 'name')


class Detections:
    """Detections on a list of pictures. `len`, iteration and `tolist` go picture by picture.

    Args:
        ims: pictures (h, w, 3) uint8 RGB.
        found: for each (n, 6) float32, best first: x1, y1, x2, y2 in its pixels, confidence, class.
        files: their names, where they are saved.
        names: class names.
        t: milliseconds a picture for preparing, inference, NMS.
        s: shape of the network's input, (b, 3, h, w).

    Attributes:
        ims, times: the pictures, and `t`; `imgs` is another name of `ims`.
        xyxy, xywh, xyxyn, xywhn: for each picture a tensor (n, 6): the box as corners or centre and size, in pixels
            or, with n, divided by the picture's width and height; confidence; class. `pred` is `xyxy`.
        n: number of pictures.
    """

    def __init__(
        self,
        ims: Sequence[np.ndarray],
        found: Sequence[np.ndarray],
        files: Sequence[str],
        names: Sequence[str],
        t: Sequence[float] = (0.0, 0.0, 0.0),
        s: Sequence[int] = (),
    ) -> None:
        self.ims, self.files, self.names = list(ims), list(files), list(names)
        self.n, self.t, self.s = len(self.ims), tuple(t), tuple(s)
        self._found, self._clean = list(found), self.ims

    @property
    def imgs(self) -> list[np.ndarray]:
        return self.ims

    @property
    def times(self) -> tuple[float, ...]:
        return self.t

    # The boxes --------------------------------------------------------------------------------------------------------

    @cached_property
    def xyxy(self) -> list[torch.Tensor]:
        return _tensors(self._found)

    @cached_property
    def pred(self) -> list[torch.Tensor]:
        return self.xyxy

    @cached_property
    def xywh(self) -> list[torch.Tensor]:
        return _tensors(map(_centred, self._found))

    @cached_property
    def xyxyn(self) -> list[torch.Tensor]:
        return _tensors(self._normalised())

    @cached_property
    def xywhn(self) -> list[torch.Tensor]:
        return _tensors(map(_centred, self._normalised()))

    def _normalised(self) -> list[np.ndarray]:
        sizes = [im.shape[1::-1] for im in self.ims]  # width, height
        return [rows / np.array([w, h, w, h, 1, 1], np.float32) for rows, (w, h) in zip(self._found, sizes)]

    def pandas(self) -> Detections:
        """A copy whose xyxy, xyxyn, xywh, xywhn are pandas tables with named columns: results.pandas().xyxy[0]."""
        import pandas

        tables = copy.copy(self)
        for kind in ('xyxy', 'xyxyn', 'xywh', 'xywhn'):
            columns = CORNERS if 'xyxy' in kind else CENTRES
            rows = [
                [[*r[:5], int(r[5]), self.names[int(r[5])]] for r in t.numpy().tolist()] for t in getattr(self, kind)
            ]
            setattr(tables, kind, [pandas.DataFrame(r, columns=columns) for r in rows])
        return tables

    # Picture by picture -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Detections]:
        return iter(self.tolist())

    def tolist(self) -> list[Detections]:
        """One `Detections` a picture."""
        parts = zip(self._clean, self._found, self.files)
        return [Detections([im], [rows], [file], self.names, self.t, self.s) for im, rows, file in parts]

    # What to do with them ---------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        lines = [
            f'image {i}/{self.n}: {im.shape[0]}x{im.shape[1]} {count_words(rows, self.names) or "(no detections)"}'
            for i, (im, rows) in enumerate(zip(self.ims, self._found), 1)
        ]
        prepare, inference, nms = self.t
        times = f'{prepare:.1f}ms pre-process, {inference:.1f}ms inference, {nms:.1f}ms NMS'
        return '\n'.join([*lines, f'Speed: {times} per image at shape {self.s}'])

    def print(self) -> None:
        """Print what is on each picture, and the times."""
        print(self)

    def show(self, labels: bool = True) -> None:
        """Show the pictures with their boxes: below a notebook's cell, else in the system's viewer."""
        for file, im in zip(self.files, self._drawn(labels)):
            if not _show(im, file):
                LOGGER.warning(f'WARNING: {file}: no viewer for pictures here; .save() writes them')

    def render(self, labels: bool = True) -> list[np.ndarray]:
        """The pictures with their boxes, (h, w, 3) uint8 RGB; they take the place of `ims` too."""
        self.ims = self._drawn(labels)
        return self.ims

    def save(self, labels: bool = True, save_dir: str | Path = SAVE_DIR) -> Path:
        """Write the pictures with their boxes; by default into a new folder runs/detect/exp, exp2, ...

        Returns:
            The folder.

        Raises:
            ResourceError: not all could be written; those that could are there, and the log names the others.
        """
        from utils.data.images import write_image

        folder, failed = _folder(save_dir), []
        for file, im in zip(self._result_names(), self._drawn(labels)):
            with _noting(failed):
                write_image(folder / file, im[..., ::-1])
        _check_written(failed, self.n, folder)
        LOGGER.info(f'Saved {counted(self.n, "image")} to {folder}')
        return folder

    def crop(self, save: bool = True, save_dir: str | Path = SAVE_DIR) -> list[dict[str, Any]]:
        """The boxes cut out with a small margin; with `save` also as files, in crops/<class name>.

        Returns:
            For each detection box (4 numbers), conf, cls, label, and im: (h, w, 3) uint8 BGR, as OpenCV has it.

        Raises:
            ResourceError: as for `save`.
        """
        from utils.annotate import cut_box, save_crop

        folder = _folder(save_dir) if save else Path()
        crops, failed = [], []
        for im, rows, file in zip(self._clean, self._found, self._result_names()):
            for *box, confidence, number in rows.tolist():
                name = self.names[int(number)]
                cut = cut_box(box, im[..., ::-1])
                with _noting(failed):
                    if save:
                        save_crop(folder / 'crops' / folder_name(name) / file, cut)
                label = f'{name} {confidence:.2f}'
                crops.append({'box': box, 'conf': confidence, 'cls': number, 'label': label, 'im': cut})
        if save:
            _check_written(failed, len(crops), folder)
            LOGGER.info(f'Saved {counted(len(crops), "crop")} to {folder}')
        return crops

    def display(self, pprint: bool = False, show: bool = False, save: bool = False, labels: bool = True) -> None:
        """Print, show and save, as asked for."""
        for wanted, action in ((pprint, self.print), (show, self.show), (save, self.save)):
            if wanted:
                action() if action == self.print else action(labels)

    def _result_names(self) -> list[str]:
        """A file name for each image's results: its own in UTF-8, apart from the others'."""
        return list(map(Distinct(), map(safe_name, self.files)))

    def _drawn(self, labels: bool) -> list[np.ndarray]:
        from utils.annotate import Annotator, colors

        drawn = []
        for im, rows in zip(self._clean, self._found):
            pen = Annotator(im.copy(), example=self.names)
            for *box, confidence, number in rows[::-1].tolist():  # the most confident on top
                label = f'{self.names[int(number)]} {confidence:.2f}' if labels else ''
                pen.box_label(box, label, color=colors(number))
            drawn.append(pen.result())
        return drawn


def _show(im: np.ndarray, title: str) -> bool:
    """Show a picture (h, w, 3) RGB; False where there is nothing to show it on."""
    from PIL import Image, ImageShow

    from utils.data.sinks import has_display

    shell = getattr(sys.modules.get('IPython'), 'get_ipython', lambda: None)()
    if hasattr(shell, 'kernel'):  # a notebook's; Pillow would prefer the system's viewer
        from IPython.display import display

        display(Image.fromarray(im))
        return True
    return has_display() and ImageShow.show(Image.fromarray(im), title=title)


def count_words(rows: np.ndarray, names: Sequence[str]) -> str:
    """Detections (n, 6) by class in words, on one line: '4 persons, 1 bus'; '' for none."""
    numbers, counts = np.unique(rows[:, 5].astype(int), return_counts=True)
    return ', '.join(counted(n, shown_name(names[c])) for c, n in zip(numbers, counts))


def _tensors(rows: Any) -> list[torch.Tensor]:
    import oneflow as torch

    return [torch.tensor(r) for r in rows]


def _centred(rows: np.ndarray) -> np.ndarray:
    return np.hstack((xyxy2xywh(rows[:, :4]), rows[:, 4:]))


@contextmanager
def _noting(failed: list[str]) -> Iterator[None]:
    """Around the writing of one of several images: a failure is logged and kept, so that the others are written."""
    try:
        yield
    except (OSError, ResourceError) as problem:
        failed.append(explain(problem)[0])
        LOGGER.warning(f'WARNING: {failed[-1]}')


def _check_written(failed: Sequence[str], count: int, folder: Path) -> None:
    if failed:
        raise ResourceError(f'{folder}: {len(failed)} of {count} images could not be written ({failed[0]})')


def _folder(save_dir: str | Path) -> Path:
    return increment_path(save_dir, exist_ok=str(save_dir) != SAVE_DIR, mkdir=True)
