"""Several processes meet and run a module's `main`: the launcher's `-m tests.ranks MODULE ...`."""

from __future__ import annotations

import importlib
import sys

from utils.peers import import_oneflow, together

if __name__ == '__main__':
    with together():
        import_oneflow()
        importlib.import_module(sys.argv.pop(1)).main()
