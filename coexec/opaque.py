"""What stays on the Python side of a co-executed step.

In: an operation about to run, its operands and attributes.  Out: whether it can be a node of a graph; which
operands Python must look at before it may be one.
Invariant: the answer depends on the record, the operands' shapes and dtypes, and the attributes, never on contents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coexec.keys import attribute_key
from minitensor.errors import NoComprehension
from minitensor.ops.opdef import Effect, OpDef, Operand, TensorSpec
from minitensor.value import Value

_answers: dict[
    tuple[Any, ...], str | None
] = {}  # one entry for each operation, operand types and attributes ever asked
_MOST_ANSWERS = 100_000  # beyond this many the table starts again


def why_opaque(op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> str | None:
    """Why no kernel can do this operation on these operands (Values and Python scalars); None if one can."""
    if op.comprehension is None:
        return op.opaque_because
    if op.effect is Effect.HOST:
        return "it acts outside the tensors"
    signature = tuple([(x.shape, x.dtype) if isinstance(x, Value) else type(x) for x in inputs])
    key = (op.name, signature, attribute_key(attributes))
    answer = _answers.get(key, "")  # no reason is empty
    if answer == "":
        operands = [TensorSpec(x.shape, x.dtype) if isinstance(x, Value) else x for x in inputs]
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        answer = _answers[key] = _refusal(op, operands, attributes)
    return answer


def has_comprehension(op: OpDef, operands: Iterable[Operand], attributes: dict[str, Any]) -> bool:
    """Whether the record has a comprehension for these specs, symbolic sizes included."""
    return op.comprehension is not None and _refusal(op, operands, attributes) is None


def _refusal(op: OpDef, operands: Iterable[Operand], attributes: dict[str, Any]) -> str | None:
    assert op.comprehension is not None
    try:
        op.comprehension(*operands, **attributes)
    except NoComprehension as refusal:
        return str(refusal) or "it has no comprehension for these operands"
    return None


def values_to_check(op: OpDef, inputs: tuple[Any, ...]) -> tuple[Value, ...]:
    """The operands on whose contents the operation can fail: indices and labels, so integers and bools.

    A record that can fail on floats is opaque; a fence stands before all others, so that the exception comes up at
    the operation itself, where eager execution has it.
    """
    if not op.may_raise:
        return ()
    return tuple([x for x in inputs if isinstance(x, Value) and x.dtype.kind in "iub"])
