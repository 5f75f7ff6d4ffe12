"""Legality: a tree of loops is legal if every dependence goes from an earlier time to a later one.

In: a LoopTree and the dependences.  Out: nothing, or IllegalSchedule with the dependence and a pair of instances.
Invariant: times are those of the tree alone.  Lanes of a tile have one time for each statement in it, so a dependence
between two lanes is broken like one that runs backwards; the order inside declared reductions counts only under
math="strict"; the iterations of a parallel loop must not depend on each other at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comprehension.errors import IllegalSchedule, InstancePair
from comprehension.poly import isl
from comprehension.poly.dependence import Dependence, Dependences
from comprehension.poly.looptree.tree import Loop, LoopTree, Node
from comprehension.poly.scop import ScopAccess, ScopStatement

_TOLD_FIRST = ("raw", "war", "waw")
Entry = int | Loop
Place = tuple[Entry, ...]
"""Positions in lists and the loops around a statement, by turns: times that compare lexicographically."""


def check_legal(tree: LoopTree, dependences: Dependences, what: str, *, strict: bool) -> None:
    """Raises IllegalSchedule, with `what` in its message, if a dependence breaks."""
    places = dict(_places(tree.nodes, ()))
    length = max(map(len, places.values()), default=0)
    times = {name: _time(tree.scop.statement(name), place, length) for name, place in places.items()}
    edges = sorted(dependences.edges, key=lambda edge: _TOLD_FIRST.index(edge.kind))
    for edge in edges:
        if strict or not edge.is_reduction:
            source, sink = times[edge.source], times[edge.sink]
            _refuse(tree, edge, edge.relation.intersect(source.lex_ge_map(sink)), what, times)
    for loop in tree.nodes:
        if isinstance(loop, Loop) and loop.parallel:
            for edge in edges:
                if edge.source in loop.values and edge.sink in loop.values:
                    _refuse(
                        tree, edge, _carried(loop, edge), f"{what}, with parallel iterations of {loop.label},", None
                    )


def same_value(loop: Loop, source: str, sink: str) -> isl.Map:
    """{ instance of source -> instance of sink } in one iteration of the loop."""
    first, second = (isl.Map.from_pw_aff(loop.values[name]) for name in (source, sink))
    return first.apply_range(second.reverse())


def _carried(loop: Loop, edge: Dependence) -> isl.Map:
    return edge.relation.subtract(same_value(loop, edge.source, edge.sink))


def _places(nodes: Sequence[Node], around: Place) -> Iterator[tuple[str, Place]]:
    for position, node in enumerate(nodes):
        if isinstance(node, str):
            yield node, (*around, position)
        elif node.lanes is not None:  # statement by statement, all lanes of each at once
            yield from _places(node.body, (*around, position))
        else:
            yield from _places(node.body, (*around, position, node))


def _time(statement: ScopStatement, place: Place, length: int) -> isl.Map:
    space = statement.domain.get_space()
    zero = isl.PwAff.from_aff(isl.Aff.zero_on_domain(isl.LocalSpace.from_space(space)))
    total: isl.Map | None = None
    for entry in (*place, *[0] * (length - len(place))):
        if isinstance(entry, int):
            value = zero.add_constant_val(isl.Val(entry, space.get_ctx()))
        else:
            value = entry.values[statement.name]
        part = isl.Map.from_pw_aff(value)
        total = part if total is None else total.flat_range_product(part)
    assert total is not None
    return total.intersect_domain(statement.domain)


def _refuse(tree: LoopTree, edge: Dependence, broken: isl.Map, what: str, times: dict[str, isl.Map] | None) -> None:
    if broken.is_empty():
        return
    point = _simplest(broken.wrap())
    ranks = [len(tree.scop.statement(name).dims) for name in (edge.source, edge.sink)]
    values = [int(point.get_coordinate_val(isl.dim_type.set, at).to_python()) for at in range(sum(ranks))]
    sizes = _sizes(broken, point)
    first = _instance(tree, edge.source, values[: ranks[0]])
    second = _instance(tree, edge.sink, values[ranks[0] :])
    verbs = {"raw": ("writes", "reads"), "war": ("reads", "writes"), "waw": ("writes", "writes")}[edge.kind]
    element = _element(tree, edge, point)
    instead = "in parallel with it" if times is None else _when(point, times, edge)
    message = (
        f"{what} is illegal: {_text(first)} {verbs[0]} {element}, which {_text(second)} {verbs[1]} after it;"
        f" it would run {instead}" + (f" (for {sizes})" if sizes else "")
    )
    raise IllegalSchedule(message, pair=InstancePair(edge.kind, edge.tensor, first, second))


def _simplest(pairs: isl.Set) -> isl.Point:
    """A pair for a person: the first one, at some sizes."""
    sample = pairs.sample_point()
    for position in range(pairs.dim(isl.dim_type.param)):
        pairs = pairs.fix_val(isl.dim_type.param, position, sample.get_coordinate_val(isl.dim_type.param, position))
    return pairs.lexmin().sample_point()


def _when(point: isl.Point, times: dict[str, isl.Map], edge: Dependence) -> str:
    """How the second instance of a pair would run."""
    one = isl.Set.from_point(point).unwrap()
    together = one.intersect(times[edge.source].apply_range(times[edge.sink].reverse()))
    return "before it" if together.is_empty() else "at the same time, in another lane"


def _instance(tree: LoopTree, name: str, values: Sequence[int]) -> tuple[str, tuple[tuple[str, int], ...]]:
    return name, tuple(zip(tree.scop.statement(name).dims, values, strict=True))


def _text(instance: tuple[str, tuple[tuple[str, int], ...]]) -> str:
    name, values = instance
    return f"{name}({', '.join(f'{index}={value}' for index, value in values)})"


def _sizes(broken: isl.Map, point: isl.Point) -> str:
    named = enumerate(isl.parameter_names(broken))
    return ", ".join(f"{name}={point.get_coordinate_val(isl.dim_type.param, at)}" for at, name in named)


def _element(tree: LoopTree, edge: Dependence, point: isl.Point) -> str:
    """The element through which the pair depends, as `C(0, 1)`."""
    one = isl.Set.from_point(point).unwrap()
    for source in _accesses(tree, edge.source, edge.tensor):
        for sink in _accesses(tree, edge.sink, edge.tensor):
            elements = one.domain().apply(source.relation).intersect(one.range().apply(sink.relation))
            if (source.is_write or sink.is_write) and not elements.is_empty():
                found = elements.sample_point()
                rank = elements.dim(isl.dim_type.set)
                shown = [str(found.get_coordinate_val(isl.dim_type.set, axis)) for axis in range(rank)]
                return f"{edge.tensor}({', '.join(shown)})" if shown else edge.tensor
    return edge.tensor


def _accesses(tree: LoopTree, statement: str, tensor: str) -> list[ScopAccess]:
    return [access for access in tree.scop.statement(statement).accesses if access.tensor == tensor]
