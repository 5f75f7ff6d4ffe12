"""One side in a process of its own: `python -m benchmarks.kernels.serve SIDE THREADS CPUS`.

In: lines on standard input.  Out: one line for each, marked, on standard output (libraries may print too).

| line | |
|---|---|
| `prepare NAME FOLDER` | draws, compiles, compares with the exact results in FOLDER; answers with the columns it has |
| `sample COLUMN COUNT` | seconds a call over so many calls; short ones after one that wakes the threads |
| `drop` | frees the case |
| `about` | versions, and what threads there are |

Invariant: threads and CPUs are fixed before the library is imported; nothing is timed that was not compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MARK = "answer: "


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the parent's `close` does it
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _limit_threads(side: str, threads: int) -> None:
    if side.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)


def _about(side: str) -> dict[str, Any]:
    from importlib.metadata import version

    import threadpoolctl

    package = {"ours": "numba", "torch.compile": "torch"}.get(side, side)
    pools = [{k: v for k, v in pool.items() if k != "filepath"} for pool in threadpoolctl.threadpool_info()]
    return {"package": f"{package} {version(package)}", "pools": pools}


class _Served:
    """The case at hand."""

    def __init__(self, side: str, name: str, folder: Path) -> None:
        from benchmarks.kernels.cases import CASES
        from benchmarks.kernels.formulations import prepare

        (case,) = (case for case in CASES if case.name == name)
        self.what, self.folder = f"{name}, {side}", folder
        self.calls = prepare(side, case)

    def columns(self) -> dict[str, float]:
        """Each column with a first estimate of seconds a call."""
        self._compare("fresh")
        found = {"fresh": self._estimate("fresh")}
        if self.calls.into is not None:
            self._compare("into")
            found["into"] = self._estimate("into")
        return found

    def sample(self, column: str, count: int) -> float:
        call = getattr(self.calls, column)
        if count > 1:
            call()
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count

    def _estimate(self, column: str) -> float:
        return min(self.sample(column, 1) for _ in range(3))

    def _compare(self, column: str) -> None:
        from benchmarks.kernels.bounded import check

        received = self.calls.to_arrays(getattr(self.calls, column)())
        exact = len(list(self.folder.glob("value*.npy")))
        assert len(received) == exact, f"{self.what}: {len(received)} outputs, expected {exact}"
        for number, array in enumerate(received):
            value, bound = (np.load(self.folder / f"{part}{number}.npy", mmap_mode="r") for part in ("value", "bound"))
            check(array, value, bound, f"{self.what}, {column}")


def main() -> None:
    side, threads = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, [int(cpu) for cpu in sys.argv[3].split(",")])
    _die_with_parent()
    _limit_threads(side, threads)
    served: _Served | None = None
    for line in sys.stdin:
        verb, *arguments = line.rstrip("\n").split("\t")
        answer: Any = None
        try:
            if verb == "prepare":
                served = _Served(side, arguments[0], Path(arguments[1]))
                answer = served.columns()
            elif verb == "sample":
                assert served is not None
                answer = served.sample(arguments[0], int(arguments[1]))
            elif verb == "drop":
                served = None
                gc.collect()
            elif verb == "about":
                answer = _about(side)
        except Exception as error:  # the table says what went wrong with this side, and goes on
            served = None
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(MARK + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
