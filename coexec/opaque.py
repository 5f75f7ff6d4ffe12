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

_answers: dict[tuple[Any, ...], bool] = {}  # one entry for each operation, operand types and attributes ever asked
_MOST_ANSWERS = 100_000  # beyond this many the table starts again


def is_opaque(op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> bool:
    """Whether no kernel can do this operation on these operands (Values and Python scalars)."""
    if op.comprehension is None or op.effect is Effect.HOST:
        return True
    signature = tuple([(x.shape, x.dtype) if isinstance(x, Value) else type(x) for x in inputs])
    key = (op.name, signature, attribute_key(attributes))
    answer = _answers.get(key)
    if answer is None:
        operands = [TensorSpec(x.shape, x.dtype) if isinstance(x, Value) else x for x in inputs]
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        answer = _answers[key] = not has_comprehension(op, operands, attributes)
    return answer


def has_comprehension(op: OpDef, operands: Iterable[Operand], attributes: dict[str, Any]) -> bool:
    """Whether the record has a comprehension for these specs, symbolic sizes included."""
    if op.comprehension is None:
        return False
    try:
        op.comprehension(*operands, **attributes)
    except NoComprehension:
        return False
    return True


def values_to_check(op: OpDef, inputs: tuple[Any, ...]) -> tuple[Value, ...]:
    """The operands on whose contents the operation can fail: indices and labels, so integers and bools.

    A record that can fail on floats is opaque; a fence stands before all others, so that the exception comes up at
    the operation itself, where eager execution has it.
    """
    if not op.may_raise:
        return ()
    return tuple([x for x in inputs if isinstance(x, Value) and x.dtype.kind in "iub"])
