"""What all figures are written with: the results, and numbers in words.

In: JSON under `benchmarks/results`.  Out: text.
Invariant: a figure is written in one way everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.timing import RESULTS


def results(name: str, elsewhere: str = "") -> Any:
    """What the benchmark `name` has measured; `elsewhere`: on that processor, beside the main one."""
    return json.loads((RESULTS / elsewhere / f"{name}.json").read_text("utf-8"))["results"]


def span(values: Sequence[float], digits: int = 1) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def verdict(met: bool | Sequence[bool]) -> str:
    told = ["met" if each else "open" for each in ([met] if isinstance(met, bool) else met)]
    return told[0] if len(set(told)) == 1 else " / ".join(told)
