"""The array standard's elementwise functions, made from their records.

In: records of `ops.elementwise`.  Out: functions with the standard's names and signatures.
Invariant: a function does nothing but pass its operands to `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minitensor.dispatch import apply
from minitensor.ops import elementwise as ops
from minitensor.ops.opdef import OpDef
from minitensor.tensor import Tensor


def _unary(op: OpDef, summary: str) -> Callable[[Any], Tensor]:
    def function(x: Any, /) -> Tensor:
        return apply(op, x)

    return _named(function, op, f"{summary}, elementwise.")


def _binary(op: OpDef, summary: str) -> Callable[[Any, Any], Tensor]:
    def function(x1: Any, x2: Any, /) -> Tensor:
        return apply(op, x1, x2)

    return _named(function, op, f"{summary}, elementwise; the operands are broadcast and promoted.")


def _named(function: Callable[..., Tensor], op: OpDef, doc: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = doc
    return function


add = _binary(ops.add, "The sum x1 + x2")
divide = _binary(ops.divide, "The quotient x1 / x2; of integers in the default float")
equal = _binary(ops.equal, "Whether x1 == x2")
exp = _unary(ops.exp, "e to the power of x")
greater = _binary(ops.greater, "Whether x1 > x2")
less = _binary(ops.less, "Whether x1 < x2")
log = _unary(ops.log, "The natural logarithm")
maximum = _binary(ops.maximum, "The larger of both; NaN if one is NaN")
minimum = _binary(ops.minimum, "The smaller of both; NaN if one is NaN")
multiply = _binary(ops.multiply, "The product x1 * x2")
negative = _unary(ops.negative, "The negative -x")
subtract = _binary(ops.subtract, "The difference x1 - x2")
tanh = _unary(ops.tanh, "The hyperbolic tangent")
