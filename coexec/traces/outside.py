"""Contents that Python has without the graph: integers made of integers that come from outside the step, random draws.

In: an operation of a step.  Out: whether its result is such, as labels are that were given another shape.
Invariant: the answer depends on records, wiring and dtypes alone, so a trace and a step that is validated agree; what
Python computes of integers is what a kernel computes of them, to the bit, and so is what a record calls `exact`.

Operations that look at their indices have them checked by Python: without this, a reshape would be enough to make
Python wait for the graph in the middle of every step; and so would a program that draws a number and branches on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coexec.traces.trace_graph import FromFeed, FromNodes, FromScalar, TraceNode
from minitensor.ops.opdef import Effect, OpDef

if TYPE_CHECKING:
    from coexec.traces.record import OpRecord

_DEEPEST = 4  # operations in a row
_MOST_ELEMENTS = 1 << 16  # beyond this the graph is faster


def is_from_outside(node: TraceNode, depth: int = _DEEPEST) -> bool:
    """Whether the node's one output is made of integers from outside only."""
    if depth == 0 or node.op is None or not _is_light(node.op, (*node.input_specs, *node.output_specs)):
        return False
    for wiring in node.inputs:
        match wiring:
            case FromNodes([only]):
                if not is_from_outside(only.node, depth - 1):
                    return False
            case FromFeed() | FromScalar():
                continue
            case _:
                return False
    return True


def is_record_from_outside(
    prefix: Sequence[TraceNode], records: Sequence[OpRecord], index: int, depth: int = _DEEPEST
) -> bool:
    """The same of operation `index` of a trace, a validated prefix and records."""
    if index < len(prefix):
        return is_from_outside(prefix[index], depth)
    record = records[index - len(prefix)]
    if depth == 0 or not _is_light(record.op, (*record.input_specs, *record.output_specs)):
        return False
    made = [getattr(x, "index", None) for x in record.inputs]  # of what the step has made
    return all(i is None or is_record_from_outside(prefix, records, i, depth - 1) for i in made)


def _is_light(op: OpDef, specs: Sequence[Any]) -> bool:
    if op.may_raise or op.outputs != 1 or op.effect is not Effect.PURE:
        return False
    for spec in specs:
        if spec is not None:
            if spec.dtype.kind not in "iub" and not op.exact:
                return False
            size = 1
            for extent in spec.shape:
                size *= extent if isinstance(extent, int) else 1
            if size > _MOST_ELEMENTS:
                return False
    return True
