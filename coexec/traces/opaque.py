"""What stays on the Python side of a co-executed step.

In: an operation about to run, its operands and attributes.  Out: whether it can be a node of a graph; which
operands Python must look at before it may be one.
Invariant: the answer depends on the record, the operands' shapes and dtypes, and the attributes, never on contents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from coexec.graph.keys import attribute_key
from minitensor.errors import NoComprehension, ShapeError
from minitensor.ops.opdef import Effect, OpDef, Operand, TensorSpec
from minitensor.value import Value

_specs: dict[tuple[tuple[int, ...], np.dtype[Any]], TensorSpec] = {}
_answers: dict[tuple[Any, ...], tuple[str | None, tuple[Operand, ...]]] = {}  # with what their keys' identities are of
_MOST_ENTRIES = 100_000  # of either table; beyond this many it starts again


def spec_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> TensorSpec:
    """The spec of these, the same object each time: comparisons then end at the identity."""
    key = (shape, dtype)
    found = _specs.get(key)
    if found is None:
        if len(_specs) >= _MOST_ENTRIES:
            _specs.clear()
        found = _specs[key] = TensorSpec(shape, dtype)
    return found


def operands_of(inputs: Iterable[Any]) -> tuple[Operand, ...]:
    """The specs of Values; Python scalars as they are."""
    return tuple([spec_of(x.shape, x.dtype) if isinstance(x, Value) else x for x in inputs])


def why_opaque(op: OpDef, operands: tuple[Operand, ...], attributes: dict[str, Any]) -> str | None:
    """Why no kernel can do this operation on these operands (made by `operands_of`); None if one can."""
    if op.comprehension is None:
        return op.opaque_because
    if op.effect is Effect.HOST:
        return "it acts outside the tensors"
    signature = tuple([id(x) if type(x) is TensorSpec else type(x) for x in operands])
    key = (op, signature, attribute_key(attributes))
    known = _answers.get(key)
    if known is None:
        if len(_answers) >= _MOST_ENTRIES:
            _answers.clear()
        known = _answers[key] = (_refusal(op, operands, attributes), operands)
    return known[0]


def has_comprehension(op: OpDef, operands: Iterable[Operand], attributes: dict[str, Any]) -> bool:
    """Whether the record has a comprehension for these specs, symbolic sizes included."""
    return op.comprehension is not None and _refusal(op, operands, attributes) is None


def _refusal(op: OpDef, operands: Iterable[Operand], attributes: dict[str, Any]) -> str | None:
    assert op.comprehension is not None
    try:
        op.comprehension(*operands, **attributes)
    except NoComprehension as refusal:
        return str(refusal) or "it has no comprehension for these operands"
    except ShapeError as error:  # it ran with these sizes as numbers: some that must be equal became different symbols
        return f"its sizes do not fit as symbols: {error}"
    return None


def values_to_check(op: OpDef, inputs: tuple[Any, ...]) -> tuple[Value, ...]:
    """The operands on whose contents the operation can fail: indices and labels, so integers and bools.

    A record that can fail on floats is opaque; a fence stands before all others, so that the exception comes up at
    the operation itself, where eager execution has it.
    """
    if not op.may_raise:
        return ()
    return tuple([x for x in inputs if isinstance(x, Value) and x.dtype.kind in "iub"])
