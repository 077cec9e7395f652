"""One callable over weights of any kind: our checkpoints, official .pt files, ONNX and OpenVINO exports, ensembles.

    backend = load_backend('yolov5n.pt', device='cpu')  # or best.safetensors, best.onnx, best_openvino_model, a list
    found = backend.predict(images)  # uint8 (b, 3, h, w) -> [(n, 6)]: xyxy, confidence, class

`predict` is three steps, which can be taken, and timed, one by one:

    x = backend.prepare(images)           # as the network takes them: on the device, 0 to 1
    output = backend(x)                   # all rows of the network
    found = backend.suppress(output)      # what is left of them, arrays on the host

Boxes are in pixels of `images`. `backend.input_size(640)` is the (height, width) to letterbox pictures to; they may be
smaller (letterbox's `auto`) unless `backend.imgsz` says that the file has a size of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.network import NetworkRunner, is_frozen
from models.runners import Runner
from models.weights import KNOWN, find_names, open_weights
from utils.errors import UsageError, WeightsError
from utils.imgsz import check_img_size, image_sides
from utils.log import LOGGER
from utils.memory import check_memory
from utils.nms import class_numbers, non_max_suppression
from utils.terminal import counted, shown_name
from utils.values import items, number, text, whole_number

if TYPE_CHECKING:
    import oneflow as torch

    Array = np.ndarray | torch.Tensor
    Observer = Callable[[torch.Tensor, str, int], object]


class Backend:
    """Weights ready to run; see the module's text for how.

    Attributes:
        names: class names, by number; stride: what picture sides have to be multiples of.
        kind: 'oneflow', 'onnx', 'onnx-nms', 'dnn', 'openvino' or 'openvino-nms' ('-nms' suppresses boxes itself);
            of an ensemble its first member's.
        imgsz, batch: the (height, width) and the batch that the file is made for; None where it takes any. Other
            batches are run in parts.
        device: where it runs; fp16: whether in half precision.
        model: the network of a checkpoint, None for exported files and ensembles.
    """

    def __init__(self, members: Sequence[NetworkRunner | Runner], device: torch.device, fp16: bool = False) -> None:
        first = members[0]
        self.members, self.device, self.fp16 = list(members), device, fp16
        self.kind, self.batch, self.names = first.kind, first.batch, first.names
        self.stride = max(member.stride for member in members)
        self.imgsz = next((member.imgsz for member in members if member.imgsz), None)
        self.model = getattr(first, 'model', None) if len(members) == 1 and first.kind == 'oneflow' else None
        if len(members) > 1:
            _check_ensemble(members)

    def input_size(self, imgsz: int | Sequence[int] = 640) -> list[int]:
        """The [height, width] to prepare pictures in: `imgsz` in whole strides, or the file's own. A change is said."""
        sides = image_sides('--img', imgsz)
        sides = sides * (3 - len(sides))
        if not self.imgsz:
            return list(check_img_size(sides, self.stride))
        if sides != list(self.imgsz):
            made, asked = ('x'.join(map(str, size)) for size in (self.imgsz, sides))
            LOGGER.warning(f'WARNING: {self.members[0].path}: made for pictures of {made}, used in place of {asked}')
        return list(self.imgsz)

    @property
    def _takes_arrays(self) -> bool:
        """Whether `prepare` gives arrays in the machine's memory, no tensors on a GPU."""
        return self.device.type == 'cpu' or all(member.kind != 'oneflow' for member in self.members)

    def check_room(self, count: int, size: Sequence[int]) -> None:
        """Refuse a batch of images of (height, width) that the machine has no memory for.

        Raises:
            ResourceError: it has not.
        """
        if self._takes_arrays:
            # As numbers, and the network's first map: at the least as large as all that comes in.
            what = f'a batch of {counted(count, "image")} of {"x".join(map(str, size))}'
            check_memory(24 * count * math.prod(size), what, 'take a smaller --img or --batch-size')

    def prepare(self, images: np.ndarray) -> Array:
        """Pictures (b, 3, h, w) uint8 RGB as the network takes them, 0 to 1: a tensor for a checkpoint on a GPU, else
        an array."""
        if self._takes_arrays:
            self.check_room(len(images), images.shape[2:])
            x = images.astype(np.float32)
            x /= 255
            return x
        from utils.device import to_input

        return to_input(images, self.device, self.fp16)

    def __call__(self, im: Array, augment: bool = False, visualize: Observer | None = None) -> Array | list[np.ndarray]:
        """Run the network.

        Args:
            im: (b, 3, h, w) RGB in 0..1, an array or a tensor.
            augment: over three scales and a mirror image; only for checkpoints.
            visualize: called as visualize(output, layer type, row) after every layer; only for checkpoints, and not
                with `augment`.

        Returns:
            (b, rows, 5 + nc): xywh in pixels of `im`, objectness, class scores; a tensor of a checkpoint on a GPU,
            else an array.
            Files that suppress boxes themselves give what `suppress` gives.
        """
        if augment and visualize:
            raise UsageError('--visualize: draws one pass, and --augment has three', 'give one of the two')
        options = {'augment': augment, 'visualize': visualize} if augment or visualize else {}
        exported = [member.path for member in self.members if member.kind != 'oneflow']
        if options and exported:
            name = '--augment' if augment else '--visualize'
            raise UsageError(f'{exported[0]}: an exported file can not {name}', 'give the checkpoint it was made from')
        outputs = [member(self._input_of(member, im), **options) for member in self.members]
        if len(outputs) == 1:
            return outputs[0]
        if all(isinstance(rows, np.ndarray) for rows in outputs):
            return np.concatenate(outputs, 1)
        import oneflow as torch

        on_device = [torch.from_numpy(y).to(self.device) if isinstance(y, np.ndarray) else y for y in outputs]
        return torch.cat(on_device, 1)

    def with_maps(self, im: Array) -> tuple[Array, list[torch.Tensor]]:
        """What a call gives, and the raw maps of Detect for the loss; only of one checkpoint or `wrap`ped model."""
        return self.members[0].with_maps(im)

    def suppress(self, output: Array | list[np.ndarray], **options: Any) -> list[np.ndarray]:
        """The detections of each picture, best first, (n, 6) float32: x1, y1, x2, y2 in pixels, confidence, class.

        Args:
            output: what a call gave.
            options: those of `utils.nms.non_max_suppression`. From a file that suppresses boxes itself `conf_thres`,
                `classes` and `max_det` take more away; its IoU and class rules are in the file.
        """
        if isinstance(output, list):
            return [_choose(rows, **options) for rows in output]
        return non_max_suppression(output, arrays=True, **options)

    def predict(
        self, images: np.ndarray, augment: bool = False, visualize: Observer | None = None, **options: Any
    ) -> list[np.ndarray]:
        """Prepare, run and suppress: pictures (b, 3, h, w) uint8 RGB -> [(n, 6)]; arguments as there."""
        return self.suppress(self(self.prepare(images), augment, visualize), **options)

    def warmup(self, imgsz: Sequence[int] = (1, 3, 640, 640)) -> None:
        """Run an empty picture (b, 3, h, w), so that the first real one's time is like the others'.

        Not on a CPU by OneFlow, which has nothing to prepare and would only take its time.
        """
        size = (*imgsz[:2], *(self.imgsz or imgsz[2:]))
        if self.device.type != 'cpu' or any(member.kind != 'oneflow' or member.fast for member in self.members):
            self(self.prepare(np.zeros(size, np.uint8)))

    def to(self, device: Any) -> Backend:
        """The same weights on another device. Exported files stay where they were opened."""
        device = find_device(device)
        return self._changed(device, self.fp16 and device.type != 'cpu')

    def half(self) -> Backend:
        """The same weights in half precision; on a CPU, which has none, a line says that they stay as they are."""
        if self.device.type == 'cpu':
            LOGGER.warning('WARNING: half precision needs a GPU; the CPU computes in float32')
            return self
        return self._changed(self.device, True)

    def float(self) -> Backend:
        """The same weights in single precision."""
        return self._changed(self.device, False)

    def fuse(self) -> Backend:
        """Batch norms folded into the convolutions, as `load_backend` does by default."""
        if all(member.kind != 'oneflow' or is_frozen(member.model) for member in self.members):
            return self
        members = [
            NetworkRunner(m.model.fuse(), self.device, self.fp16, frozen=True) if m.kind == 'oneflow' else m
            for m in self.members
        ]
        return self._like(members, self.device, self.fp16)

    def parameters(self) -> Iterator[torch.Tensor]:
        """Of the networks; exported files have none."""
        networks = [member.model for member in self.members if member.kind == 'oneflow']
        return itertools.chain.from_iterable(network.parameters() for network in networks)

    def __reduce__(self) -> tuple:
        """To pickle or copy: a checkpoint's network goes along as it is, an exported file is opened anew."""
        parts = [
            (m.model, is_frozen(m.model), m.path) if m.kind == 'oneflow' else (None, True, m.file) for m in self.members
        ]
        return _reopened, (parts, text('device', self.device), self.fp16, self.kind == 'dnn', self.names)

    def _changed(self, device: torch.device, fp16: bool) -> Backend:
        if (device, fp16) == (self.device, self.fp16):
            return self
        if any(member.kind != 'oneflow' for member in self.members):
            keeps = 'an exported file stays on its device and keeps its precision'
            raise UsageError(f'{self.members[0].path}: {keeps}', 'name the device when loading')
        models = [member.model.to(device) if fp16 else member.model.float().to(device) for member in self.members]
        return self._like([NetworkRunner(m, device, fp16, is_frozen(m)) for m in models], device, fp16)

    def _like(self, members: Sequence[NetworkRunner | Runner], device: torch.device, fp16: bool) -> Backend:
        """The members, otherwise changed, under the names that hold now."""
        for new, old in zip(members, self.members):
            new.path = old.path
        changed = Backend(members, device, fp16)
        changed.names = self.names
        return changed

    def _input_of(self, member: NetworkRunner | Runner, im: Array) -> Array:
        on_gpu = member.kind == 'oneflow' and self.device.type != 'cpu'
        if isinstance(im, np.ndarray) and not on_gpu:
            return im
        if not on_gpu:
            return im.detach().cpu().numpy()
        if not isinstance(im, np.ndarray):
            return im if im.device == self.device else im.to(self.device)
        import oneflow as torch

        return torch.tensor(im, dtype=torch.float16 if self.fp16 else torch.float32, device=self.device)


def load_backend(
    weights: str | Path | Sequence[str | Path],
    device: Any = None,
    dnn: bool = False,
    data: str | Path | None = None,
    fp16: bool = False,
    fuse: bool = True,
) -> Backend:
    """Open weights of any kind, several as an ensemble; missing official files are downloaded.

    Args:
        device: 'cpu', 'cuda', 'cuda:0', '0', 0 or a device object; None for a GPU if there is one.
        dnn: run an .onnx file by OpenCV.
        data: data set YAML that names the classes where the weights do not.
        fp16: half precision; needs a GPU, and is said and left where there is none. Exports have their own.
        fuse: fold batch norm into the convolutions of a checkpoint.

    Raises:
        WeightsError: missing, damaged, of a kind that doesn't run here, or no ensemble.
        UsageError: no such device; `dnn` for something else.
    """
    device = find_device(device)
    if fp16 and device.type == 'cpu':
        LOGGER.warning('WARNING: --half needs a GPU; the CPU computes in float32')
    fp16 = fp16 and device.type != 'cpu'
    files = [text('--weights', file) for file in items('--weights', weights)]
    if not all(file.strip() for file in files or ['']):
        raise UsageError('--weights: none given', KNOWN)
    members = [open_weights(file, device, dnn, fp16, fuse) for file in files]
    for member in members:
        if member.names is None:
            member.names = find_names(member, data)
    return Backend(members, device, fp16)


DetectMultiBackend = load_backend  # the original's name


def find_device(device: Any) -> torch.device:
    """The device that a name or an object means to `utils.device_choice.parse_device`; None: a GPU if there is one."""
    from utils.device import select_device

    return select_device(device)


def wrap(model: Any, frozen: bool = False, maps: bool = False) -> Backend:
    """A `Model` or `Ensemble` in memory as a Backend, where it is.

    Args:
        frozen: its weights won't change while the Backend is in use, which on a CPU makes it fast.
        maps: `with_maps` will be asked for.
    """
    if isinstance(model, Backend):
        return model
    first = next(model.parameters())
    fp16 = first.element_size() == 2
    return Backend([NetworkRunner(model.eval(), first.device, fp16, frozen, maps)], first.device, fp16)


def _reopened(
    parts: Sequence[tuple[Any, bool, str | Path]], device: str, fp16: bool, dnn: bool, names: list[str]
) -> Backend:
    """What `Backend.__reduce__` took apart: for each member its network or None, whether it is frozen, its file."""
    import oneflow as torch

    at, members = find_device(torch.device(device)), []
    for network, frozen, path in parts:
        if network is None:
            runner = open_weights(path, at, dnn)
        else:
            if frozen:  # which OneFlow's tensors forget when they are pickled
                network.requires_grad_(False)
            runner = NetworkRunner(network.to(at), at, fp16, frozen)
        runner.path, runner.names = path, runner.names or names
        members.append(runner)
    backend = Backend(members, at, fp16)
    backend.names = list(names)
    return backend


def _check_ensemble(members: Sequence[NetworkRunner | Runner]) -> None:
    for member in members:
        if member.kind.endswith('-nms'):
            raise WeightsError(f'{member.path}: suppresses boxes itself, so it can be in no ensemble', 'export it anew')
        if member.names != members[0].names:
            first = ', '.join(map(shown_name, member.names[:3]))
            counts = f'{len(member.names)} classes {first}, ..., the first {len(members[0].names)}'
            raise WeightsError(f'Ensemble: {member.path} has {counts}', 'join only models of one data set')


def _choose(
    rows: np.ndarray, conf_thres: float = 0.25, classes: Sequence[int] | None = None, max_det: int = 300,
    labels: Sequence[Any] = (), **_in_the_file: Any,
) -> np.ndarray:  # fmt: skip
    """Of the detections (n, 6) of a file that suppresses boxes itself, those that are wanted."""
    if len(labels):
        raise UsageError('--save-hybrid: these weights suppress boxes themselves', 'export them without --nms')
    wanted = rows[:, 4] > number('--conf-thres', conf_thres)
    if (numbers := class_numbers(classes)) is not None:
        wanted &= np.isin(rows[:, 5], numbers)
    return rows[wanted][: whole_number('--max-det', max_det)]
