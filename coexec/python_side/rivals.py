"""Which operations can never be taken for one another: then a call whose other operand decided has one way to go.

In: two nodes of the walk that follow one node.  Out: whether no operation can be both, whatever the step has made and
fed.
Invariant: what is not known never excludes.
"""

from __future__ import annotations

from typing import Any

from coexec.graph.keys import same_attributes, same_scalar
from coexec.graph.symbolic import ScalarValue
from coexec.location import Location
from coexec.python_side.walk import ExpectPhi, ExpectSame, ExpectScalar, WalkNode
from coexec.traces.trace_graph import TraceNode

Candidate = ScalarValue | ExpectScalar | frozenset[int]  # a number, what one can be, or the numbers of outputs


def exclude(one: WalkNode, other: WalkNode, bound: list[Any] | None) -> bool:
    """Whether no operation can be both, whatever the step has made and fed; `other` had the numbers in `bound`."""
    if one.op is not other.op or one.inputs != other.inputs or not same_attributes(one.attributes, other.attributes):
        return True
    for position in range(one.inputs):
        (kind, what), (others_kind, others) = _origin_of(one, position), _origin_of(other, position, bound)
        if None in (kind, others_kind):
            continue
        if kind != others_kind or _types_differ(one, other, position):
            return True
        if kind != "outside" and None not in (what, others) and not _may_be_one(what, others):
            return True
    return False


def differ_in_producers(one: WalkNode, other: WalkNode) -> bool:
    """Whether two nodes that `exclude` keeps apart in nothing differ only in which outputs of the step they read.

    What decides between them is compared then, and the same as before: which operations the step has executed.
    """
    return all(
        _origin_of(one, position)[0] == _origin_of(other, position)[0] == "made"
        or _expected_at(one, position) == _expected_at(other, position)
        for position in range(one.inputs)
    )


def _expected_at(node: WalkNode, position: int) -> list[Any]:
    """What a node expects of an operand that the step has not made."""
    known = [(kind, what) for kind in ("constants", "fed") for at, what in getattr(node, kind) if at == position]
    return [*known, *[e for e in (*node.feeds, *node.others) if e.position == position]]


def _types_differ(one: WalkNode, other: WalkNode, position: int) -> bool:
    """Whether two feeds can be no common tensor."""
    types = [(f.dtype, f.shape) for node in (one, other) for f in node.feeds if f.position == position]
    if len(types) != 2:
        return False
    (dtype, shape), (others_dtype, others) = types
    return dtype != others_dtype or (None not in (shape, others) and shape != others)


def place_of(node: WalkNode) -> tuple[Location, TraceNode | None] | None:
    key = node.trace.key
    return None if key is None else (key.location, key.forward)


def _may_be_one(one: Candidate, other: Candidate) -> bool:
    """Of numbers, known or only what they can be, or of the outputs that an operand can be."""
    match one, other:
        case frozenset(), frozenset():
            return not one.isdisjoint(other)
        case ExpectScalar(), ExpectScalar():
            return one.kind is other.kind and one.low <= other.high and other.low <= one.high
        case (ExpectScalar() as varying, number) | (number, ExpectScalar() as varying):
            return varying.admits(number)
        case (frozenset(), _) | (_, frozenset()):
            return False
        case _:
            return same_scalar(one, other)


def _origin_of(node: WalkNode, position: int, bound: list[Any] | None = None) -> tuple[str | None, Any]:
    """Whether an operand is made in the step, comes from outside or is a number, and which outputs or number it can be.

    None where that depends; a number that varies is the one in `bound`, or all that it can be.
    """
    made = [(at, frozenset([number])) for at, number in node.sources]
    for kind, known in (("made", made), ("number", node.constants), ("outside", node.fed)):
        for at, what in known:
            if at == position:
                return kind, what
    if any(feed.position == position for feed in node.feeds):
        return "outside", None
    for expected in node.others:
        if expected.position == position and not isinstance(expected, ExpectSame):
            if isinstance(expected, ExpectPhi):
                return "made", expected.among
            number = None if bound is None else bound[expected.slot]
            return "number", expected if number is None else number
    return None, None
