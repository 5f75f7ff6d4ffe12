"""Schedule trees as text: what people read of a kernel's loops, node by node."""

from __future__ import annotations

import pytest
from test_looptree import case
from test_written_kernels import CASES, SMALL, program_of

from comprehension.kernel.ir import Space
from comprehension.poly import isl
from comprehension.poly.dependence import find_dependences
from comprehension.poly.schedule_tree import (
    AccumulateMark,
    Decision,
    JamMark,
    LoopMark,
    PromoteMark,
    Promotion,
    RowsMark,
    StageMark,
    TileMark,
    coincident_dimensions,
)
from comprehension.poly.scheduler import schedule
from comprehension.poly.scop import build_scop

PRODUCT = """\
stage 0: parallel, 2 iterations a chunk at least
  for all floor((m)/13):
    for all floor((n)/4):
      pack B: B in scratch B_packed[4, 40]
        pack B:
          for floor((d0)/4):
            for floor((d1)/16):
              tile pack B: 16 rows, 4 lanes
                for (d1) mod 16:
                  for (d0) mod 4:
        S0, S0_init:
          for all floor((m)/13):
            promote C: C in register C_tile[13, 4]
              S0, S0_init:
                S0_init:
                  tile S0_init: 13 rows, 4 lanes
                    for all (m) mod 13:
                      for all (n) mod 4:
                S0:
                  for k:
                    tile S0: 13 rows, 4 lanes
                      for all (m) mod 13:
                        for all (n) mod 4:
              store C:
                tile store C: 13 rows, 4 lanes
                  for (d0) mod 13:
                    for (d1) mod 4:

S0: 13 rows of m by 4 lanes of n in registers, 1 row tiles a unit, packed: B; about 9.36e+03 cycles
C stays in register C_tile[13, 4]
B packed into B_packed[4, 40]
"""
HELD = """\
stage 0: parallel, 3 iterations a chunk at least
  for m.outer = floor((m)/4):
    promote 3: A: A in scratch A_local[4, 6]
      load A:
        for d0:
          for d1:
      S0, S0_init:
        for m.inner = (m) mod 4:
          for n = n:
            S0_init:
            S0:
              for k (3 times unrolled) = k:

A in scratch A_local[4, 6]
"""
ACCUMULATED = """\
stage 0: serial
  for i = i:
    S0_init:
    S0:
      accumulate S0: 8 accumulators S0_partial, combined by max
        for j.outer = floor((j)/8):
          tile 0: S0: 8 lanes
            for (j) mod 8:

S0 goes to 8 accumulators, combined by max
"""


def test_a_register_tile_with_its_panels() -> None:
    scop = build_scop(program_of(CASES["product of rows"]))
    tree = schedule(scop, find_dependences(scop), machine=SMALL)
    assert str(tree).strip() == PRODUCT.strip()


@pytest.mark.parametrize(
    ("name", "steps", "shown"),
    [
        ("matmul", "split('m', 4)\nunroll('k', 3)\nparallelize('m.outer')\npromote('A', 'm.outer')", HELD),
        ("largest", "vectorize('j', 8)", ACCUMULATED),
    ],
)
def test_loops_of_a_users_schedule_have_their_names(name: str, steps: str, shown: str) -> None:
    assert str(case(name).follow(steps).tree).strip() == shown.strip()


def test_loops_that_count_otherwise_in_statements_say_so() -> None:
    tree = case("stencil").follow("shift('C.i', 2)\nfuse('B.i', 'C.i')").tree
    (stage,) = tree.nodes()
    (loop,) = stage.children
    assert loop.text == "for i = 2 + i in S1; i in S0:"


def promotion(space: Space, extents: tuple[int | None, ...]) -> Promotion:
    return Promotion("A", "A_local", space, (), extents, frozenset(), ())


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (StageMark(True, 5, 2), "parallel, 5 iterations a chunk at least"),
        (StageMark(False, 5), "serial"),
        (TileMark(8), "8 lanes"),
        (TileMark(8, 3), "3 rows, 8 lanes"),
        (TileMark(8, 0), "0 rows, 8 lanes"),
        (AccumulateMark("S0", "+", "S0_partial", 4), "4 accumulators S0_partial, combined by +"),
        (LoopMark("i"), "i"),
        (LoopMark("i", 2), "i (2 times unrolled)"),
        (RowsMark(4), "4 iterations at once"),
        (JamMark(3), "3 iterations side by side"),
        (PromoteMark((promotion(Space.SCRATCH, (4, None)),)), "A in scratch A_local[4, None]"),
    ],
)
def test_marks_say_what_they_mean(mark: Decision, text: str) -> None:
    assert str(mark) == text


@pytest.mark.parametrize(("members", "count"), [((1, 1), 2), ((1, 0), 1), ((0, 1), 0), ((0,), 0), ((1,), 1)], ids=str)
def test_outermost_loops_without_a_dependence_are_counted(members: tuple[int, ...], count: int) -> None:
    context = isl.new_context()
    domain = isl.UnionSet.read_from_str(context, "{ S[i, j] : 0 <= i, j < 9 }")
    node = isl.Schedule.from_domain(domain).get_root().child(0)
    parts = ", ".join(f"{{ S[i, j] -> {name} }}" for name in ("[(i)]", "[(j)]")[: len(members)])
    node = node.insert_partial_schedule(isl.MultiUnionPwAff.read_from_str(context, f"[{parts}]"))
    for at, coincident in enumerate(members):
        node = node.band_member_set_coincident(at, coincident)
    assert coincident_dimensions(node) == count
    marked = node.insert_mark(isl.Id("stage", context=context))
    assert coincident_dimensions(marked) == count
