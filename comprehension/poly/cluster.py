"""Clusters: which nests share loops.

In: the nests of single statements, in the order of the text, and the dependences.
Out: fewer nests, each a tree of shared loops.
Invariant: statements keep the order of every dependence: a member is shared only by statements between which
all dependences have distance zero in it and whose ranges are equal, and a nest moves before another one only if
no dependence stands between them.

Tried one statement at a time, each joining the first nest behind which it may stand (a whole network given to
isl's scheduler at once takes seconds and comes out skewed).  A fusion is kept only where the nests that
it splits lose nothing: a contraction keeps all loops of its register tile, and the shared parallel loops
stay long enough to feed all cores.

    for i: for j: a[i, j] = x[i, j] * 2            for i:
    for i: for j: s[i] += a[i, j]           ->         for j: a[i, j] = x[i, j] * 2
    for i: for j: y[i, j] = a[i, j] / s[i]             for j: s[i] += a[i, j]
                                                       for j: y[i, j] = a[i, j] / s[i]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from comprehension.options import Fusion
from comprehension.poly import isl
from comprehension.poly.dependence import Dependence, Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole

ENOUGH_PARALLEL = 8  # iterations of shared parallel loops that a fusion must keep, if there were as many
SERIAL_WORK = 20_000  # instances below which nobody misses a parallel loop


def at_distance_zero(relation: isl.Map, source_dim: int, sink_dim: int) -> bool:
    """Whether every pair of the relation agrees in the two dimensions."""
    equal = isl.Map.universe(relation.get_space()).equate(isl.dim_type.in_, source_dim, isl.dim_type.out, sink_dim)
    return bool(relation.is_subset(equal))


@dataclass(slots=True)
class Fuser:
    """Joins nests; `reasons` collects what was joined and what not."""

    scop: Scop
    dependences: Dependences
    extents: Extents
    fusion: Fusion = "preserve"
    reasons: list[str] = field(default_factory=list)
    _edges: dict[str, list[Dependence]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for edge in self.dependences.edges:
            self._edges.setdefault(edge.source, []).append(edge)

    def fuse(self, units: Sequence[Nest]) -> list[Nest]:
        """The nests after each unit joined an earlier one or became one of its own."""
        nests: list[Nest | str] = []
        for unit in units:
            if self.fusion == "min":
                nests.append(unit)
            else:
                self._insert(nests, unit)
        return [n for n in nests if isinstance(n, Nest)]

    def _insert(self, nests: list[Nest | str], item: Nest | str) -> None:
        """Joins `item` to the first nest that it may stand behind; appends it where none takes it."""
        if isinstance(item, Nest):
            for position in range(self._earliest(nests, item), len(nests)):
                candidate = nests[position]
                if not isinstance(candidate, Nest):
                    continue
                joined = self._join(candidate, item)
                if joined is not None:
                    nests[position] = joined
                    return
        nests.append(item)

    def _earliest(self, nests: Sequence[Nest | str], item: Nest) -> int:
        """The last position that has a dependence with `item` (0 if none): it cannot go before that one."""
        for position in reversed(range(len(nests))):
            if self._edges_between(nests[position], item):
                return position
        return 0

    def _edges_between(self, first: Nest | str, second: Nest | str) -> list[Dependence]:
        sinks = set(_names(second))
        return [e for name in _names(first) for e in self._edges.get(name, ()) if e.sink in sinks]

    # --- joining two nests --------------------------------------------------------------------------

    def _join(self, first: Nest, second: Nest) -> Nest | None:
        edges = self._edges_between(first, second)
        if not first.members and not second.members:
            return Nest((), self._inside(first.children, second.children))
        pairs = self._matching(first, second, edges)
        if not pairs or not (edges or self._share_reads(first, second, pairs)):
            return None
        left = tuple(m for m in first.members if all(m is not a for a, _ in pairs))
        right = tuple(m for m in second.members if all(m is not b for _, b in pairs))
        if self.fusion == "preserve" and not self._keeps_enough(first, second, pairs, left, right):
            return None
        shared = tuple(Member((*a.dims, *b.dims), coincident=True) for a, b in pairs)
        inner_first: tuple[Nest | str, ...] = (Nest(left, first.children),) if left else first.children
        inner_second: tuple[Nest | str, ...] = (Nest(right, second.children),) if right else second.children
        who, whom = ", ".join(_names(second)), ", ".join(_names(first))
        self.reasons.append(f"joined {who} to {whom}: {len(pairs)} loops shared")
        return Nest(shared, self._inside(inner_first, inner_second))

    def _inside(self, first: Sequence[Nest | str], second: Sequence[Nest | str]) -> tuple[Nest | str, ...]:
        children = list(first)
        for child in second:
            self._insert(children, child)
        return tuple(children)

    def _matching(self, first: Nest, second: Nest, edges: Sequence[Dependence]) -> list[tuple[Member, Member]]:
        """Pairs of coincident members that all dependences keep at distance zero, ranges equal."""
        pairs: list[tuple[Member, Member]] = []
        for a in first.members:
            for b in second.members:
                free = a.coincident and b.coincident and all(b is not taken for _, taken in pairs)
                if free and self._same_range(a, b) and self._aligned(a, b, edges):
                    pairs.append((a, b))
                    break
        return pairs

    def _same_range(self, a: Member, b: Member) -> bool:
        (first, dim), (second, other) = a.dims[0], b.dims[0]
        return bool(self.extents.range_of(first, dim).is_equal(self.extents.range_of(second, other)))

    def _aligned(self, a: Member, b: Member, edges: Sequence[Dependence]) -> bool:
        return all(at_distance_zero(e.relation, a.dim(e.source), b.dim(e.sink)) for e in edges)

    def _share_reads(self, first: Nest, second: Nest, pairs: Sequence[tuple[Member, Member]]) -> bool:
        """Without dependences: worth it only if all loops are shared and something is read by both."""
        if len(pairs) != len(first.members) or len(pairs) != len(second.members):
            return False
        reads = [
            {read.tensor for name in _names(nest) for read in self.scop.statement(name).reads}
            for nest in (first, second)
        ]
        return bool(reads[0] & reads[1])

    # --- whether it pays ----------------------------------------------------------------------------

    def _keeps_enough(
        self,
        first: Nest,
        second: Nest,
        pairs: Sequence[tuple[Member, Member]],
        left: tuple[Member, ...],
        right: tuple[Member, ...],
    ) -> bool:
        for nest, lost in ((first, left), (second, right)):
            lost_parallel = [m for m in lost if m.coincident]
            if lost_parallel and self.is_contraction(nest):
                return False
            before = prod(self._extent(m) for m in nest.members if m.coincident)
            after = prod(self._extent(a) for a, _ in pairs)
            work = sum(self.extents.instances(name) for name in nest.statements())
            if after < min(before, ENOUGH_PARALLEL) and work > SERIAL_WORK:
                return False
        return True

    def _extent(self, member: Member) -> int:
        return self.extents.extent(*member.dims[0])

    def is_contraction(self, nest: Nest) -> bool:
        """Whether an update below reuses two operands over different loops of the nest (a register tile pays)."""
        return any(self._reuses(name, nest) for name in nest.statements())

    def _reuses(self, name: str, nest: Nest) -> bool:
        statement = self.scop.statement(name)
        members = [m.dim(name) for m in nest.members if m.coincident]
        if statement.role is not ScopRole.UPDATE or len(members) < 2:
            return False
        unused = [{d for d in members if not uses_dim(read.relation, d)} for read in statement.reads[:-1]]
        return any(a - b and b - a for a in unused for b in unused)


def uses_dim(relation: isl.Map, dim: int) -> bool:
    """Whether the element accessed depends on the index at all (its own range does not count)."""
    domain = relation.domain()
    free = relation.project_out(isl.dim_type.in_, dim, 1).insert_dims(isl.dim_type.in_, dim, 1)
    free = free.set_tuple_name(isl.dim_type.in_, relation.get_tuple_name(isl.dim_type.in_)).intersect_domain(domain)
    return not bool(free.is_subset(relation))


def _names(item: Nest | str) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else tuple(item.statements())
