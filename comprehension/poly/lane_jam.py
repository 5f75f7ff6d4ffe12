"""Iterations of a loop around lanes that stand side by side, because they share operands.

In: a `LanePlan`.  Out: the same plan, with a `Jam` where one pays.
Invariant: found from subscripts alone, as for register tiles (`tile_jam`).
"""

from __future__ import annotations

from dataclasses import replace

from comprehension.poly.lane_plan import LanePlan
from comprehension.poly.lanes import LaneModel
from comprehension.poly.nest import Nest
from comprehension.poly.scop import ScopRole
from comprehension.poly.tile_jam import Candidates, is_alone


def jammed(model: LaneModel, nest: Nest, plan: LanePlan) -> LanePlan:
    """Iterations of a loop around the lanes that share operands: half of the registers hold their sums."""
    updates = [name for name in nest.statements() if model.scop.statement(name).role is ScopRole.UPDATE]
    others = model.outermost_first([m for m in nest.members if m is not plan.member])
    whole = all(model.extents.is_box(name) for name in nest.statements())
    if plan.split or plan.groups is not None or model.asked is not None or len(updates) != 1 or not whole:
        return plan
    (name,) = updates
    dims, own = model.scop.statement(name).dims, {m.dim(name) for m in nest.members}
    reduced = [d for d in range(len(dims)) if d not in own]
    edges = model.dependences.between(name, name)
    free = model.split_reductions and is_alone(nest, name) and all(edge.is_reduction for edge in edges)
    lengths = [model.extents.known(name, d) for d in reduced]
    candidates = Candidates(name, model.patterns.of(name)[1:-1], reduced, lengths, free)
    # Workers share the first.
    inner = others[1:]
    vectors = -(-plan.extent // model.machine.lanes(model.widest((name,))))
    found = candidates.of(inner, [model.extent(m) for m in inner])
    fitting = [jam for jam in found if 2 * jam.copies * vectors <= model.machine.vector_registers]
    jam = max(fitting, key=lambda each: each.copies, default=None)
    if jam is None or model.extent(others[0]) < 2:
        return plan
    shown = f"{jam.copies} of {dims[jam.member.dim(name)]} side by side, {dims[jam.along]} innermost"
    return replace(plan, jam=jam, reason=f"{plan.reason}; {shown}")
