"""Accuracy, size and speed of a model in every format.

    python benchmarks.py --weights yolov5n.pt --data coco128.yaml --img 640
    python benchmarks.py --weights yolov5n.pt --hard-fail 0.29   # an error if a format fails or its mAP50-95 is lower

The work is done in benchmarks/formats.py; that folder also holds the benchmarks of the project itself.
"""

import sys

from benchmarks.formats import main
from utils.errors import run_main

if __name__ == '__main__':
    sys.exit(run_main(main))
