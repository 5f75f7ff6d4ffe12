"""Sliding windows of `min` and `max`: the loop over a window becomes the rows of a tile, folded at once.

    for k in 0:16:                                tile k in 0:16, l:
        tile l: y[l] = max(y[l], x[l + k])  ->        y[l] = max(y[l], fold[max over k](x[l + k]))

What a point folds, its neighbour folds too, but for one element: the printer reads each element once and combines
windows of 2, then of 4, of 8, ... (`codegen.window`), which needs an operator that may take an element twice.

In: a Kernel under math="fast".  Out: one that does the same.
Invariant: each instance runs once; only the order within a window changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.simplify import linear, varies_with

FEWEST, MOST = 4, 64  # elements of a window


@dataclass(frozen=True, slots=True)
class Windows:
    """The kernel, and in words what was folded."""

    kernel: ir.Kernel
    notes: tuple[str, ...]


def fold_windows(kernel: ir.Kernel) -> Windows:
    """Windows of constant length along the lanes of a tile."""
    notes: dict[str, None] = {}

    def node(part: ir.Node) -> ir.Node:
        match part:
            case ir.Loop(body=(ir.Tile() as tile,)) if (folded := _folded(part, tile, kernel)) is not None:
                assert folded.rows is not None
                notes[f"windows of {folded.rows.extent} along {part.variable} folded in registers"] = None
                return folded
            case ir.Loop() | ir.If():
                return replace(part, body=tuple(map(node, part.body)))
        return part

    stages = tuple(replace(stage, body=tuple(map(node, stage.body))) for stage in kernel.stages)
    return Windows(replace(kernel, stages=stages), tuple(notes))


def _folded(loop: ir.Loop, tile: ir.Tile, kernel: ir.Kernel) -> ir.Tile | None:
    """The loop as rows of its tile, if it combines a window into registers."""
    if tile.rows is not None or loop.step != 1 or varies_with((tile.lanes.start, tile.lanes.limit), loop.variable):
        return None
    if not isinstance(loop.lower, ir.Int) or not isinstance(loop.upper, ir.Int):
        return None
    length = loop.upper.value - loop.lower.value
    (store,) = tile.body if len(tile.body) == 1 else (None,)
    if not isinstance(store, ir.Store) or not isinstance(store.value, ir.BinaryOp):
        return None
    op, own, term = store.value.op, store.value.left, store.value.right
    if (op != "min" and op != "max") or not isinstance(own, ir.Load) or not isinstance(term, ir.Load):
        return None
    if kernel.buffer(store.buffer).space is not ir.Space.REGISTER or not FEWEST <= length <= MOST:
        return None
    if (own.buffer, own.subscripts) != (store.buffer, store.subscripts) or varies_with(own.subscripts, loop.variable):
        return None
    if not _slides(term, loop.variable, tile.lanes.variable, kernel):
        return None
    rows = ir.Axis(loop.variable, loop.lower, length)
    value = ir.BinaryOp(op, own, ir.Fold(op, term, rows.variable, term.dtype), store.value.dtype)
    return replace(tile, rows=rows, body=(replace(store, value=value),))


def _slides(term: ir.Load, along: str, lane: str, kernel: ir.Kernel) -> bool:
    """Whether a step along the loop is a step to the next lane, and to the next element in memory."""
    buffer = kernel.buffer(term.buffer)
    *outer, last = term.subscripts
    form = linear(last)
    moves = form.coefficient(ir.Var(along)) == form.coefficient(ir.Var(lane)) == 1
    others = (*outer, *(atom for atom, _ in form.terms if not isinstance(atom, ir.Var)))
    dense = buffer.strides is None and buffer.space is not ir.Space.REGISTER
    return moves and dense and not any(varies_with(part, name) for part in others for name in (along, lane))
