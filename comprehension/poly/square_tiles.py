"""Square tiles: accesses that are contiguous along different loops, transposed in registers.

In: nests without reductions.  Out: a `TilePlan` with its estimate, or None.
Invariant: found from access strides alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from comprehension.poly.lanes import LaneModel, access_cost, operations
from comprehension.poly.nest import Member, Nest
from comprehension.poly.tile_plan import TilePlan

TRANSPOSE_COST = 3.0  # per vector of a square tile
TRANSPOSED_RUN = 64  # tiles side by side: each row is read a page at a time, and it is looked up once for them


def transposing(model: LaneModel, nest: Nest) -> TilePlan | None:
    """Square tiles where accesses are contiguous along different loops: transposed in registers."""
    names = tuple(nest.statements())
    parallel = [m for m in nest.members if m.coincident]
    if len(parallel) < 2 or not all(isinstance(child, str) for child in nest.children):
        return None
    if not all(model.extents.is_box(name) for name in names):
        return None
    side = model.machine.lanes(model.widest(names))
    plans = [
        _square(model, nest, rows, lanes, side)
        for rows in parallel
        for lanes in parallel
        if _turns(model, names, rows, lanes) and min(model.extent(rows), model.extent(lanes)) >= side // 2
    ]
    return min(plans, key=lambda plan: plan.cost, default=None)


def _turns(model: LaneModel, names: Sequence[str], rows: Member, lanes: Member) -> bool:
    """Whether some access is contiguous along the rows of a tile."""
    return rows is not lanes and any(
        pattern.strides[rows.dim(name)] == 1 and pattern.strides[lanes.dim(name)] not in (0, 1, -1)
        for name in names
        for pattern in model.patterns.of(name)
    )


def _square(model: LaneModel, nest: Nest, rows: Member, lanes: Member, side: int) -> TilePlan:
    cost = 0.0
    for name in nest.statements():
        statement = model.scop.statement(name)
        row, lane = rows.dim(name), lanes.dim(name)
        each = side * operations(statement)
        for pattern in model.patterns.of(name):
            if pattern.strides[lane] not in (0, 1, -1) and pattern.strides[row] == 1:
                each += TRANSPOSE_COST * side
            else:
                each += side * access_cost(pattern, lane, side, 1.0)
        extents = model.extent(rows), model.extent(lanes)
        tiles = -(-extents[0] // side) * -(-extents[1] // side)
        cost += model.extents.instances(name) / max(1, extents[0] * extents[1]) * tiles * each
    others = model.outermost_first([m for m in nest.members if m is not rows and m is not lanes])
    outer = tuple(m for m in others[:1] if model.extent(m) > 1)
    first = next(iter(nest.statements()))
    units = 2 * model.machine.cores if model.extents.is_static(first, rows.dim(first)) else model.machine.cores
    run = max(1, min(TRANSPOSED_RUN, -(-model.extent(rows) // side) // units))
    down, across = (model.scop.statement(first).dims[m.dim(first)] for m in (rows, lanes))
    return TilePlan(
        statement=first,
        rows=rows,
        lanes=lanes,
        row_extent=side,
        lane_extent=side,
        row_block=run,
        lane_block=None,
        outer=outer,
        inner=tuple(m for m in others if m not in outer),
        pack_rows=None,
        pack_lanes=None,
        cost=cost,
        reason=f"{side} by {side} tiles of {down} and {across}, transposed in registers, {run} side by side; "
        f"about {cost:.3g} vectors",
    )
