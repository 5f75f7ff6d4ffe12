"""What the model reckons for every plan that comes into question: `estimates.txt`, read as a whole.

`decisions.txt` shows the cheapest plan alone, with three digits of its estimate.  A loop order that is never tried, a
term of a cost that is lost, tiles that are counted one too many: what was chosen may stay the same, and what will be
chosen for the next text is wrong.  Estimates that were meant to change are written down by

    python tests/comprehension/test_estimates.py

and are then read in the diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import Literal

import pytest
from approved import WrittenDown
from test_decisions import BATCHED, CONVOLUTION, DEPTHWISE, LAYER, NARROW, PRODUCT, ROWS, WIDE

from comprehension.jit.request import Sizes
from comprehension.jit.specialise import symbolic
from comprehension.lang.frontend import load
from comprehension.lang.loops import Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly.access import AccessPatterns
from comprehension.poly.cluster import Fuser
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import find_dependences
from comprehension.poly.extents import Extents
from comprehension.poly.lanes import LaneModel
from comprehension.poly.model import Model
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scheduler import unit_nest
from comprehension.poly.scop import build_scop
from comprehension.poly.siblings import share_loops
from comprehension.poly.square_tiles import transposing
from comprehension.poly.tile_plan import TilePlan

PLAIN = MappingOptions()


@dataclass(frozen=True, slots=True)
class Case:
    """A text at sizes, for a machine; `likely`: sizes are symbolic, and seen to be those of the shapes."""

    text: str
    shapes: tuple[tuple[int, ...], ...]
    machine: Machine = WIDE
    math: Literal["fast", "strict"] = "fast"
    sizes: Sizes = "static"
    likely: tuple[tuple[str, int], ...] = ()


ONE = replace(WIDE, cores=1)
FEW = replace(NARROW, vector_bits=128, vector_registers=16, fma_units=1, cores=3)
RIGHT = "def f(float(M,K) A, float(N,K) B) -> (C) { C(m,n) +=! A(m,k) * B(n,k) }"
LEFT = "def f(float(K,M) A, float(K,N) B) -> (C) { C(m,n) +=! A(k,m) * B(k,n) }"
TURNED = "def f(float(M,K) A, float(N,K) B) -> (C) { C(n,m) +=! A(m,k) * B(n,k) }"
STRIDED = (
    "def f(float(N,C,H,W) I, float(O,C,3,3) K) -> (R) {"
    " R(n,o,h,w) +=! I(n,c,2*h+kh,2*w+kw) * K(o,c,kh,kw) where kh in 0:3, kw in 0:3 }"
)
WEIGHTS = (
    "def f(float(N,O,P,Q) G, float(N,C,H,W) I) -> (D) { D(o,c,kh,kw) +=! G(n,o,h,w) * I(n,c,h+kh,w+kw)"
    " where kh in 0:3, kw in 0:3 }"
)
DISTANCES = "def f(float(M,K) A, float(N,K) B) -> (D) { D(m,n) +=! (A(m,k) - B(n,k)) * (A(m,k) - B(n,k)) }"
SOFT = "def f(float(M,K) A, float(K,N) B, float(M) c) -> (D) { D(m,n) +=! exp(A(m,k) - c(m)) * B(k,n) }"
CHOSEN = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! k <= m ? A(m,k) * B(k,n) : 0.0 }"
LARGEST = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) max=! A(m,k) + B(k,n) }"
NAMED = "def f(float(V,K) A, int32(M) I, float(K,N) B) -> (C) { C(m,n) +=! A(I(m),k) * B(k,n) }"
GROUPED = "def f(float(G,M,K) A, float(G,K,N) B) -> (C) { C(m,g,n) +=! A(g,m,k) * B(g,k,n) }"
TRIPLE = "def f(float(M,K) A, float(K,N) B, float(K) s) -> (C) { C(m,n) +=! A(m,k) * B(k,n) * s(k) }"
LET = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! t * B(k,n) where t = A(m,k) * 2.0 }"
BEHIND = (
    "def f(float(M,K) A, float(K,N) B, float(N) d) -> (C) { C(m,n) +=! A(m,k) * B(k,n)  C(m,n) = tanh(C(m,n)) + d(n) }"
)
TURN = "def f(float(A,B,C) X) -> (Y) { Y(c,a,b) = X(a,b,c) }"
MIXED = "def f(float(A,B) X, float(B,A) Y) -> (Z) { Z(a,b) = X(a,b) * Y(b,a) + exp(X(a,b)) }"
HANKEL = "def f(float(N) X) -> (Y) { Y(i,j) = X(i+j) where i in 0:100, j in 0:90 }"
TOEPLITZ = "def f(float(N) X) -> (Y) { Y(i,j) = X(i-j+100) where i in 0:100, j in 0:90 }"
COLUMN = "def f(float(N) X) -> (Y) { Y(i,j) = X(i) * 2.0 where j in 0:90 }"
TURNED_BACK = "def f(float(M,N) X) -> (Y) { Y(j,i) = X(i,N-1-j) where i in 0:M, j in 0:N }"
FLIPPED = "def f(float(M,N) X) -> (Y) { Y(j,i) = X(i,j) }"
BACKWARDS = "def f(float(N) X) -> (Y) { Y(i) = X(N-1-i) }"
EVERY = "def f(float(M,N) X) -> (Y) { Y(i,j) = X(i,3*j) + X(i,3*j+1) where j in 0:100 }"
SUMS = "def f(float(M,N) A) -> (s) { s(i) +=! A(i, j) * A(i, j) }"
DOWN = "def f(float(M,N) A) -> (s) { s(j) +=! A(i, j) }"
SCATTER = "def f(float(B) V, int32(B) I) -> (O) { O(r) = 0.0 where r in 0:9  O(I(b)) += V(b) }"
PAIRS = "def f(float(N) A) -> (O) { O(i) = 0.0 where i in 0:60  O(i / 2) += A(i) where i in 0:120 }"
HEADS = (
    "def f(float(B,I,D) Q, float(B,J,D) K, float(B,J,D) V) -> (O) { s(b,i,j) +=! Q(b,i,d) * K(b,j,d)"
    "  e(b,i,j) = max(s(b,i,j), -3.0)  O(b,i,d) +=! e(b,i,j) * V(b,j,d) }"
)
SPREAD = "def f(float(N) X, int32(N) I) -> (Y) { Y(i,j) = X(I(i)) * 2.0 where j in 0:8 }"

CASES = {
    "product": Case(PRODUCT, ((512, 256), (256, 384))),
    "product on one core": Case(PRODUCT, ((500, 300), (300, 400)), ONE),
    "product on a small machine": Case(PRODUCT, ((500, 300), (300, 400)), FEW),
    "product that the first cache holds": Case(PRODUCT, ((24, 16), (16, 40))),
    "product far beyond the caches": Case(PRODUCT, ((3000, 5000), (5000, 4000)), NARROW),
    "product of any sizes": Case(PRODUCT, ((512, 256), (256, 384)), sizes="symbolic"),
    "product of rows": Case(RIGHT, ((512, 1024), (300, 1024))),
    "product of rows in strict order": Case(RIGHT, ((512, 1024), (300, 1024)), math="strict"),
    "product of columns": Case(LEFT, ((256, 100), (256, 90)), NARROW),
    "product turned round": Case(TURNED, ((2048, 700), (2048, 700))),
    "product of few lanes": Case(RIGHT, ((4000, 64), (16, 64))),
    "product of half a vector": Case(PRODUCT, ((4000, 64), (64, 5))),
    "convolution": Case(CONVOLUTION, ((2, 16, 58, 58), (32, 16, 3, 3)), NARROW),
    "convolution of small images": Case(CONVOLUTION, ((8, 64, 9, 9), (128, 64, 3, 3)), ONE),
    "convolution of any sizes": Case(
        CONVOLUTION,
        ((2, 16, 58, 58), (32, 16, 3, 3)),
        sizes="symbolic",
        likely=(("N", 2), ("C", 16), ("H", 58), ("W", 58), ("O", 32), ("KH", 3), ("KW", 3)),
    ),
    "convolution in strides": Case(STRIDED, ((2, 16, 57, 57), (32, 16, 3, 3))),
    "gradient of weights": Case(WEIGHTS, ((4, 32, 20, 20), (4, 16, 22, 22))),
    "depthwise convolution": Case(DEPTHWISE, ((8, 64, 58, 58), (64, 3, 3))),
    "batched product": Case(BATCHED, ((500, 26, 72), (500, 72, 26)), NARROW),
    "groups between rows": Case(GROUPED, ((12, 200, 64), (12, 64, 90))),
    "layer": Case(LAYER, ((128, 500), (200, 500), (200,)), NARROW),
    "function behind a product": Case(BEHIND, ((128, 500), (500, 200), (200,))),
    "distances": Case(DISTANCES, ((300, 64), (200, 64))),
    "function of rows": Case(SOFT, ((300, 64), (64, 200), (300,))),
    "choice by rows": Case(CHOSEN, ((300, 64), (64, 200))),
    "largest sum": Case(LARGEST, ((300, 64), (64, 200))),
    "named rows": Case(NAMED, ((1000, 64), (300,), (64, 200))),
    "three operands": Case(TRIPLE, ((300, 64), (64, 200), (64,))),
    "doubled operand": Case(LET, ((300, 64), (64, 200))),
    "softmax": Case(ROWS, ((4096, 1000),)),
    "softmax in strict order": Case(ROWS, ((100, 24),), NARROW, math="strict"),
    "transpose": Case(TURN, ((30, 40, 50),)),
    "sums along diagonals": Case(HANKEL, ((189,),)),
    "along diagonals": Case(TOEPLITZ, ((200,),)),
    "one column": Case(COLUMN, ((100,),)),
    "transposed and reversed": Case(TURNED_BACK, ((100, 80),)),
    "large transpose": Case(FLIPPED, ((8192, 4096),)),
    "transpose of few rows": Case(FLIPPED, ((8, 4096),)),
    "transpose of fewer rows": Case(FLIPPED, ((7, 4096),)),
    "transpose of any sizes": Case(FLIPPED, ((512, 4096),), sizes="symbolic", likely=(("M", 512), ("N", 4096))),
    "sums of both": Case(MIXED, ((300, 200), (200, 300)), NARROW),
    "backwards": Case(BACKWARDS, ((1000,),)),
    "every third": Case(EVERY, ((20, 302),)),
    "row sums": Case(SUMS, ((4096, 4096),)),
    "row sums of any sizes": Case(SUMS, ((4096, 4096),), NARROW, sizes="symbolic"),
    "column sums": Case(DOWN, ((4096, 4096),)),
    "sums of pairs": Case(PAIRS, ((120,),)),
    "sums in named places": Case(SCATTER, ((300,), (300,))),
    "products in a row that share a batch": Case(HEADS, ((12, 96, 64),) * 3, replace(WIDE, l2_bytes=128 << 10)),
    "products in a row on one core": Case(HEADS, ((12, 96, 64),) * 3, replace(NARROW, l2_bytes=128 << 10, cores=1)),
    "convolution by two": Case(CONVOLUTION, ((2, 8, 33, 33), (24, 8, 2, 2))),
    "convolution of one image": Case(CONVOLUTION, ((1, 16, 66, 66), (32, 16, 3, 3))),
    "convolution of one image on one core": Case(CONVOLUTION, ((1, 16, 66, 66), (32, 16, 3, 3)), ONE),
    "one product of a batch on one core": Case(BATCHED, ((1, 200, 72), (1, 72, 90)), ONE),
    "product of few lanes and odd steps": Case(RIGHT, ((4000, 63), (16, 63))),
    "product of few lanes and few rows": Case(RIGHT, ((6, 64), (16, 64))),
    "softmax of short rows seen": Case(ROWS, ((100, 40),), sizes="symbolic", likely=(("M", 100), ("N", 40))),
    "column sums of few rows": Case(DOWN, ((20, 5000),)),
    "column sums of any sizes": Case(DOWN, ((64, 5000),), sizes="symbolic", likely=(("M", 64), ("N", 5000))),
    "named elements": Case(SPREAD, ((300,), (300,))),
}


def models(case: Case) -> tuple[list[Nest], LaneModel]:
    """The nests that are planned, and the model of lanes, as the scheduler makes them."""
    (definition,) = load(case.text).values()
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    specs = tuple(Spec(shape, tensor.dtype) for shape, tensor in zip(case.shapes, inputs, strict=True))
    if case.sizes == "symbolic":
        specs = symbolic(definition, specs)
    scop = build_scop(replace(infer(definition, specs, case.sizes), likely=case.likely))
    dependences, extents, patterns = find_dependences(scop), Extents(scop), AccessPatterns(scop)
    fast = case.math == "fast"
    units = [unit_nest(source, scop, dependences, patterns if fast else None) for source in scop.program.statements]
    fuser = Fuser(scop, dependences, extents, cache_bytes=case.machine.l2_bytes // 2)
    nests = [share_loops(nest, fuser) for nest in fuser.fuse(units)]
    return nests, LaneModel(scop, dependences, patterns, extents, case.machine, PLAIN, fast)


def estimated(case: Case) -> Iterator[str]:
    outermost, lanes = models(case)
    for nest in outermost:
        for each in below(nest):
            yield from of_nest(each, lanes)


def below(nest: Nest) -> Iterator[Nest]:
    yield nest
    for child in nest.children:
        if isinstance(child, Nest):
            yield from below(child)


def of_nest(nest: Nest, lanes: LaneModel) -> Iterator[str]:
    """Register tiles by kind: how many, the sum of their costs, the cheapest.  Lanes.  What is taken."""
    yield f"{' '.join(nest.statements())} over {listed(nest.members, lanes)}"
    tiles = ContractionModel(
        lanes.scop, lanes.patterns, lanes.extents, lanes.machine, lanes.dependences, lanes.split_reductions
    ).plans(nest)
    kinds: dict[str, list[TilePlan]] = {}
    for plan in tiles:
        kinds.setdefault(kind_of(plan, lanes), []).append(plan)
    for kind, plans in sorted(kinds.items()):
        best = min(plans, key=cost_of)
        blocks = f"{best.row_block} by {best.lane_block or 'all'}, {best.reduced_block}"
        yield (
            f"  {kind}: {len(plans)}, {fsum(map(cost_of, plans)):.10g}; "
            f"{best.row_extent} by {best.lane_extent}, {blocks}: {best.cost:.10g}"
        )
    for lane in lanes.plans(nest):
        split = " split" if lane.split else ""
        yield f"  {lane.extent} lanes of {index_of(lane.member, lanes)}{split}: {lane.cost:.10g}"
    square = transposing(lanes, nest)
    if square is not None:
        yield f"  {square.reason}: {square.cost:.10g}"
    model = Model(lanes)
    taken = model.plan(nest)
    yield f"  = {taken.reason or 'loops'}, cost {taken.cost:.10g}, grain {model.grain(nest, taken)}"


def cost_of(plan: TilePlan) -> float:
    return plan.cost


def kind_of(plan: TilePlan, lanes: LaneModel) -> str:
    """What sets kinds of register tiles apart, beside sizes."""
    words = [f"{index_of(plan.rows, lanes)} by {index_of(plan.lanes, lanes)}"]
    words += [
        f"{where} {listed(loops, lanes)}" for where, loops in (("outer", plan.outer), ("inner", plan.inner)) if loops
    ]
    words += [f"packed {operand.tensor}" for operand in (plan.pack_rows, plan.pack_lanes) if operand is not None]
    if plan.jam is not None:
        words.append(f"{plan.jam.copies} of {index_of(plan.jam.member, lanes)} along {plan.jam.along}")
    words += [word for word, holds in (("rows first", plan.rows_first), ("held", plan.held is not None)) if holds]
    return ", ".join(words)


def listed(members: Sequence[Member], lanes: LaneModel) -> str:
    return " ".join(index_of(member, lanes) for member in members)


def index_of(member: Member, lanes: LaneModel) -> str:
    name, dim = member.dims[0]
    return lanes.scop.statement(name).dims[dim]


def lines_of(name: str) -> Iterator[str]:
    return estimated(CASES[name])


WRITTEN = WrittenDown("estimates", CASES, lines_of)


@pytest.mark.parametrize("name", CASES)
def test_estimates_are_those_that_are_written_down(name: str) -> None:
    WRITTEN.check(name)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


if __name__ == "__main__":
    WRITTEN.write()
