"""What it costs to leave the graph: a step of 300 operations that falls back early, in the middle or late.

In: nothing.  Out: `results/fallback_price.json`, milliseconds beyond the same step run eagerly, at each place.
Run: `python -m benchmarks.fallback_price`.

Ten layers of thirty operations on small matrices; now and then a step does in one layer one operation that no step had
there, of another kind each time.  That step pays for all of it: stopping the graph, computing again what is alive (here
the sums of each layer), comparing the rest of its operations with the traces, and what merging adds at its end.  The
new graph is built in the background; steps until it is there run eagerly and are not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import coexec
import minitensor as mt
from benchmarks.timing import save
from coexec import coexecute

LAYERS = 10
PLACES = {"early": 1, "in the middle": 5, "late": 9}
NEW: tuple[Callable[[Any], Any], ...] = (
    mt.exp, mt.sin, mt.cos, mt.tanh, mt.abs, mt.floor, mt.ceil, mt.negative, mt.square, mt.sign, mt.expm1,
)  # fmt: skip


def layer(z: mt.Tensor, x: mt.Tensor, y: mt.Tensor) -> mt.Tensor:
    """Thirty operations; what the layer began with is added before the last."""
    begin = z
    for number in range(7):
        z = mt.minimum(z * y + x, y) - x
        if number == 6:
            z = z + begin
    return z * y


def make_step(place: int) -> Callable[[int | None], float]:
    """A step that takes the number of the new operation, None for the usual one."""
    x, y = (mt.asarray(np.full((8, 8), value, np.float32)) for value in (0.5, 0.25))

    def step(new: int | None) -> float:
        z, sums = x, []
        for number in range(LAYERS):
            if number == place and new is not None:
                z = NEW[new](z)
            z = layer(z, x, y)
            sums.append(z)
        for each in sums:
            z = z + each
        return float(z[0, 0])

    return step


def price(place: int) -> dict[str, float]:
    """Medians in milliseconds."""
    plain = make_step(place)
    step = coexecute(plain)
    eager, coexecuted, left = [], [], []
    for new in range(len(NEW)):
        for _ in range(12):
            step(None)
            coexec.wait()
        before = step.report().fallbacks
        for samples, function, argument in ((coexecuted, step, None), (left, step, new), (eager, plain, new)):
            started = time.perf_counter()
            function(argument)
            samples.append(1e3 * (time.perf_counter() - started))
        assert step.report().fallbacks == before + 1, step.report()
    beyond = [a - b for a, b in zip(left, eager, strict=True)]
    samples = {"eager": eager, "co-executed": coexecuted, "falls back": left, "beyond eager": beyond}
    return {name: round(statistics.median(each), 3) for name, each in samples.items()}


def main() -> None:
    found = {}
    for name, place in PLACES.items():
        found[name] = price(place)
        print(f"{name:14}", {what: f"{ms:.2f} ms" for what, ms in found[name].items()}, flush=True)
    print(save("fallback_price", {"operations": 30 * LAYERS + 11, "milliseconds": found}))


if __name__ == "__main__":
    main()
