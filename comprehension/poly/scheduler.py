"""Orders the statements of a Scop: a ScheduleTree whose stages run one after the other.

In: a Scop and its dependences.  Out: a legal ScheduleTree.
"""

from __future__ import annotations

from comprehension.lang.loops import LoopStatement
from comprehension.poly import isl
from comprehension.poly.dependence import Dependences
from comprehension.poly.nest import Member, Nest, insert_children
from comprehension.poly.schedule_tree import ScheduleTree, StageMark
from comprehension.poly.scop import Scop, ScopStatement


def schedule(scop: Scop, dependences: Dependences) -> ScheduleTree:
    """One stage per statement of the text."""
    nests = [unit_nest(source, scop, dependences) for source in scop.program.statements]
    return tree_of_nests(nests, scop)


def tree_of_nests(nests: list[Nest], scop: Scop) -> ScheduleTree:
    """Each nest a stage; a stage whose outermost loop is coincident is parallel."""
    root = isl.Schedule.from_domain(scop.domain).get_root()
    node = insert_children(root.child(0), nests, scop)
    decisions = {}
    for position, nest in enumerate(nests):
        name = f"stage {position}"
        decisions[name] = StageMark(parallel=bool(nest.members) and nest.members[0].coincident)
        place = node.child(position).child(0) if len(nests) > 1 else node
        place = place.insert_mark(isl.Id(name, context=scop.context.get_ctx()))
        node = place.parent().parent() if len(nests) > 1 else place
    return ScheduleTree(node.get_schedule(), decisions, ("one stage per nest, in the order of the text",))


def unit_nest(source: LoopStatement, scop: Scop, dependences: Dependences) -> Nest:
    """The loops of one statement, its initialisation included; coincident left indices outermost."""
    parts = [s for s in scop.statements if s.source is source]
    coincident = [p for p in range(source.left) if is_coincident(parts, p, dependences)]
    sequential = [p for p in range(source.left) if p not in coincident]
    reduced = list(range(source.left, len(source.indices)))
    main = parts[-1].name
    body: tuple[Nest | str, ...] = (main,)
    if reduced:
        body = (Nest(tuple(Member(((main, p),), False) for p in reduced), body),)
    if len(parts) == 2:
        body = (parts[0].name, *body)
    names = [s.name for s in parts]
    if sequential:
        body = (Nest(tuple(Member(tuple((n, p) for n in names), False) for p in sequential), body),)
    return Nest(tuple(Member(tuple((n, p) for n in names), True) for p in coincident), body)


def is_coincident(parts: list[ScopStatement], position: int, dependences: Dependences) -> bool:
    """Whether no dependence among the parts of one statement crosses iterations of a left index."""
    names = {part.name for part in parts}
    return all(
        at_distance_zero(edge.relation, position, position)
        for edge in dependences.edges
        if edge.source in names and edge.sink in names
    )


def at_distance_zero(relation: isl.Map, source_dim: int, sink_dim: int) -> bool:
    """Whether every pair of the relation agrees in the two dimensions."""
    equal = isl.Map.universe(relation.get_space()).equate(
        isl.dim_type.in_, source_dim, isl.dim_type.out, sink_dim
    )
    return bool(relation.is_subset(equal))
