"""Which statements share which loops: `nests.txt`, for texts of many shapes, small and large.

`[m n](S0_init [k-](S0))`: loops m and n around all, k around S0; `-` where iterations depend on one another, `plain`
where the loops stay loops.  What was meant to change is written down by

    python tests/comprehension/test_nests.py

and is then read in the diff.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from approved import WrittenDown
from test_poly_siblings import APART as UNLIKE, BETWEEN, CENTRED, MOMENTS, PRODUCTS, RANGES, THREE
from texts import TEXTS

from comprehension.lang.frontend import load
from comprehension.lang.loops import Role
from comprehension.lang.ranges import infer
from comprehension.lang.types import Spec
from comprehension.options import Fusion
from comprehension.poly.access import AccessPatterns
from comprehension.poly.cluster import Fuser
from comprehension.poly.dependence import find_dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scheduler import unit_nest
from comprehension.poly.scop import Scop, build_scop
from comprehension.poly.siblings import share_loops


@dataclass(frozen=True, slots=True)
class Case:
    """A text at sizes (at typical ones where there are none), and what an intermediate of a chain may take."""

    text: str
    shapes: tuple[tuple[int, ...], ...] | None = None
    fusion: Fusion = "preserve"
    cache_bytes: int = 0
    strict: bool = False


SIBLINGS = {
    "moments": MOMENTS,
    "between": BETWEEN,
    "centred": CENTRED,
    "unlike": UNLIKE,
    "ranges": RANGES,
    "products": PRODUCTS,
    "three": THREE,
    "later": "def f(float(N,K) I) -> (s, t, q) { s(n) +=! I(n,k)  t(n) = s(n) + 1.0  q(n) +=! I(n,k) * t(n) }",
    "before": "def f(float(N,K) I) -> (s, t, q) { s(n) +=! I(n,k)  t(n) = I(n,0) * 2.0  q(n) max=! I(n,k) + t(n) }",
    "loops between": "def f(float(N,K) I) -> (s, T, q) { s(n) +=! I(n,k)  T(n,k) = I(n,k) * s(n)  q(n) max=! I(n,k) }",
    "like the second": (
        "def f(float(N,K) I) -> (s, q, p) { s(n) +=! I(n,k) where k in 0:7  q(n) +=! I(n,k)  p(n) max=! I(n,k) }"
    ),
    "like the first, which the second needs": (
        "def f(float(N,K) I) -> (s, q, p) { s(n) +=! I(n,k)  q(n) +=! I(n,k) * s(n)  p(n) max=! I(n,k) }"
    ),
    "after the second alone": (
        "def f(float(N,K) I, float(N,K) J) -> (s, q, p) { s(n) +=! I(n,k)  q(n) +=! J(n,k)  p(n) max=! J(n,k) + s(n) }"
    ),
    "two loops": "def f(float(N,K,L) I) -> (s, q) { s(n) +=! I(n,k,l)  q(n) max=! I(n,k,l) * 2.0 }",
    "one of two loops": "def f(float(N,K,L) I) -> (s, q) { s(n) +=! I(n,k,l)  q(n) max=! I(n,k,0) }",
    "four": (
        "def f(float(N,K) I) -> (s, q, p, r) { s(n) +=! I(n,k)  q(n) +=! I(n,k) * I(n,k)"
        "  p(n) min=! I(n,k)  r(n) max=! I(n,k) + p(n) }"
    ),
}
KRONECKER = (
    "def f(float(D,A) V, float(E,B) W, float(M,A,B) X) -> (Y) {"
    " T(m,a,e) +=! X(m,a,b) * W(e,b)  Y(m,d,e) +=! T(m,a,e) * V(d,a) }"
)
HEADS = (
    "def f(float(B,I,D) Q, float(B,J,D) K, float(B,J,D) V) -> (O) { s(b,i,j) +=! Q(b,i,d) * K(b,j,d)"
    "  top(b,i) max=! s(b,i,j)  e(b,i,j) = exp(s(b,i,j) - top(b,i))  total(b,i) +=! e(b,i,j)"
    "  O(b,i,d) +=! e(b,i,j) * V(b,j,d)  O(b,i,d) = O(b,i,d) / total(b,i) }"
)
FEW = "def f(float(M,N) A) -> (B, C) { B(i,j) = A(i,j) + 1.0  C(j,i) = B(i,j) * 2.0 }"
APART = "def f(float(N) A, float(N) B) -> (C, D) { C(i) = A(i) + 1.0  D(i) = B(i) * 2.0 }"
TOGETHER = "def f(float(N) A) -> (C, D) { C(i) = A(i) + 1.0  D(i) = A(i) * 2.0 }"
PARTLY = "def f(float(M,N) A) -> (C, D) { C(i,j) = A(i,j) + 1.0  D(i) = A(i,0) * 2.0 }"
CROSSED = (
    "def f(float(N) A) -> (C, D) { B(i) = A(i) + 1.0  C(i) = A(i) * 2.0  D(i) = B(i) + C(N - 1 - i) where i in 0:N }"
)
DOT = "def f(float(M,N) A) -> (s, C) { s +=! A(i,j)  C(i,j) = A(i,j) / s }"
TWO_PRODUCTS = (
    "def f(float(M,K) A, float(K,N) B, float(K,N) D) -> (C, E) {"
    " C(m,n) +=! A(m,k) * B(k,n)  E(m,n) +=! A(m,k) * D(k,n) }"
)
BY_ROW_SUMS = (
    "def f(float(N,N) A) -> (C) { s(i) +=! exp(A(i,j))  C(i,j) = exp(A(i,j)) * s(j) where i in 0:N, j in 0:N }"
)
SUMMED = "def f(float(M,N) A, float(M,N) B) -> (C, s) { C(i,j) = A(i,j) * B(i,j)  s(j) +=! C(i,j) }"
CENTRED = "def f(float(M,N) A) -> (C) { s(j) +=! A(i,j)  s(j) = s(j) / M  C(i,j) = A(i,j) - s(j) }"
GROUPS = "def f(float(G,D,H) A) -> (C) { s(g,d) +=! A(g,d,h)  s(g,d) = s(g,d) / H  C(g,d,h) = A(g,d,h) - s(g,d) }"
TURNED_INSIDE = "def f(float(B,M,N) A) -> (C, D) { C(b,i,j) = A(b,i,j) + 1.0  D(b,j,i) = C(b,i,j) * 2.0 }"
SEVEN = "def f(float(N) A) -> (T7) { " + " ".join(
    f"T{k}(i) = {'A' if k == 0 else f'T{k - 1}'}(i) + 1.0" for k in range(8)
) + " }"  # fmt: skip
OWN = {
    "products in a row": Case(KRONECKER, ((40, 40), (40, 40), (16, 40, 40)), cache_bytes=64 << 10),
    "products in a row, near enough": Case(KRONECKER, ((40, 40), (40, 40), (16, 40, 40)), cache_bytes=1 << 20),
    "products in a row, nothing near": Case(KRONECKER, ((40, 40), (40, 40), (16, 40, 40)), cache_bytes=1 << 10),
    "products in a row, few": Case(KRONECKER, ((40, 40), (40, 40), (4, 40, 40)), cache_bytes=8 << 10),
    "products in a row, short": Case(KRONECKER, ((8, 8), (8, 8), (64, 8, 8)), cache_bytes=4 << 10),
    "products in a row, no caches": Case(KRONECKER, ((40, 40), (40, 40), (16, 40, 40))),
    "products in a row of any sizes": Case(KRONECKER, cache_bytes=1 << 20),
    "heads": Case(HEADS, ((12, 64, 64),) * 3, cache_bytes=64 << 10),
    "heads, one": Case(HEADS, ((1, 128, 64),) * 3, cache_bytes=64 << 10),
    "heads, strict": Case(HEADS, ((12, 64, 64),) * 3, cache_bytes=64 << 10, strict=True),
    "turned round": Case(FEW, ((300, 200),)),
    "few rows": Case(FEW, ((4, 2000),)),
    "nothing in common": Case(APART, ((100,), (100,))),
    "one input": Case(TOGETHER, ((100,),)),
    "one input, one loop of two": Case(PARTLY, ((100, 50),)),
    "one reads the other backwards": Case(CROSSED, ((100,),)),
    "a sum of all": Case(DOT, ((200, 300),)),
    "a small sum of all": Case(DOT, ((2, 3),)),
    "two products of one operand": Case(TWO_PRODUCTS, ((64, 32), (32, 48), (32, 48))),
    "eight in a row": Case(SEVEN, ((100,),)),
    "rows by sums of rows": Case(BY_ROW_SUMS, ((300, 300),)),
    "rows by sums of rows, all that may be": Case(BY_ROW_SUMS, ((300, 300),), fusion="max"),
    "a gradient and its column sums": Case(SUMMED, ((5, 300), (5, 300))),
    "a gradient and its column sums, few rows": Case(SUMMED, ((4, 300), (4, 300))),
    "a gradient and its column sums of any sizes": Case(SUMMED),
    "less the mean of columns": Case(CENTRED, ((300, 200),)),
    "less the mean of columns, a few": Case(CENTRED, ((4, 200),)),
    "small beside large": Case(GROUPS, ((30, 20, 8),)),
    "nearly as small": Case(GROUPS, ((30, 20, 6),)),
    "turned round in each of a batch": Case(TURNED_INSIDE, ((8, 300, 200),)),
}


def every() -> Iterator[tuple[str, Case]]:
    yield from OWN.items()
    for title, text in SIBLINGS.items():
        yield f"siblings: {title}", Case(text)
    for name, (text, shapes) in TEXTS.items():
        yield f"{name}, small", Case(str(text), tuple(shapes))  # type: ignore[arg-type]
        yield f"{name}, large", Case(str(text))
        yield f"{name}, all that may be", Case(str(text), fusion="max")


CASES = dict(every())


def nests_of(case: Case) -> tuple[list[Nest], Scop, list[str]]:
    definition = load(case.text)["f"]
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    if case.shapes is None:
        program = infer(definition, None, "symbolic")
    else:
        specs = [Spec(shape, tensor.dtype) for shape, tensor in zip(case.shapes, inputs, strict=True)]
        program = infer(definition, specs)
    scop = build_scop(program)
    dependences, patterns = find_dependences(scop), AccessPatterns(scop)
    reordering = None if case.strict else patterns
    units = [unit_nest(source, scop, dependences, reordering) for source in program.statements]
    fuser = Fuser(scop, dependences, Extents(scop), case.fusion, case.cache_bytes)
    nests = [share_loops(nest, fuser) for nest in fuser.fuse(units)]
    return nests, scop, fuser.reasons


def text_of(nest: Nest, scop: Scop) -> str:
    loops = " ".join(f"{index_of(m, scop)}{'' if m.coincident else '-'}" for m in nest.members)
    inside = " ".join(child if isinstance(child, str) else text_of(child, scop) for child in nest.children)
    return f"[{loops}{' plain' if nest.plain else ''}]({inside})"


def index_of(member: Member, scop: Scop) -> str:
    name, dim = member.dims[0]
    return scop.statement(name).dims[dim]


def written_for(case: Case) -> Iterator[str]:
    nests, scop, reasons = nests_of(case)
    yield from (text_of(nest, scop) for nest in nests)
    yield from reasons


def lines_of(title: str) -> Iterator[str]:
    return written_for(CASES[title])


WRITTEN = WrittenDown("nests", CASES, lines_of)


@pytest.mark.parametrize("title", CASES)
def test_nests_are_those_that_are_written_down(title: str) -> None:
    WRITTEN.check(title)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


if __name__ == "__main__":
    WRITTEN.write()
