"""What one timed repetition is. A case is built from a dictionary, so that it crosses a pipe."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Case:
    """Something to repeat.

    Args:
        kit: what does the work, see kits.py.
        case: the setting.
    """

    clock = staticmethod(time.perf_counter)

    def __init__(self, kit: Any, case: dict) -> None:
        self.kit, self.case = kit, case

    def before(self) -> None:
        """What each repetition needs and is not to be timed."""

    def step(self) -> Any:
        """The repetition."""

    def run(self, times: int) -> float:
        """Seconds a repetition, over so many."""
        seconds = 0.0
        for _ in range(times):
            self.before()
            start = self.clock()
            self.step()
            seconds += self.clock() - start
        return seconds / times

    def check(self) -> list[float]:
        """Numbers that are the same on every side, if what is computed is; may be called again after some steps."""
        return []


class Training(Case):
    """Forward, loss, backward, clipping and the optimiser's step, on one batch over and over."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        self.model = filled(kit, kit.model(case['cfg'])).train()
        self.compute_loss = kit.loss(self.model, case['hyp'])
        self.optimizer = kit.optimizer(self.model)
        self.images = kit.tensor(pictures(case['batch'], case['size']))
        self.targets = kit.targets(labels(case['batch'], self.model.yaml['nc']))

    def step(self) -> None:
        self.items = self.forward()
        self.kit.update(self.optimizer, self.model)
        self.kit.sync()

    def forward(self) -> Any:
        loss, items = self.compute_loss(self.model(self.images), self.targets)
        loss.backward()
        return items

    def check(self) -> list[float]:
        """Box, objectness and class loss, of before a step."""
        self.step()
        return self.items.cpu().numpy().tolist()


class Loss(Training):
    """The loss alone, from maps that are there, with its gradient down to them."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        self.maps = [level.detach() for level in self.model(self.images)]

    def step(self) -> None:
        maps = [level.detach().requires_grad_() for level in self.maps]
        self.kit.sync()
        loss, _ = self.compute_loss(maps, self.targets)
        loss.backward()
        self.kit.sync()

    def check(self) -> list[float]:
        return []


class Inference(Case):
    """One pass of the folded network, from an array to an array."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        self.network = kit.network(filled(kit, kit.model(case['cfg'])))
        self.images = pictures(case['batch'], case['size'])

    def step(self) -> np.ndarray:
        return self.network(self.images)

    def check(self) -> list[float]:
        """The mean of each column of the first five."""
        return self.step()[..., :5].astype(float).mean((0, 1)).tolist()


class Suppression(Case):
    """Non-maximum suppression at evaluation's thresholds, of so many candidates in one picture."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        self.suppress = kit.suppress(candidates(case['count']))

    def step(self) -> np.ndarray:
        return self.suppress()

    def check(self) -> list[float]:
        boxes = self.step().astype(float)
        return [len(boxes), *boxes.mean(0).tolist()]


class Loading(Case):
    """Training pictures with mosaics: seconds a picture, of one process by its own processor time, or of several."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        import cv2

        cv2.setNumThreads(0)  # one process is to be one core
        self.batches = endless(kit.loader(case))
        self.clock = time.perf_counter if case['workers'] else time.process_time

    def run(self, times: int) -> float:
        for _ in range(1 + 2 * self.case['workers']):
            next(self.batches)  # each worker may have had two ready
        start, count = self.clock(), 0
        for _ in range(times):
            count += len(next(self.batches)[0])
        return (self.clock() - start) / count


class Scan(Case):
    """Reading and checking a data set's labels, with or without the cache file of an earlier run."""

    def before(self) -> None:
        folder = Path(self.case['folder'])
        if self.case['cold']:
            for file in folder.parent.glob('*.cache*'):
                file.unlink()

    def step(self) -> None:
        self.kit.scan(self.case['folder'])


def endless(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches


def make_case(kit: Any, case: dict) -> Case:
    kinds: dict[str, Callable[..., Case]] = {
        'train': Training, 'loss': Loss, 'infer': Inference, 'nms': Suppression, 'load': Loading, 'scan': Scan,
    }  # fmt: skip
    if case['kind'] in ('validate', 'decode'):
        from benchmarks import shares

        return {'validate': shares.Validation, 'decode': shares.Decoding}[case['kind']](kit, case)
    return kinds[case['kind']](kit, case)


# The same inputs everywhere -------------------------------------------------------------------------------------------


def filled(kit: Any, model: Any) -> Any:
    """The model with weights that depend on their names and shapes alone."""
    state = {}
    for name, tensor in model.state_dict().items():
        if name.rsplit('.', 1)[-1] in ('weight', 'bias', 'running_mean', 'running_var'):
            state[name] = kit.tensor(weights(name, tuple(tensor.shape)))
    model.load_state_dict(state, strict=False)
    return model


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
    if name.endswith(('bias', 'mean')):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)


def pictures(batch: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((batch, 3, size, size), np.float32)


def labels(batch: int, nc: int) -> np.ndarray:
    """About seven boxes a picture, as COCO has: (n, 6) image, class, x, y, w, h."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(batch), 7)
    wh = rng.uniform(0.03, 0.5, (len(image), 2))
    xy = rng.uniform(wh / 2, 1 - wh / 2)
    return np.column_stack([image, rng.integers(0, nc, len(image)), xy, wh]).astype(np.float32)


def candidates(count: int) -> np.ndarray:
    """Rows (1, count, 85) as a network gives them: some twenty boxes around each object, all above the threshold."""
    rng = np.random.default_rng(2)
    objects = max(count // 20, 1)
    box = np.concatenate([rng.uniform(50, 590, (objects, 2)), rng.uniform(20, 200, (objects, 2))], 1)
    mine = rng.integers(0, objects, count)
    rows = np.zeros((1, count, 85), np.float32)
    rows[0, :, :4] = box[mine] * rng.normal(1, 0.05, (count, 4))
    rows[0, :, 4] = rng.uniform(0.1, 1, count)
    rows[0, np.arange(count), 5 + mine % 80] = rng.uniform(0.1, 1, count)
    return rows
