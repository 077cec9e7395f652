"""How many label files a second are checked, cold and from the cache: python -m benchmarks.labels"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from utils.data.images import encode_image
from utils.data.labels import read_labels


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--files', type=int, default=5000, help='how many pictures with a label file each')
    files = parser.parse_args(argv).files
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), files)
        for state in ('checked', 'from the cache'):
            start = time.perf_counter()
            read_labels(Path(folder) / 'images', nc=80)
            print(f'{state}: {files / (time.perf_counter() - start):.0f} label files/s')


def write_set(folder: Path, files: int) -> None:
    """Pictures of 640x480 with about seven boxes each, as COCO has."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir()
    (folder / 'labels').mkdir()
    picture = encode_image(rng.integers(0, 256, (480, 640, 3), np.uint8), '.jpg', 'picture')
    for i in range(files):
        (folder / f'images/{i}.jpg').write_bytes(picture[:20000] + picture[-2:])  # only its head and end are read
        boxes = rng.uniform(0.1, 0.9, (rng.poisson(7), 4))
        rows = (f'{rng.integers(80)} ' + ' '.join(f'{value:.6f}' for value in box) for box in boxes)
        (folder / f'labels/{i}.txt').write_text('\n'.join(rows))


if __name__ == '__main__':
    main()
