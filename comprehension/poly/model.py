"""The analytic model: which loop becomes lanes, how wide, how much work a chunk is.

In: nests, access strides, extents, the machine.  Out: plans with an estimate and a reason in words.
Invariant: plans only choose among legal realisations; none looks at what a statement computes beyond its
access strides, the number of its operations and whether it is a reduction.

A nest becomes a register tile (`contraction`) where it holds a contraction that pays for one; otherwise lanes
(`lanes`), with iterations that share operands (`lane_jam`) or rows (`rows`) side by side, or square tiles
(`square_tiles`), whichever is cheapest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from comprehension.poly.contraction import ContractionModel
from comprehension.poly.lane_jam import jammed
from comprehension.poly.lane_plan import LanePlan, NoLanes, Plan
from comprehension.poly.lanes import LaneModel
from comprehension.poly.nest import Member, Nest
from comprehension.poly.rows import Inside, RowModel
from comprehension.poly.square_tiles import transposing
from comprehension.poly.tile_plan import TilePlan

CHUNK_COST = 20_000.0  # vector operations that make a chunk worth handing to a worker


@dataclass(slots=True)
class Model:
    """Choices for one Scop on one machine."""

    lanes: LaneModel
    _plans: dict[Nest, Plan] = field(default_factory=dict)

    def plan(self, nest: Nest) -> Plan:
        """The cheapest realisation of the nest's loops."""
        if nest not in self._plans:
            self._plans[nest] = self._cheapest(nest)
        return self._plans[nest]

    def _cheapest(self, nest: Nest) -> Plan:
        loops = NoLanes(sum(self.cost(child) for child in nest.children))
        if nest.plain or self.lanes.options.vectorize is False or self.lanes.options.vectorize == 1:
            return loops
        lanes, rows = self.lanes, RowModel(self.lanes, self.plan)
        contraction = ContractionModel(
            lanes.scop, lanes.patterns, lanes.extents, lanes.machine, lanes.dependences, lanes.split_reductions
        )
        tile = contraction.plan(nest)
        if tile is not None:
            return tile
        plans: list[LanePlan | NoLanes] = [loops, *lanes.plans(nest)]
        best = min(plans, key=lambda plan: plan.cost)
        square = transposing(lanes, nest)
        if square is not None and square.cost < best.cost:
            return square
        if isinstance(best, LanePlan):
            return jammed(lanes, nest, rows.in_groups(nest, best))
        return self._noted(*rows.side_by_side(nest, self._noted(*rows.at_once(nest, best))))

    def _noted(self, plan: NoLanes, inside: Inside) -> NoLanes:
        """The plan; those of nests inside that it changes are kept."""
        self._plans.update(inside)
        return plan

    def cost(self, item: Nest | str) -> float:
        if isinstance(item, Nest):
            plan = self.plan(item)
            return plan.cost * self.lanes.entries(item) if isinstance(plan, TilePlan) else plan.cost
        return self.lanes.extents.instances(item) * self.lanes.scalar_cost(self.lanes.scop.statement(item))

    def grain(self, nest: Nest, plan: Plan) -> int:
        """How many iterations of the outermost loop make a chunk worth handing to a worker."""
        units = self._units(nest, plan)
        each = plan.cost / max(1, units)
        return max(1, min(units, int(CHUNK_COST / max(each, 1.0))))

    def _units(self, nest: Nest, plan: Plan) -> int:
        """Iterations of the outermost loop that the mapper makes of a plan."""
        match plan:
            case TilePlan(outer=(first, *_), jam=jam):
                return self.lanes.extent(first) // (jam.copies if jam is not None and first is jam.member else 1)
            case TilePlan(lane_block=int(block)):
                return -(-self.lanes.extent(plan.lanes) // (plan.lane_extent * block))
            case TilePlan():
                return -(-self.lanes.extent(plan.rows) // (plan.row_extent * plan.row_block))
            case LanePlan(split=False) if len(nest.members) == 1:
                return -(-self.lanes.extent(plan.member) // (plan.extent * (plan.groups.tiles if plan.groups else 1)))
            case LanePlan() | NoLanes():
                rest = [m for m in nest.members if not (isinstance(plan, LanePlan) and m is plan.member)]
                rows = plan.rows if isinstance(plan, NoLanes) and len(rest) == 1 else 1
                return -(-self.lanes.extent(self.lanes.outermost_first(rest)[0]) // rows) if rest else 1

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
