"""Rows of reductions: several at once, where memory or a chain of additions keeps one of them waiting.

In: nests, and plans for the nests inside.  Out: plans that take several rows, with their reasons in words.
Invariant: a plan changes which rows are computed beside one another, not the order of a row's own sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from comprehension.kernel.sites import BLOCK
from comprehension.lang.loops import Role
from comprehension.poly.lane_plan import Groups, LanePlan, NoLanes, Plan
from comprehension.poly.lanes import LINE, MOST_VECTORS, LaneModel, operations
from comprehension.poly.nest import Member, Nest
from comprehension.poly.scop import ScopRole

ROWS = (8, 4)  # at once, where there are enough
LONG_RUN, SHORT_RUN = 2048, 512  # elements of a row before the next group of rows
UNITS_A_CORE = 8  # groups of rows for each core, so that workers share them evenly
SHORT_ROW = 8  # vectors: folds take as long as all else that is done with such a row
SHORT_ROWS = (4, 2)  # at once
MOST_ACROSS = 8  # vectors of a tile of short rows
MOST_SUMS = 24  # vector registers that hold accumulators
LIGHT_WORK = 4.0  # operations for an element that memory keeps waiting

Inside = Mapping[Nest, LanePlan]


@dataclass(frozen=True, slots=True)
class RowModel:
    """Rows of one Scop's reductions; `plan` says what is planned for a nest inside.

    What takes rows beside one another takes fewer lanes of each: the plans inside that change are answered too.
    """

    model: LaneModel
    plan: Callable[[Nest], Plan]

    def at_once(self, nest: Nest, plan: NoLanes) -> tuple[NoLanes, Inside]:
        """Reductions of several rows at once, where rows lie far apart in memory and little is done with each element.

        A core has only so many lines on their way from one place: several places keep more.
        """
        inner = next((child for child in nest.children if isinstance(child, Nest)), None)
        if inner is None or not nest.members or not all(member.coincident for member in nest.members):
            return plan, {}
        sweep, row = self.plan(inner), nest.members[-1]
        if not isinstance(sweep, LanePlan) or not sweep.split or not self._is_one_sweep(nest, inner, row, sweep.member):
            return plan, {}
        vector = self.model.machine.lanes(self.model.widest(tuple(inner.statements())))
        accumulators, count = len(inner.children), self.model.extent(row)
        units = UNITS_A_CORE * self.model.machine.cores if len(nest.members) == 1 else 1
        rows = next((rows for rows in ROWS if rows * units <= count and rows * accumulators <= MOST_SUMS), 1)
        lanes = vector * max(1, min(2, MOST_SUMS // (rows * accumulators)))
        if rows == 1 or self.model.asked is not None or self.model.extent(sweep.member) < 2 * lanes:
            return plan, {}
        reason = f"{rows} rows at once: they lie far apart, and memory is slow to answer"
        return replace(plan, rows=rows, reason=reason), {inner: replace(sweep, extent=lanes)}

    def side_by_side(self, nest: Nest, plan: NoLanes) -> tuple[NoLanes, Inside]:
        """Sweeps over several short rows at once: a fold is one long chain, behind which the next sweep waits."""
        sweeps = [child for child in nest.children if isinstance(child, Nest)]
        plans = {sweep: made for sweep in sweeps if isinstance(made := self.plan(sweep), LanePlan)}
        settled = all(m.coincident for m in nest.members) and all(self.model.extents.is_box(n) for n in nest.names)
        if plan.rows > 1 or not nest.members or not settled or len(plans) < len(sweeps) or self.model.asked:
            return plan, {}
        together = [sweep for sweep in sweeps if plans[sweep].split or not self._is_seen(sweep)]
        light = all(
            operations(self.model.scop.statement(name)) <= LIGHT_WORK for sweep in together for name in sweep.names
        )
        most = SHORT_ROW // 2 if light else SHORT_ROW  # of longer rows registers keep all for the next sweep
        units = 2 * self.model.machine.cores if len(nest.members) == 1 else 1
        rows = next((rows for rows in SHORT_ROWS if rows * units <= self.model.extent(nest.members[-1])), 1)
        folded = any(made.split for made in plans.values())
        if rows == 1 or not folded or not all(self._is_short(sweep, made, most) for sweep, made in plans.items()):
            return plan, {}
        vector = self.model.machine.lanes(self.model.widest(tuple(nest.statements())))
        inside = {}
        for sweep in together:  # what others see is written row by row
            made, lanes = plans[sweep], min(plans[sweep].extent, vector * MOST_ACROSS // rows)
            reason = self.model.reason(sweep, made.member, lanes, made.cost)
            inside[sweep] = replace(made, extent=lanes, reason=reason)
        return replace(plan, rows=rows, reason=f"{rows} rows at once: they are short, and folds take long"), inside

    def _is_short(self, sweep: Nest, made: LanePlan, most: int) -> bool:
        """Whether a nest is one loop over so many vectors; over twice as many of what only the kernel sees, whose
        vectors cross no lines however often they are loaded.
        """
        if (
            len(sweep.members) > 1
            or made.groups
            or not all(self.model.extents.is_static(*dim) for dim in made.member.dims)
        ):
            return False
        accesses = [access for name in sweep.names for access in self.model.scop.statement(name).accesses]
        most = most if any(self._is_shared(access.tensor) for access in accesses) else 2 * most
        return self.model.extent(made.member) <= most * self.model.machine.lanes(
            self.model.widest(tuple(sweep.statements()))
        )

    def _is_seen(self, sweep: Nest) -> bool:
        """Whether others see some of what a nest writes."""
        return any(self._is_shared(self.model.scop.statement(name).write.tensor) for name in sweep.names)

    def _is_shared(self, tensor: str) -> bool:
        return self.model.scop.program.tensor(tensor).role is not Role.TEMPORARY

    def in_groups(self, nest: Nest, plan: LanePlan) -> LanePlan:
        """Sums over rows, several rows at a time: read along the rows, not down a page a vector."""
        inner = next((child for child in nest.children if isinstance(child, Nest)), None)
        if plan.split or inner is None or not self._is_sum_of_rows(nest, inner, plan.member):
            return plan
        if self.model.asked is not None or not self.model.reads_pages_apart(nest, plan.member):
            return plan
        rows, extent = ROWS[0], self.model.extent(plan.member)
        lanes = min(plan.extent, MOST_VECTORS * self.model.machine.lanes(self.model.widest(tuple(nest.statements()))))
        units = 2 * self.model.machine.cores if len(nest.members) == 1 and self.model.options.parallel else 1
        tiles = min(LONG_RUN, extent // units) // lanes
        if tiles * lanes < SHORT_RUN or self.model.extent(inner.members[0]) < 4 * rows:
            return plan
        if self.model.split_reductions and not self._is_short_sum(inner):
            return plan  # long sums are cut into blocks that start from zero
        reason = f"{plan.reason}; {rows} rows at a time, {tiles * lanes} elements of each"
        return replace(plan, extent=lanes, groups=Groups(inner.members[0], rows, tiles), reason=reason)

    def _is_short_sum(self, inner: Nest) -> bool:
        """Whether one accumulator may take all terms of a loop without rounding more than it should."""
        row = inner.members[0]
        return all(self.model.extents.assume_at_most(*dim, BLOCK) for dim in row.dims)

    def _is_sum_of_rows(self, nest: Nest, inner: Nest, lanes: Member) -> bool:
        """Whether a nest does nothing but reduce, over one loop, tensors that others see."""
        names = tuple(nest.statements())
        if any(isinstance(child, Nest) and child is not inner for child in nest.children):
            return False
        if len(inner.members) != 1 or not all(isinstance(child, str) for child in inner.children):
            return False
        settled = all(self.model.extents.is_static(*dim) for dim in inner.members[0].dims)
        tensors = {p.tensor for name in names for p in self.model.patterns.of(name)}
        return (
            all(self.model.scop.statement(str(name)).role is ScopRole.UPDATE for name in inner.children)
            and all(self.model.extents.is_box(name) for name in names)
            and all(self.model.scop.program.tensor(tensor).role is not Role.TEMPORARY for tensor in tensors)
            and (settled or names[-1] == inner.children[-1])  # what follows waits for the last group
        )

    def _is_one_sweep(self, nest: Nest, inner: Nest, row: Member, along: Member) -> bool:
        """Whether a nest does nothing but reduce, once, what it reads line by line along rows."""
        if any(isinstance(child, Nest) and child is not inner for child in nest.children):
            return False
        tensors = {p.tensor for name in nest.statements() for p in self.model.patterns.of(name)}
        if any(self.model.scop.program.tensor(tensor).role is Role.TEMPORARY for tensor in tensors):
            return False
        reads = [
            (p.strides[row.dim(name)], p.strides[along.dim(name)])
            for name in inner.statements()
            for p in self.model.patterns.of(name)[1:-1]
        ]
        apart = any(step is None or abs(step) >= LINE for step, _ in reads)
        work = max(operations(self.model.scop.statement(name)) for name in inner.statements())
        return apart and all(step in (0, 1) for _, step in reads) and work <= LIGHT_WORK
