"""A checkpoint with random weights, where none was given: python -m benchmarks.weights FILE CFG NAME [NAME ...]"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> None:
    from models.yolo import Model
    from utils.checkpoint import Checkpoint, save_checkpoint, state_arrays

    path, cfg, *names = sys.argv[1:] if argv is None else argv
    model = Model(cfg, nc=len(names))
    anchors = model.detect.anchors.numpy().copy()
    save_checkpoint(path, Checkpoint(model.yaml, state_arrays(model), names, model.stride.numpy().tolist(), anchors))


if __name__ == '__main__':
    main()
