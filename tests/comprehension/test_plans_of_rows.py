"""Rows of reductions at the sizes where plans change: `rows.txt`, one line for each text, size and machine.

Too few rows for all workers, rows too short or too long, sums that registers cannot hold: each limit is met from both
sides.  What was meant to change is written down by

    python tests/comprehension/test_plans_of_rows.py

and is then read in the diff.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from approved import WrittenDown
from test_decisions import NARROW, ROWS, SCAN, WIDE
from test_estimates import PAIRS, SCATTER, Case, below, index_of, models

from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly.lane_plan import LanePlan, NoLanes, Plan
from comprehension.poly.lanes import LaneModel
from comprehension.poly.model import Model
from comprehension.poly.tile_plan import TilePlan

FAR = replace(WIDE, cores=1)

SUMS = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) }"
SQUARES = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) * A(i,j) * A(i,j) * A(i,j) }"  # four operations
CUBES = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) * A(i,j) * A(i,j) * A(i,j) + 1.0 }"
BATCHES = "def f(float(B,M,N) A) -> (s) { s(b,i) +=! A(b,i,j) }"
THREE = "def f(float(M,N) A) -> (s, q, p) { s(i) +=! A(i,j)  q(i) +=! A(i,j) * A(i,j)  p(i) min=! A(i,j) }"
FOUR = (
    "def f(float(M,N) A) -> (s, q, p, r) { s(i) +=! A(i,j)  q(i) +=! A(i,j) * A(i,j)"
    "  p(i) min=! A(i,j)  r(i) max=! A(i,j) }"
)
MEANS = "def f(float(M,N) A) -> (s) { t(i) +=! A(i,j)  s(i) = t(i) * 0.5 }"
CENTRED = "def f(float(M,N) A) -> (B) { s(i) +=! A(i,j)  B(i,j) = A(i,j) - s(i) }"
TWICE = (
    "def f(float(M,N) A) -> (B) { s(i) +=! A(i,j)  B(i,j) = A(i,j) - s(i)  q(i) max=! B(i,j)  B(i,j) = B(i,j) * q(i) }"
)
WINDOWS = "def f(float(N) A) -> (s) { s(i) +=! A(i + j) where j in 0:100 }"
TURNED = "def f(float(N,M) A) -> (s) { s(i) +=! A(j,i) * 2.0 }"
DOWN = "def f(float(M,N) A) -> (s) { s(j) +=! A(i,j) }"
HALVED = "def f(float(M,N) A) -> (s) { s(j) +=! A(i,j)  s(j) = s(j) * 0.5 }"
PANELS = "def f(float(B,M,N) A) -> (s) { s(b,j) +=! A(b,i,j) }"
BOTH = "def f(float(M,N) A, float(M,N) B) -> (s) { s(j) +=! A(i,j) * B(i,j) }"
DEEP = "def f(float(K,M,N) A) -> (s) { s(j) +=! A(k,i,j) }"
DOUBLES = "def f(double(M,N) A) -> (s) { s(i) +=! A(i,j) }"
TRIANGLE = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,j) where i in 0:M, j in 0:i+1 }"
REVERSED = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,N-1-j) where i in 0:M, j in 0:N }"
STRIDED = "def f(float(M,N) A) -> (s) { s(i) +=! A(i,2*j) where j in 0:200 }"
SCALED = "def f(float(M,N) A, float(N) w) -> (s) { s(i) +=! A(i,j) * w(j) }"
EXPONENTIALS = "def f(float(M,N) A) -> (s) { s(i) +=! exp(A(i,j)) }"

PREFIX = "def f(float(N) X) -> (O) { O(i) = X(0) where i in 0:1  O(i) = O(i-1) + X(i) where i in 1:N }"
COPIES = "def f(float(M,N) A) -> (B) { B(i,j) = A(i,j) + 1.0 }"

Shapes = tuple[tuple[tuple[int, ...], ...], ...]


def matrices(*shapes: tuple[int, ...]) -> Shapes:
    return tuple((shape,) for shape in shapes)


# On the wide machine: 16 lanes, two cores, 8 groups of rows for each of them.
CASES: dict[str, tuple[str, Machine, Shapes]] = {
    "sums": (
        SUMS,
        WIDE,
        matrices((127, 500), (128, 500), (63, 500), (64, 500), (200, 63), (200, 64), (15, 500), (16, 80)),
    ),
    "sums on one core": (SUMS, FAR, matrices((31, 500), (32, 500), (63, 500), (64, 500), (16, 64), (8, 64))),
    "sums, narrow": (SUMS, NARROW, matrices((255, 500), (256, 500), (127, 500), (128, 31), (128, 32))),
    "four operations": (SQUARES, WIDE, matrices((128, 500), (128, 64))),
    "five operations": (CUBES, WIDE, matrices((128, 500), (128, 64))),
    "rows of batches": (
        BATCHES,
        WIDE,
        matrices((4, 8, 500), (4, 7, 500), (4, 4, 500), (4, 3, 500), (4, 4, 40), (4, 2, 40)),
    ),
    "three sums": (THREE, WIDE, matrices((128, 500), (128, 32), (128, 31), (64, 500))),
    "four sums": (FOUR, WIDE, matrices((128, 500), (64, 500), (63, 500))),
    "means": (MEANS, WIDE, matrices((128, 500), (128, 64), (16, 64), (15, 64))),
    "centred": (
        CENTRED,
        WIDE,
        matrices((16, 128), (16, 129), (16, 64), (16, 65), (15, 64), (8, 64), (7, 64), (100, 15), (100, 400)),
    ),
    "centred, narrow": (CENTRED, NARROW, matrices((32, 32), (32, 33), (31, 32), (16, 64), (15, 64))),
    "scaled twice": (TWICE, WIDE, matrices((16, 128), (16, 64), (8, 64), (100, 129))),
    "softmax": (ROWS, WIDE, matrices((16, 128), (16, 129), (16, 256), (15, 128), (7, 128), (8, 128), (100, 15))),
    "windows": (WINDOWS, WIDE, matrices((1000,), (150,))),
    "rows of columns": (TURNED, WIDE, matrices((500, 128), (64, 128))),
    "columns": (
        DOWN,
        WIDE,
        matrices((31, 2048), (32, 2047), (32, 2048), (32, 8192), (32, 10000), (4096, 4096), (64, 1023), (64, 1024)),
    ),
    "columns, long": (
        DOWN,
        WIDE,
        matrices((256, 4096), (257, 4096), (512, 4096), (513, 4096), (1024, 4096), (1025, 4096)),
    ),
    "columns on one core": (DOWN, FAR, matrices((32, 1024), (32, 1023), (32, 2048), (32, 5000))),
    "columns, narrow": (DOWN, NARROW, matrices((32, 4095), (32, 4096), (32, 20000))),
    "columns, halved": (HALVED, WIDE, matrices((32, 2048), (64, 8192))),
    "columns of batches": (PANELS, WIDE, matrices((4, 32, 512), (4, 32, 1024), (4, 32, 2048), (4, 31, 2048))),
    "columns of a product": (BOTH, WIDE, (((64, 4096), (64, 4096)),)),
    "columns of planes": (DEEP, WIDE, matrices((4, 32, 4096), (1, 64, 4096))),
    "doubles": (DOUBLES, WIDE, matrices((128, 500), (128, 32), (128, 31), (64, 500))),
    "triangle": (TRIANGLE, WIDE, matrices((128, 128))),
    "reversed": (REVERSED, WIDE, matrices((128, 500), (16, 64))),
    "in strides": (STRIDED, WIDE, matrices((128, 500))),
    "scaled": (SCALED, WIDE, (((128, 500), (500,)), ((16, 64), (64,)))),
    "lanes of few": (
        COPIES,
        WIDE,
        matrices((300, 2), (300, 3), (300, 8), (300, 9), (300, 16), (300, 17), (300, 33), (300, 80)),
    ),
    "scan": (SCAN, WIDE, matrices((50, 100), (50, 3))),
    "prefix sums": (
        PREFIX,
        WIDE,
        matrices(
            (100,),
        ),
    ),
    "sums of pairs": (
        PAIRS,
        WIDE,
        matrices(
            (120,),
        ),
    ),
    "sums in named places": (SCATTER, WIDE, (((300,), (300,)),)),
    "exponentials": (EXPONENTIALS, WIDE, matrices((128, 500), (16, 64), (16, 128))),
}
ASKED = {
    "sums in eight lanes": (SUMS, MappingOptions(vectorize=8), (128, 500)),
    "columns in eight lanes": (DOWN, MappingOptions(vectorize=8), (64, 8192)),
    "centred in eight lanes": (CENTRED, MappingOptions(vectorize=8), (16, 64)),
    "columns without workers": (DOWN, MappingOptions(parallel=False), (64, 1024)),
    "centred without vectors": (CENTRED, MappingOptions(vectorize=False), (16, 64)),
}
STRICT = ("sums", "centred", "columns", "columns, long")


def described(plan: Plan, lanes: LaneModel) -> str:
    match plan:
        case NoLanes(rows=rows):
            return "loops" if rows == 1 else f"{rows} rows"
        case LanePlan(member=member, extent=extent, split=split, groups=groups, jam=jam):
            found = f"{extent} of {index_of(member, lanes)}{' split' if split else ''}"
            found += f" in groups of {groups.rows} rows, {groups.tiles} tiles" if groups is not None else ""
            return found + (f" {jam.copies} of {index_of(jam.member, lanes)}" if jam is not None else "")
        case TilePlan():
            return f"{plan.row_extent} by {plan.lane_extent}"


def planned(case: Case, options: MappingOptions | None = None) -> str:
    """The plans of all nests, outer ones first, and how many iterations make a chunk."""
    nests, lanes = models(case)
    if options is not None:
        lanes = replace(lanes, options=options)
    found = []
    for nest in nests:
        model = Model(lanes)
        outer = model.plan(nest)
        inside = [described(model.plan(each), lanes) for each in below(nest)]
        found.append(f"{', '.join(inside)}; {outer.cost:.9g}, grain {model.grain(nest, outer)}")
    return " | ".join(found)


def written_for(title: str) -> Iterator[str]:
    text, machine, sizes = CASES[title]
    for shapes in sizes:
        yield f"{shapes}: {planned(Case(text, shapes, machine))}"
        if title in STRICT:
            yield f"{shapes}, strict: {planned(Case(text, shapes, machine, 'strict'))}"


def asked_for() -> Iterator[str]:
    for title, (text, options, shape) in ASKED.items():
        yield f"{title}: {planned(Case(text, (shape,)), options)}"


def lines_of(title: str) -> Iterator[str]:
    return written_for(title) if title in CASES else asked_for()


WRITTEN = WrittenDown("rows", [*CASES, "asked for"], lines_of)


@pytest.mark.parametrize("title", CASES)
def test_plans_are_those_that_are_written_down(title: str) -> None:
    WRITTEN.check(title)


def test_plans_that_options_ask_for() -> None:
    WRITTEN.check("asked for")


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


if __name__ == "__main__":
    WRITTEN.write()
