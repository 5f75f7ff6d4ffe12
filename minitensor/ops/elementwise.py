"""Elementwise arithmetic, comparison and choice: one record each.

In: `families`.  Out: records, named as the array standard names them.
Invariant: a derivative is written in Tensor operations only, so it is recorded and differentiable again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr, Unary
from minitensor.dispatch import apply
from minitensor.dtypes import DType, to_float, to_real
from minitensor.errors import NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.families import (
    binary,
    boolean,
    cast_operand,
    comparison,
    logical,
    operator,
    read_operand,
    truth,
    unary,
)
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.shapes import broadcast, promote_operands, shape_of


def conj_of(x: Any) -> Any:
    """The conjugate of a complex operand; anything else as it is."""
    if isinstance(x, complex):
        return x.conjugate()
    return apply(conj, x) if hasattr(x, "dtype") and x.dtype.kind == "c" else x


def _itself(x: Expr, dtype: DType) -> Expr:
    return x


def _flat(g: Any, *_: Any) -> Any:
    """The derivative of a step function."""
    return g * 0


def _sign_derivative(g: Any, x: Any, y: Any) -> Any:
    """Of real numbers the sign is a step; of complex ones z/|z|, which turns: (g − y·Re(ḡ y)) / |z|, 0 at 0."""
    if x.dtype.kind != "c":
        return g * 0
    size = apply(abs_, x)
    nothing = apply(equal, size, 0)
    along = y * apply(real, conj_of(g) * y)
    return apply(where, nothing, 0, (g - along) / apply(where, nothing, 1, size))


# --- unary -----------------------------------------------------------------------------------------------


def _negative_form(x: Expr, dtype: DType) -> Expr:
    return Unary("-", x)


def _abs_form(x: Expr, dtype: DType) -> Expr:
    if dtype.kind == "f":
        return c.builtin("fabs", dtype, x)
    return x if dtype.kind in "ub" else c.select(c.binary("<", x, c.constant(0, dtype)), Unary("-", x), x)


def _sign_form(x: Expr, dtype: DType) -> Expr:
    zero, one = c.constant(0, dtype), c.constant(1, dtype)
    if dtype.kind == "u":
        return c.select(c.binary(">", x, zero), one, zero)
    below = c.select(c.binary("<", x, zero), c.constant(-1, dtype), c.select(c.binary("==", x, zero), zero, x))
    return c.select(c.binary(">", x, zero), one, below)


def _round_form(x: Expr, dtype: DType) -> Expr:
    """Half to even: the IEEE remainder by 1 is exact; the sign of a zero comes from x, as do NaN and infinity."""
    one = c.constant(1, dtype)
    rounded = c.builtin("copysign", dtype, c.binary("-", x, c.builtin("remainder", dtype, x, one)), x)
    return c.select(c.is_finite(x), rounded, x)


def _only_floats(name: str) -> Any:
    """A builtin on floats; the identity on integers."""
    return lambda x, dtype: c.builtin(name, dtype, x) if dtype.kind == "f" else x


def _leave_integers(function: Any) -> Any:
    return lambda x: function(x) if x.dtype.kind in "fc" else x


def _isinf_form(x: Expr, dtype: DType) -> Expr:
    if dtype.kind != "f":
        return c.binary("!=", x, x)
    return c.binary("&&", c.binary("==", x, x), Unary("!", c.is_finite(x)))


def _imag(x: Any) -> Any:
    if x.dtype.kind != "c":
        raise TypeError(f"imag of a {x.dtype} tensor: it is real")
    return x.imag


def _imag_form(x: Expr, dtype: DType) -> Expr:
    raise NoComprehension(f"imag of {dtype}: it is real")


def _no_bool(form: Any, name: str) -> Any:
    def checked(*arguments: Any) -> Expr:
        c.need_numbers(name, arguments[-1])
        result: Expr = form(*arguments)
        return result

    return checked


# The types are spelled out where a derivative needs a record that is written further down.
sign: OpDef
equal: OpDef
greater: OpDef
where: OpDef

identity = unary("identity", lambda x: x, _itself, lambda g, x, y: g)
conj = unary("conj", lambda x: np.conj(x) if x.dtype.kind == "c" else x, _itself, lambda g, x, y: conj_of(g))
real = unary("real", np.real, _itself, lambda g, x, y: g, result=to_real)
imag = unary("imag", _imag, _imag_form, lambda g, x, y: g * 1j, result=to_real)
negative = unary("negative", np.negative, _no_bool(_negative_form, "negative"), lambda g, x, y: -g)
abs_ = unary("abs", np.abs, _abs_form, lambda g, x, y: g * apply(sign, x), result=to_real)
sign = unary("sign", np.sign, _no_bool(_sign_form, "sign"), _sign_derivative)
square = unary(
    "square", np.square, _no_bool(lambda x, _: c.binary("*", x, x), "square"), lambda g, x, y: g * (conj_of(x) * 2)
)
floor = unary("floor", _leave_integers(np.floor), _only_floats("floor"), _flat)
ceil = unary("ceil", _leave_integers(np.ceil), _only_floats("ceil"), _flat)
trunc = unary("trunc", _leave_integers(np.trunc), _only_floats("trunc"), _flat)
round_ = unary("round", _leave_integers(np.round), lambda x, d: _round_form(x, d) if d.kind == "f" else x, _flat)
relu = unary(
    "relu",
    lambda x: np.maximum(x, 0),
    _no_bool(lambda x, d: c.call("max", x, c.constant(0, d)), "relu"),
    lambda g, x, y: apply(where, y > 0, g, 0),
)

isnan = unary("isnan", np.isnan, lambda x, _: c.binary("!=", x, x), result=boolean)
isinf = unary("isinf", np.isinf, _isinf_form, result=boolean)
isfinite = unary(
    "isfinite", np.isfinite, lambda x, d: c.is_finite(x) if d.kind == "f" else c.binary("==", x, x), result=boolean
)
signbit = unary(
    "signbit",
    np.signbit,
    lambda x, d: c.binary("<", c.builtin("copysign", d, c.constant(1, d), x) if d.kind == "f" else x, c.constant(0, d)),
    result=boolean,
)
logical_not = unary("logical_not", np.logical_not, lambda x, d: Unary("!", truth(x, d)), result=boolean)

# --- arithmetic of two operands --------------------------------------------------------------------------


def _share(a: Any, b: Any) -> Any:
    """How much of max(a, b) is a: 1, 0, or a half where they are equal."""
    return apply(where, apply(equal, a, b), 0.5, apply(greater, a, b))


def _remainder_form(a: Expr, b: Expr, dtype: DType) -> Expr:
    """Floored: C's fmod, moved to the sign of the divisor (as NumPy's npy_divmod does it)."""
    if dtype.kind != "f":
        return c.binary("%", a, b)
    zero, modulus = c.constant(0, dtype), c.builtin("fmod", dtype, a, b)
    moved = c.select(_signs_differ(modulus, b, zero), c.binary("+", modulus, b), modulus)
    return c.select(c.binary("==", modulus, zero), c.builtin("copysign", dtype, zero, b), moved)


def _floor_divide_form(a: Expr, b: Expr, dtype: DType) -> Expr:
    if dtype.kind != "f":
        return c.binary("/", a, b)
    if dtype == np.float16:  # rounded once, as NumPy does: a quotient rounded before may be another integer
        single = np.dtype(np.float32)
        return c.cast(dtype, _floor_divide_form(c.cast(single, a), c.cast(single, b), single))
    zero, one, half = (c.constant(v, dtype) for v in (0, 1, 0.5))
    modulus = c.builtin("fmod", dtype, a, b)
    quotient = c.binary("/", c.binary("-", a, modulus), b)
    lowered = c.select(_signs_differ(modulus, b, zero), c.binary("-", quotient, one), quotient)
    down = c.builtin("floor", dtype, lowered)
    nearest = c.select(c.binary(">", c.binary("-", lowered, down), half), c.binary("+", down, one), down)
    signed = c.builtin("copysign", dtype, zero, c.binary("/", a, b))
    whole = c.select(c.binary("==", lowered, zero), signed, nearest)
    return c.select(c.binary("==", b, zero), c.binary("/", a, b), whole)


def _signs_differ(a: Expr, b: Expr, zero: Expr) -> Expr:
    below, above = c.binary("<", a, zero), c.binary(">", a, zero)
    up, down = c.binary(">", b, zero), c.binary("<", b, zero)
    return c.binary("||", c.binary("&&", below, up), c.binary("&&", above, down))


add = binary("add", np.add, operator("+"), (lambda g, a, b, y: g, lambda g, a, b, y: g), passes_numbers=True)
subtract = binary(
    "subtract", np.subtract, operator("-"), (lambda g, a, b, y: g, lambda g, a, b, y: -g), passes_numbers=True
)
multiply = binary(
    "multiply",
    np.multiply,
    operator("*"),
    (lambda g, a, b, y: g * conj_of(b), lambda g, a, b, y: g * conj_of(a)),
    passes_numbers=True,
)
divide = binary(
    "divide",
    np.divide,
    operator("/"),
    (lambda g, a, b, y: g / conj_of(b), lambda g, a, b, y: -g * conj_of(y) / conj_of(b)),
    operand=to_float,
    passes_numbers=True,
)
maximum = binary(
    "maximum", np.maximum, "max", (lambda g, a, b, y: g * _share(a, b), lambda g, a, b, y: g * _share(b, a))
)
minimum = binary(
    "minimum", np.minimum, "min", (lambda g, a, b, y: g * _share(b, a), lambda g, a, b, y: g * _share(a, b))
)
remainder = binary(
    "remainder",
    np.remainder,
    _remainder_form,
    (lambda g, a, b, y: g, lambda g, a, b, y: -g * apply(floor, apply(divide, a, b))),
)
floor_divide = binary("floor_divide", np.floor_divide, _floor_divide_form, (_flat, _flat))
copysign = binary(
    "copysign",
    np.copysign,
    "copysign",
    (lambda g, a, b, y: g * apply(where, apply(equal, a, 0), 0, y / a), _flat),
    operand=to_float,
)


def _next_form(a: Expr, b: Expr, dtype: DType) -> Expr:
    if dtype == np.float16:
        raise NoComprehension("the number next to a float16: kernels compute it in float32, which has nearer ones")
    return c.call("nextafter", a, b)


nextafter = binary("nextafter", np.nextafter, _next_form, operand=to_float)

# --- comparison and logic --------------------------------------------------------------------------------

less = comparison("less", np.less, "<")
less_equal = comparison("less_equal", np.less_equal, "<=")
greater = comparison("greater", np.greater, ">")
greater_equal = comparison("greater_equal", np.greater_equal, ">=")
equal = comparison("equal", np.equal, "==")
not_equal = comparison("not_equal", np.not_equal, "!=")


def _differ(a: Expr, b: Expr, dtype: DType) -> Expr:
    return c.binary("||", c.binary("&&", a, Unary("!", b)), c.binary("&&", Unary("!", a), b))


logical_and = logical("logical_and", np.logical_and, operator("&&"))
logical_or = logical("logical_or", np.logical_or, operator("||"))
logical_xor = logical("logical_xor", np.logical_xor, _differ)

# --- choice ----------------------------------------------------------------------------------------------


def _meet_all(*operands: Any) -> DType:
    """The dtype of a meeting in which all may be Python scalars."""
    specs = [TensorSpec(x.shape, x.dtype) if isinstance(x, np.ndarray) else x for x in operands]
    return promote_operands(specs)


def _where_eager(condition: Any, x: Any, y: Any) -> Any:
    dtype = _meet_all(x, y)
    chosen = condition if condition.dtype.kind == "b" else condition != 0
    left, right = cast_operand(x, dtype), cast_operand(y, dtype)
    return np.where(chosen, left, right).astype(dtype, copy=False)


def _where_infer(condition: TensorSpec, x: Operand, y: Operand) -> TensorSpec:
    return TensorSpec(broadcast(condition.shape, shape_of(x), shape_of(y)), promote_operands((x, y)))


def _where_comprehension(condition: TensorSpec, x: Operand, y: Operand) -> Def:
    spec = _where_infer(condition, x, y)
    at = c.indices(len(spec.shape))
    test = truth(c.broadcast_read("x0", condition.shape, spec.shape, at), condition.dtype)
    branches = [read_operand(k, operand, spec.shape, at, spec.dtype) for k, operand in ((1, x), (2, y))]
    return c.definition("where", (condition, x, y), [c.assign("r0", at, c.select(test, *branches))], scalar=spec.dtype)


def _wants(x: Any) -> bool:
    return getattr(x, "requires_grad", False)


def _where_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (condition, x, y) = gradients, inputs
    return (
        None,
        apply(where, condition, g, 0) if _wants(x) else None,
        apply(where, condition, 0, g) if _wants(y) else None,
    )


where = register(OpDef("where", _where_infer, _where_eager, _where_vjp, _where_comprehension))


def _clip_eager(x: Any, low: Any, high: Any) -> Any:
    low, high = cast_operand(low, x.dtype), cast_operand(high, x.dtype)
    return np.minimum(np.maximum(x, low), high)


def _clip_infer(x: TensorSpec, low: Operand, high: Operand) -> TensorSpec:
    return TensorSpec(broadcast(x.shape, shape_of(low), shape_of(high)), x.dtype)


def _clip_comprehension(x: TensorSpec, low: Operand, high: Operand) -> Def:
    c.need_numbers("clip", x.dtype)
    shape = _clip_infer(x, low, high).shape
    at = c.indices(len(shape))
    reads = [read_operand(k, operand, shape, at, x.dtype) for k, operand in enumerate((x, low, high))]
    value = c.call("min", c.call("max", reads[0], reads[1]), reads[2])
    return c.definition("clip", (x, low, high), [c.assign("r0", at, value)], scalar=x.dtype)


def _clip_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (g,), (x, low, high) = gradients, inputs
    below, above = apply(less, x, low), apply(greater, x, high)
    inside = apply(where, apply(logical_or, below, above), 0, g) if _wants(x) else None
    lowest = apply(where, apply(logical_and, below, apply(less_equal, low, high)), g, 0) if _wants(low) else None
    return (inside, lowest, apply(where, above, g, 0) if _wants(high) else None)


clip = register(OpDef("clip", _clip_infer, _clip_eager, _clip_vjp, _clip_comprehension))
