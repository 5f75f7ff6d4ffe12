"""Hypothesis strategies that read the operations' records.

In: an OpDef.  Out: `Case`s - operands and attributes that the operation takes.
Invariant: every record in REGISTRY has a strategy: a family's, by the signature of its infer rule, or its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitensor.ops.opdef import OpDef
from minitensor.ops.shapes import normalize_axes
from minitensor.testing.drawing import REGIMES, Array, Case, Draw, arrays, broadcastable, shapes
from minitensor.testing.operands import SPECIFIC

__all__ = ["REGIMES", "Case", "arrays", "broadcastable", "operands_for", "shapes"]

# --- which values an operation is tried on ---------------------------------------------------------------

_POSITIVE = {"log", "log2", "log10", "sqrt", "log1p", "reciprocal"}
_UNIT = {"asin", "acos", "atanh"}
_ABOVE_ONE = {"acosh"}
_PROBABILITY = {"binary_cross_entropy"}
_STEPS = {"round", "floor", "ceil", "trunc"}
_INTEGER_ONLY = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"} | {
    "bitwise_invert"
}


def _into_domain(op: OpDef, x: Array) -> Array:
    """Values inside the operation's domain, away from where it has no derivative."""
    moved = x
    if op.name in _POSITIVE or op.name == "pow":
        moved = np.abs(x) + np.asarray(0.1, x.dtype)
    elif op.name in _STEPS and x.dtype.kind == "f":
        moved = np.floor(x) + np.asarray(0.25, x.dtype)
    elif op.name in _UNIT:
        moved = x * np.asarray(0.4, x.dtype)
    elif op.name in _ABOVE_ONE:
        moved = np.abs(x) + np.asarray(1.1, x.dtype)
    elif op.name in _PROBABILITY:  # well within (0, 1)
        moved = np.clip(x, 0, 1) if x.dtype.kind in "iub" else (x / (np.abs(x) + 1) * 0.45 + 0.5).astype(x.dtype)
    return np.asarray(moved)


def _names(rule: Callable[..., Any]) -> tuple[int, frozenset[str], bool]:
    """How many positional operands, which attributes, and whether operands are variadic."""
    parameters = inspect.signature(rule).parameters.values()
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    keywords = frozenset(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)
    return positional, keywords, any(p.kind == p.VAR_POSITIONAL for p in parameters)


def operands_for(op: OpDef, dtype: str = "float64", regime: str = "scaled") -> st.SearchStrategy[Case]:
    """Cases of an operation; floating-point operands have `dtype` and values of `regime`.

    Raises LookupError for a record that nobody has written a strategy for.
    """
    if op.name in _INTEGER_ONLY and np.dtype(dtype).kind not in "iu":
        dtype = "int32"
    if op.name == "imag":
        dtype = "complex128" if np.dtype(dtype).itemsize == 8 else "complex64"
    if op.name in SPECIFIC:
        return SPECIFIC[op.name](op, dtype, regime)
    positional, keywords, variadic = _names(op.infer)
    if keywords == {"axis", "keepdims"}:
        return _reduction(op, dtype, regime)
    if not keywords and not variadic and positional in (1, 2):
        return _elementwise(op, positional, dtype, regime)
    raise LookupError(f"no strategy for the operands of {op.name!r}")


@st.composite
def _elementwise(draw: Draw, op: OpDef, count: int, dtype: str, regime: str) -> Case:
    operands = list(draw(broadcastable(count, dtype, regime)))
    if count == 2 and regime == "scaled" and operands[1].dtype.kind in "fc":
        operands[1] = np.asarray(operands[1] * 1.0625).astype(dtype)  # equal seeds make no ties, which have no slope
    if op.name in _STEPS and regime == "exact" and operands[0].dtype.kind == "f":
        operands = [np.asarray(operands[0] * 0.5).astype(dtype)]  # halves
    elif regime != "special" or op.name == "pow":
        operands = [_into_domain(op, x) for x in operands]
    if op.name in ("remainder", "floor_divide") and regime == "scaled":
        operands[1] = np.asarray(np.abs(operands[1]) + np.asarray(3, operands[1].dtype))  # |x/y| < 1: no jump near
    if op.name.endswith("shift"):
        operands[1] = np.asarray(np.abs(operands[1]))
    if count == 2 and op.name != "remainder" and draw(st.integers(0, 3)) == 0:
        operands[1] = draw(st.sampled_from([2, 0.5, 1] if np.dtype(dtype).kind == "f" else [1, 2, 3]))
    return Case(tuple(operands), {})


@st.composite
def _reduction(draw: Draw, op: OpDef, dtype: str, regime: str) -> Case:
    x = draw(arrays(draw(shapes(min_rank=1)), dtype, regime))
    keepdims = draw(st.booleans())
    if op.name.startswith("arg"):
        return Case((x,), {"axis": draw(st.integers(0, x.ndim - 1)), "keepdims": keepdims})
    axes = draw(st.lists(st.integers(0, x.ndim - 1), unique=True))
    return Case((x,), {"axis": normalize_axes(tuple(axes), x.ndim), "keepdims": keepdims})
