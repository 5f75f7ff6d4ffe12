"""Whether the cores are this machine's own at the moment: a probe that knows nothing of what is measured.

In: the CPUs that a measurement runs on.  Out: quiet or not; waiting until they are.
Invariant: a sample is taken again because of the probes around it, never because of its own time, and every side is
treated alike.

A virtual CPU is one of two threads of a core whose other thread may serve somebody else.  Then a sum of 32 KB, which
never leaves the first cache, takes 1.6 to 2 times its time, for tens to hundreds of milliseconds and often more than
half of the time.  Kernels that work from the caches or keep all line buffers busy take up to twice their time with it
(attention 6.2 ms for 4.5), kernels that wait for one thing after another hardly more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

_ELEMENTS = 8192  # 32 KB: within any first cache, and hardly in the way of what is measured
_REPEATS = 5  # the shortest counts: an interrupt is not a neighbour
_DISTURBED = 1.3  # times the shortest probe so far; a busy neighbour costs 1.6 and more
_CALIBRATION_SECONDS = 0.5
_NAP_SECONDS = 0.002


def usable() -> list[int]:
    """The CPUs that this thread may use; one that stands for all where the system does not tell (not Linux)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


class Cores:
    """Probes for the CPUs that this thread may use."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self._cpus = list(cpus)
        self._values = np.ones(_ELEMENTS, dtype=np.float32)
        self._best = dict.fromkeys(self._cpus, float("inf"))
        stop = time.perf_counter() + _CALIBRATION_SECONDS
        while time.perf_counter() < stop:
            self.quiet()

    @property
    def count(self) -> int:
        return len(self._cpus)

    def quiet(self) -> bool:
        """Whether no CPU is disturbed; the thread comes back with all of `cpus` to run on."""
        if len(self._cpus) == 1:
            return self._probe(self._cpus[0])
        try:
            found = []
            for cpu in self._cpus:
                os.sched_setaffinity(0, {cpu})
                found.append(self._probe(cpu))
            return all(found)
        finally:
            os.sched_setaffinity(0, self._cpus)

    def wait(self, until: float) -> bool:
        """Naps until all are quiet, or the clock (`time.perf_counter`) says `until`; whether they are."""
        while not (found := self.quiet()) and time.perf_counter() < until:
            time.sleep(_NAP_SECONDS)
        return found

    def undisturbed(self, timed: Callable[[], float], patience: float) -> tuple[float, bool]:
        """What `timed` answers, and whether all were quiet before and after.

        Called again where they were not, until `patience` seconds are over (once, where a call takes longer).
        """
        stop = time.perf_counter() + patience
        while True:
            before = self.wait(stop)
            seconds = timed()
            quiet = before and self.quiet()
            if quiet or time.perf_counter() >= stop:
                return seconds, quiet

    def _probe(self, cpu: int) -> bool:
        taken = min(self._once() for _ in range(_REPEATS))
        self._best[cpu] = min(self._best[cpu], taken)
        return taken < _DISTURBED * self._best[cpu]

    def _once(self) -> float:
        start = time.perf_counter()
        self._values.sum()
        return time.perf_counter() - start
