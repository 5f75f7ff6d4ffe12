"""How error bounds pass through each operation.

In: an operation, its operands as intervals.  Out: its outputs as intervals.
Invariant: if every operand lies within its bound, and the operation is computed faithfully in the output's
dtype - rounded after each step, added up in any order - the result lies within the returned bound.
The rules work on families of records, by what the operation does to errors, and run the eager rules
themselves in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minitensor.dispatch import run_eager
from minitensor.ops import pooling
from minitensor.ops.opdef import CompositionRule, OpDef
from minitensor.tensor import Tensor
from minitensor.value import Value, filled, local

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Interval:
    """`value` in float64 (integers and bool as they are), `bound` of its shape; `weak`: the Python scalar."""

    value: Array
    bound: Array
    weak: Any = None

    @property
    def operand(self) -> Any:
        """What an eager rule takes."""
        return self.value if self.weak is None else self.weak

    @property
    def exact(self) -> bool:
        return not bool(np.any(self.bound))


Rule = Callable[[OpDef, Sequence[Interval], dict[str, Any], float], "tuple[Array, Array]"]

# Operations that IEEE 754 rounds correctly; the others may be 4 units in the last place away on every path (the limit
# of NumPy's vector loops: 3.1 are met in float32 `asin`), and a unit of x is up to 2 u |x|.
_ROUNDED_ONCE = {"add", "subtract", "multiply", "divide", "sqrt", "reciprocal", "square", "astype", "clip", "where"}
_UNROUNDED = {"negative", "abs", "identity", "maximum", "minimum", "relu", "floor", "ceil", "trunc", "round", "sign"}
_ULPS = 4.0 * 2.0


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """Half the distance of 1 to the next number; 0 for integers."""
    return float(np.finfo(dtype).eps) / 2 if dtype.kind in "fc" else 0.0


def propagate(
    op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], dtypes: Sequence[np.dtype[Any]]
) -> tuple[Interval, ...]:
    """The outputs of an operation with their bounds.

    Raises LookupError for an operation that no rule is written for, on operands that are not exact.
    """
    with np.errstate(all="ignore"):
        if op.composition is not None:
            return _composed(op.composition, operands, attributes, dtypes)
        if op.outputs > 1 or (op.name in _DISCRETE and all(x.exact for x in operands)):
            return _exact(op, operands, attributes)
        rule: Rule = _RULES.get(op.name, _elementwise)
        value, bound = rule(op, operands, attributes, unit_roundoff(dtypes[0]))
    value = np.asarray(value)
    bound = np.where(np.isnan(bound), np.inf, bound)
    if value.dtype.kind == "f":
        bound = np.where(np.isnan(value), 0.0, bound)
    return (Interval(value, np.asarray(bound, dtype=np.float64)),)


class Intervals:
    """An observer that follows the operations of this thread with intervals, while they run eagerly as always."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Value, Interval] = WeakKeyDictionary()

    def execute(self, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> tuple[Value, ...]:
        outputs = run_eager(op, inputs, attributes)
        operands = [self.of_value(x) for x in inputs]
        dtypes = [output.dtype for output in outputs]
        for output, interval in zip(outputs, propagate(op, operands, attributes, dtypes), strict=True):
            self._known[output] = interval
        return outputs

    def on_read(self, value: Any) -> None:
        """Reading changes nothing here."""

    def on_rebind(self, tensor: Any, value: Any) -> None:
        """Rebinding changes nothing here: bounds belong to values."""

    def know(self, value: Value, interval: Interval) -> None:
        """From now on `value` lies within `interval`."""
        self._known[value] = interval

    def of_value(self, x: Any) -> Interval:
        """Of a value that no operation made: itself, without error."""
        if not isinstance(x, Value):
            return Interval(np.asarray(x), np.zeros(()), weak=x)
        known = self._known.get(x)
        if known is None:
            array = filled(x)
            wide = array.astype(np.float64) if array.dtype.kind == "f" else array
            known = self._known[x] = Interval(wide, np.zeros(array.shape))
        return known


def _composed(
    composition: CompositionRule, operands: Sequence[Interval], attributes: dict[str, Any], dtypes: Sequence[Any]
) -> tuple[Interval, ...]:
    """The bounds of a larger record are those of its parts, one after the other."""
    inside, before = Intervals(), local.observer
    inputs: list[Any] = []
    for x in operands:
        if x.weak is not None:
            inputs.append(x.weak)
            continue
        value = Value(np.asarray(x.value, dtype=dtypes[0] if x.value.dtype.kind == "f" else x.value.dtype))
        inside.know(value, x)
        inputs.append(Tensor(value))
    local.observer = inside
    try:
        result = composition(*inputs, **attributes)
    finally:
        local.observer = before
    results = result if isinstance(result, tuple) else (result,)
    return tuple(inside.of_value(tensor.value) for tensor in results)


_DISCRETE = {"argsort", "nonzero", "searchsorted", "fourier_transform"}


def _exact(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any]) -> tuple[Interval, ...]:
    if not all(x.exact for x in operands):
        raise LookupError(f"no error bounds for {op.name} on operands that are not exact")
    results = op.eager(*[x.operand for x in operands], **attributes)
    several = results if isinstance(results, tuple) else (results,)
    arrays = [np.asarray(result) for result in several]
    return tuple(Interval(array, np.zeros(array.shape)) for array in arrays)


def _run(op: OpDef, operands: Sequence[Any], attributes: dict[str, Any]) -> Array:
    return np.asarray(op.eager(*operands, **attributes))


def _gamma(n: float, u: float) -> float:
    return n * u / (1 - n * u)


# --- rules -----------------------------------------------------------------------------------------------


def _elementwise(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """The largest change at the corners of the operands' intervals, and the operation's own rounding."""
    value = _run(op, [x.operand for x in operands], attributes)
    spread = np.zeros(value.shape)
    moving = [k for k, x in enumerate(operands) if not x.exact]
    for signs in product((-1.0, 1.0), repeat=len(moving)):
        moved = [x.operand for x in operands]
        for k, sign in zip(moving, signs, strict=True):
            moved[k] = _moved(operands[k], sign)
        corner = _run(op, moved, attributes)
        spread = np.maximum(spread, _distance(corner, value))
    if value.dtype.kind != "f":
        return value, np.where(spread > 0, np.inf, 0.0)
    ulps = 1.0 if op.name in _ROUNDED_ONCE else 0.0 if op.name in _UNROUNDED else _ULPS
    return value, spread * (1 + u) + ulps * u * np.abs(value)


def _cancelling(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """log(eᵃ + eᵇ) = max + log1p(…): rounded at the size of the operands, which may cancel."""
    value, bound = _elementwise(op, operands, attributes, u)
    size = np.maximum(*[np.abs(x.value) for x in operands]) + 1
    return value, bound + _ULPS * u * size


def _neighbours(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """The number next to x in its own dtype is x, give or take one unit in the last place."""
    x, direction = operands
    value = np.broadcast_to(x.value, np.broadcast_shapes(x.value.shape, direction.value.shape))
    smallest = 2.0**-149 if u > 2.0**-50 else 2.0**-1074
    value = np.where(np.isnan(direction.value), np.nan, value)
    return value, x.bound + 2 * u * np.abs(value) + smallest


def _moved(x: Interval, sign: float) -> Array:
    if x.value.dtype.kind == "b":
        return x.value ^ (x.bound > 0)
    return np.asarray(x.value + sign * x.bound).astype(x.value.dtype)


def _distance(corner: Array, value: Array) -> Array:
    if value.dtype.kind == "b":
        return np.asarray(corner != value, dtype=np.float64)
    same = (corner == value) | (np.isnan(corner) & np.isnan(value))
    distance = np.abs(corner - value)
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))


def _moves(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """Elements are moved, never computed with: bounds move along.  Index tensors are exact."""
    bounds = [x.bound if x.value.dtype.kind in "fb" else x.operand for x in operands]
    bounds = [0.0 if x.weak is not None else b for x, b in zip(operands, bounds, strict=True)]
    value = _run(op, [x.operand for x in operands], attributes)
    return value, np.abs(_run(op, bounds, attributes)) if value.dtype.kind in "fb" else np.zeros(value.shape)


def _sums(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """γₙ·Σ|x| for n terms in any order, and the sum of their bounds."""
    x, *rest = operands
    others = [r.operand for r in rest]
    count = _run(op, [np.ones(x.value.shape), *others], attributes)
    terms = float(count.max()) if count.size else 0.0
    size = _run(op, [np.abs(x.value) + x.bound, *others], attributes)
    carried = _run(op, [x.bound, *others], attributes)
    return _run(op, [x.operand, *others], attributes), carried + _gamma(terms, u) * size


def _products(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """Sums of products: γₙ₊ₖ·Π(|x| + bound) for k factors, and the change that the factors' bounds make."""
    count = _run(op, [np.ones(x.value.shape) for x in operands], attributes)
    terms = float(count.max()) if count.size else 0.0
    outer = _run(op, [np.abs(x.value) + x.bound for x in operands], attributes)
    inner = _run(op, [np.abs(x.value) for x in operands], attributes)
    value = _run(op, [x.value for x in operands], attributes)
    return value, (outer - inner) * (1 + _ULPS * u) + _gamma(terms + len(operands), u) * outer


def _chain(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """Products of elements: what the bounds add to the product of magnitudes, and n roundings of it."""
    (x,) = operands
    outer, inner = (_run(op, [size], attributes) for size in (np.abs(x.value) + x.bound, np.abs(x.value)))
    return _run(op, [x.operand], attributes), outer - inner + _gamma(float(x.value.size), u) * outer


def _extremes(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """An extreme moves by at most the largest bound."""
    (x,) = operands
    value = _run(op, [x.operand], attributes)
    shape = x.bound.shape
    largest = _LARGEST[op.name](x.bound, attributes) if shape else x.bound
    return value, np.asarray(largest)


_LARGEST: dict[str, Callable[[Array, dict[str, Any]], Any]] = {
    "max": lambda b, a: np.max(b, axis=a["axis"], keepdims=a["keepdims"]),
    "min": lambda b, a: np.max(b, axis=a["axis"], keepdims=a["keepdims"]),
    "max_pool2d": lambda b, a: pooling.max_pool2d.eager(b, **a),
}


def _positions(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """A position is undetermined where another element may be the extreme as well."""
    (x,) = operands
    sign = 1.0 if op.name == "argmax" else -1.0
    high, low = sign * x.value + x.bound, sign * x.value - x.bound
    axis = attributes["axis"]
    rivals = np.sum(high >= np.max(low, axis=axis, keepdims=True), axis=axis, keepdims=attributes["keepdims"])
    open_ = (rivals > 1) & ~np.all(x.bound == 0, axis=axis, keepdims=attributes["keepdims"])
    return _run(op, [x.operand], attributes), np.where(open_, np.inf, 0.0)


def _where(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """Where the condition is open, either branch may come out."""
    condition, x, y = operands
    value = _run(op, [condition.operand, x.operand, y.operand], attributes)
    chosen = np.where(condition.value, x.bound, y.bound)
    either = np.abs(x.value - y.value) + np.maximum(x.bound, y.bound)
    return value, np.broadcast_to(np.where(condition.bound > 0, either, chosen), value.shape) + u * np.abs(value)


def _quantifier(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """Undetermined if it would be another with the open elements turned round."""
    (x,) = operands
    value = _run(op, [x.operand], attributes)
    if x.value.dtype.kind != "b":
        return value, np.where(np.any(x.bound > 0, axis=attributes["axis"], keepdims=attributes["keepdims"]), np.inf, 0)
    ends = [_run(op, [np.where(x.bound > 0, end, x.value)], attributes) for end in (False, True)]
    return value, np.where(ends[0] != ends[1], np.inf, 0.0)


def _pooled(op: OpDef, operands: Sequence[Interval], attributes: dict[str, Any], u: float) -> tuple[Any, Any]:
    """The gradient of a maximum over windows: where two elements may be the largest, either may get it."""
    x, y, g = operands
    value = _run(op, [x.value, y.value, g.value], attributes)
    reach = x.value + x.bound
    sure = pooling.max_pool2d.eager(x.value - x.bound, **attributes)
    rivals = np.zeros(y.value.shape)
    padded = pooling.padded(reach, attributes["padding"], -np.inf)
    for pixels in pooling.window_slices(y.value.shape, attributes["kernel"], attributes["stride"]):
        rivals += padded[pixels] >= sure
    open_ = (rivals > 1) & (np.asarray(pooling.max_pool2d.eager(x.bound, **attributes)) > 0)
    terms = attributes["kernel"][0] * attributes["kernel"][1]
    size = np.abs(g.value) + g.bound
    if op.name == "max_pool2d_pick":
        return value, _run(op, [x.value, y.value, g.bound], attributes) + open_ * pooling.sum_pool2d.eager(
            size, **attributes
        )
    spread = pooling.spread_pool2d.eager(open_ * size, shape=x.value.shape, **attributes)
    steady = _run(op, [x.value, y.value, g.bound], attributes)
    return value, steady + spread + _gamma(terms, u) * _run(op, [x.value, y.value, size], attributes)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("reshape", "permute_dims", "broadcast_to", "getitem", "place", "assemble", "setitem", "gather"),
            *("concat", "pad", "flip", "roll", "tile", "repeat", "triangle", "scatter_set", "take_along_axis"),
        ),
        _moves,
    ),
    **dict.fromkeys(
        ("sum", "cumulative_sum", "sum_pool2d", "spread_pool2d", "scatter_add", "scatter_along_axis"), _sums
    ),
    **dict.fromkeys(("matmul", "einsum", "conv2d", "conv2d_input_grad", "conv2d_weight_grad"), _products),
    **dict.fromkeys(("prod", "cumulative_prod"), _chain),
    **dict.fromkeys(("max", "min", "max_pool2d"), _extremes),
    **dict.fromkeys(("argmax", "argmin"), _positions),
    **dict.fromkeys(("any", "all"), _quantifier),
    **dict.fromkeys(("max_pool2d_grad", "max_pool2d_pick"), _pooled),
    "where": _where,
    "logaddexp": _cancelling,
    "nextafter": _neighbours,
}


def rounds_on_the_way(op: OpDef) -> bool:
    """Whether the operation rounds more than its result: it adds or multiplies many numbers, or is composed."""
    return op.composition is not None or _RULES.get(op.name) in (_sums, _products, _chain, _pooled)


_EXACT_ON_INTEGERS = (_moves, _sums, _products, _extremes, _where)


def is_exact_on_integers(op: OpDef) -> bool:
    """Whether the operation rounds nothing on small integers: it moves, adds, multiplies or chooses."""
    return _RULES.get(op.name) in _EXACT_ON_INTEGERS or op.name in _UNROUNDED | {
        "add",
        "subtract",
        "multiply",
        "square",
    }
