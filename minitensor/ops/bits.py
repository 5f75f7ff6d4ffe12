"""Bitwise operations on integers and bool.

In: `families`.  Out: records.
Invariant: the language has no bit operations; they are spelled out in its arithmetic.  A right shift is a
chain of floored divisions by powers of two, a left shift a chain of wrapping products, `~x` is −x − 1.
`and`, `or` and `xor` of integers would need a sum over all bit positions: they are refused, and so opaque.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang.tree import BinaryOp, Expr, Unary
from minitensor.dtypes import DType
from minitensor.errors import NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.families import binary, unary
from minitensor.ops.opdef import OpDef


def _invert_form(x: Expr, dtype: DType) -> Expr:
    return Unary("!", x) if dtype.kind == "b" else c.binary("-", Unary("-", x), c.constant(1, dtype))


def _on_bool(name: str, form: Callable[[Expr, Expr], Expr]) -> Callable[..., Expr]:
    def checked(a: Expr, b: Expr, dtype: DType) -> Expr:
        if dtype.kind != "b":
            raise NoComprehension(f"{name} of integers: the language has no bit operations")
        return form(a, b)

    return checked


def _differ(a: Expr, b: Expr) -> Expr:
    return c.binary("||", c.binary("&&", a, Unary("!", b)), c.binary("&&", Unary("!", a), b))


def _power_of_two(exponent: int, dtype: DType) -> Expr:
    """2 to the power of `exponent`, from literals that fit int32."""
    if exponent < 31:
        return c.constant(2**exponent, dtype)
    return c.binary("*", _power_of_two(16, dtype), _power_of_two(exponent - 16, dtype))


def _shift_form(symbol: BinaryOp) -> Callable[..., Expr]:
    """The shift bit by bit of its distance: by 1, by 2, by 4, ... where that bit is set.

    A distance that is negative or beyond the bits shifts all of them out, as in NumPy: what is left is the sign.
    """

    def form(x: Expr, distance: Expr, dtype: DType) -> Expr:
        if dtype.kind == "b":
            raise NoComprehension("a shift of bool")
        result, two, one, step = x, c.constant(2, dtype), c.constant(1, dtype), 1
        while step < dtype.itemsize * 8:
            bit = distance if step == 1 else c.binary("/", distance, c.constant(step, dtype))
            is_set = c.binary("!=", c.binary("%", bit, two), c.constant(0, dtype))
            result = c.binary(symbol, result, c.select(is_set, _power_of_two(step, dtype), one))
            step *= 2
        zero, bits = c.constant(0, dtype), c.constant(dtype.itemsize * 8, dtype)
        is_within = c.binary("<", distance, bits)
        out = zero
        if dtype.kind == "i":
            is_within = c.binary("&&", c.binary(">=", distance, zero), is_within)
            out = c.select(c.binary("<", x, zero), c.constant(-1, dtype), zero) if symbol == "/" else zero
        return c.select(is_within, result, out)

    return form


def _integral(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*operands: Any) -> Any:
        for x in operands:
            if getattr(x, "dtype", np.dtype(np.int64)).kind not in "biu":
                raise TypeError(f"{name} takes integers and bool, not {x.dtype}")
        return function(*operands)

    return checked


def _bitwise(name: str, function: Callable[..., Any], form: Callable[..., Expr]) -> OpDef:
    return binary(name, _integral(name, function), form, on_bool=True)


bitwise_invert = unary("bitwise_invert", _integral("bitwise_invert", np.invert), _invert_form)
bitwise_and = _bitwise("bitwise_and", np.bitwise_and, _on_bool("bitwise_and", lambda a, b: c.binary("&&", a, b)))
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, _on_bool("bitwise_or", lambda a, b: c.binary("||", a, b)))
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, _on_bool("bitwise_xor", _differ))
left_shift = _bitwise("bitwise_left_shift", np.left_shift, _shift_form("*"))
right_shift = _bitwise("bitwise_right_shift", np.right_shift, _shift_form("/"))
