"""Tiles of a kernel under construction: axes from isl's loops, limits, register buffers.

In: `for` nodes of isl's AST, nodes built so far.  Out: tile axes; what must be cleared; what is only lane-wise.
Invariant: an axis without limit has all its points inside; a limit is written only where some may be outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comprehension.kernel import ir
from comprehension.kernel.scope import Scope
from comprehension.kernel.simplify import Linear, Ranges, bounds_of, linear, simplify
from comprehension.kernel.walk import walk_nodes
from comprehension.poly import isl
from comprehension.poly.ast import int_expr


def axis_of(node: isl.AstNode, extent: int, scope: Scope) -> tuple[ir.Axis, Scope]:
    """The loop `for v in start : min(start + extent, limit)` as a tile axis."""
    iterator = node.for_get_iterator().id_get_id().get_name()
    start = simplify(int_expr(node.for_get_init(), scope.names), scope.ranges)
    if node.for_is_degenerate():
        upper = simplify(ir.IntOp("+", start, ir.Int(1)))
    else:
        upper = simplify(upper_bound(node.for_get_cond(), scope.names), scope.ranges)
    limit = _without(upper, linear(start).plus(Linear(extent, ())), scope.ranges)
    low, high = bounds_of(linear(start), scope.ranges)
    bounds = (low, None if high is None else high + extent - 1)
    return ir.Axis(iterator, start, extent, limit), scope.inside(iterator, ir.Var(iterator), bounds)


def _without(limit: ir.IntExpr, end: Linear, ranges: Ranges) -> ir.IntExpr | None:
    """The limit without those operands of its minimum that are the end of the tile or beyond; None if all are."""
    if isinstance(limit, ir.IntOp) and limit.op == "min":
        left, right = _without(limit.left, end, ranges), _without(limit.right, end, ranges)
        if left is None or right is None:
            return right if left is None else left
        return ir.IntOp("min", left, right)
    low, _ = bounds_of(linear(limit).plus(end, -1), ranges)
    return None if low is not None and low >= 0 else limit


def stored_under_masks(nodes: Sequence[ir.Node]) -> set[str]:
    """The buffers to which some tile stores that leaves points out."""
    return {
        part.buffer
        for node in walk_nodes(nodes)
        if isinstance(node, ir.Tile)
        and (node.lanes.limit is not None or (node.rows is not None and node.rows.limit is not None))
        for part in node.body
        if isinstance(part, ir.Store)
    }


def cleared(buffer: ir.Buffer, names: Sequence[str]) -> ir.Node:
    """The whole register buffer set to zero, by lanes and rows of these names: masked stores change a defined value."""
    axes = [ir.Axis(name, ir.Int(0), _int_of(e)) for name, e in zip(names, buffer.shape[::-1], strict=False)]
    subscripts = tuple(ir.Var(axis.variable) for axis in reversed(axes))
    zero = ir.Const(0.0 if buffer.dtype.is_float else 0, buffer.dtype)
    fill = ir.Store(buffer.name, subscripts, zero, ir.StoreRole.FILL)
    return ir.Tile(axes[1] if len(axes) > 1 else None, axes[0], (fill,)) if axes else fill


def _int_of(extent: ir.IntExpr) -> int:
    assert isinstance(extent, ir.Int)
    return extent.value


def is_lane_wise(nodes: Sequence[ir.Node], buffer: str) -> bool:
    """Whether the buffer is written at all, and never outside of a tile."""
    found = False
    for node in nodes:
        match node:
            case ir.Store(buffer=target) if target == buffer:
                return False
            case ir.Loop(body=body) | ir.If(body=body):
                if any(isinstance(n, ir.Store) and n.buffer == buffer for n in walk_nodes(body)):
                    if not is_lane_wise(body, buffer):
                        return False
                    found = True
            case ir.Tile(lanes=lanes, body=body):
                if any(isinstance(n, ir.Store) and n.buffer == buffer for n in body):
                    if lanes.start != ir.Int(0):  # the lane would not be the accumulator's number
                        return False
                    found = True
    return found


def upper_bound(condition: isl.AstExpr, names: Mapping[str, ir.IntExpr]) -> ir.IntExpr:
    """The exclusive upper bound of `iterator < bound` or `iterator <= bound`; `names` are the loops around."""
    bound = int_expr(condition.get_op_arg(1), names)
    if condition.get_op_type() == isl.ast_expr_op_type.lt:
        return bound
    assert condition.get_op_type() == isl.ast_expr_op_type.le, condition.to_C_str()
    return _plus_one(bound)


def _plus_one(bound: ir.IntExpr) -> ir.IntExpr:
    """bound + 1, inside of minima, so that their operands stay comparable."""
    if isinstance(bound, ir.IntOp) and bound.op == "min":
        return ir.IntOp("min", _plus_one(bound.left), _plus_one(bound.right))
    return ir.IntOp("+", bound, ir.Int(1))
