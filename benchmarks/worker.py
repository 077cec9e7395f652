"""A child process that is timed: `python -m benchmarks.worker KIND DEVICE [CHECKOUT]`.

It reads one JSON request a line and answers each with one line:

    {"prepare": {"kind": "train", ...}}   {"check": [numbers], "about": "PyTorch 2.13.0, 2 threads"}
    {"run": 3}                            {"value": seconds a repetition, over three}
    {"check": 1}                          {"check": [numbers]}
    {"peak": 1}                           {"peak": most memory it ever had, in bytes}

or with {"error": "what went wrong"}.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any


class Session:
    """The case that was prepared last."""

    def __init__(self, make_kit: Callable[[], Any]) -> None:
        self.make_kit, self.kit, self.case = make_kit, None, None

    def answer(self, request: dict) -> dict:
        if 'prepare' in request:
            from benchmarks.cases import make_case

            self.kit = self.kit or self.make_kit()
            self.case = make_case(self.kit, request['prepare'])
            return {'check': self.case.check(), 'about': self.kit.about()}
        if 'run' in request:
            return {'value': self.case.run(request['run'])}
        if 'check' in request:
            return {'check': self.case.check()}
        return {'peak': peak_memory()}


def peak_memory() -> int:
    """The most memory that this process has had in use, in bytes. (getrusage would count its parent's, too.)"""
    return int(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024


def serve(requests: Iterable[str], answers: IO[str], session: Session) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        try:
            answer = session.answer(json.loads(line))
        except Exception as problem:  # whatever it is, the parent has to hear of it
            traceback.print_exc()
            answer = {'error': f'{type(problem).__name__}: {problem}'}
        print(json.dumps(answer), file=answers, flush=True)


def main(argv: list[str] | None = None) -> None:
    kind, device, *checkout = sys.argv[1:] if argv is None else argv
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print must not get between the answers

    def kit() -> Any:
        from benchmarks.kits import make_kit

        return make_kit(kind, *checkout, device=device) if checkout else make_kit(kind, device=device)

    serve(sys.stdin, answers, Session(kit))


if __name__ == '__main__':
    main()
