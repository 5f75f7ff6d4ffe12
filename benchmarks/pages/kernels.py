"""Figures of the machines and of kernels: the table, sizes, calls, compilation.

In: results by name.  Out: Markdown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any

from benchmarks.kernels import summary
from benchmarks.kernels.cases import CASES
from benchmarks.markdown import interval, markdown_table
from benchmarks.pages.figures import percent, results, verdict
from benchmarks.timing import RESULTS
from comprehension.kernel.locality import bytes_text


def machines() -> str:
    """The processors, as LLVM calls them, with what was measured on each."""
    measured: dict[tuple[str, ...], list[str]] = {}
    for path in sorted(RESULTS.rglob("*.json")):
        machine = json.loads(path.read_text("utf-8")).get("machine")
        if machine is not None:
            caches = [bytes_text(machine[f"l{level}_bytes"]) for level in (1, 2, 3)]
            known = machine["processor"], str(machine["cores"]), f"{machine['vector_bits']} bits", " / ".join(caches)
            measured.setdefault(known, []).append(f"`{path.stem}`")
    rows = [[*known, ", ".join(names)] for known, names in sorted(measured.items())]
    return markdown_table(["processor", "cores", "vectors", "first / second / last cache", "results"], rows)


def whole_table(threads: int) -> str:
    rows = results(f"kernels-{threads}")
    disturbed = sum(row["disturbed"] for row in rows.values()) / len(rows)
    told = f"Taken although a core was disturbed: {percent(disturbed)} of the samples."
    return f"{summary.goals_table(rows, threads)}\n\n{told}\n\n{summary.markdown(rows)}"


# Processors whose cores finish two 512-bit multiply-adds a cycle, by the folder of their results.
TWO_FMAS = {"emeraldrapids": "Emerald Rapids", "graniterapids": "Granite Rapids"}


def with_two_fmas() -> str:
    """The aims on all such processors, then on each the cases in short, on one core and on two."""
    aims = [_aims_on(folder) for folder in TWO_FMAS]
    rows = []
    for what in aims[0]:
        reached, met = zip(*(each[what] for each in aims), strict=True)
        rows.append([what, *chain(*reached), verdict([*chain(*met)])])
    head = ["aim", *(f"{name}, {cores}" for name in TWO_FMAS.values() for cores in ("one core", "two")), ""]
    tables = [f"*{name}*\n\n{_cases_on(folder)}" for folder, name in TWO_FMAS.items()]
    return "\n\n".join([markdown_table(head, rows), *tables])


def _aims_on(folder: str) -> dict[str, tuple[list[str], list[bool]]]:
    """Of each aim what was reached on one core and on two, and whether that meets it."""
    judged = [summary.judged(results(f"kernels-{threads}", folder), threads) for threads in (1, 2)]
    both = [(goal, judged[1][name]) for name, goal in judged[0].items()]
    return {
        f"{one.what} ≥ {one.wanted:g}": ([one.reached, two.reached], [bool(one.met), bool(two.met)])
        for one, two in both
    }


def _cases_on(folder: str) -> str:
    both = [results(f"kernels-{threads}", folder) for threads in (1, 2)]
    cases = []
    for case in CASES:
        rows = [one[case.name] for one in both]
        peers = [summary.best_peer(row, "fresh") for row in rows]
        pairs = [(row, peer) for row, peer in zip(rows, peers, strict=True) if peer]
        ratios = [f"{summary.faster_than(row, peer, 'fresh')} {peer}" for row, peer in pairs]
        limit = f"{rows[0]['limit']['seconds'] * 1e3:.3g}"
        cases.append([case.name, limit, *(summary.of_limit(row, "ours") for row in rows), *ratios])
    head = ["case", "limit on one core, ms", "one core", "two", "best peer ÷ ours, fresh, one core", "two"]
    return markdown_table(head, cases)


def pool() -> str:
    rows = []
    for by_name in results("pool_price")["microseconds"].values():
        states = ("awake", "asleep")
        cells = [by_name[f"{state}, {how}"] for state in states for how in ("alone", "divided", "decided")]
        rows.append([f"{cell:.0f}" for cell in cells])
    head = [f"{how}, {state}" for state in ("awake", "asleep") for how in ("alone", "divided", "decided")]
    return markdown_table(head, sorted(rows, key=lambda row: float(row[0])))


def meets_symbolic(row: Mapping[str, Any]) -> bool:
    return bool(row["symbolic over static"][2] <= 1.03 * row["goal"])


def symbolic() -> str:
    rows = [
        [name, row["goal"], interval(*row["symbolic over static"]), interval(*row["typical over static"]),
         verdict(meets_symbolic(row))]
        for name, row in results("symbolic").items()
    ]  # fmt: skip
    return markdown_table(["", "aim", "planned for sizes seen", "for typical sizes", ""], rows)


def calls() -> str:
    names = {
        "stage by ctypes": "machine code by itself, through ctypes",
        "numpy.matmul(a, b, out)": "NumPy's product of the same arrays, `out=`",
        "kernel(a, b, out=out)": "kernel, `out=`",
        "kernel(a, b)": "kernel, fresh output",
        "function(a, b)": "the same through the comprehension, fresh output",
        "function(row, 2.0)": "with a scalar",
        "kernel(columns, rows)": "with strided arrays",
        "the long way": "the long way, which every first call takes",
    }
    found = results("launch_price")["calls_us"]
    return markdown_table(["µs a call", ""], [[told, f"{found[name]:.1f}"] for name, told in names.items()])


COMPILED = {
    "pointwise (gelu)": "pointwise (gelu)",
    "product": "product 512³",
    "attention": "attention, 6 statements, B4 H8 L256 D64",
}
_OUR_STAGES = ("collapse", "scop", "dependences", "schedule", "build", "certify")
_PROOF = ("certify",)


def compile_time() -> str:
    found = results("compile_time")
    rows = []
    for name, told in COMPILED.items():
        cold, stages = found[name]["cold"]["seconds"], found[name]["cold"]["stages"]
        isl = sum(stages[stage] for stage in _OUR_STAGES)
        cached, first = f"{found[name]['cached_seconds'] * 1e3:.1f} ms", f"{found[name]['first_seconds']:.2f} s"
        rows.append([told, f"{cold:.2f} s", f"{isl:.3f} s", cached, first])
    return markdown_table(["", "cold", "of it isl and proof", "from the cache", "the same, first in a program"], rows)


def statements() -> str:
    rows = []
    found = results("compile_time")["statements"]
    for count in sorted(found, key=int):
        stages = found[count]["stages"]
        isl = sum(stages[stage] for stage in _OUR_STAGES if stage not in _PROOF)
        proof = sum(stages[stage] for stage in _PROOF)
        rows.append([count, f"{isl * 1e3:.0f} ms", f"{proof * 1e3:.0f} ms", f"{found[count]['seconds']:.2f} s"])
    few, many = found["64"]["seconds"], found["500"]["seconds"]
    exponent = math.log(many / few) / math.log(500 / 64)
    told = f"From 64 to 500 statements the whole grows as n^{exponent:.2f} (the aim is n^1.3)."
    return markdown_table(["statements", "isl", "proof", "in all"], rows) + f"\n\n{told}"
