"""What one operation costs beyond its own work: eagerly, recorded, and validated, at call depths 4 and 10.

In: a step of `OPERATIONS` additions of two small tensors.  Out: `benchmarks/results/op_price.json`, microseconds.
The operation's own work is NumPy's addition of the same arrays, timed in the same rounds.  Recorded: every step is a
trace.  Validated: every step is co-executed; the time is that of Python's side, which does not wait for the graph
(nothing is read).  Feed and fetch: a step that gives one new tensor and reads one result, against one that reads a
constant number of times less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save, time_sides
from coexec import coexecute
from coexec.config import config

OPERATIONS = 200
DEPTHS = (4, 10)


def _at_depth(depth: int, body: Callable[[], Any]) -> Any:
    """`body` under `depth` frames of the user's."""
    return body() if depth <= 1 else _at_depth(depth - 1, body)


def _chain(x: mt.Tensor, y: mt.Tensor, depth: int) -> mt.Tensor:
    def body() -> mt.Tensor:
        z = x
        for _ in range(OPERATIONS // 10):
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
            z = z + y
        return z

    result: mt.Tensor = _at_depth(depth, body)
    return result


def _numpy_chain(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Callable[[], None]:
    def run() -> None:
        z = x
        for _ in range(OPERATIONS):
            z = np.add(z, y)

    return run


def _median_step(step: Callable[[], object], rounds: int = 60) -> float:
    samples = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        samples.append(time.perf_counter() - start)
        time.sleep(0.001)  # the graph's thread ends its step: the next one starts at once
    return statistics.median(samples)


def prices(depth: int) -> dict[str, float]:
    """Microseconds per operation beyond NumPy's own."""
    x, y = (mt.asarray(np.ones((4, 4), np.float32) * n) for n in (1, 2))
    own = _numpy_chain(x.numpy(), y.numpy())
    timings = time_sides({"own": own, "eager": lambda: _chain(x, y, depth)})
    base = timings.median("own")
    figures = {"own work": base, "eager": timings.median("eager") - base}
    config.mode = "trace"
    traced = coexecute(lambda: _chain(x, y, depth))
    traced()
    figures["recorded"] = _median_step(traced) - timings.median("eager")
    config.mode = "coexec"
    validated = coexecute(lambda: _chain(x, y, depth))
    for _ in range(5):
        validated()
        coexec.wait()
    before = validated.report().coexecuted_steps
    figures["validated"] = _median_step(validated)
    assert validated.report().coexecuted_steps > before, validated.report()
    return {name: seconds / OPERATIONS * 1e6 for name, seconds in figures.items()}


def feed_and_fetch() -> dict[str, float]:
    """Microseconds for one more tensor fed, and for one more value read, in a co-executed step."""

    def step_of(feeds: int, reads: int) -> Callable[[], object]:
        constant = mt.ones((4, 4))
        arrays = [np.ones((4, 4), np.float32) for _ in range(feeds)]

        @coexecute
        def step() -> None:
            z = constant
            for array in arrays:
                z = z + mt.asarray(array, copy=False)
            for _ in range(reads):
                z = z + constant
                float(z[0, 0])

        for _ in range(5):
            step()
            coexec.wait()
        return step

    figures = {
        name: _median_step(step_of(*shape))
        for name, shape in {"base": (1, 1), "feeds": (41, 1), "reads": (1, 41)}.items()
    }
    return {
        "40 feeds, each": (figures["feeds"] - figures["base"]) / 40 * 1e6,
        "40 reads, each": (figures["reads"] - figures["base"]) / 40 * 1e6,
    }


def main() -> None:
    results = {f"depth {depth}": prices(depth) for depth in DEPTHS} | {"exchange": feed_and_fetch()}
    for name, figures in results.items():
        print(name, {k: f"{v:.2f} µs" for k, v in figures.items()}, flush=True)
    print(save("op_price", results))


if __name__ == "__main__":
    main()
