"""The Python API: anything like a picture in, Detections out."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from models.backend import Backend, wrap
from models.detections import Detections
from utils.boxes import scale_coords
from utils.data.bit_depth import ImageNotes
from utils.data.image_check import load_bytes, load_image
from utils.data.images import from_array, from_pil
from utils.data.letterbox import letterbox
from utils.downloads import is_url, safe_download, url2file
from utils.errors import DataError, UsageError
from utils.imgsz import image_sides
from utils.values import items

if TYPE_CHECKING:
    import oneflow as torch

MAX_DOWNLOAD = 50e6  # bytes of a picture with an address


class AutoShape:
    """A detector for pictures as they come: paths, addresses, PIL images, arrays (RGB), or lists of them.

        model = AutoShape(load_backend('yolov5n.pt'))
        results = model(['a.jpg', array[..., ::-1], image], size=640)

    It may be called from several threads; its attributes are for all calls. It can be copied and pickled, for other
    processes: a checkpoint's network goes along, an exported file is opened anew.

    Args:
        model: a `Backend`, or a network in memory.

    Attributes:
        conf, iou, agnostic, multi_label, classes, max_det: of non-maximum suppression, see `utils.nms`.
        amp: compute in mixed precision; on a GPU only.
        names: class names, which may be replaced; stride: of the network; backend: what runs.
    """

    conf: float = 0.25
    iou: float = 0.45
    agnostic: bool = False
    multi_label: bool = False
    classes: Iterable[int] | int | None = None
    max_det: int = 1000
    amp: bool = False

    def __init__(self, model: Any) -> None:
        self.backend: Backend = wrap(model)
        self.notes = ImageNotes(at_once=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != 'notes'}  # what one process has said

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, notes=ImageNotes(at_once=True))

    @property
    def names(self) -> list[str]:
        return self.backend.names

    @names.setter
    def names(self, names: Iterable[str] | Mapping[int, str]) -> None:
        numbered = list(map(names.get, range(len(names)))) if isinstance(names, Mapping) else items('names', names)
        if len(numbered) != len(self.names) or not all(isinstance(name, str) for name in numbered):
            raise UsageError(f'names: {len(numbered)} for {len(self.names)} classes', 'give a name for each')
        self.backend.names = numbered

    @property
    def stride(self) -> int:
        return self.backend.stride

    @property
    def device(self) -> torch.device:
        return self.backend.device

    @property
    def model(self) -> Any:
        """The network; None for exported files and ensembles."""
        return self.backend.model

    def __call__(
        self, ims: Any, size: int | Sequence[int] = 640, augment: bool = False, profile: bool = False,
        square: bool = False,
    ) -> Any:  # fmt: skip
        """Detect.

        Args:
            ims: an image or a list (or generator) of them. Paths and http(s) addresses; files opened in binary mode;
                PIL images; arrays or tensors RGB, (h, w, 3) or (3, h, w), grey and RGBA too: uint8, floats in 0..1 or
                0..255, and others, see `utils.data.bit_depth.to_8_bits`. Or a float tensor (b, 3, h, w) in 0..1, for
                the network.
            size: pixels of the longer side that the network sees, or (height, width).
            augment: over three scales and a mirror image.
            profile: print the time of every layer first.
            square: pad the images to the whole `size`, as exported files of a fixed size see them, where otherwise they
                are padded to whole strides only. The boxes differ a little.

        Returns:
            Detections; for a tensor (b, 3, h, w) the network's rows (b, rows, 5 + nc) as a tensor.

        Raises:
            DataError: a picture can't be read; the message names it.
        """
        if _is_network_input(ims):
            return self._rows(ims, augment, profile)
        from utils.device import time_sync

        clock = [time_sync(self.backend.device)]
        pictures, files = read_pictures(ims, self.notes)
        x = self.backend.prepare(self._stacked(pictures, size, square))
        clock.append(time_sync(self.backend.device))
        if profile:
            self._print_layer_times(x)
        with self._precision():
            output = self.backend(x, augment=augment)
        clock.append(time_sync(self.backend.device))
        found = self.backend.suppress(
            output, conf_thres=self.conf, iou_thres=self.iou, classes=self.classes, agnostic=self.agnostic,
            multi_label=self.multi_label, max_det=self.max_det,
        )  # fmt: skip
        for rows, picture in zip(found, pictures):
            rows[:, :4] = scale_coords(x.shape[2:], rows[:, :4], picture.shape)
        clock.append(time_sync(self.backend.device))
        milliseconds = [(b - a) * 1e3 / len(pictures) for a, b in itertools.pairwise(clock)]
        return Detections(pictures, found, files, self.names, milliseconds, x.shape)

    forward = __call__

    def warmup(self, imgsz: Sequence[int] = (1, 3, 640, 640)) -> None:
        """Run an empty image (b, 3, h, w), so that the first real one's time is like the others'."""
        self.backend.warmup(imgsz)

    # As a PyTorch module has them -------------------------------------------------------------------------------------

    def to(self, device: Any) -> AutoShape:
        """Move to a device: 'cpu', 'cuda', 'cuda:0', 0, a device object, ..."""
        self.backend = self.backend.to(device)
        return self

    def cpu(self) -> AutoShape:
        return self.to('cpu')

    def cuda(self, device: Any = 'cuda') -> AutoShape:
        return self.to(device)

    def half(self) -> AutoShape:
        """Compute in half precision, on a GPU; elsewhere a line says that nothing changes."""
        self.backend = self.backend.half()
        return self

    def float(self) -> AutoShape:
        """Compute in single precision."""
        self.backend = self.backend.float()
        return self

    def fuse(self) -> AutoShape:
        """Fold batch norms into the convolutions; weights that were loaded for detection are folded already."""
        self.backend = self.backend.fuse()
        return self

    def parameters(self) -> Iterator[torch.Tensor]:
        """The networks' parameters; exported files have none."""
        return self.backend.parameters()

    def eval(self) -> AutoShape:
        """It is always in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> AutoShape:
        """For `train(False)`.

        Raises:
            UsageError: `mode` is True.
        """
        if mode:
            raise UsageError('train(): this model only detects', 'use train.py, or the network itself: autoshape=False')
        return self

    # ------------------------------------------------------------------------------------------------------------------

    def _stacked(self, pictures: Sequence[np.ndarray], size: int | Sequence[int], square: bool) -> np.ndarray:
        """Pictures letterboxed to one shape: the smallest of whole strides that has room for each at its scale, or with
        `square` the whole size."""
        if square or self.backend.imgsz:
            shape = self.backend.input_size(size)
        else:
            longest = max(image_sides('size', size))
            if longest < 1:
                raise UsageError(f'size {size}: too small', f'give a multiple of {self.stride}')
            scales = [longest / max(p.shape[:2]) for p in pictures]
            sides = ([p.shape[axis] * scale for p, scale in zip(pictures, scales)] for axis in (0, 1))
            shape = [math.ceil(round(max(side), 3) / self.stride) * self.stride for side in sides]
        self.backend.check_room(len(pictures), shape)
        boxed = [letterbox(p, shape, auto=False)[0].transpose(2, 0, 1) for p in pictures]
        return np.ascontiguousarray(np.stack(boxed))

    def _rows(self, x: torch.Tensor, augment: bool, profile: bool) -> torch.Tensor:
        import oneflow as torch

        if profile:
            self._print_layer_times(x)
        with self._precision():
            rows = self.backend(x.to(self.device), augment=augment)
        if isinstance(rows, list):
            raise UsageError(f'{self.backend.members[0].path}: suppresses boxes itself', 'give pictures, not a tensor')
        return torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows

    def _print_layer_times(self, x: Any) -> None:
        import oneflow as torch

        if self.model is None:
            raise UsageError('profile=True: only a single checkpoint has layers to time', 'give one')
        with torch.no_grad():
            self.model(torch.from_numpy(x) if isinstance(x, np.ndarray) else x.to(self.device), profile=True)

    def _precision(self) -> AbstractContextManager:
        if not self.amp or self.device.type == 'cpu':
            return nullcontext()
        from oneflow.amp import autocast

        return autocast('cuda')


def _is_network_input(ims: Any) -> bool:
    return getattr(ims, 'ndim', 0) == 4 and not isinstance(ims, np.ndarray) and ims.is_floating_point()


def read_pictures(ims: Any, notes: ImageNotes | None = None) -> tuple[list[np.ndarray], list[str]]:
    """One picture or a list of them, as for `AutoShape`: (h, w, 3) uint8 RGB, and file names for their results."""
    read = [read_picture(im, i, notes) for i, im in enumerate(ims if _is_several(ims) else [ims])]
    if not read:
        raise DataError('no pictures given')
    pictures, files = zip(*read)
    return list(pictures), list(files)


def _is_several(ims: Any) -> bool:
    """Whether this is a list, tuple, generator, ... of images, or a batch in an array or tensor."""
    if hasattr(ims, 'ndim'):
        return ims.ndim == 4 or (isinstance(ims, np.ndarray) and ims.dtype.kind in 'OU')  # the last of paths
    single = isinstance(ims, (str, bytes, os.PathLike, Mapping)) or hasattr(ims, 'read')
    return isinstance(ims, Iterable) and not single


def read_picture(source: Any, number: int = 0, notes: ImageNotes | None = None) -> tuple[np.ndarray, str]:
    """A picture as (h, w, 3) uint8 RGB, and a file name for results: its own as .jpg, or image<number>.jpg.

    Args:
        source: as for `AutoShape`, one picture.
        notes: gets what is to be said about its conversion to 8 bits.

    Raises:
        DataError: it can't be read, or is no picture.
    """
    name = f'image{number}'
    if isinstance(source, (str, os.PathLike)):
        name = url2file(str(source)) if is_url(source) else os.fspath(source)
        bgr = _download(str(source), notes) if is_url(source) else load_image(source, notes)
        im = np.ascontiguousarray(bgr[..., ::-1])
    elif hasattr(source, 'read'):
        name = _own_name(getattr(source, 'name', ''), name)
        im = np.ascontiguousarray(load_bytes(_content(source, name), name, notes)[..., ::-1])
    elif isinstance(source, Image.Image):
        name = _own_name(getattr(source, 'filename', ''), name)
        im = from_pil(source, name, notes)
    else:
        im = from_array(_as_array(source, name), name, notes)
    return im, Path(name).with_suffix('.jpg').name


def _own_name(own: Any, other: str) -> str:
    """A file's name where it has one: of an open file it may be a number."""
    return os.fsdecode(own) if own and isinstance(own, (str, bytes, os.PathLike)) else other


def _content(file: Any, name: str) -> bytes:
    """What is left to read of an open file."""
    try:
        data = file.read()
    except (OSError, ValueError) as problem:  # ValueError: it is closed, or a text file that is not UTF-8
        raise DataError(f'{name}: can not be read ({problem})', "open it in mode 'rb'") from None
    if not isinstance(data, bytes):
        raise DataError(f'{name}: a file opened as text is no image', "open it in mode 'rb'")
    return data


def _download(url: str, notes: ImageNotes | None) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        file = safe_download(Path(folder, url2file(url)), url, max_bytes=MAX_DOWNLOAD, error_msg='check the address')
        try:
            return load_image(file, notes)
        except DataError as problem:
            raise DataError(problem.message.replace(str(file), url), problem.mend) from None


def _as_array(source: Any, name: str) -> np.ndarray:
    """An array or tensor as an array."""
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, 'cpu'):
        return source.cpu().numpy()
    raise DataError(
        f'{name}: a {type(source).__name__} is no picture', 'give a path, PIL image, array, tensor or open file'
    )
