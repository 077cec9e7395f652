"""How many pictures a second the loader feeds: python -m benchmarks.loader --data coco128.yaml

The rate for each core is that of one process by its own processor time, so that a busy machine does not lower it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import cv2

from utils.data.labels import read_labels
from utils.data.loader import create_dataloader
from utils.data.yaml import load_data


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    data = load_data(options.data)
    labels = read_labels(data.train, data.nc, name='train')
    common = {'augment': True, 'shuffle': True, 'hyp': {'mosaic': options.mosaic}, 'cache': options.cache}
    print(f'{options.data}: {len(labels)} pictures at {options.imgsz}, mosaic {options.mosaic:g}')

    cv2.setNumThreads(0)  # one process is to be one core
    loader, _ = create_dataloader(labels, options.imgsz, options.batch_size, workers=0, **common)
    print(f'one process: {rate(loader, options.seconds, time.process_time):.0f} pictures/s a core')

    loader, _ = create_dataloader(labels, options.imgsz, options.batch_size, workers=options.workers, **common)
    print(f'{loader.workers} workers: {rate(loader, options.seconds, time.perf_counter):.0f} pictures/s')
    loader.close()


def rate(loader: object, seconds: float, clock: Callable[[], float]) -> float:
    """Pictures a second by `clock`, after one batch to warm up."""
    batches, pictures = endless(loader), 0
    next(batches)
    start, end = clock(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        pictures += len(next(batches)[0])
    return pictures / (clock() - start)


def endless(loader: object) -> Iterator[tuple]:
    while True:
        yield from loader


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--data', default='coco128.yaml', help='data set YAML')
    parser.add_argument('--imgsz', type=int, default=640, help='side of the pictures in pixels')
    parser.add_argument('--batch-size', type=int, default=16, help='pictures in a batch')
    parser.add_argument('--workers', type=int, default=8, help='processes, at most one for each core')
    parser.add_argument('--mosaic', type=float, default=1.0, help='share of mosaics')
    parser.add_argument('--cache', choices=('ram', 'disk'), help='keep decoded pictures')
    parser.add_argument('--seconds', type=float, default=5.0, help='how long to measure')
    return parser.parse_args(argv)


if __name__ == '__main__':
    main()
