"""What the graph has where Python did something else, in words for the report.

In: the operation that left the graph, and the nodes that could have followed.  Out: "sum" or, where they have the same
name, the first difference: "sum with axis=(0,) instead of (1,)".
Invariant: looked at only after a step has left its graph; nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coexec.graph.keys import same_scalar
from coexec.python_side.walk import WalkNode
from minitensor.ops import slicing
from minitensor.ops.opdef import OpDef
from minitensor.value import Value

MOST_CANDIDATES = 3  # that are shown of a fork
MOST_CHARACTERS = 40  # of one attribute


def describe_expected(
    candidates: Sequence[WalkNode], op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]
) -> str:
    """What stands in the graph where `op` was done, each kind once."""
    told = list(dict.fromkeys(_told(node, op, inputs, attributes) for node in candidates))
    more = len(told) - MOST_CANDIDATES
    return ", ".join(told[:MOST_CANDIDATES]) + (f" and {more} more" if more > 0 else "")


def _told(node: WalkNode, op: OpDef, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> str:
    if node.op is None:
        return "the end"
    if node.op is not op:
        return node.op.name
    return f"{op.name} {_difference(node, inputs, attributes)}"


def _difference(node: WalkNode, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> str:
    """The first of: number of operands, their types and sizes, attributes, numbers; otherwise where they come from."""
    if len(inputs) != node.inputs:
        return f"of {node.inputs} operands instead of {len(inputs)}"
    for spec, x in zip(node.trace.input_specs, inputs, strict=True):
        if spec is None or not isinstance(x, Value):
            if (spec is None) == isinstance(x, Value):
                return f"of {'a number' if spec is None else 'a tensor'} instead of {'a tensor' if spec is None else x}"
            continue
        pairs = zip(spec.shape, x.shape, strict=False)
        agree = len(spec.shape) == len(x.shape) and all(d == n or (isinstance(d, str) and n > 1) for d, n in pairs)
        if spec.dtype != x.dtype or not agree:
            return f"of {_typed(spec.dtype, spec.shape)} instead of {_typed(x.dtype, x.shape)}"
    for name, seen in attributes.items():
        known = node.attributes.get(name)
        if type(known) is not type(seen) or known != seen:
            return f"with {name}={_written(name, known)} instead of {_written(name, seen)}"
    for position, constant in node.constants:
        if not same_scalar(constant, inputs[position]):
            return f"of {constant!r} instead of {inputs[position]!r}"
    return "of other operands"


def _typed(dtype: Any, shape: Sequence[int | str]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _written(name: str, x: Any) -> str:
    text = slicing.to_text(x) if name == "key" and x is not None else repr(x)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
