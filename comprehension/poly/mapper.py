"""Maps nests to the CPU: writes the schedule tree with its tiles, stages and local buffers.

In: nests (from `cluster`), the model.  Out: a ScheduleTree.
Invariant: the order of instances is that of the nests, refined by tiling of coincident members; every
decision comes from `model`, every step is legal by the nests' invariant (coincident members carry no
dependence) and is proved again on the kernel by the certificate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from comprehension.poly import isl
from comprehension.poly.lane_plan import LanePlan, NoLanes, Plan
from comprehension.poly.model import Model
from comprehension.poly.nest import Member, Nest, innermost, instances, partial_schedule
from comprehension.poly.schedule_tree import (
    AccumulateMark,
    CopyStatement,
    Decision,
    JamMark,
    PromoteMark,
    Promotion,
    RowsMark,
    ScheduleTree,
    StageMark,
    TileMark,
    coincident_dimensions,
)
from comprehension.poly.scop import Scop
from comprehension.poly.tile_plan import Jam, Operand, TilePlan
from comprehension.poly.transform.cut import block_schedule
from comprehension.poly.transform.pack import Panels, hold, pack
from comprehension.poly.transform.promote import Prefix, TileAxis, is_private, private_box, register_tile
from comprehension.poly.transform.tile import point_schedule, tile_schedule


@dataclass(frozen=True, slots=True)
class Point:
    """The innermost loops of a tile: rows (if any) and lanes, with their extents."""

    members: tuple[Member, ...]
    extents: tuple[int, ...]

    @property
    def mark(self) -> TileMark:
        return TileMark(self.extents[-1], self.extents[0] if len(self.extents) > 1 else None)


@dataclass(slots=True)
class Mapper:
    """Writes nests below a node of isl's tree; nodes come back at the place where they were given."""

    scop: Scop
    model: Model
    local_buffers: bool = True
    decisions: dict[str, Decision] = field(default_factory=dict)
    copies: dict[str, CopyStatement] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    homes: set[str] = field(default_factory=set)  # temporaries that loops around keep in local buffers
    packed: dict[str, int] = field(default_factory=dict)  # how many panels each tensor has
    tiled: dict[str, int] = field(default_factory=dict)  # how many register tiles
    _order_of_tensors: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._order_of_tensors = {info.name: at for at, info in enumerate(self.scop.program.tensors)}

    def tree(self, nests: Sequence[Nest]) -> ScheduleTree:
        """Each nest one stage, in order."""
        node = isl.Schedule.from_domain(self.scop.domain).get_root().child(0)
        if len(nests) > 1:
            node = node.insert_sequence(self._filters(nests))
            for position, nest in enumerate(nests):
                node = self._stage(node.child(position).child(0), nest, position).parent().parent()
        elif nests:
            node = self._stage(node, nests[0], 0)
        return ScheduleTree(node.get_schedule(), self.decisions, self.copies, tuple(self.steps))

    def _stage(self, node: isl.ScheduleNode, nest: Nest, position: int) -> isl.ScheduleNode:
        plan = self.model.plan(nest)
        node, depth = self._user_tiles(node, nest, plan)
        node = _up(self._nest(node, nest), depth)
        coincident = coincident_dimensions(node)
        parallel = self.model.lanes.options.parallel and coincident > 0
        grain = self.model.grain(nest, plan) if parallel and not depth else 1
        return self._mark(node, f"stage {position}", StageMark(parallel, grain, coincident))

    def _user_tiles(self, node: isl.ScheduleNode, nest: Nest, plan: Plan) -> tuple[isl.ScheduleNode, int]:
        """The tiles that the options ask for, around all else; sizes rounded up to whole vector or register tiles."""
        wanted = []
        for member, size in zip(nest.members, self.model.lanes.options.tile or (), strict=False):
            unit = self.model.unit(plan, member)
            if 0 < size < self.model.lanes.extents.extent(*member.dims[0]):
                wanted.append((member, -(-size // unit) * unit))
        if not wanted:
            return node, 0
        self.steps.append(f"tiles of {tuple(size for _, size in wanted)}, as the options say")
        parts = [tile_schedule(partial_schedule((m,), self.scop), self._lower(m), size) for m, size in wanted]
        node = node.insert_partial_schedule(_product(parts))
        for position in range(len(parts)):
            node = node.band_member_set_coincident(position, 1)
        return node.band_set_permutable(1).child(0), 1

    # --- nests --------------------------------------------------------------------------------------

    def _nest(self, node: isl.ScheduleNode, nest: Nest, around: tuple[Member, ...] = ()) -> isl.ScheduleNode:
        """`around`: the members of the nests outside of this one, all coincident so far."""
        plan = self.model.plan(nest)
        match plan:
            case TilePlan():
                return self._register_tile(node, nest, plan, around)
            case NoLanes():
                return self._loops(node, nest, plan, around)
            case LanePlan(split=False):
                return self._lanes(node, nest, plan, around)
            case LanePlan():
                return self._split_reduction(node, nest, plan)

    def _loops(self, node: isl.ScheduleNode, nest: Nest, plan: NoLanes, around: tuple[Member, ...]) -> isl.ScheduleNode:
        """for members: children, with what they keep to themselves in local buffers."""
        node, depth = self._band(node, nest.members if plan.rows == 1 else nest.members[:-1])
        if plan.rows > 1:
            node, more = self._band(node, nest.members[-1:])
            self.steps.append(plan.reason)
            node = self._mark(node.parent(), f"rows {len(self.decisions)}", RowsMark(plan.rows)).child(0).child(0)
            depth += more + 1
        outer = (*around, *nest.members)
        prefix = Prefix(node, self.scop)
        promotions = [p for t in self._private(nest, outer) if (p := private_box(t, prefix)) is not None]
        self.homes.update(p.tensor for p in promotions)  # so that no nest inside makes a second box
        node = self._promote(self._children(node, nest.children, None, outer), promotions)
        return _up(node, depth)

    def _lanes(
        self, node: isl.ScheduleNode, nest: Nest, plan: LanePlan, around: tuple[Member, ...]
    ) -> isl.ScheduleNode:
        """for others: for tiles of lanes: children, each over the lanes of its tile.

        With groups of rows:  for others: for blocks of lanes: for groups of rows: for tiles of lanes: children
        """
        self.steps.append(plan.reason)
        others = self.model.lanes.outermost_first([m for m in nest.members if m is not plan.member])
        outer = (*around, *nest.members)
        if plan.jam is not None:
            others = (*(m for m in others if m is not plan.jam.member), plan.jam.member)
            nest = innermost(nest, plan.jam.statement, plan.jam.along)
        node, depth = self._jam_band(node, others, plan.jam)
        if plan.groups is not None:
            node, more = self._tile_band(node, plan.member, plan.extent * plan.groups.tiles)
            reduced = {name: plan.groups.row.dim(name) for name, _ in plan.groups.row.dims}
            blocks = block_schedule(tuple(nest.statements()), reduced, plan.groups.rows, self.scop)
            node, depth = node.insert_partial_schedule(blocks).child(0), depth + more + 1
        node, more = self._tile_band(node, plan.member, plan.extent)
        axes = (TileAxis(plan.member, plan.extent, self._lower(plan.member)),)
        node = self._tile_body(node, nest, Point((plan.member,), (plan.extent,)), outer, axes)
        return _up(node, depth + more)

    def _register_tile(
        self, node: isl.ScheduleNode, nest: Nest, plan: TilePlan, around: tuple[Member, ...]
    ) -> isl.ScheduleNode:
        """The loops that `TilePlan` describes, and the tile."""
        self.steps.append(plan.reason)
        node, depth_outer = self._jam_band(node, plan.outer, plan.jam)
        if plan.lane_block is not None:
            node, more = self._tile_band(node, plan.lanes, plan.lane_extent * plan.lane_block)
            depth_outer += more
        node, more = self._tile_band(node, plan.rows, plan.row_extent * plan.row_block)
        depth_outer += more
        held = self._hold(node, plan, nest)
        node, depth_blocks = self._reduction_blocks(node, nest, plan)
        packed_rows = self._pack(node, plan, plan.pack_rows, plan.rows, plan.row_extent, nest)
        node, depth_rows = self._jam_band(node, plan.inner if plan.inner_first else (), plan.jam)
        tiles = [(plan.lanes, plan.lane_extent), (plan.rows, plan.row_extent)]
        if not plan.rows_first:
            node, more = self._tile_band(node, *tiles.pop(0))
            depth_rows += more
        packed_lanes = self._pack(node, plan, plan.pack_lanes, plan.lanes, plan.lane_extent, nest)
        node, depth_lanes = self._jam_band(node, () if plan.inner_first else plan.inner, plan.jam)
        for member, extent in reversed(tiles):
            node, more = self._tile_band(node, member, extent)
            depth_lanes += more
        axes = (
            TileAxis(plan.rows, plan.row_extent, self._lower(plan.rows)),
            TileAxis(plan.lanes, plan.lane_extent, self._lower(plan.lanes)),
        )
        point = Point((plan.rows, plan.lanes), (plan.row_extent, plan.lane_extent))
        ordered = nest if plan.jam is None else innermost(nest, plan.jam.statement, plan.jam.along)
        node = self._tile_body(node, ordered, point, (*around, *nest.members), axes)
        node = self._packed(_up(node, depth_lanes), packed_lanes)
        node = self._packed(_up(node, depth_rows), packed_rows)
        return _up(self._packed(_up(node, depth_blocks), held), depth_outer)

    def _jam_band(
        self, node: isl.ScheduleNode, members: tuple[Member, ...], jam: Jam | None
    ) -> tuple[isl.ScheduleNode, int]:
        """A band over the members; the last one by itself where its iterations stand side by side."""
        if jam is None or not members or members[-1] is not jam.member:
            return self._band(node, members)
        node, depth = self._band(node, members[:-1])
        node, more = self._band(node, members[-1:])
        node = self._mark(node.parent(), f"jam {len(self.decisions)}", JamMark(jam.copies)).child(0).child(0)
        return node, depth + more + 1

    def _reduction_blocks(self, node: isl.ScheduleNode, nest: Nest, plan: TilePlan) -> tuple[isl.ScheduleNode, int]:
        if plan.reduced_dim is None:
            return node, 0
        reduced = {plan.statement: plan.reduced_dim}
        blocks = block_schedule(tuple(nest.statements()), reduced, plan.reduced_block, self.scop)
        return node.insert_partial_schedule(blocks).child(0), 1

    def _tile_body(
        self,
        node: isl.ScheduleNode,
        nest: Nest,
        point: Point,
        outer: tuple[Member, ...],
        axes: tuple[TileAxis, ...],
    ) -> isl.ScheduleNode:
        """The children over the points of a tile, tensors that they share held in registers."""
        names = frozenset(nest.statements())
        private = frozenset(self._private(nest, outer))
        boxed = all(self.model.lanes.extents.is_box(name) for name in names)
        tiles, boxes = [], []
        prefix = Prefix(node, self.scop)
        for tensor in self._touched(names):
            held = None
            if boxed and self._is_shared(tensor, names, in_rows=len(axes) > 1):
                patterns, suffix = self.model.lanes.patterns, _suffix(self.tiled, tensor)
                held = register_tile(tensor, prefix, names, outer, axes, self.scop, patterns, suffix)
            if held is not None:
                self.tiled[tensor] = self.tiled.get(tensor, 0) + 1
                tiles.append(held)
            elif tensor in private and (box := private_box(tensor, prefix)) is not None:
                boxes.append(box)
        node = self._children(node, nest.children, point, outer)
        if not tiles and not boxes:
            return node
        for tile in tiles:
            self._copies(tile.copies)
        node = self._promote(node, [*(t.promotion for t in tiles), *boxes]).child(0)
        for tile in tiles:
            node = tile.graft(node)
            for copy in tile.copies:
                self.decisions[f"tile {copy.name}"] = point.mark
        return node.parent()

    def _touched(self, names: Collection[str]) -> list[str]:
        """The tensors that statements access, in the program's order."""
        found = {access.tensor for name in names for access in self.scop.statement(name).accesses}
        return sorted(found, key=self._order_of_tensors.__getitem__)

    def _is_shared(self, tensor: str, names: Collection[str], *, in_rows: bool) -> bool:
        """Whether some of these statements write the tensor and touch it again.

        What stays in scratch already is held in registers by tiles of several rows only: their accumulators.
        """
        if not self.local_buffers or (tensor in self.homes and not in_rows):
            return False
        own = [a for a in self.scop.accesses_to(tensor) if a.statement in names]
        return len(own) > 1 and any(a.is_write for a in own) and self.scop.is_exact(tensor)

    def _pack(
        self,
        node: isl.ScheduleNode,
        plan: TilePlan,
        operand: Operand | None,
        member: Member,
        extent: int,
        nest: Nest,
    ) -> Panels | None:
        if operand is None:
            return None
        written = any(
            a.is_write and a.tensor == operand.tensor
            for name in nest.statements()
            for a in self.scop.statement(name).accesses
        )
        if written:
            return None
        suffix = _suffix(self.packed, operand.tensor)
        self.packed[operand.tensor] = self.packed.get(operand.tensor, 0) + 1
        return pack(Prefix(node, self.scop), plan.statement, operand, extent, self._lower(member), suffix)

    def _hold(self, node: isl.ScheduleNode, plan: TilePlan, nest: Nest) -> Panels | None:
        """Panels for the sums that blocks of the reduction leave."""
        if plan.held is None or not self.local_buffers:
            return None
        tensor, names = plan.held.tensor, nest.statements()
        suffix = _suffix(self.packed, tensor)
        self.packed[tensor] = self.packed.get(tensor, 0) + 1
        copies = {f"{what} {tensor}{_suffix(self.tiled, tensor)}" for what in ("load", "store")}  # of the register tile
        prefix, lower = Prefix(node, self.scop), self._lower(plan.lanes)
        return hold(prefix, {*names, *copies}, plan.held, plan.lane_extent, lower, suffix)

    def _packed(self, node: isl.ScheduleNode, panels: Panels | None) -> isl.ScheduleNode:
        """`node` below a promote mark and beside the copy of the panels; the mark stands where `node` stood."""
        if panels is None:
            return node
        self._copies([panels.copy])
        self.decisions[f"tile {panels.copy.name}"] = panels.mark
        promotion = panels.promotion
        how = "packed into" if panels.copy.into_buffer else "held between blocks in"
        self.steps.append(f"{promotion.tensor} {how} {promotion.buffer}{list(promotion.extents)}")
        mark = panels.copy.name
        node = self._mark(node, mark, PromoteMark((promotion,))).child(0)
        return panels.graft(node).parent()

    def _copies(self, copies: Sequence[CopyStatement]) -> None:
        self.copies.update((copy.name, copy) for copy in copies)

    def _private(self, nest: Nest, outer: tuple[Member, ...]) -> list[str]:
        """Temporaries that only this nest touches, no single one of its inner nests, and that stay in an iteration."""
        names = set(nest.statements())
        inner = [set(c.statements()) for c in nest.children if isinstance(c, Nest) and _is_parallel(c)]
        found = []
        if not outer or not self.local_buffers or not all(m.coincident for m in outer):
            return []
        for tensor in self._touched(names):
            users = {a.statement for a in self.scop.accesses_to(tensor)}
            if tensor in self.homes or any(users <= own for own in inner):
                continue
            if is_private(tensor, outer, names, self.scop, self.model.lanes.dependences):
                found.append(tensor)
        return found

    def _promote(self, node: isl.ScheduleNode, promotions: Sequence[Promotion]) -> isl.ScheduleNode:
        if not promotions:
            return node
        names = [p.tensor for p in promotions]
        self.steps.extend(f"{p.tensor} stays in {p.space.value} {p.buffer}{list(p.extents)}" for p in promotions)
        name = f"promote {', '.join(names)}"
        while name in self.decisions:  # a box around tiles, or another tile
            name += " again"
        return self._mark(node, name, PromoteMark(tuple(promotions)))

    def _split_reduction(self, node: isl.ScheduleNode, nest: Nest, plan: LanePlan) -> isl.ScheduleNode:
        """accumulators: for others: for tiles of lanes: the update, lane by lane; then combined."""
        names = list(nest.statements())
        self.steps.append(f"reduction {', '.join(names)} split over {plan.extent} accumulators: {plan.reason}")
        others = tuple(m for m in nest.members if m is not plan.member)
        node, depth = self._band(node, others)
        node, more = self._tile_band(node, plan.member, plan.extent)
        node = _up(self._children(node, nest.children, Point((plan.member,), (plan.extent,)), ()), depth + more)
        for name in names:
            op = self.scop.statement(name).source.reduction
            assert op is not None
            mark = AccumulateMark(name, op, f"{name}_partial", plan.extent)
            node = self._mark(node, f"accumulate {name}", mark)
        return node

    def _children(
        self, node: isl.ScheduleNode, children: Sequence[Nest | str], point: Point | None, outer: tuple[Member, ...]
    ) -> isl.ScheduleNode:
        """Children in order; statements that stand side by side share a tile."""
        groups = _grouped(children)
        if len(groups) == 1:
            return self._group(node, groups[0], point, outer)
        node = node.insert_sequence(self._filters(groups))
        for position, group in enumerate(groups):
            node = self._group(node.child(position).child(0), group, point, outer).parent().parent()
        return node

    def _group(
        self,
        node: isl.ScheduleNode,
        group: Nest | tuple[str, ...],
        point: Point | None,
        outer: tuple[Member, ...],
    ) -> isl.ScheduleNode:
        if isinstance(group, Nest):
            if point is None:
                return self._nest(node, group, outer)
            node, depth = self._band(node, group.members)
            return _up(self._children(node, group.children, point, outer), depth)
        if len(group) > 1:
            node = node.insert_sequence(self._filters(group))
        if point is None:
            return node
        parts = [
            point_schedule(partial_schedule((m,), self.scop), self._lower(m), extent)
            for m, extent in zip(point.members, point.extents, strict=True)
        ]
        node = node.insert_partial_schedule(_product(parts))
        for position in range(len(parts)):
            node = node.band_member_set_coincident(position, 1)
        return self._mark(node, f"tile {'+'.join(group)}", point.mark)

    # --- pieces of tree -----------------------------------------------------------------------------

    def _band(self, node: isl.ScheduleNode, members: tuple[Member, ...]) -> tuple[isl.ScheduleNode, int]:
        """A band over the members; the node below it and how deep that is."""
        if not members:
            return node, 0
        node = node.insert_partial_schedule(partial_schedule(members, self.scop))
        for position, member in enumerate(members):
            node = node.band_member_set_coincident(position, int(member.coincident))
        node = node.band_set_permutable(int(all(m.coincident for m in members)))
        return node.child(0), 1

    def _tile_band(self, node: isl.ScheduleNode, member: Member, extent: int) -> tuple[isl.ScheduleNode, int]:
        tiles = tile_schedule(partial_schedule((member,), self.scop), self._lower(member), extent)
        node = node.insert_partial_schedule(tiles).band_member_set_coincident(0, int(member.coincident))
        return node.child(0), 1

    def _lower(self, member: Member) -> isl.PwAff:
        return self.model.lanes.extents.lower_bound(*member.dims[0])

    def _mark(self, node: isl.ScheduleNode, name: str, decision: Decision) -> isl.ScheduleNode:
        """A mark above `node`; the node comes back as the mark, which now stands in its place."""
        assert name not in self.decisions, f"two marks are called {name}"
        self.decisions[name] = decision
        return node.insert_mark(isl.Id(name, context=self.scop.context.get_ctx()))

    def _filters(self, parts: Sequence[Nest | str | tuple[str, ...]]) -> isl.UnionSetList:
        filters = isl.UnionSetList.alloc(self.scop.context.get_ctx(), len(parts))
        for part in parts:
            filters = filters.add(instances(part, self.scop))
        return filters


def _suffix(made: Mapping[str, int], tensor: str) -> str:
    """What tells the next buffer of a tensor from those made before."""
    number = made.get(tensor, 0) + 1
    return "" if number == 1 else f"_{number}"


def _grouped(children: Sequence[Nest | str]) -> list[Nest | tuple[str, ...]]:
    groups: list[Nest | tuple[str, ...]] = []
    for child in children:
        if isinstance(child, Nest):
            groups.append(child)
        elif groups and isinstance(last := groups[-1], tuple):
            groups[-1] = (*last, child)
        else:
            groups.append((child,))
    return groups


def _is_parallel(nest: Nest) -> bool:
    return any(m.coincident for m in nest.members)


def _product(parts: Sequence[isl.MultiUnionPwAff]) -> isl.MultiUnionPwAff:
    total = parts[0]
    for part in parts[1:]:
        total = total.flat_range_product(part)
    return total


def _up(node: isl.ScheduleNode, levels: int) -> isl.ScheduleNode:
    for _ in range(levels):
        node = node.parent()
    return node
