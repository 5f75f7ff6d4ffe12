"""Trees and texts that the grammar derives, and texts that it does not.

In: Hypothesis' draws.  Out: `Program` trees, texts.
Invariant: `trees` and `texts` are derivable by the grammar, without regard to names or types; `broken_texts` may be
anything.
"""

from __future__ import annotations

import functools
from typing import Any, get_args

from hypothesis import strategies as st

from comprehension.lang.builtins import BUILTINS
from comprehension.lang.printer import to_text
from comprehension.lang.tree import (
    Access,
    Binary,
    BinaryOp,
    Call,
    Cast,
    Clause,
    Def,
    Exists,
    Expr,
    Let,
    Name,
    Number,
    Param,
    Program,
    Range,
    ReduceOp,
    Select,
    SizeOf,
    Statement,
    TensorType,
    Unary,
)
from comprehension.lang.types import ScalarType

_NAMES = ("A", "B", "C", "N", "M", "i", "j", "k", "x_1", "_y", "In", "lambda", "__class__", "where_", "def1")
_REDUCTIONS: st.SearchStrategy[ReduceOp | None] = st.sampled_from((None, "+", "*", "min", "max"))
_NAME = st.sampled_from(_NAMES)
_SELDOM = st.sampled_from((False, False, False, True))
_OPERATORS = get_args(BinaryOp)

# --- what the grammar derives ------------------------------------------------------------------------------------


def _numbers() -> st.SearchStrategy[Number]:
    floats = st.floats(0.0, 2.0**127, allow_nan=False, width=32)
    return st.one_of(st.integers(0, 2**31 - 1), floats).map(Number)


@functools.cache  # recursive strategies are costly to make, and drawn from often
def expressions(max_leaves: int = 12) -> st.SearchStrategy[Expr]:
    """Expressions that the grammar derives, without regard to names or types."""
    names = st.sampled_from(_NAMES)
    leaves: st.SearchStrategy[Expr] = st.one_of(
        _numbers(), names.map(Name), st.builds(SizeOf, names, st.integers(0, 9)), names.map(lambda n: Access(n, ()))
    )

    def extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        some = st.lists(inner, min_size=1, max_size=3).map(tuple)
        return st.one_of(
            st.builds(Access, names, some, leading=_SELDOM),
            st.builds(Unary, st.sampled_from(("-", "!")), inner),
            st.builds(Binary, st.sampled_from(_OPERATORS), inner, inner),
            st.builds(Select, inner, inner, inner),
            st.builds(Cast, st.sampled_from(ScalarType), inner),
            st.builds(Call, st.sampled_from(("min", "max")), st.tuples(inner, inner)),
            st.builds(Call, st.sampled_from(sorted(BUILTINS)), some),
        )

    return st.recursive(leaves, extend, max_leaves=max_leaves)


@functools.cache
def _clauses() -> st.SearchStrategy[Clause]:
    names, inner = st.sampled_from(_NAMES), expressions(4)
    return st.one_of(st.builds(Range, names, inner, inner), st.builds(Let, names, inner), st.builds(Exists, inner))


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """Statements that the grammar derives."""
    reduction: ReduceOp | None = draw(_REDUCTIONS)
    equivalent = Access("E", tuple(draw(_lists(expressions(3), 2)))) if draw(st.integers(0, 3)) == 3 else None
    return Statement(
        draw(_NAME),
        tuple(draw(_lists(expressions(4), 3))),
        draw(expressions()),
        reduction,
        reduction is not None and draw(st.booleans()),
        tuple(draw(_lists(_clauses(), 3))),
        equivalent,
        leading=draw(_SELDOM),
    )


@functools.cache
def _lists(inner: st.SearchStrategy[Any], longest: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(inner, max_size=longest)


@functools.cache
def _parameters() -> st.SearchStrategy[Param]:
    dims = st.lists(st.one_of(st.sampled_from(_NAMES), st.integers(0, 2**31 - 1)), max_size=3).map(tuple)
    types = st.builds(TensorType, st.sampled_from(ScalarType), dims, leading=_SELDOM)
    return st.builds(Param, st.sampled_from(_NAMES), st.one_of(st.none(), types))


@functools.cache
def trees() -> st.SearchStrategy[Program]:
    """Programs that the grammar derives; most of them fail the checks."""
    parameters = st.lists(_parameters(), max_size=3).map(tuple)
    # Names of defs are apart from those of tensors: whether `f(x)` is a call would depend on them.
    names = st.sampled_from(("f", "g", "exec"))
    body = st.lists(statements(), max_size=3).map(tuple)
    return st.lists(st.builds(Def, names, parameters, parameters, body), min_size=1, max_size=2).map(
        lambda defs: Program(tuple(defs))
    )


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Texts that the grammar derives, with comments, odd spacing and needless line ends."""
    words = to_text(draw(trees())).split(" ")
    gaps = st.sampled_from((" ", " ", "  ", "\n", "\t", "\r\n", " # a comment: } def (\n", "\n#é\n"))
    return "".join(word + draw(gaps) for word in words)


_HOSTILE = (
    "\0",
    "é",
    "𝟙",
    "(" * 300,
    "9" * 500,
    "1e999",
    "__import__('os')",
    "<=>",
    "+=!",
    ".",
    "}",
    "#",
    "\\",
    "'",
    '"',
    "%s",
)


@st.composite
def broken_texts(draw: st.DrawFn, whole: st.SearchStrategy[str] | None = None) -> str:
    """Texts (of `whole`) with a few characters deleted, doubled, exchanged or put in; some still parse."""
    text = draw(texts() if whole is None else whole)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(st.just(""), st.just(text[start:end] * 2), st.sampled_from(_HOSTILE), st.text(max_size=4))
        )
        text = text[:start] + piece + text[end:]
    return text
