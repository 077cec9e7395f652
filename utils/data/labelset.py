"""The labels of a split in memory: few large arrays, so that forked loader workers share their pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

LEFT_OUT, ROW_LEFT_OUT, REMOVED = 'left out', 'row left out', 'removed'
KEPT, IGNORED, BACKGROUND = 'kept', 'ignored', 'background'


class Problem(NamedTuple):
    """Something noteworthy about one file.

    Attributes:
        file: path of the label file or picture.
        line: line of the label file, counted from 1; 0 when the whole file is meant.
        kind: of a row: columns, number, finite, class, range, area, outside, duplicate; of a file: missing, empty,
            text, picture, note; of a split: suffix, hidden, orphan, again, shared,
            list, folder.
        detail: what is wrong, in words.
        action: what was done: left out (the picture with its labels), row left out (that row), removed (a row that
            repeats another), kept, ignored (a file that is neither picture nor label) or background.
    """

    file: str
    line: int
    kind: str
    detail: str
    action: str


class Ragged(Sequence):
    """A sequence of arrays of different lengths, kept as one read-only array: item i is a view of its rows.

    Args:
        values: (total, columns).
        offsets: (items + 1,) int64, item i being values[offsets[i]:offsets[i + 1]].
    """

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values, self.offsets = _read_only(values), _read_only(offsets)

    @classmethod
    def pack(cls, items: Iterable[np.ndarray], columns: int) -> Ragged:
        """From arrays (n_i, columns), float32; an empty list counts as no rows."""
        items = [np.asarray(item, np.float32).reshape(-1, columns) for item in items]
        values = np.concatenate([np.zeros((0, columns), np.float32), *items])
        return cls(values, np.cumsum([0, *map(len, items)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        index = range(len(self))[index]  # negative numbers and the IndexError
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def counts(self) -> np.ndarray:
        """Rows of each item, (items,)."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int]) -> Ragged:
        return Ragged.pack([self[i] for i in indices], self.values.shape[1])


class Polygons(Sequence):
    """Per picture a list of polygons (points, 2): `polygons[i][j]`.

    Args:
        points: every polygon of the split, one after another.
        offsets: (pictures + 1,) int64, picture i having the polygons offsets[i] to offsets[i + 1].
    """

    def __init__(self, points: Ragged, offsets: np.ndarray) -> None:
        self.points, self.offsets = points, _read_only(offsets)

    @classmethod
    def pack(cls, items: Iterable[Sequence[np.ndarray]]) -> Polygons:
        """From a list of polygons for each picture."""
        items = list(items)
        points = Ragged.pack((polygon for item in items for polygon in item), 2)
        return cls(points, np.cumsum([0, *map(len, items)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> list[np.ndarray]:
        index = range(len(self))[index]
        return [self.points[i] for i in range(self.offsets[index], self.offsets[index + 1])]


class LabelSet:
    """The usable pictures of a split with their labels.

    Its arrays are read-only views of shared memory: copy a picture's labels before changing them.

    Args:
        images: paths of the pictures.
        labels: per picture (n, 5) float32: class, then x, y, w, h normalised to the picture as it is shown (that is,
            with its EXIF orientation applied). No rows for a background picture.
        shapes: (pictures, 2) int: width, height in pixels, EXIF orientation applied.
        segments: per picture a list of polygons (points, 2) float32, normalised. One for each label row, or none at
            all; in a file that has both kinds, a box row's polygon is its four corners.
        problems: all that was noticed, pictures left out included.
        counts: pictures by what was found: found (label file there), missing, empty, corrupt (left out); rows:
            duplicates (removed), bad_rows (left out), clipped (by less than rounding explains), outside (mostly); and
            from_one: 1 where classes seem to be counted from 1.
    """

    def __init__(
        self,
        images: Sequence[str],
        labels: Sequence[np.ndarray],
        shapes: np.ndarray,
        segments: Sequence[Sequence[np.ndarray]] | None = None,
        problems: Sequence[Problem] = (),
        counts: dict[str, int] | None = None,
    ) -> None:
        self.images = list(images)
        self.labels = labels if isinstance(labels, Ragged) else Ragged.pack(labels, 5)
        self.shapes = _read_only(np.asarray(shapes, np.int32).reshape(-1, 2))
        segments = [()] * len(self.images) if segments is None else segments
        self.segments = segments if isinstance(segments, Polygons) else Polygons.pack(segments)
        self.problems = [Problem(*problem) for problem in problems]
        self.counts = dict(counts or {})
        sizes = {len(self.images), len(self.labels), len(self.shapes), len(self.segments)}
        if len(sizes) != 1:
            raise ValueError(f'{len(self.images)} images, {len(self.labels)} labels, {len(self.shapes)} shapes')

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """Path and labels of each picture."""
        return zip(self.images, self.labels)

    def select(self, indices: Sequence[int]) -> LabelSet:
        """The pictures of these numbers, in this order; problems and counts stay those of the whole split."""
        return LabelSet(
            [self.images[i] for i in indices],
            self.labels.take(indices),
            self.shapes[np.asarray(indices, np.int64)],
            [self.segments[i] for i in indices],
            self.problems,
            self.counts,
        )

    def as_single_class(self) -> LabelSet:
        """The same with every class set to 0 (--single-cls)."""
        values = self.labels.values.copy()
        values[:, 0] = 0
        labels = Ragged(values, self.labels.offsets)
        return LabelSet(self.images, labels, self.shapes, self.segments, self.problems, self.counts)


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.view()
    array.flags.writeable = False
    return array
