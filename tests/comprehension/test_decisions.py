"""What the compiler decides, on processors that are written down here: `decisions.txt`, read as a whole, is the model.

A wrong decision is no wrong result: nothing else in these tests would see that a tile became half as wide or that a
fusion is lost.  A decision that was meant to change is written down by

    python tests/comprehension/test_decisions.py

and is then read in the diff: is it better, and why?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from approved import WrittenDown

from comprehension.jit.request import ComprehensionRequest, Math, Sizes, Target
from comprehension.jit.specialise import symbolic
from comprehension.kernel.printer import to_text
from comprehension.lang.frontend import load
from comprehension.lang.loops import Role
from comprehension.lang.types import Spec
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.pipeline import FRONT, MIDDLE
from comprehension.stages import Compilation

WIDE = Machine("test", "", 512, 32, 48 << 10, 2 << 20, 16 << 20, 2, fma_units=2)
NARROW = Machine("test", "", 256, 16, 32 << 10, 512 << 10, 8 << 20, 4, fma_units=2)
PLAIN = MappingOptions()
MACHINES = {"wide": WIDE, "narrow": NARROW}


@dataclass(frozen=True, slots=True)
class Case:
    """A text at sizes, and under which circumstances."""

    text: str
    shapes: tuple[tuple[int, ...], ...]
    machine: str = "wide"
    math: Math = "fast"
    sizes: Sizes = "static"
    target: Target = "cpu"
    options: MappingOptions = PLAIN


ROWS = (
    "def f(float(M,N) X) -> (Y) { t(i) max=! X(i, j)  E(i, j) = exp(X(i, j) - t(i))"
    "  s(i) +=! E(i, j)  Y(i, j) = E(i, j) / s(i) }"
)
PRODUCT = "def f(float(M,K) A, float(K,N) B) -> (C) { C(m,n) +=! A(m,k) * B(k,n) }"
CONVOLUTION = "def f(float(N,C,H,W) I, float(O,C,KH,KW) K) -> (R) { R(n,o,h,w) +=! I(n,c,h+kh,w+kw) * K(o,c,kh,kw) }"
LAYER = (
    "def f(float(B,M) I, float(N,M) W, float(N) C) -> (O) {"
    " O(b, n) +=! I(b, m) * W(n, m)  O(b, n) = O(b, n) + C(n)  O(b, n) = max(O(b, n), 0.0) }"
)
ATTENTION = (
    "def f(float(L,D) Q, float(L,D) K, float(L,D) V) -> (O) { S(i, j) +=! Q(i, d) * K(j, d)"
    "  t(i) max=! S(i, j)  E(i, j) = exp(S(i, j) - t(i))  s(i) +=! E(i, j)  P(i, j) = E(i, j) / s(i)"
    "  O(i, d) +=! P(i, j) * V(j, d) }"
)
TOTAL = "def f(float(M,N) A) -> (s) { s +=! A(i, j) }"
ROW_SUMS = "def f(float(M,N) A) -> (s) { s(i) +=! A(i, j) }"
COLUMN_SUMS = "def f(float(M,N) A) -> (s) { s(j) +=! A(i, j) }"
TRANSPOSE = "def f(float(M,N) A) -> (B) { B(j, i) = A(i, j) }"
COPY = "def f(float(M,N) A) -> (B) { B(i, j) = A(i, j) + 1.0 }"
LOOKUP = "def f(float(R,D) T, int32(B,L) I) -> (O) { O(b, d) +=! T(I(b, l), d) }"
SCAN = (
    "def f(float(T,D) X) -> (O) { O(t, d) = X(t, d) where t in 0:1"
    "  O(t, d) = 0.5 * O(t-1, d) + X(t, d) where t in 1:T }"
)
WINDOW = "def f(float(M,N) A) -> (B) { B(i, j) max=! A(i, j + w) where w in 0:16 }"
BATCHED = "def f(float(B,N,M) X, float(B,M,K) Y) -> (Z) { Z(b,n,k) +=! X(b,n,m) * Y(b,m,k) }"
DEPTHWISE = "def f(float(N,C,H,W) I, float(C,KH,KW) K) -> (R) { R(n,c,h,w) +=! I(n,c,h+kh,w+kw) * K(c,kh,kw) }"
TRIANGLE = "def f(float(N) X) -> (O) { O(i) +=! X(j) where i in 0:N, j in 0:i+1 }"
DOUBLES = "def f(double(M,K) A, double(N,K) B) -> (C) { C(m,n) +=! A(m,k) * B(n,k) }"

CASES = {
    "product": Case(PRODUCT, ((512, 256), (256, 384))),
    "product of few rows": Case(PRODUCT, ((3, 256), (256, 384))),
    "large product": Case(PRODUCT, ((2000, 3000), (3000, 2500))),
    "large product, narrow": Case(PRODUCT, ((2000, 3000), (3000, 2500)), "narrow"),
    "product in strict order": Case(PRODUCT, ((512, 256), (256, 384)), math="strict"),
    "product of any sizes": Case(PRODUCT, ((512, 256), (256, 384)), sizes="symbolic"),
    "transposed product of doubles": Case(DOUBLES, ((300, 200), (400, 200)), "narrow"),
    "batched product": Case(BATCHED, ((500, 26, 72), (500, 72, 26))),
    "convolution": Case(CONVOLUTION, ((2, 16, 58, 58), (32, 16, 3, 3))),
    "convolution, narrow": Case(CONVOLUTION, ((2, 16, 58, 58), (32, 16, 3, 3)), "narrow"),
    "depthwise convolution": Case(DEPTHWISE, ((8, 64, 58, 58), (64, 3, 3))),
    "layer": Case(LAYER, ((128, 500), (200, 500), (200,))),
    "attention": Case(ATTENTION, ((256, 64),) * 3),
    "softmax": Case(ROWS, ((4096, 1024),)),
    "softmax of short rows": Case(ROWS, ((100, 10),)),
    "softmax in strict order": Case(ROWS, ((256, 1000),), math="strict"),
    "softmax, statements apart": Case(ROWS, ((256, 1000),), options=MappingOptions(fusion="min")),
    "softmax in tiles": Case(ROWS, ((256, 1000),), options=MappingOptions(tile=(32, 128), unroll=4)),
    "softmax of any sizes": Case(ROWS, ((4096, 1024),), sizes="symbolic"),
    "total": Case(TOTAL, ((3000, 2000),)),
    "row sums": Case(ROW_SUMS, ((4096, 4096),)),
    "column sums": Case(COLUMN_SUMS, ((4096, 4096),)),
    "transpose": Case(TRANSPOSE, ((4096, 4096),)),
    "transpose, narrow": Case(TRANSPOSE, ((100, 70),), "narrow"),
    "large copy": Case(COPY, ((4096, 4096),)),
    "small copy": Case(COPY, ((60, 70),), "narrow"),
    "lookup": Case(LOOKUP, ((100000, 64), (128, 50))),
    "scan": Case(SCAN, ((50, 1000),)),
    "window": Case(WINDOW, ((1000, 1000),)),
    "triangle": Case(TRIANGLE, ((1000,),)),
    "product on a GPU": Case(PRODUCT, ((512, 256), (256, 384)), target="cuda"),
    "softmax on a GPU": Case(
        ROWS, ((256, 1000),), target="cuda", options=MappingOptions(tile=(4, 128), threads=(64,), blocks=(100,))
    ),
    "product of few rows whose panel's lines are pages apart": Case(PRODUCT, ((3, 256), (256, 2048))),
    "sums of rows too short for several at once": Case(ROW_SUMS, ((4096, 24),)),
}


def decided(case: Case) -> Iterator[str]:
    """The reasons in words, and the heads of the functions that come of them."""
    definition = load(case.text)["f"]
    inputs = [tensor for tensor in definition.tensors if tensor.role is Role.INPUT]
    specs = tuple(Spec(shape, tensor.dtype) for shape, tensor in zip(case.shapes, inputs, strict=True))
    request = ComprehensionRequest(
        "f",
        case.text,
        specs if case.sizes == "static" else symbolic(definition, specs),
        case.sizes,
        case.target,
        case.options,
        case.math,
        True,
        MACHINES[case.machine],
    )
    compilation = Compilation(request, request.options)
    for stage in (*FRONT, *MIDDLE[case.target]):
        if stage.name != "certify":  # what is decided is here; that it is right is proved elsewhere
            stage.run(compilation)
    yield from compilation.tree.steps
    yield from (*compilation.refused, *compilation.mapping, *compilation.locality)
    for line in to_text(compilation.kernel).splitlines():
        if line.startswith(("  stage", "  workspace", "  scratch")) or "the same when" in line:
            yield line.strip()


def lines_of(name: str) -> Iterator[str]:
    return decided(CASES[name])


WRITTEN = WrittenDown("decisions", CASES, lines_of)


@pytest.mark.parametrize("name", CASES)
def test_decisions_are_those_that_are_written_down(name: str) -> None:
    WRITTEN.check(name)


def test_every_section_has_its_case() -> None:
    WRITTEN.check_titles()


def test_a_machine_decides() -> None:
    """The texts are not empty words: another processor gives other tiles."""
    case = CASES["large product"]
    assert list(decided(case)) != list(decided(replace(case, machine="narrow")))


if __name__ == "__main__":
    WRITTEN.write()
