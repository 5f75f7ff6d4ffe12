"""One side in a process of its own: `python -m benchmarks.kernels.serve SIDE THREADS CPUS`.

In: lines on standard input.  Out: one line for each, marked, on standard output (libraries may print too).

| line | |
|---|---|
| `prepare NAME FOLDER` | draws, compiles, compares with the exact results in FOLDER; answers with the columns it has |
| `sample COLUMN COUNT` | seconds a call over so many calls, and whether the cores were quiet before and after |
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

from benchmarks.quiet import Cores

MARK = "answer: "
PATIENCE_SECONDS = 0.3  # for a sample that nobody disturbs
WOKEN_SECONDS = 0.02  # calls shorter than this are timed after one that wakes the threads


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

    def __init__(self, side: str, name: str, folder: Path, cores: Cores) -> None:
        from benchmarks.kernels.cases import CASES
        from benchmarks.kernels.formulations import prepare

        (case,) = (case for case in CASES if case.name == name)
        self.what, self.folder, self._cores = f"{name}, {side}", folder, cores
        self.calls = prepare(side, case)
        self._estimates: dict[str, float] = {}

    def columns(self) -> dict[str, float]:
        """Each column with a first estimate of seconds a call."""
        self._compare("fresh")
        self._estimates["fresh"] = self._estimate("fresh")
        if self.calls.into is not None:
            self._compare("into")
            self._estimates["into"] = self._estimate("into")
        return self._estimates

    def sample(self, column: str, count: int) -> tuple[float, bool]:
        """Seconds a call; taken again where the probe before or after says disturbed, as long as there is time."""
        return self._cores.undisturbed(lambda: self._timed(column, count), PATIENCE_SECONDS)

    def _timed(self, column: str, count: int) -> float:
        call = getattr(self.calls, column)
        if count > 1 or self._estimates.get(column, 0.0) < WOKEN_SECONDS:
            call()
        start = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - start) / count

    def _estimate(self, column: str) -> float:
        return min(self._timed(column, 1) for _ in range(3))

    def _compare(self, column: str) -> None:
        from benchmarks.kernels.bounded import check

        received = self.calls.to_arrays(getattr(self.calls, column)())
        exact = len(list(self.folder.glob("value*.npy")))
        assert len(received) == exact, f"{self.what}: {len(received)} outputs, expected {exact}"
        for number, array in enumerate(received):
            value, bound = (np.load(self.folder / f"{part}{number}.npy", mmap_mode="r") for part in ("value", "bound"))
            check(array, value, bound, f"{self.what}, {column}")


def main() -> None:
    side, threads, cpus = sys.argv[1], int(sys.argv[2]), [int(cpu) for cpu in sys.argv[3].split(",")]
    os.sched_setaffinity(0, cpus)
    _die_with_parent()
    cores = Cores(cpus)
    _limit_threads(side, threads)
    served: _Served | None = None
    for line in sys.stdin:
        verb, *arguments = line.rstrip("\n").split("\t")
        answer: Any = None
        try:
            if verb == "prepare":
                served = _Served(side, arguments[0], Path(arguments[1]), cores)
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
