"""Compile time: cold (in a compiler process that has compiled once), from the cache, and by number of statements.

In: the texts below.  Out: `benchmarks/results/compile_time.json`: seconds in all and by stage of the pipeline.
Cold: each round has an empty cache folder and a text that was not seen before (a constant changes), so that neither
cache nor memory helps; the process is warm.  Cached: a fresh `define` and `compile` of a text whose kernel is on disk;
first: the same as the first thing that a program does, NumPy and the package imported.
Statements: chains of elementwise statements, as co-execution lowers them before it merges them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

# Before the package reads it: nothing of the user's own cache may help.
os.environ["COMPREHENSION_CACHE"] = tempfile.mkdtemp(prefix="comprehension-benchmark-")

import comprehension as tc
from benchmarks.timing import save

ROUNDS = 5
POINTWISE = "def f(float(N) X) -> (Y) {{ Y(n) = 0.5 * X(n) * (1.0 + erf(X(n) * 0.7{0})) }}"
PRODUCT = "def f(float(M,K) A, float(K,N) B) -> (C) {{ C(m,n) +=! A(m,k) * B(k,n) * 1.{0} }}"
ATTENTION = """
def f(float(B,H,L,D) Q, float(B,H,L,D) K, float(B,H,L,D) V) -> (O) {{
    s(b,h,i,j) +=! Q(b,h,i,d) * K(b,h,j,d) * 0.12{0}
    top(b,h,i) max=! s(b,h,i,j)
    e(b,h,i,j) = exp(s(b,h,i,j) - top(b,h,i))
    total(b,h,i) +=! e(b,h,i,j)
    p(b,h,i,j) = e(b,h,i,j) / total(b,h,i)
    O(b,h,i,d) +=! p(b,h,i,j) * V(b,h,j,d)
}}"""
CASES: dict[str, tuple[str, tuple[tuple[int, ...], ...]]] = {
    "pointwise (gelu)": (POINTWISE, ((4096,),)),
    "product": (PRODUCT, ((512, 512), (512, 512))),
    "attention": (ATTENTION, ((4, 8, 256, 64),) * 3),
}
_FIRST = """
import json, sys, time
import numpy
import comprehension as tc

start = time.perf_counter()
tc.define(sys.argv[1]).f.compile(*[tc.Spec(tuple(shape), "float32") for shape in json.loads(sys.argv[2])])
print(time.perf_counter() - start)
"""
_fresh = count(10_000_000)  # digits that no text had before


def _specs(shapes: tuple[tuple[int, ...], ...]) -> list[tc.Spec]:
    return [tc.Spec(shape, "float32") for shape in shapes]


def cold(text: str, shapes: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    """Median seconds of a compilation nobody has seen, and of its stages."""
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        kernel = tc.define(text.format(next(_fresh))).f.compile(*_specs(shapes))
        totals.append(time.perf_counter() - start)
        for name, seconds in kernel.report.seconds.items():
            stages.setdefault(name, []).append(seconds)
    return {
        "seconds": statistics.median(totals),
        "stages": {name: statistics.median(values) for name, values in stages.items()},
    }


def cached(text: str, shapes: tuple[tuple[int, ...], ...]) -> float:
    """Median seconds of define and compile where the kernel is on disk."""
    known = text.format(next(_fresh))
    tc.define(known).f.compile(*_specs(shapes))
    totals = []
    for _ in range(20):
        start = time.perf_counter()
        tc.define(known).f.compile(*_specs(shapes))
        totals.append(time.perf_counter() - start)
    return statistics.median(totals)


def first(text: str, shapes: tuple[tuple[int, ...], ...]) -> float:
    """Median seconds of define and compile in new programs, where the kernel is on disk."""
    known = text.format(next(_fresh))
    tc.define(known).f.compile(*_specs(shapes))
    command = [sys.executable, "-c", _FIRST, known, json.dumps(shapes)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(ROUNDS)]
    return statistics.median(float(run.stdout) for run in runs)


def _chain(statements: int) -> str:
    """Each statement reads the two before it; only the last is an output."""

    def lines() -> Iterator[str]:
        yield "t0(i,j) = X(i,j) + 1.5"
        yield "t1(i,j) = t0(i,j) * X(i,j)"
        for k in range(2, statements - 1):
            yield f"t{k}(i,j) = t{k - 1}(i,j) * t{k - 2}(i,j) + X(i,j)"
        yield f"Y(i,j) = t{statements - 2}(i,j) * 0.1{next(_fresh)}"

    return "def f(float(M,N) X) -> (Y) {\n    " + "\n    ".join(lines()) + "\n}"


def by_statements(counts: tuple[int, ...] = (4, 16, 64, 128, 256, 500)) -> dict[str, Any]:
    """For chains of so many statements: seconds in all, and in the stages that ask isl."""
    results = {}
    for statements in counts:
        start = time.perf_counter()
        kernel = tc.define(_chain(statements)).f.compile(tc.Spec((256, 256), "float32"))
        results[str(statements)] = {
            "seconds": time.perf_counter() - start,
            "stages": dict(kernel.report.seconds),
        }
    return results


def main() -> None:
    for text, shapes in CASES.values():  # the process has compiled once
        tc.define(text.format(next(_fresh))).f.compile(*_specs(shapes))
    results: dict[str, Any] = {}
    for name, (text, shapes) in CASES.items():
        fresh, again, anew = cold(text, shapes), cached(text, shapes), first(text, shapes)
        results[name] = {"cold": fresh, "cached_seconds": again, "first_seconds": anew}
        print(f"{name}: cold {fresh['seconds']:.2f} s, cached {again * 1e3:.1f} ms, first {anew * 1e3:.0f} ms")
    results["statements"] = by_statements()
    for statements, row in results["statements"].items():
        print(f"{statements} statements: {row['seconds']:.2f} s")
    print(save("compile_time", results))


if __name__ == "__main__":
    main()
