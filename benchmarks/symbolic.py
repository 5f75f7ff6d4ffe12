"""One kernel for all sizes beside kernels for one: the kernel table, interleaved, outputs held, one thread.

In: parts of case names (all cases but the largest tables if there are none).  Out: `results/symbolic.json`, a table.
Run: `python -m benchmarks.symbolic [NAME ...]`; only a run of all cases writes the file, and it goes on where one
that was interrupted has stopped.
Three sides: a kernel for these sizes alone, one for all sizes that was first asked for with arrays of these, and one
for all sizes that was asked for with no arrays, so that it is planned for typical sizes.
A case is memory-bound if it has no count of operations of its own; the goals are 1.3 times the static kernel's time
there, and 1.5 times it elsewhere.
"""

from __future__ import annotations

import sys
from math import ceil, exp, log
from statistics import mean
from typing import Any

import numpy as np

import comprehension as tc
from benchmarks.kept import Kept
from benchmarks.kernels.bounded import check
from benchmarks.kernels.case import Case
from benchmarks.kernels.cases import chosen
from benchmarks.kernels.movements import lut
from benchmarks.markdown import interval
from benchmarks.timing import save, time_sides
from comprehension.config import config

MEMORY_GOAL, PRODUCT_GOAL = 1.3, 1.5
SECONDS = 1.5  # of each case, about
ROUNDS = (5, 25)


def cases(parts: list[str]) -> list[Case]:
    """Those of one def that fit beside themselves; lookups in a smaller table."""
    found = [case for case in chosen(parts) if not case.large and len(tc.define(case.text).defs) == 1]
    small = lut(1, rows=1_000_000)
    return found + [small] * (not parts or any(part in small.name or part in small.family for part in parts))


def compare(case: Case) -> dict[str, Any]:
    """Times of both kernels on the same arrays, after their results were compared with the exact ones."""
    variants = case.inputs()
    functions = {sizes: tc.define(case.text, sizes=sizes) for sizes in ("static", "symbolic")}
    kernels = {sizes: module[module.defs[0]].compile(*variants[0]) for sizes, module in functions.items()}
    unseen = tc.define(case.text, sizes="symbolic")
    kernels["typical"] = unseen[unseen.defs[0]].compile(*_named(unseen[unseen.defs[0]]))
    first = {sizes: kernel(*variants[0]) for sizes, kernel in kernels.items()}
    outputs = {sizes: found if isinstance(found, tuple) else (found,) for sizes, found in first.items()}
    for number, exact in enumerate(case.exact(*variants[0])):
        bound = np.broadcast_to(exact.bound, exact.value.shape)
        for sizes, found in outputs.items():
            check(found[number], exact.value, bound, f"{case.name}, {sizes} sizes")
    turn = dict.fromkeys(kernels, 0)

    def call(sizes: str) -> None:
        turn[sizes] += 1
        kernels[sizes](*variants[turn[sizes] % len(variants)], out=first["static"])

    sides = {sizes: lambda sizes=sizes: call(sizes) for sizes in kernels}
    once = time_sides(sides, rounds=1).median("symbolic")
    rounds = max(ROUNDS[0], min(ROUNDS[1], ceil(SECONDS / (2 * max(once, 0.002)))))
    timings = time_sides(sides, rounds=rounds)
    low, ratio, high = timings.ratio("symbolic", "static")
    planned_for_others = timings.ratio("typical", "static")
    return {
        "milliseconds": {sizes: round(1e3 * timings.median(sizes), 4) for sizes in kernels},
        "symbolic over static": [round(x, 3) for x in (low, ratio, high)],
        "typical over static": [round(x, 3) for x in planned_for_others],
        "goal": PRODUCT_GOAL if case.flops else MEMORY_GOAL,
    }


def _named(function: tc.Comprehension) -> list[tc.Spec]:
    """What a kernel for arrays of any sizes is asked for with."""
    types = [parameter.type for parameter in function.interface.parameters]
    return [tc.Spec(type_.dims, type_.scalar) for type_ in types if type_ is not None]


def main() -> None:
    """Measures, prints, saves."""
    parts = sys.argv[1:]
    config.threads = 1
    kept = None if parts else Kept("symbolic")
    results: dict[str, Any] = dict(kept.rows) if kept else {}
    for case in cases(parts):
        if case.name not in results:
            results[case.name] = compare(case)
            if kept:
                kept.add(case.name, results[case.name])
        found = results[case.name]
        low, ratio, high = found["symbolic over static"]
        met = "met " if high <= found["goal"] * 1.03 else "open"  # the less favourable end of the interval
        times, unseen = found["milliseconds"], found["typical over static"][1]
        print(
            f"{met} {case.name:36} {interval(low, ratio, high)}, goal {found['goal']}: "
            f"{times['symbolic']:.3f} ms beside {times['static']:.3f}; planned for typical sizes {unseen:.2f}",
            flush=True,
        )
    together = exp(mean(log(found["symbolic over static"][1]) for found in results.values()))
    print(f"geometric mean {together:.2f} over {len(results)} cases")
    if kept:
        print(save("symbolic", results))
        kept.finish()


if __name__ == "__main__":
    main()
