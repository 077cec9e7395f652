"""The detection model: built from a description, run once or over several scales, folded for inference.

As a script it prints a model's table: python models/yolo.py --cfg yolov5s.yaml
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == '__main__' and not __package__:
    # Run by its path, so models/ is where Python looks for imports: start again as a module of the project.
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))
    os.execve(sys.executable, [sys.executable, '-m', 'models.yolo', *sys.argv[1:]], {**os.environ, 'PYTHONPATH': paths})

import oneflow as torch
from oneflow import nn

from models.cpu import engine as cpu_engine
from models.head import Detect
from models.limits import TooLarge, Watch, parameters_within
from models.parse import parse_model, read_config
from models.profiling import LayerTimer, profile
from models.summary import layer_table, model_info
from models.surgery import fold_norms, initialize_weights
from models.tta import augmented
from utils.device import select_device
from utils.errors import ConfigError, run_main
from utils.memory import check_memory
from utils.options import option, parse_options
from utils.paths import MODEL_DIRS
from utils.terminal import printable

Observer = Callable[[torch.Tensor, str, int], object]


class Model(nn.Module):
    """A YOLOv5 (or YOLOv3) network.

    Args:
        cfg: a model file, found by bare name in models/ and models/hub/, or its content.
        ch: input channels; nc: number of classes; anchors: how many a level has, or per level w, h, w, h, ... in
            pixels. The last two replace the file's.

    Attributes:
        model: the layers, one a row of the file, with .i (row), .f (sources), .type, .np (parameters).
        save: rows whose output a later row needs.
        yaml: the description, with the `nc`, `ch` and `anchors` that were used; yaml_file: its file name or ''.
        names: class names, numbers until they are set.
        largest_stride: pixels of the coarsest cell of any row, which need not go to the head; images' sides have to be
            multiples of it.

    Raises:
        ConfigError: the description is wrong.
    """

    def __init__(
        self,
        cfg: str | Path | dict = 'yolov5s.yaml',
        ch: int = 3,
        nc: int | None = None,
        anchors: float | list | None = None,
    ) -> None:
        super().__init__()
        self.yaml, self.yaml_file = read_config(cfg, ch, nc, anchors)
        with parameters_within():
            self.model, self.save = parse_model(self.yaml, [self.yaml['ch']], self.yaml_file or 'model description')
        self.names = [str(i) for i in range(self.yaml['nc'])]
        initialize_weights(self)
        strides, self.largest_stride = self._measure_strides()
        if isinstance(self.detect, Detect):
            self.detect.set_strides(strides)
            self.detect.initialize_biases()

    @property
    def detect(self) -> nn.Module:
        """The last layer."""
        return self.model[-1]

    @property
    def nc(self) -> int:
        return self.yaml['nc']

    @property
    def stride(self) -> torch.Tensor:
        """Pixels per cell of each level, (levels,), on the CPU; [32] for a model without Detect."""
        return self.detect.stride if isinstance(self.detect, Detect) else torch.tensor([32.0])

    def forward(
        self, x: torch.Tensor, augment: bool = False, profile: bool = False, visualize: Observer | None = None
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Pictures (b, ch, h, w), RGB in 0..1, height and width multiples of the largest stride.

        Args:
            augment: over three scales and a mirror image (evaluation mode only).
            profile: print the time of every layer.
            visualize: called as visualize(output, layer type, row) after every layer.

        Returns:
            what Detect returns: raw maps in training mode, else (boxes, raw maps); with `augment` (boxes, None).
        """
        if augment:
            return augmented(x, lambda view: self._forward_once(view)[0], self.largest_stride, self.detect.nl), None
        if self.training and not profile and not visualize:
            maps = cpu_engine.forward(self, x)
            if maps is not None:
                return maps
        return self._forward_once(x, LayerTimer() if profile else None, visualize)

    def _forward_once(
        self, x: torch.Tensor, runner: LayerTimer | Watch | None = None, visualize: Observer | None = None
    ):
        kept = {}
        for layer in self.model:
            if layer.f != -1:
                sources = [x if source == -1 else kept[source % layer.i] for source in _as_list(layer.f)]
                x = sources if isinstance(layer.f, list) else sources[0]
            x = runner.run(layer, x, last=layer is self.detect) if runner else layer(x)
            if layer.i in self.save:
                kept[layer.i] = x
            if visualize:
                visualize(x, layer.type, layer.i)
        return x

    def fuse(self) -> Model:
        """Fold batch norms into the convolutions before them, in place: the same results, for inference only.

        No parameter asks for a gradient afterwards.
        """
        fold_norms(self)
        return self.requires_grad_(False)

    def info(self, verbose: bool = False, img_size: int = 640) -> str:
        """The summary line; with `verbose` a table of parameters before it."""
        return model_info(self, verbose, img_size)

    def _measure_strides(self) -> tuple[list[float], int]:
        """Run an empty picture through and see what each level, and the coarsest row, makes of its height.

        Leaves no trace in the model. Rows that give one pixel (global pooling) or no even share (padding) don't count.

        Raises:
            ConfigError: the rows do not fit together.
        """
        size, done = 256, []

        def observe(x: object, _type: str, _row: int) -> None:
            done.append(x.shape[2] if isinstance(x, torch.Tensor) and x.ndim == 4 else 0)

        self.eval()
        self.detect.train()  # raw maps: decoding needs the strides
        try:
            with torch.no_grad():
                maps = self._forward_once(torch.zeros(1, self.yaml['ch'], size, size), Watch(), observe)
            heights = [level.shape[2] for level in maps] if isinstance(self.detect, Detect) else []
        except Exception as problem:
            layer = self.model[len(done)]
            row = f'{self.yaml_file or "model description"}: row {layer.i} ({layer.type.rsplit(".", 1)[-1]})'
            if isinstance(problem, TooLarge):
                mend = 'lower its channels, kernel, scale or padding, or those before it'
                raise ConfigError(f'{row}: {problem} for an image of {size} x {size}', mend) from problem
            reason = (str(problem).strip().splitlines() or [type(problem).__name__])[-1]
            raise ConfigError(
                f'{row} does not fit what comes in from {layer.f} ({printable(reason, 200)})',
                'check its sources and the strides before it',
            ) from problem
        self.train()
        strides = [size / height for height in heights]
        rows = [size // height for height in done if height > 1 and size % height == 0]
        return strides, max(*map(int, strides), *rows, 1)


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


@dataclass
class Options:
    """Of the command line."""

    cfg: str = option('yolov5s.yaml', help='model file')
    batch_size: int = option(1, help='pictures a run when timing')
    device: str = option('', help="cpu, or a GPU's number; by default a GPU if there is one")
    profile: bool = option(False, help='time the model, forward and backward')
    line_profile: bool = option(False, help='time every layer')
    test: bool = option(False, help='build every model file and print its summary')


def main(argv: list[str] | None = None) -> None:
    """The command line: print a model's table, time it, or build all model files."""
    options = parse_options(Options, argv, 'Print the table of a model', 'models/yolo.py')
    device = select_device(options.device)
    if options.test:
        build_all()
        return
    model = Model(options.cfg).to(device)
    print(layer_table(model))
    needed = 4 * options.batch_size * model.yaml['ch'] * 640 * 640
    check_memory(needed, f'--batch-size {options.batch_size}', 'take a smaller one')
    pictures = torch.rand(options.batch_size, model.yaml['ch'], 640, 640).to(device)
    if options.line_profile:
        with torch.no_grad():
            model.eval()(pictures, profile=True)
    elif options.profile:
        profile(pictures, model, n=3)
    print(model.info())


def build_all() -> None:
    """Build every model file of models/ and models/hub/ and print its summary.

    Raises:
        ConfigError: files that can't be built, after all others were.
    """
    failed = []
    for path in sorted(path for folder in MODEL_DIRS for path in folder.glob('yolo*.yaml')):
        try:
            print(Model(path).info())
        except ConfigError as problem:
            print(problem)
            failed.append(path.name)
    if failed:
        raise ConfigError(f'{", ".join(failed)}: can not be built', 'mend the rows named above')


if __name__ == '__main__':
    sys.exit(run_main(main))
