"""Softmax, its logarithm, and cross-entropy, each with its gradient.

In: floating-point tensors, `axis` counted from the front; integer labels.  Out: records.
Invariant: the largest element of a row is subtracted before anything is exponentiated.  Each record has a
composition, the same in smaller operations (see `rows.gradient_by`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from comprehension.lang.tree import Def, Expr
from minitensor.dispatch import apply
from minitensor.errors import DTypeError, TensorIndexError
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import exp, log
from minitensor.ops.bounds import all_within
from minitensor.ops.creation import arange
from minitensor.ops.elementwise import equal
from minitensor.ops.indexing import take_along_axis
from minitensor.ops.movement import astype, reshape
from minitensor.ops.opdef import Attributes, OpDef, TensorSpec, register
from minitensor.ops.reduce import max_
from minitensor.ops.rows import Rows, gradient_by, need_float, total
from minitensor.ops.shapes import Dim, need_equal, promote_operands
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]


def _same_shape(name: str) -> Callable[..., TensorSpec]:
    """The result has the operands' shape."""

    def infer(*operands: TensorSpec, axis: int) -> TensorSpec:
        need_float(name, *(x.dtype for x in operands))
        for other in operands[1:]:
            need_equal(operands[0].shape, other.shape, f"{name} of shapes {operands[0].shape} and {other.shape}")
        return TensorSpec(operands[0].shape, promote_operands(operands))

    return infer


_pair_infer = _same_shape("the gradient of softmax")


def _shifted(x: Array, axis: int) -> Array:
    result: Array = x - np.maximum.reduce(x, axis=axis, keepdims=True)
    return result


def _shift(x: Tensor, axis: int) -> Tensor:
    """x less its largest along the axis, as a constant: shifting a row changes none of the results here."""
    return x - apply(max_, Tensor(x.value), axis=(axis,), keepdims=True)


# --- softmax ---------------------------------------------------------------------------------------------


def _softmax_eager(x: Array, *, axis: int) -> Array:
    need_float("softmax", x.dtype)
    powers = _shifted(x, axis)
    np.exp(powers, out=powers)
    powers /= np.add.reduce(powers, axis=axis, keepdims=True)
    return powers


def _softmax_composition(x: Tensor, *, axis: int) -> Tensor:
    powers = apply(exp, _shift(x, axis))
    return powers / total(powers, (axis,))


def _softmax_comprehension(x: TensorSpec, *, axis: int) -> Def:
    rows = Rows(x.shape, (axis,))
    statements = [
        rows.over_row("max", "t0", rows.read("x0")),
        rows.each("t1", c.builtin("exp", x.dtype, c.sub(rows.read("x0"), rows.read_row("t0")))),
        rows.over_row("+", "t2", rows.read("t1")),
        rows.each("r0", c.binary("/", rows.read("t1"), rows.read_row("t2"))),
    ]
    return c.definition("softmax", (x,), statements)


def _softmax_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return gradient_by(softmax_grad, gradients[0], outputs[0], **attributes)


def _softmax_grad_eager(g: Array, y: Array, *, axis: int) -> Array:
    need_float("softmax_grad", g.dtype, y.dtype)
    result = g - np.add.reduce(g * y, axis=axis, keepdims=True)
    return np.asarray(result * y)


def _softmax_grad_composition(g: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return (g - total(g * y, (axis,))) * y


def _softmax_grad_comprehension(g: TensorSpec, y: TensorSpec, *, axis: int) -> Def:
    _pair_infer(g, y, axis=axis)
    rows, work = Rows(g.shape, (axis,)), promote_operands((g, y))
    upstream, own = rows.read("x0", g, work), rows.read("x1", y, work)
    statements = [
        rows.over_row("+", "t0", c.binary("*", upstream, own)),
        rows.each("r0", c.binary("*", c.binary("-", upstream, rows.read_row("t0")), own)),
    ]
    return c.definition("softmax_grad", (g, y), statements)


softmax_grad = register(
    OpDef(
        "softmax_grad",
        _pair_infer,
        _softmax_grad_eager,
        None,
        _softmax_grad_comprehension,
        composition=_softmax_grad_composition,
    )
)
softmax = register(
    OpDef(
        "softmax",
        _same_shape("softmax"),
        _softmax_eager,
        _softmax_vjp,
        _softmax_comprehension,
        composition=_softmax_composition,
    )
)

# --- its logarithm ---------------------------------------------------------------------------------------


def _log_softmax_eager(x: Array, *, axis: int) -> Array:
    need_float("log_softmax", x.dtype)
    shifted = _shifted(x, axis)
    shifted -= np.log(np.add.reduce(np.exp(shifted), axis=axis, keepdims=True))
    return shifted


def _log_softmax_composition(x: Tensor, *, axis: int) -> Tensor:
    shifted = _shift(x, axis)
    return shifted - apply(log, total(apply(exp, shifted), (axis,)))


def _log_softmax_comprehension(x: TensorSpec, *, axis: int) -> Def:
    rows = Rows(x.shape, (axis,))
    shifted = c.sub(rows.read("x0"), rows.read_row("t0"))
    statements = [
        rows.over_row("max", "t0", rows.read("x0")),
        rows.over_row("+", "t1", c.builtin("exp", x.dtype, shifted)),
        rows.per_row("t2", c.builtin("log", x.dtype, rows.read_row("t1"))),
        rows.each("r0", c.binary("-", shifted, rows.read_row("t2"))),
    ]
    return c.definition("log_softmax", (x,), statements)


def _log_softmax_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    return gradient_by(log_softmax_grad, gradients[0], outputs[0], **attributes)


def _log_softmax_grad_eager(g: Array, y: Array, *, axis: int) -> Array:
    need_float("log_softmax_grad", g.dtype, y.dtype)
    return np.asarray(g - np.exp(y) * np.add.reduce(g, axis=axis, keepdims=True))


def _log_softmax_grad_composition(g: Tensor, y: Tensor, *, axis: int) -> Tensor:
    return g - apply(exp, y) * total(g, (axis,))


def _log_softmax_grad_comprehension(g: TensorSpec, y: TensorSpec, *, axis: int) -> Def:
    _pair_infer(g, y, axis=axis)
    rows, work = Rows(g.shape, (axis,)), promote_operands((g, y))
    upstream, own = rows.read("x0", g, work), rows.read("x1", y, work)
    share = c.binary("*", c.builtin("exp", work, own), rows.read_row("t0"))
    statements = [rows.over_row("+", "t0", upstream), rows.each("r0", c.binary("-", upstream, share))]
    return c.definition("log_softmax_grad", (g, y), statements)


log_softmax_grad = register(
    OpDef(
        "log_softmax_grad",
        _pair_infer,
        _log_softmax_grad_eager,
        None,
        _log_softmax_grad_comprehension,
        composition=_log_softmax_grad_composition,
    )
)
log_softmax = register(
    OpDef(
        "log_softmax",
        _same_shape("log_softmax"),
        _log_softmax_eager,
        _log_softmax_vjp,
        _log_softmax_comprehension,
        composition=_log_softmax_composition,
    )
)

# --- cross-entropy ---------------------------------------------------------------------------------------
#
# A label picks by comparison with the class rather than by a subscript: the loops stay affine, so that both
# records fuse with what is around them.  A label that is no class is refused by the first of the two.


def check_labels(x: Any, target: Any, *, axis: int) -> None:
    """Raises TensorIndexError for a label that is no class."""
    if not all_within(target, 0, x.shape[axis]):
        wrong = target[(target < 0) | (target >= x.shape[axis])].flat[0]
        raise TensorIndexError(f"label {wrong} is none of the classes 0 ... {x.shape[axis] - 1}")


def _check_shapes(x: Any, target: Any, axis: int) -> None:
    need_float("cross_entropy", x.dtype)
    if target.dtype.kind not in "iu":
        raise DTypeError(f"labels are integers, not {target.dtype}")
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    if rest != target.shape:
        need_equal(rest, target.shape, f"labels of shape {target.shape} for logits of shape {x.shape}")


def _cross_entropy_infer(x: TensorSpec, target: TensorSpec, *, axis: int) -> TensorSpec:
    _check_shapes(x, target, axis)
    return TensorSpec(target.shape, x.dtype)


def _cross_entropy_eager(x: Array, target: Array, *, axis: int) -> Array:
    _check_shapes(x, target, axis)
    check_labels(x, target, axis=axis)
    shifted = _shifted(x, axis)
    chosen = np.take_along_axis(shifted, np.expand_dims(target, axis), axis).reshape(target.shape)
    return np.asarray(np.log(np.add.reduce(np.exp(shifted), axis=axis)) - chosen)


def _cross_entropy_composition(x: Tensor, target: Tensor, *, axis: int) -> Tensor:
    index = apply(reshape, target, shape=(*target.shape[:axis], 1, *target.shape[axis:]))
    chosen = apply(take_along_axis, _log_softmax_composition(x, axis=axis), index, axis=axis)
    return -apply(reshape, chosen, shape=target.shape)


def _is_label(rows: Rows, target: TensorSpec, name: str, axis: int) -> Expr:
    return c.binary("==", rows.read_row(name), c.cast(target.dtype, rows.at[axis]))


def _cross_entropy_comprehension(x: TensorSpec, target: TensorSpec, *, axis: int) -> Def:
    _check_shapes(x, target, axis)
    rows = Rows(x.shape, (axis,))
    shifted = c.sub(rows.read("x0"), rows.read_row("t0"))
    chosen = c.select(_is_label(rows, target, "x1", axis), shifted, c.constant(0, x.dtype))
    statements = [
        rows.over_row("max", "t0", rows.read("x0")),
        rows.over_row("+", "t1", c.builtin("exp", x.dtype, shifted)),
        rows.over_row("+", "t2", chosen),
        rows.per_row("r0", c.sub(c.builtin("log", x.dtype, rows.read_row("t1")), rows.read_row("t2"))),
    ]
    return c.definition("cross_entropy", (x, target), statements)


def _cross_entropy_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    (x, target) = inputs
    return (*gradient_by(cross_entropy_grad, gradients[0], x, target, **attributes), None)


def _cross_entropy_grad_infer(g: TensorSpec, x: TensorSpec, target: TensorSpec, *, axis: int) -> TensorSpec:
    need_float("cross_entropy_grad", g.dtype)
    _check_shapes(x, target, axis)
    need_equal(g.shape, target.shape, f"gradients of shape {g.shape} for labels of shape {target.shape}")
    return TensorSpec(x.shape, promote_operands((g, x)))


def _classes(rank: int, axis: int, extent: Dim) -> tuple[Dim, ...]:
    """The shape in which one number for each class broadcasts against the logits."""
    return tuple(extent if d == axis else 1 for d in range(rank))


def _cross_entropy_grad_eager(g: Array, x: Array, target: Array, *, axis: int) -> Array:
    result = _softmax_eager(x, axis=axis)
    classes = np.arange(x.shape[axis]).reshape(_classes(x.ndim, axis, x.shape[axis]))  # type: ignore[arg-type]
    result -= np.expand_dims(target, axis) == classes
    return np.asarray(result * np.expand_dims(g, axis))


def _cross_entropy_grad_composition(g: Tensor, x: Tensor, target: Tensor, *, axis: int) -> Tensor:
    wide = (*target.shape[:axis], 1, *target.shape[axis:])
    classes = apply(arange, 0, 1, length=x.shape[axis], dtype=target.dtype)
    classes = apply(reshape, classes, shape=_classes(x.ndim, axis, x.shape[axis]))
    hot = apply(astype, apply(equal, apply(reshape, target, shape=wide), classes), dtype=x.dtype)
    return (_softmax_composition(x, axis=axis) - hot) * apply(reshape, g, shape=wide)


def _cross_entropy_grad_comprehension(g: TensorSpec, x: TensorSpec, target: TensorSpec, *, axis: int) -> Def:
    _cross_entropy_grad_infer(g, x, target, axis=axis)
    rows, work = Rows(x.shape, (axis,)), promote_operands((g, x))
    hot = c.select(_is_label(rows, target, "x2", axis), c.constant(1, x.dtype), c.constant(0, x.dtype))
    share = c.sub(c.binary("/", rows.read("t1"), rows.read_row("t2")), hot)
    statements = [
        rows.over_row("max", "t0", rows.read("x1")),
        rows.each("t1", c.builtin("exp", x.dtype, c.sub(rows.read("x1"), rows.read_row("t0")))),
        rows.over_row("+", "t2", rows.read("t1")),
        rows.each("r0", c.binary("*", c.cast(work, share, x.dtype), rows.read_row("x0", g, work))),
    ]
    return c.definition("cross_entropy_grad", (g, x, target), statements)


cross_entropy_grad = register(
    OpDef(
        "cross_entropy_grad",
        _cross_entropy_grad_infer,
        _cross_entropy_grad_eager,
        None,
        _cross_entropy_grad_comprehension,
        composition=_cross_entropy_grad_composition,
    )
)
cross_entropy = register(
    OpDef(
        "cross_entropy",
        _cross_entropy_infer,
        _cross_entropy_eager,
        _cross_entropy_vjp,
        _cross_entropy_comprehension,
        may_raise=True,
        check=check_labels,
        composition=_cross_entropy_composition,
    )
)
