"""Small constructors for the comprehension trees of operations.

In: operands of an operation (TensorSpecs and Python scalars).  Out: pieces of `comprehension.lang.tree`.
Invariant: what is built here prints as a text that parses back to an equal tree; inputs are `x0, x1, ...`,
outputs `r0, ...` (`y0` is a Bessel function), temporaries `t0, ...`, indices `i, j, k, ...` in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from comprehension.lang.tree import (
    Access,
    Binary,
    BinaryOp,
    Call,
    Cast,
    Clause,
    Def,
    Expr,
    Name,
    Number,
    Param,
    Range,
    ReduceOp,
    Select,
    Statement,
    TensorType,
    Unary,
)
from comprehension.lang.types import ScalarType
from minitensor.errors import NoComprehension
from minitensor.ops.half import accumulate_in_float32
from minitensor.ops.opdef import Operand, TensorSpec

Dim = int | str
Shape = tuple[Dim, ...]
ExprLike = Expr | int | float | str

_INDEX_NAMES = "ijklmnopqr"


def scalar_type(dtype: np.dtype[Any]) -> ScalarType:
    """The language's type for a dtype.  Raises NoComprehension where it has none."""
    try:
        return ScalarType.of(dtype)
    except KeyError:
        raise NoComprehension(f"the comprehension language has no {dtype}") from None


def need_numbers(what: str, *dtypes: np.dtype[Any]) -> None:
    """Raises NoComprehension for bool: the language does no arithmetic on it."""
    if any(dtype.kind == "b" for dtype in dtypes):
        raise NoComprehension(f"{what} of bool: the language does no arithmetic on it")


def indices(count: int, start: int = 0) -> tuple[Name, ...]:
    """`count` distinct index names, from the `start`-th on."""
    return tuple(Name(_INDEX_NAMES[k] if k < len(_INDEX_NAMES) else f"i{k}") for k in range(start, start + count))


# --- expressions -----------------------------------------------------------------------------------------


def ex(x: ExprLike) -> Expr:
    """An expression from a number or a name."""
    if isinstance(x, str):
        return Name(x)
    if isinstance(x, int | float):
        return number(x)
    return x


def number(x: int | float) -> Expr:
    """A literal; the language has no negative ones, nor NaN and infinities."""
    if isinstance(x, float) and not np.isfinite(x):
        raise NoComprehension(f"the comprehension language has no literal for {x}")
    return Unary("-", Number(-x)) if x < 0 else Number(x)


def binary(op: BinaryOp, left: ExprLike, right: ExprLike) -> Expr:
    return Binary(op, ex(left), ex(right))


def add(left: ExprLike, right: ExprLike) -> Expr:
    """`left + right`, folded where a side is the number 0 or both are integers: subscripts stay readable."""
    a, b = ex(left), ex(right)
    if isinstance(a, Number) and isinstance(b, Number) and isinstance(a.value, int) and isinstance(b.value, int):
        return number(a.value + b.value)
    if a == Number(0):
        return b
    return a if b == Number(0) else Binary("+", a, b)


def sub(left: ExprLike, right: ExprLike) -> Expr:
    a, b = ex(left), ex(right)
    if isinstance(a, Number) and isinstance(b, Number) and isinstance(a.value, int) and isinstance(b.value, int):
        return number(a.value - b.value)
    return a if b == Number(0) else Binary("-", a, b)


def mul(left: ExprLike, right: ExprLike) -> Expr:
    a, b = ex(left), ex(right)
    if isinstance(a, Number) and isinstance(b, Number) and isinstance(a.value, int) and isinstance(b.value, int):
        return number(a.value * b.value)
    if a == Number(1):
        return b
    return a if b == Number(1) else Binary("*", a, b)


def all_of(conditions: Iterable[Expr]) -> Expr | None:
    """The conjunction; None if there is no condition."""
    result: Expr | None = None
    for condition in conditions:
        result = condition if result is None else Binary("&&", result, condition)
    return result


def within(index: ExprLike, lower: ExprLike, upper: ExprLike) -> Expr:
    """`lower <= index && index < upper`."""
    return Binary("&&", Binary(">=", ex(index), ex(lower)), Binary("<", ex(index), ex(upper)))


def call(function: str, *arguments: ExprLike) -> Expr:
    return Call(function, tuple(ex(a) for a in arguments))


def builtin(function: str, dtype: np.dtype[Any], *arguments: Expr) -> Expr:
    """A builtin on operands of `dtype`; of float16 it is computed in float32, and rounded."""
    if dtype == np.float16:
        return cast(dtype, call(function, *(cast(np.dtype(np.float32), x) for x in arguments)))
    return call(function, *arguments)


def is_finite(x: Expr) -> Expr:
    """`x - x == x - x`: NaN for NaN and the infinities, 0 for all else."""
    difference = Binary("-", x, x)
    return Binary("==", difference, difference)


def select(condition: Expr | None, then: ExprLike, otherwise: ExprLike) -> Expr:
    """`condition ? then : otherwise`; `then` alone where there is no condition."""
    return ex(then) if condition is None else Select(condition, ex(then), ex(otherwise))


def cast(to: np.dtype[Any], x: ExprLike, from_: np.dtype[Any] | None = None) -> Expr:
    """`to(x)`; nothing where `x` is known to have that dtype already."""
    return ex(x) if from_ is not None and from_ == to else Cast(scalar_type(to), ex(x))


def constant(value: int | float, dtype: np.dtype[Any]) -> Expr:
    """A number of a given dtype."""
    if dtype.kind == "f":
        return _double(float(value)) if dtype == np.float64 else _float(float(value), dtype)
    if dtype == np.int32:
        return number(int(value))
    return Cast(scalar_type(dtype), number(int(value)))


def _float(value: float, dtype: np.dtype[Any]) -> Expr:
    return number(value) if dtype == np.float32 else Cast(scalar_type(dtype), number(value))


def _double(value: float) -> Expr:
    """A double as a sum of literals, which are float32 also beside doubles."""
    double = np.dtype(np.float64)
    result: Expr | None = None
    while result is None or value:
        head = float(np.float32(value))
        part = _float(head, double)
        result = part if result is None else Binary("+", result, part)
        value -= head
    return result


def access(tensor: str, subscripts: Sequence[ExprLike]) -> Expr:
    """`tensor(subscripts)`, or the bare name where there is none."""
    return Access(tensor, tuple(ex(s) for s in subscripts)) if subscripts else Name(tensor)


# --- statements and defs ---------------------------------------------------------------------------------


def ranges(names: Sequence[Name], extents: Sequence[ExprLike]) -> tuple[Clause, ...]:
    """`where` clauses `name in 0 : extent`."""
    return tuple(Range(name.id, Number(0), ex(extent)) for name, extent in zip(names, extents, strict=True))


def assign(target: str, subscripts: Sequence[ExprLike], value: Expr, where: tuple[Clause, ...] = ()) -> Statement:
    return Statement(target, tuple(ex(s) for s in subscripts), value, where=where)


def reduce(
    op: ReduceOp, target: str, subscripts: Sequence[ExprLike], value: Expr, where: tuple[Clause, ...] = ()
) -> Statement:
    """`target(subscripts) op=! value`."""
    return Statement(target, tuple(ex(s) for s in subscripts), value, reduction=op, initialise=True, where=where)


def accumulate(
    op: ReduceOp, target: str, subscripts: Sequence[ExprLike], value: Expr, where: tuple[Clause, ...] = ()
) -> Statement:
    """`target(subscripts) op= value`."""
    return Statement(target, tuple(ex(s) for s in subscripts), value, reduction=op, where=where)


def definition(
    name: str,
    operands: Sequence[Operand],
    statements: Sequence[Statement],
    *,
    scalar: np.dtype[Any] | None = None,
    outputs: int = 1,
) -> Def:
    """The def of an operation; weak scalars are rank-0 parameters of type `scalar`."""
    inputs = []
    for k, operand in enumerate(operands):
        if isinstance(operand, TensorSpec):
            type_ = TensorType(scalar_type(operand.dtype), operand.shape)
        else:
            assert scalar is not None, f"{name} takes no weak scalar"
            type_ = TensorType(scalar_type(scalar))
        inputs.append(Param(f"x{k}", type_))
    returns = tuple(Param(f"r{k}") for k in range(outputs))
    made = Def(f"mt_{name}", tuple(inputs), returns, tuple(statements))  # "max" and "exp" are the language's own
    halves = any(parameter.type is not None and parameter.type.scalar is ScalarType.FLOAT16 for parameter in inputs)
    return accumulate_in_float32(made) if halves else made


def broadcast_read(name: str, shape: Shape, out: Shape, at: Sequence[ExprLike]) -> Expr:
    """A read of an operand at the point `at` of the broadcast result: 0 on dimensions that it repeats."""
    aligned = zip(shape, out[len(out) - len(shape) :], at[len(out) - len(shape) :], strict=True)
    return access(name, [0 if extent == 1 and extent != full else index for extent, full, index in aligned])
