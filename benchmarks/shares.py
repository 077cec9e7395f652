"""Shares: how much of an evaluation is spent after the network, and how much of loading a picture in OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case, Loading


class Validation(Case):
    """One evaluation; its value is the share, 0 to 1, of non-maximum suppression and matching in its time."""

    def __init__(self, kit: Any, case: dict) -> None:
        super().__init__(kit, case)
        import val
        from utils.callbacks import Callbacks

        options = val.ValOptions(
            data=case['data'], weights=[case['weights']], imgsz=case['size'], batch_size=case['batch'], device='cpu'
        )
        self.val, self.job = val, val.load_job(options, case['folder'], Callbacks(), plots=False)

    def run(self, times: int) -> float:
        total = after = 0.0
        score, spent = timed(self.val.score_picture)
        before, self.val.score_picture = self.val.score_picture, score
        try:
            for _ in range(times):
                self.job.seconds[:] = 0
                start = time.perf_counter()
                self.val.evaluate(self.job)
                total += time.perf_counter() - start
                after += self.job.seconds[2]
        finally:
            self.val.score_picture = before
        return (after + sum(spent)) / total


class Decoding(Loading):
    """OpenCV's decoding and warping, as a share of all work of loading a picture in this process.

    They are compiled code and the same in every implementation: how far the rest can be made faster is bounded by them.
    """

    FUNCTIONS = ('imread', 'imdecode', 'warpAffine')  # the original reads files, this project bytes

    def run(self, times: int) -> float:
        import cv2

        plain = [getattr(cv2, name) for name in self.FUNCTIONS]
        clocked = [timed(function, self.clock) for function in plain]
        try:
            self._replace([function for function, _ in clocked])
            start = self.clock()
            for _ in range(times):
                next(self.batches)
            total = self.clock() - start
        finally:
            self._replace(plain)
        return sum(sum(spent) for _, spent in clocked) / total

    def _replace(self, functions: list[Callable]) -> None:
        import cv2

        for name, function in zip(self.FUNCTIONS, functions):
            setattr(cv2, name, function)


def timed(function: Callable, clock: Callable[[], float] = time.perf_counter) -> tuple[Callable, list[float]]:
    """The function, and a list that gets the seconds of each of its calls."""
    spent: list[float] = []

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(clock() - start)

    return wrapper, spent
