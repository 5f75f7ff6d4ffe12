"""Clusters: which nests share loops.

In: the nests of single statements, in the order of the text, and the dependences.
Out: fewer nests, each a tree of shared loops.
Invariant: statements keep the order of every dependence: a member is shared only by statements between which
all dependences have distance zero in it and whose ranges are equal, and a nest moves before another one only if
no dependence stands between them.

Tried one statement at a time, each joining the first nest behind which it may stand (a whole network given to
isl's scheduler at once takes seconds and comes out skewed).  A fusion is kept only where the nests that
it splits lose nothing: a contraction keeps all loops of its register tile, the shared parallel loops stay
long enough to feed all cores, and lanes keep their rows (`walks`).  Contractions in a row share only loops that
none of their tiles needs, and only where one iteration's intermediate fits the second cache and the whole does not:
each keeps a nest of its own below these loops, which stay plain.

    for i: for j: a[i, j] = x[i, j] * 2            for i:
    for i: for j: s[i] += a[i, j]           ->         for j: a[i, j] = x[i, j] * 2
    for i: for j: y[i, j] = a[i, j] / s[i]             for j: s[i] += a[i, j]
                                                       for j: y[i, j] = a[i, j] / s[i]
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from comprehension.lang.loops import Role
from comprehension.options import Fusion
from comprehension.poly import isl
from comprehension.poly.access import AccessPatterns
from comprehension.poly.dependence import Dependence, Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopAccess, ScopRole
from comprehension.poly.walks import Walks

ENOUGH_PARALLEL = 8  # iterations of shared parallel loops that a fusion must keep, if there were as many
SERIAL_WORK = 20_000  # instances below which nobody misses a parallel loop
CHAINED_WORK = 30_000  # instances that an iteration of shared loops leaves to a register tile at least
CHAINED_REUSE = 16  # how often such an iteration uses each element of an operand at least: it may be packed there
MOST_LISTED = 6  # statements that a reason names


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
    walks: Walks = field(init=False)
    cache_bytes: int = 0  # that an intermediate of a chain may take (0: contractions share no loops)
    reasons: list[str] = field(default_factory=list)
    _into: dict[str, list[Dependence]] = field(default_factory=dict)  # by sink
    _readers: dict[str, set[str]] = field(default_factory=dict)  # tensor -> statements that read it
    _used: dict[tuple[str, int, int], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.walks = Walks(AccessPatterns(self.scop), self.extents)
        for edge in self.dependences.edges:
            self._into.setdefault(edge.sink, []).append(edge)
        for statement in self.scop.statements:
            for read in statement.reads:
                self._readers.setdefault(read.tensor, set()).add(statement.name)

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
            related = self._related(item)
            for position in range(self._earliest(nests, item), len(nests)):
                candidate = nests[position]
                if not isinstance(candidate, Nest) or (candidate.members and related.isdisjoint(candidate.names)):
                    continue
                joined = self._join(candidate, item)
                if joined is not None:
                    nests[position] = joined
                    return
        nests.append(item)

    def _related(self, item: Nest) -> set[str]:
        """The statements that `item` depends on, or with which it shares something that both read."""
        reads = {read.tensor for name in item.names for read in self.scop.statement(name).reads}
        return self._sources(item).union(*(self._readers[tensor] for tensor in reads))

    def _sources(self, item: Nest | str) -> set[str]:
        return {edge.source for name in _names(item) for edge in self._into.get(name, ())}

    def _earliest(self, nests: Sequence[Nest | str], item: Nest) -> int:
        """The last position that has a dependence with `item` (0 if none): it cannot go before that one."""
        sources = self._sources(item)
        for position in reversed(range(len(nests))):
            if not sources.isdisjoint(_names(nests[position])):
                return position
        return 0

    def edges_between(self, first: Nest | str, second: Nest | str) -> list[Dependence]:
        """The dependences of statements of `second` on those of `first`."""
        sources = _names(first)
        return [e for name in _in_order(second) for e in self._into.get(name, ()) if e.source in sources]

    # --- joining two nests --------------------------------------------------------------------------

    def _join(self, first: Nest, second: Nest) -> Nest | None:
        edges = self.edges_between(first, second)
        if not first.members and not second.members:
            return Nest((), self._inside(first.children, second.children), first.plain or second.plain)
        pairs = matching = self._matching(first, second, edges)
        if self.fusion == "preserve" and not (self.is_contraction(first) or self.is_contraction(second)):
            pairs = self.walks.suiting_lanes(first, second, matching, handed_on=bool(edges))
        if len(pairs) < len(matching) and edges:
            count, names = len(matching) - len(pairs), f"{_listed(second)} and {_listed(first)}"
            self.reasons.append(f"{names} do not share {count} of {len(matching)} loops: lanes would leave their rows")
        if not pairs or not (edges or self._share_reads(first, second, pairs)):
            return None
        plain = first.plain or second.plain
        if self.fusion == "preserve" and not self._keeps_enough(first, second, pairs):
            pairs, plain = self._chained(first, second, pairs, edges), True
            if not pairs:
                return None
        left, right = _without(first, pairs), _without(second, pairs)
        shared = tuple(Member((*a.dims, *b.dims), coincident=True) for a, b in pairs)
        self.reasons.append(f"joined {_listed(second)} to {_listed(first)}: {len(pairs)} loops shared")
        return Nest(shared, self._inside(_rest(first, left), _rest(second, right)), plain)

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
                if free and self.same_range(a, b) and self._aligned(a, b, edges):
                    pairs.append((a, b))
                    break
        return pairs

    def same_range(self, a: Member, b: Member) -> bool:
        (first, dim), (second, other) = a.dims[0], b.dims[0]
        return bool(self.extents.range_of(first, dim).is_equal(self.extents.range_of(second, other)))

    def _aligned(self, a: Member, b: Member, edges: Sequence[Dependence]) -> bool:
        return all(at_distance_zero(e.relation, a.dim(e.source), b.dim(e.sink)) for e in edges)

    def read_together(self, first: Nest, second: Nest) -> bool:
        """Whether both read something that neither writes."""
        reads = [{read.tensor for name in nest.names for read in self._reads(name)} for nest in (first, second)]
        return not reads[0].isdisjoint(reads[1])

    def _reads(self, name: str) -> Sequence[ScopAccess]:
        """What a statement reads beside its own target."""
        statement = self.scop.statement(name)
        return [read for read in statement.reads if read.tensor != statement.write.tensor]

    def _share_reads(self, first: Nest, second: Nest, pairs: Sequence[tuple[Member, Member]]) -> bool:
        """Without dependences: worth it only if all loops are shared and something is read by both."""
        if len(pairs) != len(first.members) or len(pairs) != len(second.members):
            return False
        return not self._related(second).isdisjoint(first.names)

    # --- whether it pays ----------------------------------------------------------------------------

    def _keeps_enough(self, first: Nest, second: Nest, pairs: Sequence[tuple[Member, Member]]) -> bool:
        for nest in (first, second):
            if any(m.coincident for m in _without(nest, pairs)) and self.is_contraction(nest):
                return False
            if not self._stays_parallel(nest, pairs):
                return False
        return True

    def _stays_parallel(self, nest: Nest, pairs: Sequence[tuple[Member, Member]]) -> bool:
        before = prod(self._extent(m) for m in nest.members if m.coincident)
        after = prod(self._extent(a) for a, _ in pairs)
        return after >= min(before, ENOUGH_PARALLEL) or self._work(nest) <= SERIAL_WORK

    def _chained(
        self, first: Nest, second: Nest, pairs: Sequence[tuple[Member, Member]], edges: Sequence[Dependence]
    ) -> list[tuple[Member, Member]]:
        """The fewest loops to share so that what `first` hands on stays in the cache; none where that is no help."""
        handed = {self.scop.statement(edge.source).write.tensor for edge in edges}
        whole = sum(self._bytes_of(tensor, ()) for tensor in handed if self._is_temporary(tensor))
        if whole <= self.cache_bytes or not self.cache_bytes:
            return []
        for count in range(1, len(pairs) + 1):
            shared = list(pairs[:count])
            if not all(self._stays_parallel(n, shared) and self._keeps_tile(n, shared) for n in (first, second)):
                continue
            if self._held(first, second, shared) <= self.cache_bytes:
                return shared
        return []

    def _keeps_tile(self, nest: Nest, shared: Sequence[tuple[Member, Member]]) -> bool:
        """Whether a contraction without its shared loops still is one, with enough to do and to use again."""
        if not self.is_contraction(nest):
            return True
        inner = Nest(_without(nest, shared), nest.children)
        if self._work(nest) < CHAINED_WORK * prod(self._extent(a) for a, _ in shared):
            return False
        contractions = [name for name in nest.statements() if self._reuses(name, nest)]
        members = [member for pair in shared for member in pair]
        return self.is_contraction(inner) and all(self._reuse(name, members) >= CHAINED_REUSE for name in contractions)

    def _reuse(self, name: str, members: Sequence[Member]) -> int:
        """How often one iteration of the members uses an element of the operand that it uses least."""
        statement = self.scop.statement(name)
        still = {dim for member in members for other, dim in member.dims if other == name}
        moving = [d for d in range(len(statement.dims)) if d not in still]
        return min(
            prod(self.extents.extent(name, d) for d in moving if not self._uses(read, d))
            for read in statement.reads[:-1]
        )

    def _held(self, first: Nest, second: Nest, shared: Sequence[tuple[Member, Member]]) -> int:
        """Bytes of temporaries that both touch in one iteration of the shared loops."""
        members = [member for pair in shared for member in pair]
        names = first.names | second.names
        written = {self.scop.statement(name).write.tensor for name in names}
        return sum(self._bytes_of(tensor, members) for tensor in sorted(written) if self._is_temporary(tensor))

    def _is_temporary(self, tensor: str) -> bool:
        return self.scop.program.tensor(tensor).role is Role.TEMPORARY

    def _bytes_of(self, tensor: str, members: Sequence[Member]) -> int:
        """What the first statement that writes the tensor writes while the members stand still."""
        write = next(a for a in self.scop.accesses_to(tensor) if a.is_write)
        still = {dim for member in members for name, dim in member.dims if name == write.statement}
        dims = range(len(self.scop.statement(write.statement).dims))
        moving = [d for d in dims if d not in still and self._uses(write, d)]
        elements = prod(self.extents.extent(write.statement, d) for d in moving)
        return elements * self.scop.program.tensor(tensor).dtype.bits // 8

    def _work(self, nest: Nest) -> int:
        return sum(self.extents.instances(name) for name in nest.names)

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
        unused = [{d for d in members if not self._uses(read, d)} for read in statement.reads[:-1]]
        return any(a - b and b - a for a in unused for b in unused)

    def _uses(self, read: ScopAccess, dim: int) -> bool:
        key = (read.statement, read.number, dim)
        if key not in self._used:
            self._used[key] = uses_dim(read.relation, dim)
        return self._used[key]


def uses_dim(relation: isl.Map, dim: int) -> bool:
    """Whether the element accessed depends on the index at all (its own range does not count)."""
    domain = relation.domain()
    free = relation.project_out(isl.dim_type.in_, dim, 1).insert_dims(isl.dim_type.in_, dim, 1)
    free = free.set_tuple_name(isl.dim_type.in_, relation.get_tuple_name(isl.dim_type.in_)).intersect_domain(domain)
    return not bool(free.is_subset(relation))


def _without(nest: Nest, pairs: Sequence[tuple[Member, Member]]) -> tuple[Member, ...]:
    """The members that are in no pair."""
    taken = [member for pair in pairs for member in pair]
    return tuple(m for m in nest.members if all(m is not other for other in taken))


def _rest(nest: Nest, members: tuple[Member, ...]) -> tuple[Nest | str, ...]:
    """What stands below shared loops: the nest over the members that are left."""
    return (Nest(members, nest.children, nest.plain),) if members else nest.children


def _names(item: Nest | str) -> Collection[str]:
    return (item,) if isinstance(item, str) else item.names


def _in_order(item: Nest | str) -> Iterator[str]:
    return iter((item,)) if isinstance(item, str) else item.statements()


def _listed(nest: Nest) -> str:
    """The statements of a nest in order, cut in the middle where they are many."""
    names = list(nest.statements())
    return ", ".join(names if len(names) <= MOST_LISTED else [*names[:2], "...", names[-1]])
