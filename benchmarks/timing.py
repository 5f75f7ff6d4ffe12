"""Timing side by side: interleaved rounds, medians, and an interval for each ratio.

In: named callables that do the same work.  Out: seconds per call by name, and ratios with 95 % intervals.
Invariant: the sides run in turn within every round, in a drawn order, so that a machine that slows down slows
them all; a side's figure is the median over the rounds.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.quiet import Cores, usable

RESULTS = Path(__file__).parent / "results"
_SAMPLE_SECONDS = 0.002  # one timed sample repeats a fast call until about this long
THREAD_VARIABLES = (
    "COMPREHENSION_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
_PATIENCE_SECONDS = 0.3  # for a sample that nobody disturbs


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds per call: for each side one sample a round."""

    samples: dict[str, list[float]]

    def median(self, side: str) -> float:
        return statistics.median(self.samples[side])

    def ratio(self, slower: str, faster: str) -> tuple[float, float, float]:
        """Median of slower/faster over paired rounds with a bootstrap interval (low, median, high)."""
        pairs = [a / b for a, b in zip(self.samples[slower], self.samples[faster], strict=True)]
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(pairs, k=len(pairs))) for _ in range(400))
        return medians[9], statistics.median(pairs), medians[389]


def time_sides(sides: Mapping[str, Callable[[], object]], rounds: int = 30, warmup: int = 3) -> Timings:
    """Runs all sides `rounds` times in turn, and short samples again where somebody disturbed them (`Cores`)."""
    cores = Cores(usable())
    repeats = {}
    for name, side in sides.items():
        for _ in range(warmup):
            side()
        start = time.perf_counter()
        side()
        repeats[name] = max(1, int(_SAMPLE_SECONDS / max(time.perf_counter() - start, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    draw = random.Random(1)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            seconds, _ = cores.undisturbed(partial(_sample, sides[name], repeats[name]), _PATIENCE_SECONDS)
            samples[name].append(seconds)
    return Timings(samples)


def _sample(side: Callable[[], object], count: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(count):
        side()
    return (time.perf_counter() - start) / count


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to place the figures."""
    from comprehension.machine import host  # the same description that the compiler's model reads

    described = host()
    return {
        "processor": described.cpu,
        "cores": os.cpu_count(),
        "vector_bits": described.vector_bits,
        "l1_bytes": described.l1_bytes,
        "l2_bytes": described.l2_bytes,
        "l3_bytes": described.l3_bytes,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def check_losses(first: Mapping[str, Sequence[float]], bound: float) -> None:
    """Raises AssertionError where a side's first losses are `bound` or more from those of the side "eager"."""
    for name, losses in first.items():
        difference = max(abs(a - b) for a, b in zip(losses, first["eager"], strict=True))
        assert difference < bound, f"{name} differs from eager by {difference} in its first {len(losses)} losses"


def in_the_project(told: str) -> str:
    """A remark without the folder that this copy of the project lies in."""
    return told.replace(f"{RESULTS.parents[1]}{os.sep}", "")


def save(name: str, results: Any) -> Path:
    """Writes `results` with the machine's description to `benchmarks/results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1, sort_keys=True) + "\n")
    return path
