"""Whole tiles and ragged ones as one again: what the proof reads, for branches that do the same.

    if 16 <= N - 16 t:  tile l in 0+16:  ...                      ->     tile l in 0+16 below N - 16 t:  ...
    if N - 16 t < 16:   tile l in 0+16 below N - 16 t:  ...

In: a Kernel.  Out: one that does the same, with as few branches on whole tiles as this page can tell.
Invariant: a pair of branches becomes its second one only if their conditions are opposites, and the first is the
second without limits that its condition says lie beyond their tiles.  Whatever differs in more than that stays.

`kernel.edges` makes such pairs.  isl would compare every instance of either with every one of the other, where both
are one: with two ragged axes that takes most of a proof.  This reads the kernel as it is and takes nothing from the
pass that made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from comprehension.kernel import ir
from comprehension.kernel.choice import negated
from comprehension.kernel.edges import Limit, limit_of, loop_ranges
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.simplify import Ranges, simplify_condition, truth

Nodes = tuple[ir.Node, ...]


def join_edges(kernel: ir.Kernel) -> ir.Kernel:
    """The kernel with one tile for each pair of a whole and a ragged one."""
    sizes: Ranges = dict.fromkeys(kernel.sizes, (0, None))
    stages = []
    for stage in kernel.stages:
        ranges = sizes if stage.parallel is None else loop_ranges(stage.parallel, sizes)
        stages.append(replace(stage, body=_joined(stage.body, ranges)))
    return replace(kernel, stages=tuple(stages))


def _joined(nodes: Sequence[ir.Node], ranges: Ranges) -> Nodes:
    found: list[ir.Node] = []
    for node in nodes:
        match node:
            case ir.Loop(body=body):
                node = replace(node, body=_joined(body, loop_ranges(node, ranges)))
            case ir.If(body=body):
                node = replace(node, body=_joined(body, ranges))
        if found and isinstance(node, ir.If) and _is_same(found[-1], node, ranges):
            found[-1:] = node.body
        else:
            found.append(node)
    return tuple(found)


def _is_same(first: ir.Node, second: ir.If, ranges: Ranges) -> bool:
    """Whether two branches, one after the other, together do what the second one does whatever its condition."""
    if not isinstance(first, ir.If) or negated(first.condition) != second.condition:
        return False
    if any(nodes_of(first.condition, ir.FromValue)):
        return False  # what the first branch writes must not decide whether the second one runs
    known = set(_parts(first.condition))
    bound = {loop.variable for loop in nodes_of(second.body, ir.Loop)}  # inside, where the condition knows nothing
    limits = {limit_of(axis) for axis in nodes_of(second.body, ir.Axis) if axis.limit is not None}
    whole = {
        limit
        for limit in limits
        if not bound & {v.name for v in nodes_of(limit, ir.Var)} and _follows(limit, known, ranges)
    }

    def without(axis: ir.Axis) -> ir.Axis:
        return replace(axis, limit=None) if axis.limit is not None and limit_of(axis) in whole else axis

    return rewrite(second.body, ir.Axis, without) == first.body


def _follows(limit: Limit, known: set[ir.Condition], ranges: Ranges) -> bool:
    """Whether a tile is whole where these conditions hold."""
    needed = _parts(simplify_condition(limit.is_beyond, ranges))
    return all(part in known or truth(part, ranges) is True for part in needed)


def _parts(condition: ir.Condition) -> Iterator[ir.Condition]:
    """The conditions that all have to hold."""
    if isinstance(condition, ir.BoolOp) and condition.op == "and":
        yield from _parts(condition.left)
        yield from _parts(condition.right)
    else:
        yield condition
