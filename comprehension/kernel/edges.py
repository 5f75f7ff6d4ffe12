"""Whole tiles apart from ragged ones: a branch decides before a tile whether its limits matter.

    tile l in 0+16 below N - 16 t:  ...     ->     if 16 <= N - 16 t:  tile l in 0+16:  ...
                                                   if N - 16 t < 16:   tile l in 0+16 below N - 16 t:  ...

In: a Kernel.  Out: one that does the same, where full tiles run without masks.
Invariant: each instance runs once and in the same order; what is held in registers is branched around as a whole,
so that no branch stands inside of a loop that could stand around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from comprehension.kernel import ir
from comprehension.kernel.choice import negated
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.simplify import Ranges, bounds_of, linear, simplify, simplify_condition, truth
from comprehension.kernel.walk import accesses_in, walk_nodes

MOST_STATEMENTS = 16  # in the tiles of a branch: longer ones would be compiled twice for little

Nodes = tuple[ir.Node, ...]


def split_edges(kernel: ir.Kernel) -> ir.Kernel:
    """The kernel with a branch around each tile, or group of tiles that share registers, that masks slow down."""
    splitter = _Splitter({b.name for b in kernel.buffers if b.space is ir.Space.REGISTER})
    sizes: Ranges = dict.fromkeys(kernel.sizes, (0, None))
    stages = []
    for stage in kernel.stages:
        ranges = sizes if stage.parallel is None else loop_ranges(stage.parallel, sizes)
        beyond = stage.beyond
        if beyond is not None:
            beyond = replace(beyond, body=splitter.nodes(beyond.body, ranges))
        stages.append(replace(stage, body=splitter.nodes(stage.body, ranges), beyond=beyond))
    return replace(kernel, stages=tuple(stages))


@dataclass(frozen=True, slots=True)
class Limit:
    """Where an axis ends, and one past its last point if it is whole."""

    limit: ir.IntExpr
    end: ir.IntExpr

    @property
    def is_beyond(self) -> ir.Condition:
        """The condition that the axis is whole."""
        return _all_of([ir.Compare("<=", self.end, part) for part in _operands(self.limit)])


@dataclass(frozen=True, slots=True)
class _Splitter:
    registers: set[str]

    def nodes(self, nodes: Nodes, ranges: Ranges) -> Nodes:
        return tuple(part for group in self._groups(nodes) for part in self._group(group, ranges))

    def _groups(self, nodes: Nodes) -> Iterator[Nodes]:
        """Runs of nodes from the first to the last mention of a register or of a named value."""
        mentioned = [self._mentioned(node) for node in nodes]
        last = {name: position for position, names in enumerate(mentioned) for name in names}
        start = end = 0
        for position in range(len(nodes)):
            if position > end:
                yield nodes[start:position]
                start = position
            end = max(end, position, *(last[name] for name in mentioned[position]))
        yield nodes[start:]

    def _mentioned(self, node: ir.Node) -> set[str]:
        names = {access.buffer for access in accesses_in(node)} & self.registers
        names |= {value.name for value in nodes_of(node, ir.Local)}
        return names | {define.name for define in nodes_of(node, ir.Define)}

    def _group(self, group: Nodes, ranges: Ranges) -> Iterator[ir.Node]:
        limits = [limit for limit in _hot_limits(group) if truth(limit.is_beyond, ranges) is None]
        if not limits or _statements(group) > MOST_STATEMENTS:
            yield from (self._inside(node, ranges) for node in group)
            return
        whole = simplify_condition(_all_of([limit.is_beyond for limit in limits]), ranges)
        yield ir.If(whole, tuple(self._inside(node, ranges) for node in _without(group, frozenset(limits))))
        down = [limit for limit in limits if limit in _row_limits(group)]
        again = 0 < len(down) < len(limits) and any(isinstance(node, ir.Loop) for node in group)
        yield ir.If(negated(whole), _by_rows(group, down, ranges) if again else group)

    def _inside(self, node: ir.Node, ranges: Ranges) -> ir.Node:
        match node:
            case ir.Loop(body=body):
                return replace(node, body=self.nodes(body, loop_ranges(node, ranges)))
            case ir.If(body=body):
                return replace(node, body=self.nodes(body, ranges))
            case _:
                return node


def _by_rows(group: Nodes, limits: Sequence[Limit], ranges: Ranges) -> Nodes:
    """Tiles that are ragged along lanes, once with all rows and once with some of them.

    Lanes are masked for nothing or nearly so; rows that may be absent are each asked for at every step.
    """
    whole = simplify_condition(_all_of([limit.is_beyond for limit in limits]), ranges)
    return ir.If(whole, _without(group, frozenset(limits))), ir.If(negated(whole), group)


def _row_limits(group: Nodes) -> set[Limit]:
    rows = [tile.rows for tile in nodes_of(group, ir.Tile) if tile.rows is not None]
    return {limit_of(axis) for axis in rows if axis.limit is not None}


def _hot_limits(group: Nodes) -> list[Limit]:
    """The limits of tiles that run most often, where they are known before the group.

    A tile alone is all there is; beside loops, the tiles in the loops count.  (Copies between registers and memory
    around a loop may well be masked.)
    """
    inside = [node for node in group if isinstance(node, ir.Loop)]
    if len(group) == 1:
        tiles = [node for node in group if isinstance(node, ir.Tile)]
    else:
        tiles = [tile for tile in walk_nodes(inside or group) if isinstance(tile, ir.Tile)]
    tiles = [tile for tile in tiles if not _is_aside(tile)]
    inner = {loop.variable for loop in walk_nodes(group) if isinstance(loop, ir.Loop)}
    axes = [axis for axis in nodes_of(tuple(tiles), ir.Axis) if axis.limit is not None]
    found = list(dict.fromkeys(limit_of(axis) for axis in axes))
    return [limit for limit in found if not inner & {variable.name for variable in nodes_of(limit, ir.Var)}]


def _is_aside(tile: ir.Tile) -> bool:
    """Padding, and combinations of partial results: they run seldom."""
    roles = (ir.StoreRole.FILL, ir.StoreRole.COMBINE)
    return all(isinstance(part, ir.Store) and part.role in roles for part in tile.body)


def _statements(group: Nodes) -> int:
    return sum(len(node.body) for node in walk_nodes(group) if isinstance(node, ir.Tile))


def limit_of(axis: ir.Axis) -> Limit:
    """Where a limited axis ends."""
    assert axis.limit is not None
    return Limit(axis.limit, simplify(ir.IntOp("+", axis.start, ir.Int(axis.extent))))


def _without(nodes: Nodes, limits: frozenset[Limit]) -> Nodes:
    """The nodes where these limits are known to lie beyond their tiles."""

    def whole(axis: ir.Axis) -> ir.Axis:
        return replace(axis, limit=None) if axis.limit is not None and limit_of(axis) in limits else axis

    return rewrite(nodes, ir.Axis, whole)


def _operands(limit: ir.IntExpr) -> list[ir.IntExpr]:
    """A minimum of several as these several."""
    if isinstance(limit, ir.IntOp) and limit.op == "min":
        return [*_operands(limit.left), *_operands(limit.right)]
    return [limit]


def _all_of(conditions: Sequence[ir.Condition]) -> ir.Condition:
    return reduce(lambda first, second: ir.BoolOp("and", first, second), conditions)


def loop_ranges(loop: ir.Loop, ranges: Ranges) -> Ranges:
    """What variables may be inside of a loop."""
    low, _ = bounds_of(linear(loop.lower, ranges), ranges)
    _, high = bounds_of(linear(loop.upper, ranges), ranges)
    return {**ranges, loop.variable: (low, None if high is None else high - 1)}
