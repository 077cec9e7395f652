"""How much of an evaluation is spent after the network: suppression and comparison with the labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case


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


def timed(function: Callable) -> tuple[Callable, list[float]]:
    """The function, and a list that gets the seconds of each of its calls."""
    spent: list[float] = []

    def wrapper(*args: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args)
        finally:
            spent.append(time.perf_counter() - start)

    return wrapper, spent
