"""Orders the statements of a Scop: a ScheduleTree whose stages run one after the other.

In: a Scop and its dependences.  Out: a legal ScheduleTree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from comprehension.lang.loops import LoopStatement
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly import isl
from comprehension.poly.access import AccessPatterns
from comprehension.poly.cluster import Fuser, at_distance_zero
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.lanes import LaneModel
from comprehension.poly.mapper import Mapper
from comprehension.poly.model import Model
from comprehension.poly.nest import Member, Nest
from comprehension.poly.schedule_tree import ScheduleTree
from comprehension.poly.scop import Scop, ScopStatement
from comprehension.poly.siblings import share_loops

Math = Literal["fast", "strict"]
DEFAULT = MappingOptions()
BUDGET = 20_000_000  # isl operations of one step: some seconds; what costs more is done in a simpler way


def schedule(
    scop: Scop,
    dependences: Dependences,
    *,
    machine: Machine,
    options: MappingOptions = DEFAULT,
    math: Math = "fast",
) -> ScheduleTree:
    """The schedule tree for the CPU: clusters, then loops, tiles and local buffers as the model chooses.

    Never fails for want of time: a step that exceeds its budget is left out, and the tree's `steps` say so.
    """
    extents, patterns = Extents(scop), AccessPatterns(scop)
    reordering = patterns if math == "fast" else None
    units = [unit_nest(source, scop, dependences, reordering) for source in scop.program.statements]
    context = scop.context.get_ctx()
    near = 0 if options.vectorize is False else machine.l2_bytes // 2  # plain loops have no register tiles to feed
    fuser = Fuser(scop, dependences, extents, options.fusion, near)
    try:
        nests = isl.bounded(context, BUDGET, lambda: _clusters(units, fuser))
    except isl.OutOfBudget as spent:
        nests, fuser.reasons = units, [f"statements stay apart: {spent}"]
    model = Model(LaneModel(scop, dependences, patterns, extents, machine, options, math == "fast"))
    try:
        mapped = isl.bounded(context, BUDGET, lambda: Mapper(scop, model).tree(nests))
    except isl.OutOfBudget as spent:
        plain = plain_schedule(scop, dependences, machine=machine)
        why = f"plain loops in the order of the text: {spent}"
        return replace(plain, steps=(why, *_after_schedule(options)))
    steps = (*fuser.reasons, *mapped.steps, *_after_schedule(options))
    return replace(mapped, steps=steps, assumed=tuple(sorted(extents.assumed.items())))


def _clusters(units: Sequence[Nest], fuser: Fuser) -> list[Nest]:
    """Nests that share loops; reductions side by side in one of them share theirs."""
    nests = fuser.fuse(units)
    return nests if fuser.fusion == "min" else [share_loops(nest, fuser) for nest in nests]


def _after_schedule(options: MappingOptions) -> Iterator[str]:
    """What is done to the loops of the schedule."""
    if options.unroll is not None and options.unroll > 1:
        yield f"innermost loops repeat their bodies up to {options.unroll} times, as the options say"


def plain_schedule(scop: Scop, dependences: Dependences, *, machine: Machine, fuse: bool = False) -> ScheduleTree:
    """Loops only: the tree that transformations drawn by a user or a test begin with."""
    options = MappingOptions(vectorize=False, fusion="preserve" if fuse else "min")
    extents = Extents(scop)
    units = [unit_nest(source, scop, dependences) for source in scop.program.statements]
    nests = Fuser(scop, dependences, extents, options.fusion).fuse(units)
    lanes = LaneModel(scop, dependences, AccessPatterns(scop), extents, machine, options, split_reductions=False)
    return Mapper(scop, Model(lanes), local_buffers=False).tree(nests)


def unit_nest(
    source: LoopStatement, scop: Scop, dependences: Dependences, reordering: AccessPatterns | None = None
) -> Nest:
    """The loops of one statement, its initialisation included; coincident left indices outermost.

    With `reordering` the loops of a declared reduction stand in the order of their strides, where nothing but
    the reduction itself orders them.
    """
    names = (f"{source.name}_init", source.name) if source.initialise else (source.name,)
    parts = [scop.statement(name) for name in names]
    coincident = [p for p in range(source.left) if is_coincident(parts, p, dependences)]
    sequential = [p for p in range(source.left) if p not in coincident]
    reduced = list(range(source.left, len(source.indices)))
    main = parts[-1].name
    if reordering is not None and len(reduced) > 1 and _may_run_in_any_order(main, scop, dependences):
        reduced.sort(key=lambda p: -_stride_along(main, p, reordering))
    body: tuple[Nest | str, ...] = (main,)
    if reduced:
        body = (Nest(tuple(Member(((main, p),), False) for p in reduced), body),)
    if len(parts) == 2:
        body = (parts[0].name, *body)
    if sequential:
        body = (Nest(tuple(Member(tuple((n, p) for n in names), False) for p in sequential), body),)
    return Nest(tuple(Member(tuple((n, p) for n in names), True) for p in coincident), body)


def _may_run_in_any_order(statement: str, scop: Scop, dependences: Dependences) -> bool:
    edges = dependences.between(statement, statement)
    return all(edge.is_reduction for edge in edges) and Extents(scop).is_box(statement)


def is_coincident(parts: list[ScopStatement], position: int, dependences: Dependences) -> bool:
    """Whether no dependence among the parts of one statement crosses iterations of a left index."""
    return all(
        at_distance_zero(edge.relation, position, position)
        for source in parts
        for sink in parts
        for edge in dependences.between(source.name, sink.name)
    )


def _stride_along(statement: str, dim: int, patterns: AccessPatterns) -> int:
    """How far apart the elements are that neighbouring iterations read; irregular ones count as far."""
    return sum(abs(p.strides[dim] or 0) for p in patterns.of(statement) if not p.is_write)
