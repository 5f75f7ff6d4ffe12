"""What stays on the Python side of a co-executed step.

In: an operation about to run, its operands and attributes.  Out: whether it can be a node of a graph; which
operands Python must look at before it may be one.
Invariant: the answer depends on the record, the operands' shapes and dtypes, Python's numbers among them and the
attributes, never on contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from coexec.graph.keys import attribute_key
from comprehension.errors import ComprehensionError
from minitensor.dispatch import run_eager
from minitensor.errors import MinitensorError, NoComprehension, ShapeError
from minitensor.ops.opdef import Effect, OpDef, Operand, TensorSpec
from minitensor.value import Value

Limits = list[tuple[int, int, int]]  # (position among the operands, least, greatest)
BEYOND = "a number is beyond the type that a kernel takes it in"
_LARGEST = 2**1024 - 2**970 - 1  # the last int that becomes a float

_specs: dict[tuple[tuple[int, ...], np.dtype[Any]], TensorSpec] = {}
_answers: dict[tuple[Any, ...], tuple[str | None, Limits, tuple[Operand, ...]]] = {}  # and whose identities keys have
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
        because = _refusal(op, operands, attributes)
        known = _answers[key] = (because, [] if because else integer_limits(op, operands, attributes), operands)
    because, limits, _ = known
    for position, least, greatest in limits:
        if not least <= operands[position] <= greatest:  # type: ignore[operator]  # an int, as in the key
            return BEYOND
    return because


def integer_limits(op: OpDef, operands: Sequence[Operand], attributes: dict[str, Any]) -> Limits:
    """What Python ints among the operands may be: what the type can hold in which a kernel takes them.

    Eager execution refuses others in arithmetic, and knows the answer in comparisons.
    """
    positions = [k for k, x in enumerate(operands) if type(x) is int]
    if not positions:
        return []
    assert op.comprehension is not None
    parameters = op.comprehension(*operands, **attributes).inputs
    limits: Limits = []
    for k in positions:
        kind = parameters[k].type
        assert kind is not None
        dtype = kind.scalar.numpy
        info = np.iinfo(dtype) if dtype.kind in "iu" else None
        limits.append((k, -_LARGEST, _LARGEST) if info is None else (k, int(info.min), int(info.max)))
    return limits


def raise_if_impossible(op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Raises what the operation raises for a number that its dtype cannot hold, whatever the contents are.

    What shapes and dtypes make impossible has no comprehension, and needs no such question.
    """
    if all(isinstance(x, Value) for x in inputs):
        return
    try:
        with np.errstate(all="ignore"):
            op.eager(*map(blank_for, inputs), **attributes)
    except Exception:
        run_eager(op, inputs, attributes)  # says it in its own words, or finds nothing wrong with the contents


def blank_for(x: Any) -> Any:
    """In a value's place an array of its shape and dtype that takes no memory."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, Value) else x


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
    except AttributeError as error:  # a rule asked a number for its shape: the eager rule says what is wrong
        if isinstance(error.obj, bool | int | float | complex):
            return f"it does not take the number {error.obj}"
        raise
    except (MinitensorError, ComprehensionError) as error:  # so does the eager rule, and says it in its own words
        return f"it does not take such operands: {error}"
    return None


def values_to_check(op: OpDef, inputs: tuple[Any, ...]) -> tuple[Value, ...]:
    """The operands on whose contents the operation can fail: indices and labels, so integers and bools.

    A record that can fail on floats is opaque; a fence stands before all others, so that the exception comes up at
    the operation itself, where eager execution has it.
    """
    if not op.may_raise:
        return ()
    return tuple([x for x in inputs if isinstance(x, Value) and x.dtype.kind in "iub"])
