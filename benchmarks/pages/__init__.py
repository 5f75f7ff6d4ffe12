"""Writes the figures of `benchmarks/results` into the pages that show them: `python -m benchmarks.pages`.

In: the JSON files; README.md, docs/performance*.md and docs/testing-mutation.md, which have places for figures:

    <!-- figures: NAME -->
    ... made by the function of that name in `FIGURES` ...
    <!-- end of figures -->

Out: the same pages, with these places written anew (`make refresh-docs` does it; a test holds the pages against it).
Invariant: nothing between two such marks is written by hand, and a figure is written in one way everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.pages import glance, kernels, programs

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("performance*.md")), ROOT / "docs" / "testing-mutation.md")
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->)", re.S)


def refreshed(text: str) -> str:
    """The page's text with the figures that the JSON has now.  Raises KeyError for a place that has another name."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{FIGURES[place[2]]()}\n\n{place[3]}", text)


FIGURES: dict[str, Callable[[], str]] = {
    "readme": glance.readme,
    "glance": glance.at_a_glance,
    "machines": kernels.machines,
    "kernels-1": lambda: kernels.whole_table(1),
    "kernels-2": lambda: kernels.whole_table(2),
    "kernels-two-fmas": kernels.with_two_fmas,
    "graniterapids": lambda: glance.elsewhere("graniterapids"),
    "pool": kernels.pool,
    "symbolic": kernels.symbolic,
    "calls": kernels.calls,
    "compile": kernels.compile_time,
    "statements": kernels.statements,
    "digits": programs.digits,
    "eager-baseline": programs.eager_baseline,
    "programs": programs.ten_programs,
    "census": programs.census,
    "composites": programs.composites,
    "start": programs.start,
    "op-price": programs.op_price,
    "step-memory": programs.step_memory,
    "exchange": programs.exchange,
    "mlp-step": programs.mlp_step,
    "fallback": programs.fallback,
    "long-runs": programs.long_runs,
    "mutation": programs.mutation,
}
