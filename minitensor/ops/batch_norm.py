"""Batch norm of (N, C, ...) over all but the channels (Ioffe and Szegedy 2015), with its gradients.

In: x, and vectors of C numbers: weight, bias, running statistics; all floating-point; `eps`.  Out: records.
In training `batch_norm` gives y, the batch's mean and 1/√(variance + eps), and the running statistics as they are
after it (the variance unbiased); `batch_norm_inference` gives y by the running statistics.
Invariant: the tape sees y alone: statistics are constants to it, as in PyTorch.  The gradient takes the batch's
statistics as the forward pass made them: a channel lies scattered over the batch, to read it again costs what
the gradient itself does.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from comprehension.jit.memory import allocate
from comprehension.lang.tree import Def, Expr, Unary
from minitensor.dispatch import apply
from minitensor.errors import DTypeError
from minitensor.ops import comprehend as c
from minitensor.ops.analytic import sqrt
from minitensor.ops.families import cast_operand
from minitensor.ops.movement import astype, reshape
from minitensor.ops.opdef import Attributes, OpDef, Operand, TensorSpec, register
from minitensor.ops.rows import Rows, gradient_by, need_float, total
from minitensor.ops.shapes import need_equal, promote_operands
from minitensor.tensor import Tensor

Array = np.ndarray[Any, Any]


def _check(name: str, x: Any, *vectors: Any) -> None:
    """Raises DTypeError or ShapeError where x is no (N, C, ...) or a vector is not of C numbers."""
    need_float(name, x.dtype, *(v.dtype for v in vectors))
    channels = x.shape[1:2]
    for vector in vectors:
        if vector.shape != channels or not channels:
            complaint = f"{name} of {x.shape}: x is (N, C, ...), and there is one number a channel, not {vector.shape}"
            need_equal(channels or (-1,), vector.shape, complaint)


def _check_running(running_mean: Any, running_var: Any, momentum: Any) -> None:
    if running_mean.dtype != running_var.dtype:
        raise DTypeError(f"running statistics have one dtype, not {running_mean.dtype} and {running_var.dtype}")
    if isinstance(momentum, TensorSpec | np.ndarray):
        need_float("the momentum of batch_norm", momentum.dtype)
        need_equal(momentum.shape, (), f"the momentum of batch_norm is one number, not {momentum.shape}")


def _axes(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank))


# --- eagerly: three axes, so that each channel of a picture is one row -----------------------------------


def _three_axes(x: Array, dtype: np.dtype[Any]) -> Array:
    n, channels, *rest = x.shape
    flat: Array = cast_operand(x, dtype).reshape(n, channels, prod(rest))
    return flat


def _sums(flat: Array) -> Array:
    """Of each channel.  A product with ones is NumPy's fastest sum over rows, by two to five times."""
    if flat.shape[2] == 1:
        return np.asarray(np.add.reduce(flat, axis=(0, 2)))
    return np.asarray(np.add.reduce(flat @ np.ones(flat.shape[2], flat.dtype), axis=0))


def _products(left: Array, right: Array) -> Array:
    return np.asarray(np.einsum("ncl,ncl->c", left, right))


def _deviation(flat: Array, mean: Array) -> Array:
    return np.subtract(flat, mean[:, None], out=allocate(flat.shape, flat.dtype))


def _inverse_root(variance: Array, eps: float) -> Array:
    return np.asarray(1.0 / np.sqrt(variance + eps))


def _scaled(deviation: Array, scale: Array, bias: Array) -> Array:
    """deviation·scale + bias, in place."""
    deviation *= scale[:, None]
    deviation += bias[:, None]
    return deviation


# --- in smaller operations -------------------------------------------------------------------------------


def _beside(vector: Tensor, x: Tensor) -> Tensor:
    """A vector of channels in a shape that broadcasts against x."""
    return apply(reshape, vector, shape=(1, x.shape[1], *[1] * (x.ndim - 2)))


def _vector(x: Tensor) -> Tensor:
    return apply(reshape, x, shape=(x.shape[1],))


def moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Each channel's mean and sum of squared deviations, beside x, and how many elements it has."""
    axes = _axes(x.ndim)
    count = prod(x.shape[a] for a in axes)
    mean = total(x, axes) / count
    deviation = x - mean
    return mean, total(deviation * deviation, axes), count


def normalized(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """(x − mean)·(1/√(variance + eps)·weight) + bias; the statistics beside x, weight and bias vectors or None."""
    scale = 1.0 / apply(sqrt, variance + eps)
    if weight is not None:
        scale = scale * _beside(weight, x)
    result: Tensor = (x - mean) * scale
    return result if bias is None else result + _beside(bias, x)


# --- training --------------------------------------------------------------------------------------------


def _infer(
    x: TensorSpec,
    weight: TensorSpec,
    bias: TensorSpec,
    mean: TensorSpec,
    var: TensorSpec,
    momentum: Operand,
    *,
    eps: float,
) -> tuple[TensorSpec, ...]:
    _check("batch_norm", x, weight, bias, mean, var)
    _check_running(mean, var, momentum)
    dtype = promote_operands((x, weight, bias))
    of_batch = TensorSpec(weight.shape, dtype)
    return TensorSpec(x.shape, dtype), of_batch, of_batch, mean, var


def _eager(
    x: Array, weight: Array, bias: Array, running_mean: Array, running_var: Array, momentum: Any, *, eps: float
) -> tuple[Array, ...]:
    _check("batch_norm", x, weight, bias, running_mean, running_var)
    _check_running(running_mean, running_var, momentum)
    dtype = np.result_type(x, weight, bias)
    flat = _three_axes(x, dtype)
    count = flat.shape[0] * flat.shape[2]
    mean = _sums(flat) / count
    deviation = _deviation(flat, mean)
    squares = _products(deviation, deviation)
    inverse = _inverse_root(squares / count, eps)
    y = _scaled(deviation, inverse * weight, bias).reshape(x.shape)
    kind = running_mean.dtype
    take = kind.type(momentum)
    keep = kind.type(1) - take
    unbiased = squares / dtype.type(count - 1)
    moved = [
        old * keep + cast_operand(new, kind) * take for old, new in ((running_mean, mean), (running_var, unbiased))
    ]
    return y, mean, inverse, *moved


def _composition(
    x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: Any, *, eps: float
) -> tuple[Tensor, ...]:
    mean, squares, count = moments(x)
    kind = running_mean.dtype
    take = apply(astype, momentum, dtype=kind) if isinstance(momentum, Tensor) else momentum
    moved = [
        old * (1 - take) + apply(astype, _vector(new), dtype=kind) * take
        for old, new in ((running_mean, mean), (running_var, squares / (count - 1)))
    ]
    y = normalized(x, mean, squares / count, weight, bias, eps)
    inverse = 1.0 / apply(sqrt, squares / count + eps)
    return y, _vector(mean), _vector(inverse), *moved


def _number(k: int, operand: Operand, dtype: np.dtype[Any]) -> Expr:
    """Operand `k`, one number, in a dtype."""
    name = c.access(f"x{k}", ())
    return c.cast(dtype, name, operand.dtype) if isinstance(operand, TensorSpec) else name


def _comprehension(*operands: Any, eps: float) -> Def:
    _infer(*operands, eps=eps)
    x, weight, bias, running_mean, _, momentum = operands
    work, kind = promote_operands((x, weight, bias)), running_mean.dtype
    rows = Rows(x.shape, _axes(len(x.shape)))
    count, one = rows.length(work), c.constant(1, work)
    value = rows.read("x0", x, work)
    deviation = c.binary("-", value, rows.read_row("r1"))
    variance = c.binary("/", rows.read_row("t1"), count)
    scale = c.binary("*", rows.read_row("r2"), rows.read_row("x1", weight, work))
    take = _number(5, momentum, kind)
    keep = c.binary("-", c.constant(1, kind), take)

    def moved(running: str, batch: Expr) -> Expr:
        return c.add(c.mul(rows.read_row(running), keep), c.mul(c.cast(kind, batch, work), take))

    statements = [
        rows.over_row("+", "t0", value),
        rows.per_row("r1", c.binary("/", rows.read_row("t0"), count)),
        rows.over_row("+", "t1", c.binary("*", deviation, deviation)),
        rows.per_row("r2", _inverse(variance, eps, work)),
        rows.each("r0", c.add(c.mul(deviation, scale), rows.read_row("x2", bias, work))),
        rows.per_row("r3", moved("x3", rows.read_row("r1"))),
        rows.per_row("r4", moved("x4", c.binary("/", rows.read_row("t1"), c.binary("-", count, one)))),
    ]
    return c.definition("batch_norm", operands, statements, scalar=kind, outputs=5)


def _inverse(variance: Expr, eps: float, dtype: np.dtype[Any]) -> Expr:
    root = c.builtin("sqrt", dtype, c.binary("+", variance, c.constant(eps, dtype)))
    return c.binary("/", c.constant(1, dtype), root)


def _vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    g, *of_statistics = gradients
    assert all(other is None for other in of_statistics), "the statistics of batch_norm are constants"
    x, weight, *_ = inputs
    _, mean, inverse, *_ = outputs
    return *gradient_by(batch_norm_grad, g, x, weight, mean, inverse, **attributes), None, None, None


# --- gradients of x, weight and bias in training ---------------------------------------------------------


def _grad_infer(
    g: TensorSpec, x: TensorSpec, weight: TensorSpec, mean: TensorSpec, inverse: TensorSpec, *, eps: float
) -> tuple[TensorSpec, ...]:
    _check("batch_norm_grad", x, weight, mean, inverse)
    need_equal(g.shape, x.shape, f"a gradient of shape {g.shape} for batch_norm of {x.shape}")
    dtype = promote_operands((g, x, weight))
    return tuple(TensorSpec(shape, dtype) for shape in (x.shape, weight.shape, weight.shape))


def _grad_eager(g: Array, x: Array, weight: Array, mean: Array, inverse: Array, *, eps: float) -> tuple[Array, ...]:
    _check("batch_norm_grad", x, weight, mean, inverse)
    dtype = np.result_type(g, x, weight)
    upstream = _three_axes(g, dtype)
    deviation = _deviation(_three_axes(x, dtype), mean)
    count = upstream.shape[0] * upstream.shape[2]
    sums, slope = _sums(upstream), _products(upstream, deviation) * inverse
    deviation *= (slope * inverse / count)[:, None]
    result = np.subtract(upstream, deviation, out=deviation)
    result -= (sums / count)[:, None]
    result *= (inverse * weight)[:, None]
    return result.reshape(x.shape), slope, sums


def _grad_composition(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, *, eps: float
) -> tuple[Tensor, ...]:
    """The statistics are made again from x: higher derivatives go through them."""
    axes = _axes(x.ndim)
    centre, squares, count = moments(x)
    root = 1.0 / apply(sqrt, squares / count + eps)
    deviation = x - centre
    sums, slope = total(g, axes), total(g * deviation, axes) * root
    result = (g - deviation * (slope * root / count) - sums / count) * (root * _beside(weight, x))
    return result, _vector(slope), _vector(sums)


def _grad_comprehension(*operands: Any, eps: float) -> Def:
    _grad_infer(*operands, eps=eps)
    g, x, weight, mean, inverse = operands
    work = promote_operands((g, x, weight))
    rows = Rows(x.shape, _axes(len(x.shape)))
    count, upstream = rows.length(work), rows.read("x0", g, work)
    deviation = c.binary("-", rows.read("x1", x, work), rows.read_row("x3", mean, work))
    root = rows.read_row("x4", inverse, work)
    shifted = c.sub(c.sub(upstream, c.mul(deviation, rows.read_row("t1"))), rows.read_row("t2"))
    statements = [
        rows.over_row("+", "r2", upstream),
        rows.over_row("+", "t0", c.binary("*", upstream, deviation)),
        rows.per_row("r1", c.binary("*", rows.read_row("t0"), root)),
        rows.per_row("t1", c.binary("/", c.binary("*", rows.read_row("r1"), root), count)),
        rows.per_row("t2", c.binary("/", rows.read_row("r2"), count)),
        rows.each("r0", c.mul(shifted, c.binary("*", root, rows.read_row("x2", weight, work)))),
    ]
    return c.definition("batch_norm_grad", operands, statements, outputs=3)


# --- inference -------------------------------------------------------------------------------------------


def _inference_infer(
    x: TensorSpec, weight: TensorSpec, bias: TensorSpec, mean: TensorSpec, variance: TensorSpec, *, eps: float
) -> TensorSpec:
    _check("batch_norm_inference", x, weight, bias, mean, variance)
    return TensorSpec(x.shape, promote_operands((x, weight, bias, mean, variance)))


def _inference_eager(x: Array, weight: Array, bias: Array, mean: Array, variance: Array, *, eps: float) -> Array:
    _check("batch_norm_inference", x, weight, bias, mean, variance)
    dtype = np.result_type(x, weight, bias, mean, variance)
    deviation = _deviation(_three_axes(x, dtype), mean)
    return _scaled(deviation, _inverse_root(cast_operand(variance, dtype), eps) * weight, bias).reshape(x.shape)


def _inference_composition(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, eps: float
) -> Tensor:
    return normalized(x, _beside(mean, x), _beside(variance, x), weight, bias, eps)


def _inference_comprehension(*operands: Any, eps: float) -> Def:
    work = _inference_infer(*operands, eps=eps).dtype
    x, weight, bias, mean, variance = operands
    rows = Rows(x.shape, _axes(len(x.shape)))
    deviation = c.binary("-", rows.read("x0", x, work), rows.read_row("x3", mean, work))
    root = _inverse(rows.read_row("x4", variance, work), eps, work)
    statements = [
        rows.per_row("t0", c.binary("*", root, rows.read_row("x1", weight, work))),
        rows.each("r0", c.add(c.mul(deviation, rows.read_row("t0")), rows.read_row("x2", bias, work))),
    ]
    return c.definition("batch_norm_inference", operands, statements)


def _inference_vjp(gradients: Any, inputs: Any, outputs: Any, attributes: Attributes) -> Any:
    x, weight, _, mean, variance = inputs
    return gradient_by(batch_norm_inference_grad, gradients[0], x, weight, mean, variance, **attributes)


# --- gradients of x, weight, bias, mean and variance in inference ----------------------------------------


def _inference_grad_infer(
    g: TensorSpec, x: TensorSpec, weight: TensorSpec, mean: TensorSpec, variance: TensorSpec, *, eps: float
) -> tuple[TensorSpec, ...]:
    _check("batch_norm_inference_grad", x, weight, mean, variance)
    need_equal(g.shape, x.shape, f"a gradient of shape {g.shape} for batch_norm_inference of {x.shape}")
    dtype = promote_operands((g, x, weight, mean, variance))
    return tuple(TensorSpec(shape, dtype) for shape in (x.shape, *[weight.shape] * 4))


def _inference_grad_eager(
    g: Array, x: Array, weight: Array, mean: Array, variance: Array, *, eps: float
) -> tuple[Array, ...]:
    _check("batch_norm_inference_grad", x, weight, mean, variance)
    dtype = np.result_type(g, x, weight, mean, variance)
    upstream, root = _three_axes(g, dtype), _inverse_root(cast_operand(variance, dtype), eps)
    sums = _sums(upstream)
    slope = _products(upstream, _deviation(_three_axes(x, dtype), mean)) * root
    scale = root * weight
    result = np.multiply(upstream, scale[:, None], out=allocate(upstream.shape, dtype))
    return result.reshape(x.shape), slope, sums, -(scale * sums), -0.5 * (slope * scale * root)


def _inference_grad_composition(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, *, eps: float
) -> tuple[Tensor, ...]:
    axes = _axes(x.ndim)
    root = 1.0 / apply(sqrt, variance + eps)
    sums = total(g, axes, keepdims=False)
    slope = total(g * (x - _beside(mean, x)), axes, keepdims=False) * root
    scale = root * weight
    return g * _beside(scale, x), slope, sums, -(scale * sums), -0.5 * (slope * scale * root)


def _inference_grad_comprehension(*operands: Any, eps: float) -> Def:
    work = _inference_grad_infer(*operands, eps=eps)[0].dtype
    g, x, weight, mean, variance = operands
    rows = Rows(x.shape, _axes(len(x.shape)))
    upstream, root, scale = rows.read("x0", g, work), rows.read_row("t1"), rows.read_row("t2")
    deviation = c.binary("-", rows.read("x1", x, work), rows.read_row("x3", mean, work))
    bent = c.binary("*", c.binary("*", rows.read_row("r1"), scale), root)
    statements = [
        rows.over_row("+", "r2", upstream),
        rows.over_row("+", "t0", c.binary("*", upstream, deviation)),
        rows.per_row("t1", _inverse(rows.read_row("x4", variance, work), eps, work)),
        rows.per_row("t2", c.binary("*", root, rows.read_row("x2", weight, work))),
        rows.each("r0", c.binary("*", upstream, scale)),
        rows.per_row("r1", c.binary("*", rows.read_row("t0"), root)),
        rows.per_row("r3", Unary("-", c.binary("*", scale, rows.read_row("r2")))),
        rows.per_row("r4", c.binary("*", c.constant(-0.5, work), bent)),
    ]
    return c.definition("batch_norm_inference_grad", operands, statements, outputs=5)


batch_norm_grad = register(
    OpDef(
        "batch_norm_grad",
        _grad_infer,
        _grad_eager,
        None,
        _grad_comprehension,
        outputs=3,
        composition=_grad_composition,
    )
)
batch_norm = register(OpDef("batch_norm", _infer, _eager, _vjp, _comprehension, outputs=5, composition=_composition))
batch_norm_inference_grad = register(
    OpDef(
        "batch_norm_inference_grad",
        _inference_grad_infer,
        _inference_grad_eager,
        None,
        _inference_grad_comprehension,
        outputs=5,
        composition=_inference_grad_composition,
    )
)
batch_norm_inference = register(
    OpDef(
        "batch_norm_inference",
        _inference_infer,
        _inference_eager,
        _inference_vjp,
        _inference_comprehension,
        composition=_inference_composition,
    )
)
