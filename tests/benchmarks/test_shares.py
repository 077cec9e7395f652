"""Shares: known parts of a known time."""

import cv2
import pytest

from benchmarks import cases, shares


class Kit:
    """Its loader decodes for 3 seconds, warps for 2 and does something else for 5."""

    def __init__(self, clock):
        self.clock = clock

    def loader(self, case):
        while True:
            cv2.imread('a.jpg')
            cv2.warpAffine('a', 'matrix', dsize=(1, 1))
            self.clock.now += 5
            yield [0]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def taking(self, seconds):
        def work(*args, **kwargs):
            self.now += seconds

        return work


def test_the_part_of_opencv(monkeypatch):
    clock = Clock()
    imread, warp = clock.taking(3), clock.taking(2)
    monkeypatch.setattr(cv2, 'imread', imread)
    monkeypatch.setattr(cv2, 'warpAffine', warp)
    monkeypatch.setattr(cv2, 'setNumThreads', lambda number: None)
    case = cases.make_case(Kit(clock), {'kind': 'decode', 'workers': 0})
    assert isinstance(case, shares.Decoding)
    case.clock = clock
    assert case.run(3) == pytest.approx(0.5)
    assert (cv2.imread, cv2.warpAffine) == (imread, warp)
