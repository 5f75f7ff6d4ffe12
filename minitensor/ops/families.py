"""Families: what operations of one kind have in common, so that a record is a line.

In: a NumPy function, an expression of the comprehension language, derivatives in Tensor operations.
Out: registered OpDefs whose rules agree by construction.
Invariant: the dtype of a result is decided by one function of the operands' dtypes, which the eager rule,
the infer rule and the comprehension all call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from comprehension.jit.memory import allocate
from comprehension.lang.scalars import convert_array
from comprehension.lang.tree import Def, Expr
from minitensor.dtypes import PROMOTED as _PROMOTED, DType, to_float, weak_dtype
from minitensor.errors import DTypeError, NoComprehension
from minitensor.ops import comprehend as c
from minitensor.ops.opdef import Attributes, CompositionRule, OpDef, Operand, TensorSpec, register
from minitensor.ops.shapes import broadcast, promote_operands, shape_of

if TYPE_CHECKING:
    from minitensor.tensor import Tensor

UnaryDerivative = Callable[..., "Tensor"]  # (gradient, x, y) -> gradient of x
BinaryDerivative = Callable[..., "Tensor"]  # (gradient, x0, x1, y) -> gradient of one of them
Form = Callable[..., Expr]  # operands as expressions, then the dtype in which they meet -> the result
ResultDType = Callable[[DType], DType]

_ndarray = np.ndarray


def same(dtype: DType) -> DType:
    """The result has the dtype in which the operands meet."""
    return dtype


def boolean(dtype: DType) -> DType:
    """The result is bool."""
    return np.dtype(bool)


def builtin(name: str) -> Form:
    """The form of a builtin function of the language."""

    def form(*arguments: Any) -> Expr:
        *operands, dtype = arguments
        c.need_numbers(name, dtype)
        return c.call(name, *operands) if name in ("min", "max") else c.builtin(name, dtype, *operands)

    return form


def operator(symbol: Any) -> Form:
    """The form of a binary operator of the language."""

    def form(left: Expr, right: Expr, dtype: DType) -> Expr:
        return c.binary(symbol, left, right)

    return form


# --- where large results go ------------------------------------------------------------------------------

LARGE = 1 << 16  # bytes: from here on fresh memory costs page faults, as much as the operation itself


def _fits_allocator(function: Callable[..., Any], result: ResultDType) -> bool:
    """Whether the function can write into memory of its operands' dtype."""
    return isinstance(function, np.ufunc) and result is same


def _one_large(function: Callable[..., Any], x: Any) -> Any:
    if x.flags.c_contiguous:
        return function(x, out=allocate(x.shape, x.dtype))
    return function(x)  # NumPy keeps the order of a transposed operand, which is faster than writing across


def _two_large(function: Callable[..., Any], x: Any, y: Any) -> Any:
    if x.flags.c_contiguous and (type(y) is not _ndarray or y.flags.c_contiguous):
        shape = x.shape if type(y) is not _ndarray else np.broadcast_shapes(x.shape, y.shape)
        return function(x, y, out=allocate(shape, x.dtype))
    return function(x, y)


# --- unary -----------------------------------------------------------------------------------------------


def unary(
    name: str,
    function: Callable[..., Any],
    form: Form | str,
    derivative: UnaryDerivative | None = None,
    *,
    operand: ResultDType = same,
    result: ResultDType = same,
    composition: CompositionRule | None = None,
) -> OpDef:
    """An elementwise function of one tensor.

    The operand is first taken to `operand(dtype)`; the result has `result` of that.
    """
    expression = builtin(form) if isinstance(form, str) else form

    pooled = _fits_allocator(function, result)

    def eager(x: Any) -> Any:
        work = operand(x.dtype)
        if work != x.dtype:
            return function(x.astype(work))
        return _one_large(function, x) if pooled and x.nbytes >= LARGE else function(x)

    def infer(x: TensorSpec) -> TensorSpec:
        return TensorSpec(x.shape, result(operand(x.dtype)))

    def comprehension(x: TensorSpec) -> Def:
        work = operand(x.dtype)
        at = c.indices(len(x.shape))
        value = expression(c.cast(work, c.access("x0", at), x.dtype), work)
        return c.definition(name, (x,), [c.assign("r0", at, value)])

    def vjp(
        gradients: tuple[Tensor | None, ...], inputs: tuple[Any, ...], outputs: tuple[Tensor, ...], _: Attributes
    ) -> tuple[Tensor | None, ...]:
        assert derivative is not None
        return (derivative(gradients[0], inputs[0], outputs[0]),)

    return register(OpDef(name, infer, eager, vjp if derivative else None, comprehension, composition=composition))


def unary_float(
    name: str,
    function: Callable[..., Any],
    form: Form | str,
    derivative: UnaryDerivative | None = None,
) -> OpDef:
    """A function such as `exp`: integers and bool are taken to the default float."""
    return unary(name, function, form, derivative, operand=to_float)


# --- binary ----------------------------------------------------------------------------------------------


def meet(x: Any, y: Any) -> DType:
    """The dtype in which two operands of an eager rule meet.  Raises DTypeError for two Python scalars."""
    if not isinstance(x, _ndarray):
        if not isinstance(y, _ndarray):
            raise DTypeError("at least one of the operands is a tensor")
        return weak_dtype(y.dtype, x)
    return _PROMOTED[x.dtype, y.dtype] if isinstance(y, _ndarray) else weak_dtype(x.dtype, y)


def cast_operand(x: Any, dtype: DType) -> Any:
    """An operand in the dtype of the meeting; a Python scalar stays one unless its kind is another."""
    if isinstance(x, _ndarray):
        return x if x.dtype == dtype else convert_array(x, dtype)
    return dtype.type(x) if dtype.kind == "b" or isinstance(x, bool) else x


def binary(
    name: str,
    function: Callable[..., Any],
    form: Form | str,
    derivatives: tuple[BinaryDerivative, BinaryDerivative] | None = None,
    *,
    operand: ResultDType = same,
    result: ResultDType = same,
    on_bool: bool = False,
    on_integers: bool = True,
    takes_out: bool = False,
    exact: bool = False,
    composition: CompositionRule | None = None,
    passes_numbers: bool = False,
) -> OpDef:
    """An elementwise function of two operands, broadcast against each other.

    `operand` takes the dtype of the meeting to the one computed in.  `on_bool` and `on_integers` say
    whether the form holds there: the language does no arithmetic on bool.  `takes_out`: `function` is called with
    `out=` like a ufunc, and is none.
    """
    expression = builtin(form) if isinstance(form, str) else form
    plain = operand is same
    pooled = _fits_allocator(function, result) or takes_out

    def eager(x: Any, y: Any) -> Any:
        if plain and type(x) is _ndarray:
            kind = type(y)
            if kind is _ndarray:
                direct = x.dtype is y.dtype
            else:  # NumPy's scalars are as weak as ours here
                direct = (kind is float and x.dtype.kind == "f") or (kind is int and x.dtype.kind in "fi")
            if direct:
                return _two_large(function, x, y) if pooled and x.nbytes >= LARGE else function(x, y)
        dtype = operand(meet(x, y))
        return function(cast_operand(x, dtype), cast_operand(y, dtype))

    def infer(x: Operand, y: Operand) -> TensorSpec:
        return TensorSpec(broadcast(shape_of(x), shape_of(y)), result(operand(promote_operands((x, y)))))

    def comprehension(x: Operand, y: Operand) -> Def:
        met = promote_operands((x, y))
        work = operand(met)
        if (work.kind == "b" and not on_bool) or (work.kind in "iu" and not on_integers):
            raise NoComprehension(f"{name} of {work} operands")
        shape = broadcast(shape_of(x), shape_of(y))
        at = c.indices(len(shape))
        reads = [read_operand(k, operand_, shape, at, work) for k, operand_ in enumerate((x, y))]
        return c.definition(name, (x, y), [c.assign("r0", at, expression(*reads, work))], scalar=work)

    def vjp(
        gradients: tuple[Tensor | None, ...], inputs: tuple[Any, ...], outputs: tuple[Tensor, ...], _: Attributes
    ) -> tuple[Tensor | None, ...]:
        assert derivatives is not None
        (g,), (x, y), (result,) = gradients, inputs, outputs
        return (
            derivatives[0](g, x, y, result) if getattr(x, "node", None) is not None else None,
            derivatives[1](g, x, y, result) if getattr(y, "node", None) is not None else None,
        )

    return register(
        OpDef(
            name,
            infer,
            eager,
            vjp if derivatives else None,
            comprehension,
            exact=exact,
            composition=composition,
            passes_numbers=passes_numbers,
        )
    )


def read_operand(k: int, operand: Operand, shape: c.Shape, at: tuple[Any, ...], work: DType) -> Expr:
    """Operand `k` at a point of the result, in the dtype of the meeting."""
    if isinstance(operand, TensorSpec):
        return c.cast(work, c.broadcast_read(f"x{k}", operand.shape, shape, at), operand.dtype)
    return c.ex(f"x{k}")


def comparison(name: str, function: Callable[..., Any], symbol: str) -> OpDef:
    """A comparison: operands meet, the result is bool."""

    def form(left: Expr, right: Expr, dtype: DType) -> Expr:
        if dtype.kind == "b":  # bool is compared as an integer
            left, right = (c.cast(np.dtype(np.int32), x) for x in (left, right))
        return c.binary(symbol, left, right)  # type: ignore[arg-type]

    return binary(name, function, form, result=boolean, on_bool=True, exact=True)


def logical(name: str, function: Callable[..., Any], form: Form) -> OpDef:
    """A logical function of two operands; each is true where it is not 0."""

    def expression(left: Expr, right: Expr, dtype: DType) -> Expr:
        return form(truth(left, dtype), truth(right, dtype), dtype)

    return binary(name, function, expression, result=boolean, on_bool=True)


def truth(x: Expr, dtype: DType) -> Expr:
    """`x != 0`, or `x` itself where it is bool."""
    return x if dtype.kind == "b" else c.binary("!=", x, c.constant(0, dtype))
