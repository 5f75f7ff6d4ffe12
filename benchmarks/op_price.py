"""What one operation costs beyond its own work: eagerly, recorded, and validated, at call depths 4 and 10.

In: a step of `OPERATIONS` additions of two small tensors.  Out: `benchmarks/results/op_price.json`, microseconds.
The operation's own work is NumPy's addition of the same arrays; eager is what a tensor's addition takes beyond it.
Recorded: every step is a trace.  Validated: every step is co-executed; the time is that of Python's side, which does
not wait for the graph (nothing is read).  Both with entering and leaving the step, beyond eager's whole price.  Feed
and fetch: steps that give 40 tensors or read 40 values, against steps of the same operations that do neither.  All
sides in turn, medians.  Runs for some 10 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save, time_sides
from coexec import coexecute
from coexec.config import config

OPERATIONS = 200
BLOCK = 10  # steps in one timed sample: a training loop, not its first steps
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


def _medians(sides: dict[str, tuple[str, Callable[[], object]]], rounds: int = 60) -> dict[str, float]:
    """Seconds a call of each side (mode of co-execution, step); the graph is awake."""

    def in_mode(mode: str, step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            config.mode = mode
            for _ in range(BLOCK):
                step()

        return run

    try:
        timings = time_sides({name: in_mode(*side) for name, side in sides.items()}, rounds=rounds)
    finally:
        config.mode = "coexec"
    return {name: timings.median(name) / BLOCK for name in sides}


def prices(depth: int) -> dict[str, float]:
    """Microseconds per operation: see the module."""
    x, y = (mt.asarray(np.ones((4, 4), np.float32) * n) for n in (1, 2))
    traced, validated = (coexecute(lambda: _chain(x, y, depth)) for _ in range(2))
    for _ in range(5):
        validated()
        coexec.wait()
    before = validated.report()
    medians = _medians(
        {
            "own work": ("eager", _numpy_chain(x.numpy(), y.numpy())),
            "eager": ("eager", lambda: _chain(x, y, depth)),
            "recorded": ("trace", traced),
            "validated": ("coexec", validated),
        }
    )
    after = validated.report()
    assert after.coexecuted_steps - before.coexecuted_steps == after.steps - before.steps, after
    beyond = {
        "own work": 0.0,
        "eager": medians["own work"],
        "recorded": medians["eager"],
        "validated": medians["eager"],
    }
    return {name: (seconds - beyond[name]) / OPERATIONS * 1e6 for name, seconds in medians.items()}


def feed_and_fetch() -> dict[str, float]:
    """Microseconds of Python's side for one more tensor fed, and for one more value read, in a co-executed step.

    Beside steps of as many operations that take a constant, and do not read: the operations themselves are in neither.
    Feeds are owned tensors, which are not copied.  A read of what is there comes behind a read that waited for all.  A
    read that waits does so for the graph, which is awake but has one addition and one index to do since the read
    before: what it takes longer is that, and waking up.
    """
    count = 40
    constant = mt.ones((4, 4))
    fed = [mt.ones((4, 4)) * n for n in range(count)]

    @coexecute
    def plain() -> None:
        z = constant
        for _ in range(count):
            z = z + constant
        float(z[0, 0])

    @coexecute
    def feeds() -> None:
        z = constant
        for x in fed:
            z = z + x
        float(z[0, 0])

    @coexecute
    def indexed() -> None:
        z = constant
        for _ in range(count):
            z = z + constant
            z[0, 0]
        float(z[0, 0])

    @coexecute
    def reads() -> None:
        z = constant
        for _ in range(count):
            z = z + constant
            float(z[0, 0])
        float(z[0, 0])

    @coexecute
    def gathered() -> None:
        z, parts = constant, []
        for _ in range(count + 1):
            z = z + constant
            parts.append(z[0, 0])
        float(parts[-1])

    @coexecute
    def late_reads() -> None:
        z, parts = constant, []
        for _ in range(count + 1):
            z = z + constant
            parts.append(z[0, 0])
        float(parts[-1])
        for part in parts[:-1]:
            float(part)

    steps = {
        "plain": plain, "feeds": feeds, "indexed": indexed, "reads": reads, "gathered": gathered,
        "late reads": late_reads,
    }  # fmt: skip
    for step in steps.values():
        for _ in range(5):
            step()
            coexec.wait()
    figures = _medians({name: ("coexec", step) for name, step in steps.items()})
    return {
        f"{count} feeds, each": (figures["feeds"] - figures["plain"]) / count * 1e6,
        f"{count} reads of what is there, each": (figures["late reads"] - figures["gathered"]) / count * 1e6,
        f"{count} reads that wait, each": (figures["reads"] - figures["indexed"]) / count * 1e6,
    }


def main() -> None:
    results = {f"depth {depth}": prices(depth) for depth in DEPTHS} | {"exchange": feed_and_fetch()}
    for name, figures in results.items():
        print(name, {k: f"{v:.2f} µs" for k, v in figures.items()}, flush=True)
    print(save("op_price", results))


if __name__ == "__main__":
    main()
