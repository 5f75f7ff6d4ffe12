"""The analytic model: which loop becomes lanes, how wide, how much work a chunk is.

In: nests, access strides, extents, the machine.  Out: plans with an estimate and a reason in words.
Invariant: plans only choose among legal realisations; none looks at what a statement computes beyond its
access strides, the number of its operations and whether it is a reduction.

Costs are vector operations: an access that is contiguous along the lanes costs one for a whole vector, one that
does not move along them half of one, any other one for each lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, prod

from comprehension.kernel.sites import BLOCK
from comprehension.lang import tree
from comprehension.lang.loops import Role
from comprehension.machine import Machine
from comprehension.options import MappingOptions
from comprehension.poly.access import AccessPattern, AccessPatterns
from comprehension.poly.contraction import ContractionModel
from comprehension.poly.dependence import Dependences
from comprehension.poly.extents import Extents
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import Scop, ScopRole, ScopStatement
from comprehension.poly.tile_jam import Candidates, is_alone
from comprehension.poly.tile_plan import Jam, TilePlan

BUILTIN_COST = 12.0  # operations of a polynomial exp, tanh, ...
BACKWARDS_COST = 1.5  # per vector of neighbours in falling order: turned round in registers
GATHER_COST = 1.0  # per lane
SCATTER_COST = 1.5  # per lane
APART = 2.0  # times as much where each lane lies on a cache line of its own
LINE = 16  # elements of a cache line
TRANSPOSE_COST = 3.0  # per vector of a square tile
TRANSPOSED_RUN = 64  # tiles side by side: each row is read a page at a time, and it is looked up once for them
TILE_COST = 0.5  # a tile's share of its loop
FOLD_COST = 8.0  # combining the accumulators of a split reduction
MOST_VECTORS = 4  # in a tile along the lanes: hides the latency of arithmetic
FEWEST_VECTORS = 2  # where a loop may be longer than it is taken to be
FAR_VECTORS = 8  # where each is added from another page: half a KiB of it at once
PAGE = 1024  # elements
ROWS = (8, 4)  # at once, where there are enough
LONG_RUN, SHORT_RUN = 2048, 512  # elements of a row before the next group of rows
UNITS_A_CORE = 8  # groups of rows for each core, so that workers share them evenly
SHORT_ROW = 8  # vectors: folds take as long as all else that is done with such a row
SHORT_ROWS = (4, 2)  # at once
MOST_ACROSS = 8  # vectors of a tile of short rows
MOST_SUMS = 24  # vector registers that hold accumulators
LIGHT_WORK = 4.0  # operations for an element that memory keeps waiting
CHUNK_COST = 20_000.0  # vector operations that make a chunk worth handing to a worker


@dataclass(frozen=True, slots=True)
class Groups:
    """A reduction over rows takes `rows` of them at a time, through `tiles` tiles of lanes, and then the next ones."""

    row: Member
    rows: int
    tiles: int


@dataclass(frozen=True, slots=True)
class LanePlan:
    """`member` of the nest becomes lanes, `extent` of them a tile; `split`: it is the loop of a reduction."""

    member: Member
    extent: int
    cost: float
    reason: str
    split: bool = False
    groups: Groups | None = None
    jam: Jam | None = None


@dataclass(frozen=True, slots=True)
class NoLanes:
    """The nest's loops stay loops, `rows` iterations of the innermost at once; what is inside decides for itself."""

    cost: float
    rows: int = 1
    reason: str = ""


Plan = LanePlan | NoLanes | TilePlan


@dataclass(slots=True)
class Model:
    """Choices for one Scop on one machine."""

    scop: Scop
    dependences: Dependences
    patterns: AccessPatterns
    extents: Extents
    machine: Machine
    options: MappingOptions
    split_reductions: bool
    _plans: dict[Nest, Plan] = field(default_factory=dict)

    def plan(self, nest: Nest) -> Plan:
        """The cheapest realisation of the nest's loops."""
        if nest not in self._plans:
            self._plans[nest] = self._cheapest(nest)
        return self._plans[nest]

    def _cheapest(self, nest: Nest) -> Plan:
        best: Plan = NoLanes(sum(self.cost(child) for child in nest.children))
        if nest.plain or self.options.vectorize is False or self.options.vectorize == 1:
            return best
        contraction = ContractionModel(
            self.scop, self.patterns, self.extents, self.machine, self.dependences, self.split_reductions
        )
        tile = contraction.plan(nest)
        if tile is not None:
            return tile
        for member in nest.members:
            split = not member.coincident
            if self._extent(member) < 2 or (split and not self._may_split(nest, member)):
                continue
            lanes = self.lanes_for(nest, member)
            cost = sum(self._vector_cost(name, member, lanes, split) for name in nest.statements())
            if split:
                cost += FOLD_COST * self._entries(nest) * len(nest.children)
            if cost < best.cost:
                best = LanePlan(member, lanes, cost, self._reason(nest, member, lanes, cost), split)
        transposing = self._transposing(nest)
        if transposing is not None and transposing.cost < best.cost:
            return transposing
        if isinstance(best, LanePlan):
            return self._jammed(nest, self._in_groups(nest, best))
        return self._side_by_side(nest, self._in_rows(nest, best)) if isinstance(best, NoLanes) else best

    def _jammed(self, nest: Nest, plan: LanePlan) -> LanePlan:
        """Iterations of a loop around the lanes that share operands: half of the registers hold their sums."""
        updates = [name for name in nest.statements() if self.scop.statement(name).role is ScopRole.UPDATE]
        others = self.outermost_first([m for m in nest.members if m is not plan.member])
        whole = all(self.extents.is_box(name) for name in nest.statements())
        if plan.split or plan.groups is not None or self._lanes_asked_for is not None or len(updates) != 1 or not whole:
            return plan
        (name,) = updates
        dims, own = self.scop.statement(name).dims, {m.dim(name) for m in nest.members}
        reduced = [d for d in range(len(dims)) if d not in own]
        edges = self.dependences.between(name, name)
        free = self.split_reductions and is_alone(nest, name) and all(edge.is_reduction for edge in edges)
        lengths = [self.extents.known(name, d) for d in reduced]
        candidates = Candidates(name, self.patterns.of(name)[1:-1], reduced, lengths, free)
        # Workers share the first.
        inner = others[1:]
        vectors = -(-plan.extent // self.machine.lanes(self._widest((name,))))
        found = candidates.of(inner, [self._extent(m) for m in inner])
        fitting = [jam for jam in found if 2 * jam.copies * vectors <= self.machine.vector_registers]
        jam = max(fitting, key=lambda each: each.copies, default=None)
        if jam is None or self._extent(others[0]) < 2:
            return plan
        shown = f"{jam.copies} of {dims[jam.member.dim(name)]} side by side, {dims[jam.along]} innermost"
        return replace(plan, jam=jam, reason=f"{plan.reason}; {shown}")

    # --- rows ---------------------------------------------------------------------------------------

    def _in_rows(self, nest: Nest, plan: NoLanes) -> NoLanes:
        """Reductions of several rows at once, where rows lie far apart in memory and little is done with each element.

        A core has only so many lines on their way from one place: several places keep more.
        """
        inner = next((child for child in nest.children if isinstance(child, Nest)), None)
        if inner is None or not nest.members or not all(member.coincident for member in nest.members):
            return plan
        sweep, row = self.plan(inner), nest.members[-1]
        if not isinstance(sweep, LanePlan) or not sweep.split or not self._is_one_sweep(nest, inner, row, sweep.member):
            return plan
        vector = self.machine.lanes(self._widest(tuple(inner.statements())))
        accumulators, count = len(inner.children), self._extent(row)
        units = UNITS_A_CORE * self.machine.cores if len(nest.members) == 1 else 1
        rows = next((rows for rows in ROWS if rows * units <= count and rows * accumulators <= MOST_SUMS), 1)
        lanes = vector * max(1, min(2, MOST_SUMS // (rows * accumulators)))
        if rows == 1 or self._lanes_asked_for is not None or self._extent(sweep.member) < 2 * lanes:
            return plan
        self._plans[inner] = replace(sweep, extent=lanes)
        return replace(plan, rows=rows, reason=f"{rows} rows at once: they lie far apart, and memory is slow to answer")

    def _side_by_side(self, nest: Nest, plan: NoLanes) -> NoLanes:
        """Sweeps over several short rows at once: a fold is one long chain, behind which the next sweep waits."""
        sweeps = [child for child in nest.children if isinstance(child, Nest)]
        plans = {sweep: made for sweep in sweeps if isinstance(made := self.plan(sweep), LanePlan)}
        settled = all(m.coincident for m in nest.members) and all(self.extents.is_box(n) for n in nest.names)
        if plan.rows > 1 or not nest.members or not settled or len(plans) < len(sweeps) or self._lanes_asked_for:
            return plan
        together = [sweep for sweep in sweeps if plans[sweep].split or not self._is_seen(sweep)]
        light = all(operations(self.scop.statement(name)) <= LIGHT_WORK for sweep in together for name in sweep.names)
        most = SHORT_ROW // 2 if light else SHORT_ROW  # of longer rows registers keep all for the next sweep
        units = 2 * self.machine.cores if len(nest.members) == 1 else 1
        rows = next((rows for rows in SHORT_ROWS if rows * units <= self._extent(nest.members[-1])), 1)
        folded = any(made.split for made in plans.values())
        if rows == 1 or not folded or not all(self._is_short(sweep, made, most) for sweep, made in plans.items()):
            return plan
        vector = self.machine.lanes(self._widest(tuple(nest.statements())))
        for sweep in together:  # what others see is written row by row
            made, lanes = plans[sweep], min(plans[sweep].extent, vector * MOST_ACROSS // rows)
            reason = self._reason(sweep, made.member, lanes, made.cost)
            self._plans[sweep] = replace(made, extent=lanes, reason=reason)
        return replace(plan, rows=rows, reason=f"{rows} rows at once: they are short, and folds take long")

    def _is_short(self, sweep: Nest, made: LanePlan, most: int) -> bool:
        """Whether a nest is one loop over so many vectors; over twice as many of what only the kernel sees, whose
        vectors cross no lines however often they are loaded.
        """
        if len(sweep.members) > 1 or made.groups or not all(self.extents.is_static(*dim) for dim in made.member.dims):
            return False
        accesses = [access for name in sweep.names for access in self.scop.statement(name).accesses]
        most = most if any(self._is_shared(access.tensor) for access in accesses) else 2 * most
        return self._extent(made.member) <= most * self.machine.lanes(self._widest(tuple(sweep.statements())))

    def _is_seen(self, sweep: Nest) -> bool:
        """Whether others see some of what a nest writes."""
        return any(self._is_shared(self.scop.statement(name).write.tensor) for name in sweep.names)

    def _is_shared(self, tensor: str) -> bool:
        return self.scop.program.tensor(tensor).role is not Role.TEMPORARY

    def _in_groups(self, nest: Nest, plan: LanePlan) -> LanePlan:
        """Sums over rows, several rows at a time: read along the rows, not down a page a vector."""
        inner = next((child for child in nest.children if isinstance(child, Nest)), None)
        if plan.split or inner is None or not self._is_sum_of_rows(nest, inner, plan.member):
            return plan
        if self._lanes_asked_for is not None or not self._reads_pages_apart(nest, plan.member):
            return plan
        rows, extent = ROWS[0], self._extent(plan.member)
        lanes = min(plan.extent, MOST_VECTORS * self.machine.lanes(self._widest(tuple(nest.statements()))))
        units = 2 * self.machine.cores if len(nest.members) == 1 and self.options.parallel else 1
        tiles = min(LONG_RUN, extent // units) // lanes
        if tiles * lanes < SHORT_RUN or self._extent(inner.members[0]) < 4 * rows:
            return plan
        if self.split_reductions and not self._is_short_sum(inner):
            return plan  # long sums are cut into blocks that start from zero
        reason = f"{plan.reason}; {rows} rows at a time, {tiles * lanes} elements of each"
        return replace(plan, extent=lanes, groups=Groups(inner.members[0], rows, tiles), reason=reason)

    def _is_short_sum(self, inner: Nest) -> bool:
        """Whether one accumulator may take all terms of a loop without rounding more than it should."""
        row = inner.members[0]
        return all(self.extents.is_static(*dim) and self.extents.extent(*dim) <= BLOCK for dim in row.dims)

    def _is_sum_of_rows(self, nest: Nest, inner: Nest, lanes: Member) -> bool:
        """Whether a nest does nothing but reduce, over one loop, tensors that others see."""
        names = tuple(nest.statements())
        if any(isinstance(child, Nest) and child is not inner for child in nest.children):
            return False
        if len(inner.members) != 1 or not all(isinstance(child, str) for child in inner.children):
            return False
        settled = all(self.extents.is_static(*dim) for dim in inner.members[0].dims)
        tensors = {p.tensor for name in names for p in self.patterns.of(name)}
        return (
            all(self.scop.statement(str(name)).role is ScopRole.UPDATE for name in inner.children)
            and all(self.extents.is_box(name) for name in names)
            and all(self.scop.program.tensor(tensor).role is not Role.TEMPORARY for tensor in tensors)
            and (settled or names[-1] == inner.children[-1])  # what follows waits for the last group
        )

    def _is_one_sweep(self, nest: Nest, inner: Nest, row: Member, along: Member) -> bool:
        """Whether a nest does nothing but reduce, once, what it reads line by line along rows."""
        if any(isinstance(child, Nest) and child is not inner for child in nest.children):
            return False
        tensors = {p.tensor for name in nest.statements() for p in self.patterns.of(name)}
        if any(self.scop.program.tensor(tensor).role is Role.TEMPORARY for tensor in tensors):
            return False
        reads = [
            (p.strides[row.dim(name)], p.strides[along.dim(name)])
            for name in inner.statements()
            for p in self.patterns.of(name)[1:-1]
        ]
        apart = any(step is None or abs(step) >= LINE for step, _ in reads)
        work = max(operations(self.scop.statement(name)) for name in inner.statements())
        return apart and all(step in (0, 1) for _, step in reads) and work <= LIGHT_WORK

    def _transposing(self, nest: Nest) -> TilePlan | None:
        """Square tiles where accesses are contiguous along different loops: transposed in registers."""
        names = tuple(nest.statements())
        parallel = [m for m in nest.members if m.coincident]
        if len(parallel) < 2 or not all(isinstance(child, str) for child in nest.children):
            return None
        if not all(self.extents.is_box(name) for name in names):
            return None
        side = self.machine.lanes(self._widest(names))
        plans = [
            self._square(nest, rows, lanes, side)
            for rows in parallel
            for lanes in parallel
            if self._turns(names, rows, lanes) and min(self._extent(rows), self._extent(lanes)) >= side // 2
        ]
        return min(plans, key=lambda plan: plan.cost, default=None)

    def _turns(self, names: Sequence[str], rows: Member, lanes: Member) -> bool:
        """Whether some access is contiguous along the rows of a tile."""
        return rows is not lanes and any(
            pattern.strides[rows.dim(name)] == 1 and pattern.strides[lanes.dim(name)] not in (0, 1, -1)
            for name in names
            for pattern in self.patterns.of(name)
        )

    def _square(self, nest: Nest, rows: Member, lanes: Member, side: int) -> TilePlan:
        cost = 0.0
        for name in nest.statements():
            statement = self.scop.statement(name)
            row, lane = rows.dim(name), lanes.dim(name)
            each = side * operations(statement)
            for pattern in self.patterns.of(name):
                if pattern.strides[lane] not in (0, 1, -1) and pattern.strides[row] == 1:
                    each += TRANSPOSE_COST * side
                else:
                    each += side * _access_cost(pattern, lane, side, 1.0)
            extents = self._extent(rows), self._extent(lanes)
            tiles = -(-extents[0] // side) * -(-extents[1] // side)
            cost += self.extents.instances(name) / max(1, extents[0] * extents[1]) * tiles * each
        others = self.outermost_first([m for m in nest.members if m is not rows and m is not lanes])
        outer = tuple(m for m in others[:1] if self._extent(m) > 1)
        first = next(iter(nest.statements()))
        units = 2 * self.machine.cores if self.extents.is_static(first, rows.dim(first)) else self.machine.cores
        run = max(1, min(TRANSPOSED_RUN, -(-self._extent(rows) // side) // units))
        down, across = (self.scop.statement(first).dims[m.dim(first)] for m in (rows, lanes))
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

    def _widest(self, names: Sequence[str]) -> int:
        """Bits of the widest type that statements access, 32 at least."""
        return max(32, *(self.scop.program.tensor(a.tensor).dtype.bits for n in names for a in self.patterns.of(n)))

    def cost(self, item: Nest | str) -> float:
        if isinstance(item, Nest):
            plan = self.plan(item)
            return plan.cost * self._entries(item) if isinstance(plan, TilePlan) else plan.cost
        return self.extents.instances(item) * self._scalar_cost(self.scop.statement(item))

    def grain(self, nest: Nest, plan: Plan) -> int:
        """How many iterations of the outermost loop make a chunk worth handing to a worker."""
        units = self._units(nest, plan)
        each = plan.cost / max(1, units)
        return max(1, min(units, int(CHUNK_COST / max(each, 1.0))))

    def _units(self, nest: Nest, plan: Plan) -> int:
        """Iterations of the outermost loop that the mapper makes of a plan."""
        match plan:
            case TilePlan(outer=(first, *_), jam=jam):
                return self._extent(first) // (jam.copies if jam is not None and first is jam.member else 1)
            case TilePlan(lane_block=int(block)):
                return -(-self._extent(plan.lanes) // (plan.lane_extent * block))
            case TilePlan():
                return -(-self._extent(plan.rows) // (plan.row_extent * plan.row_block))
            case LanePlan(split=False) if len(nest.members) == 1:
                return -(-self._extent(plan.member) // (plan.extent * (plan.groups.tiles if plan.groups else 1)))
            case LanePlan() | NoLanes():
                rest = [m for m in nest.members if not (isinstance(plan, LanePlan) and m is plan.member)]
                rows = plan.rows if isinstance(plan, NoLanes) and len(rest) == 1 else 1
                return -(-self._extent(self.outermost_first(rest)[0]) // rows) if rest else 1

    def _extent(self, member: Member) -> int:
        return self.extents.extent(*member.dims[0])

    def outermost_first(self, members: Sequence[Member]) -> tuple[Member, ...]:
        """The same loops, those of one iteration last: the outermost one is divided among workers."""
        return tuple(sorted(members, key=lambda m: self._extent(m) == 1))

    def unit(self, plan: Plan, member: Member) -> int:
        """What a tile of the member must be a multiple of."""
        match plan:
            case LanePlan() if member is plan.member:
                return plan.extent
            case TilePlan() if member is plan.rows:
                return plan.row_extent
            case TilePlan() if member is plan.lanes:
                return plan.lane_extent
        return 1

    # --- lanes --------------------------------------------------------------------------------------

    def lanes_for(self, nest: Nest, member: Member) -> int:
        """Vectors of the widest type accessed, several where the loop is long and the body short."""
        names = tuple(nest.statements())
        vector = self.machine.lanes(self._widest(names))
        extent = max(self.extents.extent(n, member.dim(n)) for n in names)
        if self._lanes_asked_for is not None:
            return max(1, self._lanes_asked_for)
        if extent < vector:
            return 1 << max(0, extent - 1).bit_length()
        limit = FAR_VECTORS if self._reads_pages_apart(nest, member) else MOST_VECTORS
        static = all(self.extents.is_static(n, member.dim(n)) for n in names)
        longest = extent // vector if static else max(FEWEST_VECTORS, extent // vector)
        most = max(1, min(limit, 16 // len(names), longest))
        return vector * min(range(most, 0, -1), key=lambda count: _tiles_cost(extent, vector * count, count))

    @property
    def _lanes_asked_for(self) -> int | None:
        asked = self.options.vectorize
        return asked if isinstance(asked, int) and not isinstance(asked, bool) else None

    def _reads_pages_apart(self, nest: Nest, member: Member) -> bool:
        """Whether loops inside go from page to page, a vector along the member from each: more of each page then."""
        around = {(name, m.dim(name)) for m in nest.members for name in nest.statements()}
        return any(
            pattern.strides[member.dim(name)] == 1 and abs(step or 0) >= PAGE
            for name in nest.statements()
            for pattern in self.patterns.of(name)
            for dim, step in enumerate(pattern.strides)
            if not pattern.is_write and (name, dim) not in around
        )

    def _may_split(self, nest: Nest, member: Member) -> bool:
        """Updates whose only dependences along the member are those of their own declared reductions."""
        names = [child for child in nest.children if isinstance(child, str)]
        if not self.split_reductions or len(names) < len(nest.children):
            return False
        return all(self._is_sum_of_its_own(name, nest) for name in names) and not any(
            self.dependences.between(a, b) for a in names for b in names if a != b
        )

    def _is_sum_of_its_own(self, name: str, nest: Nest) -> bool:
        if self.scop.statement(name).role is not ScopRole.UPDATE:
            return False
        write = self.patterns.of(name)[0]
        invariant = all(not write.depends_on(m.dim(name)) for m in nest.members)
        return invariant and all(e.is_reduction for e in self.dependences.between(name, name))

    def _vector_cost(self, name: str, member: Member, lanes: int, split: bool) -> float:
        statement = self.scop.statement(name)
        dim = member.dim(name)
        extent = max(1, self.extents.extent(name, dim))
        tiles = -(-extent // lanes)
        vectors = max(1.0, lanes / self.machine.lanes(32))
        own = {0, len(statement.accesses) - 1} if split else set()  # these stay in a register
        each = 0.0
        for pattern in self.patterns.of(name):
            if pattern.number not in own:
                each += _access_cost(pattern, dim, lanes, vectors)
        each += vectors * operations(statement)
        outside = self.extents.instances(name) / extent
        return outside * tiles * each

    def _entries(self, nest: Nest) -> float:
        """How often the nest as a whole runs."""
        inside = prod(max(1, self._extent(m)) for m in nest.members)
        return min(self.extents.instances(name) for name in nest.statements()) / inside

    def _scalar_cost(self, statement: ScopStatement) -> float:
        return len(statement.accesses) + operations(statement)

    def _reason(self, nest: Nest, member: Member, lanes: int, cost: float) -> str:
        name = next(iter(nest.statements()))
        index = self.scop.statement(name).dims[member.dim(name)]
        steps = [
            f"{p.tensor}:{'?' if p.strides[member.dim(name)] is None else p.strides[member.dim(name)]}"
            for name in nest.statements()
            for p in self.patterns.of(name)
        ]
        shown = ", ".join(dict.fromkeys(steps))
        return f"lanes along {index} ({lanes} wide), strides {shown}; about {cost:.3g} vector operations"


def _tiles_cost(extent: int, lanes: int, vectors: int) -> float:
    """Vector operations of one kind over a loop in tiles of so many lanes."""
    return -(-extent // lanes) * (vectors + TILE_COST)


def _access_cost(pattern: AccessPattern, dim: int, lanes: int, vectors: float) -> float:
    stride = pattern.strides[dim]
    if stride == 1:
        return vectors
    if stride == -1:
        return BACKWARDS_COST * vectors
    if stride == 0:
        return inf if pattern.is_write else 0.5
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
