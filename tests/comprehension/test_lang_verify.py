"""The verifier of loop programs refuses every way to break one that is tried here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from comprehension.lang.frontend import load
from comprehension.lang.loops import Index, LoopProgram, LoopStatement, Role
from comprehension.lang.ranges import infer
from comprehension.lang.tree import Access, Name, Number
from comprehension.lang.types import ScalarType
from comprehension.lang.verify import MalformedProgram, verify_program

INT32, FLOAT64 = ScalarType.INT32, ScalarType.FLOAT64


def program() -> LoopProgram:
    text = "def f(float(N, M) A, float s) -> (B) { T(i) +=! A(i, j) where j in 0:i, i in 0:M  B(i) = T(i) * s }"
    return infer(load(text)["f"], None, "symbolic")


def with_statement(change: Callable[[LoopStatement], LoopStatement]) -> LoopProgram:
    good = program()
    return replace(good, statements=(change(good.statements[0]), *good.statements[1:]))


BROKEN: dict[str, Callable[[], LoopProgram]] = {
    "a bound that uses an inner index": lambda: with_statement(lambda s: replace(s, indices=s.indices[::-1])),
    "an index that hides a size": lambda: with_statement(
        lambda s: replace(s, indices=(*s.indices, Index("N", Number(0, dtype=INT32), Number(1, dtype=INT32))))
    ),
    "an input as target": lambda: with_statement(lambda s: replace(s, target="A")),
    "too few subscripts": lambda: with_statement(lambda s: replace(s, subscripts=())),
    "an undefined name": lambda: with_statement(lambda s: replace(s, subscripts=(Name("q", dtype=INT32),))),
    "a value of another type": lambda: with_statement(lambda s: replace(s, value=Number(1.0, dtype=FLOAT64))),
    "an untyped value": lambda: with_statement(lambda s: replace(s, value=Number(1.0))),
    "a read of what is written later": lambda: with_statement(
        lambda s: replace(s, value=Access("B", (Name("i", dtype=INT32),), dtype=ScalarType.FLOAT32))
    ),
    "an initialised assignment": lambda: with_statement(lambda s: replace(s, reduction=None)),
    "more left indices than indices": lambda: with_statement(lambda s: replace(s, left=5)),
    "two statements of one name": lambda: with_statement(lambda s: replace(s, name="S1")),
    "two tensors of one name": lambda: replace(program(), tensors=program().tensors * 2),
    "a scalar of another type": lambda: replace(program(), scalars=(replace(program().scalars[0], dtype=FLOAT64),)),
    "a temporary that is an input": lambda: replace(
        program(), tensors=tuple(replace(t, role=Role.INPUT) for t in program().tensors)
    ),
}


def test_what_inference_makes_passes() -> None:
    verify_program(program())


@pytest.mark.parametrize("name", BROKEN)
def test_broken_programs_are_refused(name: str) -> None:
    with pytest.raises(MalformedProgram):
        verify_program(BROKEN[name]())
