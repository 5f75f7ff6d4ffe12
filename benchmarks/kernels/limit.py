"""The limit of a case on this machine, measured in the same run: what no implementation can beat by much.

In: a case, the bytes it must move, the cores it runs on.  Out: seconds, with what they were made from.
Invariant: the largest of what the multiply-adds take at the peak, what the bytes take at copy bandwidth within a
working set of that size, and what the rows gathered at random take.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from benchmarks.kernels.case import Case
from benchmarks.kernels.streams import copy_bandwidth, gather_seconds
from benchmarks.quiet import Cores
from comprehension.bench.limits import fma_peak

PATIENCE_SECONDS = 2.0  # for cores that nobody disturbs: a limit that is too low flatters

_peaks: dict[int, float] = {}
_bandwidths = cache(copy_bandwidth)


def _peak(threads: int) -> float:
    """The best seen so far: measured again for each case, because others may use the machine."""
    _peaks[threads] = max(_peaks.get(threads, 0.0), fma_peak(threads))
    return _peaks[threads]


def limit_of(case: Case, moved: float, cores: Cores) -> dict[str, Any]:
    """`seconds`; for convolutions `lane_seconds` too: the peak times the fraction of lanes that can be filled."""
    parts: dict[str, float] = {}
    threads = cores.count
    cores.wait(time.perf_counter() + PATIENCE_SECONDS)
    if case.flops:
        parts["fma"] = case.flops / _peak(threads)
    if case.blocks:
        parts["lines"] = gather_seconds(case.blocks, threads)
    else:
        parts["bytes"] = moved / _bandwidths(int(moved), threads)
    limit: dict[str, Any] = {"seconds": max(parts.values()), **{f"{k}_seconds": v for k, v in parts.items()}}
    if case.lanes:
        limit["lane_seconds"] = max(parts["bytes"], parts["fma"] / case.lanes)
    return limit
