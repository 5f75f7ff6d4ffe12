"""The goals and the tables, from the rows that were measured.

In: rows by case (limit, samples by side, column and round).  Out: text.
Invariant: like against like: a ratio compares the same column (fresh outputs, or outputs held already) of the same
rounds; its interval is the 95 % bootstrap interval of the median over rounds.  A goal is met when the lower end of
the interval is within 3 % of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.kernels.cases import CASES
from benchmarks.kernels.formulations import SIDES
from benchmarks.markdown import interval, markdown_table

Row = Mapping[str, Any]
Array = np.ndarray[Any, Any]

COLUMNS = ("fresh", "into")
PEERS = tuple(side for side in SIDES if side != "ours")
_DRAWS = 400
_WITHIN = 0.97


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its 95 % interval."""

    low: float
    middle: float
    high: float

    def __str__(self) -> str:
        return interval(self.low, self.middle, self.high)

    def meets(self, goal: float) -> bool:
        return self.low >= _WITHIN * goal


def samples(row: Row, side: str, column: str) -> Array | None:
    found = row["sides"].get(side, {}).get(column)
    return None if not found else np.asarray(found)


def _medians(values: Array) -> Array:
    """Bootstrap medians; the same seed for all, so that figures do not change when they are printed again."""
    drawn = np.random.default_rng(0).integers(0, len(values), (_DRAWS, len(values)))
    return np.median(values[drawn], axis=1)


def _figure(middle: float, drawn: Array) -> Figure:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(float(low), middle, float(high))


def _pairs(slower: Array, faster: Array) -> Array:
    count = min(len(slower), len(faster))
    return slower[:count] / faster[:count]


def fraction(row: Row, side: str, column: str) -> float | None:
    found = samples(row, side, column)
    return None if found is None else row["limit"]["seconds"] / float(np.median(found))


def best_peer(row: Row, column: str) -> str | None:
    """The peer with the shortest median in this column."""
    medians = {p: float(np.median(s)) for p in PEERS if (s := samples(row, p, column)) is not None}
    return min(medians, key=lambda p: medians[p]) if medians else None


def faster_than(row: Row, peer: str, column: str) -> Figure | None:
    """The peer's time over ours."""
    theirs, ours = samples(row, peer, column), samples(row, "ours", column)
    if theirs is None or ours is None:
        return None
    pairs = _pairs(theirs, ours)
    return _figure(float(np.median(pairs)), _medians(pairs))


def geometric_mean(values: Sequence[Array]) -> Figure:
    """Over cases, of the median over rounds; rounds are drawn again within each case."""
    logs = np.array([np.log(np.median(each)) for each in values])
    drawn = np.mean([np.log(_medians(each)) for each in values], axis=0)
    return _figure(float(np.exp(logs.mean())), np.exp(drawn))


def _of_limit(rows: Mapping[str, Row], side: str, column: str | None, kind: str = "seconds") -> dict[str, Array]:
    """Limit over time by case; without a column the outputs held already, or else the fresh ones."""
    found = {}
    for name, row in rows.items():
        for each in (column,) if column else ("into", "fresh"):
            taken = samples(row, side, each)
            if taken is not None and kind in row["limit"]:
                found[name] = row["limit"][kind] / taken
                break
    return found


def _against(rows: Mapping[str, Row], column: str, peer: Callable[[Row], str | None]) -> dict[str, Array]:
    found = {}
    for name, row in rows.items():
        chosen = peer(row)
        theirs = samples(row, chosen, column) if chosen else None
        ours = samples(row, "ours", column)
        if theirs is not None and ours is not None:
            found[name] = _pairs(theirs, ours)
    return found


@dataclass(frozen=True, slots=True)
class Goal:
    """One aim.  met: None where no case was measured.  missing: the cases that miss it, with their figures.

    mean: the geometric mean over cases, where that is what is aimed at; else how many of `cases` reach it.
    """

    what: str
    wanted: float
    cases: int
    mean: Figure | None = None
    missing: tuple[str, ...] = ()

    @property
    def met(self) -> bool | None:
        if not self.cases:
            return None
        return self.mean.meets(self.wanted) if self.mean is not None else not self.missing

    @property
    def reached(self) -> str:
        if self.mean is not None:
            return f"{self.mean}, {self.cases} cases"
        return f"{self.cases - len(self.missing)} of {self.cases}" if self.cases else "no case measured"

    @property
    def verdict(self) -> str:
        return {True: "met", False: "open", None: ""}[self.met]


def _mean(what: str, wanted: float, values: Mapping[str, Array]) -> Goal:
    return Goal(what, wanted, len(values), geometric_mean(list(values.values())) if values else None)


def _each(what: str, wanted: float, values: Mapping[str, Array]) -> Goal:
    """An aim for every case."""
    figures = {name: _figure(float(np.median(v)), _medians(v)) for name, v in values.items()}
    missing = tuple(f"{name} {figure}" for name, figure in figures.items() if not figure.meets(wanted))
    return Goal(what, wanted, len(figures), None, missing)


_LARGE_PRODUCTS = ("tmm 128×1024×1024", "tmm 128×16384×4096", "C3")
_CONVOLUTIONS = ("gconv C8 28²", "gconv C16 14²", "gconv C32 7²")


def judged(rows: Mapping[str, Row], threads: int) -> dict[str, Goal]:
    """All aims, by a short name; `rows` were measured on so many threads."""
    rows = {case.name: rows[case.name] for case in CASES if case.name in rows}
    memory = {case.name: rows[case.name] for case in CASES if not case.flops and not case.blocks and case.name in rows}
    tables = {case.name: rows[case.name] for case in CASES if case.blocks and case.name in rows}
    found = {"limit": _mean("of the limit, geometric mean", 0.6, _of_limit(rows, "ours", None))}
    for column, what in (("fresh", "fresh outputs"), ("into", "outputs held")):
        best = _against(rows, column, lambda row, c=column: best_peer(row, c))  # type: ignore[misc]
        found[f"best, {column}"] = _mean(f"best peer ÷ ours, {what}, geometric mean", 1.3, best)
        eager = _against(rows, column, lambda row: "torch")
        wanted = 2.0 if _has_two_fmas(rows, threads) else 1.5
        found[f"torch, {column}"] = _mean(f"PyTorch eager ÷ ours, {what}, geometric mean", wanted, eager)
        found[f"each, {column}"] = _each(f"best peer ÷ ours, {what}, every case", 0.8, best)
    products = {name: rows[name] for name in _LARGE_PRODUCTS if name in rows}
    found["products"] = _each("products of the peak", 0.75, _of_limit(products, "ours", None))
    convolutions = {name: rows[name] for name in _CONVOLUTIONS if name in rows}
    adjusted = _of_limit(convolutions, "ours", None, "lane_seconds")
    found["convolutions"] = _each("convolutions of the lane-adjusted limit", 0.75, adjusted)
    found["memory"] = _each("memory-bound cases of copy bandwidth", 0.85, _of_limit(memory, "ours", None))
    found["tables"] = _each("lookup tables of the lines' limit", 0.85, _of_limit(tables, "ours", None))
    return found


def _has_two_fmas(rows: Mapping[str, Row], threads: int) -> bool:
    """Whether a core finished more than one 512-bit multiply-add a cycle (more than 150 GFLOP/s at usual clocks)."""
    peaks = [case.flops / rows[case.name]["limit"]["fma_seconds"] for case in CASES if case.flops and case.name in rows]
    return bool(peaks) and max(peaks) > threads * 1.5e11


def means(rows: Mapping[str, Row]) -> dict[str, tuple[Figure, int]]:
    """The geometric mean of the fraction of the limit by side, and over how many cases."""
    found = {side: list(_of_limit(rows, side, None).values()) for side in SIDES}
    return {side: (geometric_mean(values), len(values)) for side, values in found.items() if values}


def goals(rows: Mapping[str, Row], threads: int) -> str:
    """For the terminal: one line an aim, `met` or `open`, and below it the cases that miss it."""
    lines = []
    for goal in judged(rows, threads).values():
        lines.append(f"{goal.verdict:<6}{goal.what} ≥ {goal.wanted}: {goal.reached}")
        lines += [f"        {case}" for case in goal.missing]
    lines += [f"      {side}: {mean} of the limit over {count} cases" for side, (mean, count) in means(rows).items()]
    return "\n".join(lines)


def line(name: str, row: Row) -> str:
    """One row for the terminal: milliseconds and fraction of the limit by side (fresh, held), and our ratios."""
    limit = row["limit"]["seconds"]
    parts = [f"{name}: limit {limit * 1e3:.4g} ms"]
    for side in SIDES:
        known = row["sides"].get(side)
        if known is None:
            continue
        if "error" in known:
            parts.append(f"{side} failed: {known['error']}")
            continue
        medians = [float(np.median(s)) for c in COLUMNS if (s := samples(row, side, c)) is not None]
        parts.append(f"{side} " + " / ".join(f"{m * 1e3:.4g} ms {limit / m:.2f}" for m in medians))
    for column in COLUMNS:
        peer = best_peer(row, column)
        ratio = faster_than(row, peer, column) if peer else None
        if ratio:
            parts.append(f"{column}: {ratio} × {peer}")
    if row.get("disturbed"):
        parts.append(f"taken although the cores were disturbed: {row['disturbed']:.0%} of the samples")
    return "\n    ".join(parts)


def of_limit(row: Row, side: str) -> str:
    """The fraction of the limit, fresh / held."""
    if "error" in row["sides"].get(side, {}):
        return "failed"
    values = [fraction(row, side, column) for column in COLUMNS]
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)


def goals_table(rows: Mapping[str, Row], threads: int) -> str:
    """The means and the aims as Markdown."""
    told = [
        f"{side} {mean}" + (f" in {count} cases" * (count < len(rows))) for side, (mean, count) in means(rows).items()
    ]
    aims = [[f"{goal.what} ≥ {goal.wanted}", goal.reached, goal.verdict] for goal in judged(rows, threads).values()]
    means_told = f"Geometric means of the fraction of the limit: {'; '.join(told)}."
    return f"{means_told}\n\n{markdown_table(['aim', 'reached', ''], aims)}"


def markdown(rows: Mapping[str, Row]) -> str:
    """All cases as Markdown: fractions of the limit, fresh / held, and the best peer's time over ours."""
    head = ("case", "limit, ms", *SIDES, "best peer ÷ ours, fresh", "best peer ÷ ours, held")
    lines = []
    for case in CASES:
        row = rows.get(case.name)
        if row is None:
            continue
        ratios = []
        for column in COLUMNS:
            peer = best_peer(row, column)
            ratio = faster_than(row, peer, column) if peer else None
            ratios.append(f"{ratio} {peer}" if ratio else "–")
        limit = f"{row['limit']['seconds'] * 1e3:.3g}"
        if "lane_seconds" in row["limit"]:
            limit += f" (lanes {row['limit']['lane_seconds'] * 1e3:.3g})"
        lines.append([case.name, limit, *(of_limit(row, side) for side in SIDES), *ratios])
    return markdown_table(head, lines)


def read(text: str) -> dict[str, Row]:
    found: dict[str, Row] = json.loads(text)["results"]
    return found
