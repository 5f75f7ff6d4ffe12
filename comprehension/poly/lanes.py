"""Lanes of vectors: along which loop, how many, and what a nest costs with them.

In: nests, access strides, extents, the machine.  Out: `LanePlan`s with an estimate and a reason in words.
Invariant: depends on strides, extents and the number of a statement's operations, not on what it computes.

Costs are vector operations: an access that is contiguous along the lanes costs one for a whole vector, one that
does not move along them half of one, a read of every second to fourth element so many loads and shuffles, any other
one for each lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from comprehension.lang import tree
from comprehension.machine import NEAR, Machine
from comprehension.options import MappingOptions
from comprehension.poly.access import AccessPattern, AccessPatterns
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.lane_plan import LanePlan
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole, ScopStatement

BUILTIN_COST = 12.0  # operations of a polynomial exp, tanh, ...
BACKWARDS_COST = 1.5  # per vector of neighbours in falling order: turned round in registers
GATHER_COST = 1.0  # per lane
SCATTER_COST = 1.5  # per lane
APART = 2.0  # times as much where each lane lies on a cache line of its own
LINE = 16  # elements of a cache line
TILE_COST = 0.5  # a tile's share of its loop
FOLD_COST = 8.0  # combining the accumulators of a split reduction
MOST_VECTORS = 4  # in a tile along the lanes: hides the latency of arithmetic
FEWEST_VECTORS = 2  # where a loop may be longer than it is taken to be
FAR_VECTORS = 8  # where each is added from another page: half a KiB of it at once
PAGE = 1024  # elements


@dataclass(frozen=True, slots=True)
class LaneModel:
    """What lanes cost in the nests of one Scop on one machine."""

    scop: Scop
    dependences: Dependences
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    options: MappingOptions
    split_reductions: bool

    def plans(self, nest: Nest) -> list[LanePlan]:
        """One plan for each loop of the nest that may become lanes."""
        found = []
        for member in nest.members:
            split = not member.coincident
            if self.extent(member) < 2 or (split and not self.may_split(nest, member)):
                continue
            lanes = self.lanes_for(nest, member)
            cost = sum(self.vector_cost(name, member, lanes, split) for name in nest.statements())
            if split:
                cost += FOLD_COST * self.entries(nest) * len(nest.children)
            found.append(LanePlan(member, lanes, cost, self.reason(nest, member, lanes, cost), split))
        return found

    def lanes_for(self, nest: Nest, member: Member) -> int:
        """Vectors of the widest type accessed, several where the loop is long and the body short."""
        names = tuple(nest.statements())
        vector = self.machine.lanes(self.widest(names))
        extent = max(self.extents.extent(n, member.dim(n)) for n in names)
        if self.asked is not None:
            return max(1, self.asked)
        if extent < vector:
            return 1 << (extent - 1).bit_length()
        limit = FAR_VECTORS if self.reads_pages_apart(nest, member) else MOST_VECTORS
        static = all(self.extents.is_static(n, member.dim(n)) for n in names)
        longest = extent // vector if static else max(FEWEST_VECTORS, extent // vector)
        most = max(1, min(limit, 16 // len(names), longest))
        return vector * min(range(most, 0, -1), key=lambda count: _tiles_cost(extent, vector * count, count))

    @property
    def asked(self) -> int | None:
        asked = self.options.vectorize
        return asked if isinstance(asked, int) and not isinstance(asked, bool) else None

    def reads_pages_apart(self, nest: Nest, member: Member) -> bool:
        """Whether loops inside go from page to page, a vector along the member from each: more of each page then."""
        around = {(name, m.dim(name)) for m in nest.members for name in nest.statements()}
        return any(
            pattern.strides[member.dim(name)] == 1 and abs(step or 0) >= PAGE
            for name in nest.statements()
            for pattern in self.patterns.of(name)
            for dim, step in enumerate(pattern.strides)
            if not pattern.is_write and (name, dim) not in around
        )

    def may_split(self, nest: Nest, member: Member) -> bool:
        """Updates whose only dependences along the member are those of their own declared reductions."""
        names = [child for child in nest.children if isinstance(child, str)]
        if not self.split_reductions or len(names) < len(nest.children):
            return False
        return all(self._is_sum_of_its_own(name, nest) for name in names) and not any(
            self.dependences.between(a, b) for a in names for b in names if a != b
        )

    def _is_sum_of_its_own(self, name: str, nest: Nest) -> bool:
        statement = self.scop.statement(name)
        if statement.role is not ScopRole.UPDATE or not self.scop.is_exact(statement.write.tensor):
            return False
        write = self.patterns.of(name)[0]
        invariant = all(not write.depends_on(m.dim(name)) for m in nest.members)
        return invariant and all(e.is_reduction for e in self.dependences.between(name, name))

    def vector_cost(self, name: str, member: Member, lanes: int, split: bool) -> float:
        statement = self.scop.statement(name)
        dim = member.dim(name)
        extent = max(1, self.extents.extent(name, dim))
        tiles = -(-extent // lanes)
        vectors = max(1.0, lanes / self.machine.lanes(32))
        own = {0, len(statement.accesses) - 1} if split else set()  # these stay in a register
        each = 0.0
        for pattern in self.patterns.of(name):
            if pattern.number not in own:
                each += access_cost(pattern, dim, lanes, vectors)
        each += vectors * operations(statement)
        outside = self.extents.instances(name) / extent
        return outside * tiles * each

    def entries(self, nest: Nest) -> float:
        """How often the nest as a whole runs."""
        inside = prod(max(1, self.extent(m)) for m in nest.members)
        return min(self.extents.instances(name) for name in nest.statements()) / inside

    def scalar_cost(self, statement: ScopStatement) -> float:
        return len(statement.accesses) + operations(statement)

    def reason(self, nest: Nest, member: Member, lanes: int, cost: float) -> str:
        name = next(iter(nest.statements()))
        index = self.scop.statement(name).dims[member.dim(name)]
        steps = [
            f"{p.tensor}:{'?' if p.strides[member.dim(name)] is None else p.strides[member.dim(name)]}"
            for name in nest.statements()
            for p in self.patterns.of(name)
        ]
        shown = ", ".join(dict.fromkeys(steps))
        return f"lanes along {index} ({lanes} wide), strides {shown}; about {cost:.3g} vector operations"

    def widest(self, names: Sequence[str]) -> int:
        """Bits of the widest type that statements access, 32 at least."""
        return max(32, *(self.scop.program.tensor(a.tensor).dtype.bits for n in names for a in self.patterns.of(n)))

    def extent(self, member: Member) -> int:
        return self.extents.extent(*member.dims[0])

    def outermost_first(self, members: Sequence[Member]) -> tuple[Member, ...]:
        """The same loops, those of one iteration last: the outermost one is divided among workers."""
        return tuple(sorted(members, key=lambda m: self.extent(m) == 1))


def _tiles_cost(extent: int, lanes: int, vectors: int) -> float:
    """Vector operations of one kind over a loop in tiles of so many lanes."""
    return -(-extent // lanes) * (vectors + TILE_COST)


def access_cost(pattern: AccessPattern, dim: int, lanes: int, vectors: float) -> float:
    stride = pattern.strides[dim]
    if stride == 1:
        return vectors
    if stride == -1:
        return BACKWARDS_COST * vectors
    if stride == 0:
        return inf if pattern.is_write else 0.5
    if stride is not None and 1 < stride <= NEAR and not pattern.is_write:
        return (2 * stride - 1) * vectors
    apart = APART if stride is not None and abs(stride) >= LINE else 1.0
    return lanes * apart * (SCATTER_COST if pattern.is_write else GATHER_COST)


def operations(statement: ScopStatement) -> float:
    """Arithmetic of one instance."""
    if statement.role is ScopRole.INIT:
        return 0.0
    total = 1.0 if statement.role is ScopRole.UPDATE else 0.0
    for expr in [*(let.value for let in statement.source.lets), statement.source.value]:
        for node in tree.walk(expr):
            match node:
                case tree.Call(function=function):
                    total += 1.0 if function in ("min", "max", "fma", "sqrt", "fabs") else BUILTIN_COST
                case tree.Binary() | tree.Unary() | tree.Select() | tree.Cast():
                    total += 1.0
    return total
