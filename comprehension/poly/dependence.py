"""Dependences: which instances must stay in order.

In: a `Scop`.  Out: RAW, WAR and WAW relations between instances, and apart from them the relations that
a declared reduction has with itself (its updates of one element may be reordered under `math="fast"`).
Invariant: every pair of accesses to one element of which one writes is ordered by one of the relations, in the
original order.  They are memory based, all pairs and not only the last writer: a superset of what flow
analysis gives with the same transitive closure, got by composition alone (lexicographic maxima over
subscripts with `/` and `%` can take isl minutes; a superset can only forbid more).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from comprehension.poly import isl
from comprehension.poly.scop import Scop, ScopAccess, ScopRole, ScopStatement

Key = TypeVar("Key")
Kind = Literal["raw", "war", "waw"]


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """`relation` maps earlier instances of `source` to later ones of `sink` that touch the same element."""

    source: str
    sink: str
    tensor: str
    kind: Kind
    relation: isl.Map
    is_reduction: bool = False  # between updates of one declared reduction, through its target

    def __str__(self) -> str:
        inside = " (reduction)" if self.is_reduction else ""
        return f"{self.kind} {self.source} -> {self.sink} through {self.tensor}{inside}: {self.relation}"


@dataclass(frozen=True, slots=True, eq=False)
class Dependences:
    """All dependences, in the order of the text."""

    edges: tuple[Dependence, ...]
    parameters: isl.Space
    _between: Mapping[tuple[str, str], tuple[Dependence, ...]] = field(init=False, repr=False)
    _through: Mapping[str, tuple[Dependence, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_between", _grouped(self.edges, lambda edge: (edge.source, edge.sink)))
        object.__setattr__(self, "_through", _grouped(self.edges, lambda edge: edge.tensor))

    def __str__(self) -> str:
        return "\n".join(map(str, self.edges))

    def relation(self, kind: str, *, reductions: bool = True) -> isl.UnionMap:
        chosen = (e.relation for e in self.edges if e.kind == kind and (reductions or not e.is_reduction))
        return isl.union_map(self.parameters, chosen)

    @property
    def raw(self) -> isl.UnionMap:
        return self.relation("raw")

    @property
    def war(self) -> isl.UnionMap:
        return self.relation("war")

    @property
    def waw(self) -> isl.UnionMap:
        return self.relation("waw")

    @property
    def reduction(self) -> isl.UnionMap:
        """What only the order inside declared reductions demands."""
        return isl.union_map(self.parameters, (e.relation for e in self.edges if e.is_reduction))

    @property
    def strict(self) -> isl.UnionMap:
        """Everything: the order of reductions is kept too."""
        return isl.union_map(self.parameters, (e.relation for e in self.edges))

    def between(self, source: str, sink: str) -> tuple[Dependence, ...]:
        return self._between.get((source, sink), ())

    def through(self, tensor: str) -> tuple[Dependence, ...]:
        return self._through.get(tensor, ())


def _grouped(edges: Sequence[Dependence], key: Callable[[Dependence], Key]) -> dict[Key, tuple[Dependence, ...]]:
    groups: dict[Key, list[Dependence]] = {}
    for edge in edges:
        groups.setdefault(key(edge), []).append(edge)
    return {name: tuple(group) for name, group in groups.items()}


def find_dependences(scop: Scop) -> Dependences:
    """All dependences of `scop` between instances in its original order."""
    edges: list[Dependence] = []
    touched: dict[str, list[int]] = {}  # tensor -> positions of the statements so far that access it
    written: dict[str, list[int]] = {}  # and of those that write it
    for position, sink in enumerate(scop.statements):
        written.setdefault(sink.write.tensor, []).append(position)
        for tensor in {access.tensor for access in sink.accesses}:
            touched.setdefault(tensor, []).append(position)
        meeting = {*touched[sink.write.tensor]}.union(*(written.get(read.tensor, ()) for read in sink.reads))
        for earlier in sorted(meeting):
            edges.extend(_edges_between(scop.statements[earlier], sink, scop.times))
    return Dependences(tuple(edges), scop.context.get_space())


def _edges_between(source: ScopStatement, sink: ScopStatement, times: Mapping[str, isl.Map]) -> list[Dependence]:
    """Both directions: an initialisation also runs after updates of other points."""
    pairs = [(source, sink)] if source is sink or source.source is not sink.source else [(source, sink), (sink, source)]
    edges = []
    for first, second in pairs:
        before = None
        for a in first.accesses:
            for b in second.accesses:
                if a.tensor != b.tensor or not (a.is_write or b.is_write):
                    continue
                relation = a.relation.apply_range(b.relation.reverse())
                if relation.is_empty():  # a statement without instances has no times either
                    continue
                if first.source is second.source:
                    before = before or _before(times[first.name], times[second.name])
                    relation = relation.intersect(before)
                relation = relation.coalesce()
                if not relation.is_empty():
                    kind: Kind = "waw" if b.is_write and a.is_write else "raw" if a.is_write else "war"
                    reduction = _inside_reduction(first, second, a, b)
                    edges.append(Dependence(first.name, second.name, a.tensor, kind, relation, reduction))
    return edges


def _before(first: isl.Map, second: isl.Map) -> isl.Map:
    """{ a -> b : a's time precedes b's }."""
    return first.lex_lt_map(second)


def _inside_reduction(first: ScopStatement, second: ScopStatement, a: ScopAccess, b: ScopAccess) -> bool:
    if first is not second or first.role is not ScopRole.UPDATE:
        return False
    own = {0, len(first.accesses) - 1}  # the write and the read that combines
    return a.number in own and b.number in own
