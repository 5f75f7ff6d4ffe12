"""Steps of a reduction side by side in a vector, where a register tile has too few lanes to be wide.

    for k in 0:K:                                  tile r, j: acc4[r, j] = 0
        tile r, l:                                 for k in 0:K/4:
            acc[r, l] += x[r, k] * w[k, l]    ->       tile r, j:
                                                           acc4[r, j] += x[r, 4k + j % 4] * w4[k, j]
                                                   tile r, l: acc[r, l] += acc4[r, 4l] + ... + acc4[r, 4l + 3]

Each element of a row must be spread over a vector before it is multiplied, and a core reads one of them, or one whole
vector, a cycle, but multiplies two.  A tile of one vector of lanes needs an element for each multiply-add.  With four
steps of the reduction in a vector one read of four elements serves four multiply-adds, as in a tile of four
vectors of lanes; what is left is to add up each accumulator's four parts once.  The panel `w` is laid out for it.

In: a Kernel under math="fast", the machine.  Out: one that does the same, and in words where.
Invariant: each instance runs once; terms are added in an order that depends on sizes alone.  `rows_of` says for which
tiles this is done; the model (`poly.contraction`) plans by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import linear, simplify, varies_with
from comprehension.kernel.values import identity
from comprehension.kernel.walk import accesses_in
from comprehension.machine import Machine

STEPS = 4  # of the reduction in a vector: what the processor spreads over a vector as it reads it
FEWEST_STEPS = 16  # of a reduction, which ends with adding up
KEPT = STEPS + 2  # vector registers for the panel and for elements of rows

Nodes = tuple[ir.Node, ...]


def rows_of(machine: Machine) -> int:
    """The most rows of a tile, one vector of lanes wide, whose accumulators are divided by four steps."""
    return (machine.vector_registers - KEPT) // STEPS


@dataclass(frozen=True, slots=True)
class Interleaved:
    """The kernel, and in words which reductions have several steps in a vector."""

    kernel: ir.Kernel
    notes: tuple[str, ...]


def interleave_steps(kernel: ir.Kernel, machine: Machine) -> Interleaved:
    """Reductions of narrow register tiles with several steps in a vector."""
    weaver = _Weaver(kernel, machine)
    stages = tuple(replace(stage, body=weaver.nodes(stage.body)) for stage in kernel.stages)
    if not weaver.panels:
        return Interleaved(kernel, ())
    stages = rewrite(stages, (ir.Load, ir.Store), weaver.laid_out)
    buffers = tuple(weaver.panels.get(buffer.name, buffer) for buffer in kernel.buffers)
    return Interleaved(replace(kernel, buffers=(*buffers, *weaver.parts), stages=stages), tuple(weaver.notes))


@dataclass(frozen=True, slots=True)
class _Site:
    """A loop over the steps of a reduction whose tile updates `store`'s accumulators by row[k] * panel[k, lane]."""

    loop: ir.Loop
    tile: ir.Tile
    rows: ir.Axis
    store: ir.Store
    row: ir.Load
    panel: ir.Load
    own: ir.Load


@dataclass(slots=True)
class _Weaver:
    kernel: ir.Kernel
    machine: Machine
    panels: dict[str, ir.Buffer] = field(default_factory=dict)  # by the name of a panel: as it is laid out now
    parts: list[ir.Buffer] = field(default_factory=list)  # accumulators
    notes: list[str] = field(default_factory=list)

    def nodes(self, nodes: Nodes) -> Nodes:
        return tuple(made for node in nodes for made in self._node(node))

    def _node(self, node: ir.Node) -> Nodes:
        if not isinstance(node, ir.Loop | ir.If):
            return (node,)
        site = self._site(node) if isinstance(node, ir.Loop) else None
        return (replace(node, body=self.nodes(node.body)),) if site is None else self._woven(site)

    # --- what qualifies -----------------------------------------------------------------------------------------

    def _site(self, loop: ir.Loop) -> _Site | None:
        tile = loop.body[0] if len(loop.body) == 1 else None
        if not isinstance(tile, ir.Tile) or tile.rows is None or len(tile.body) != 1:
            return None
        store = tile.body[0]
        if not isinstance(store, ir.Store) or store.role is not ir.StoreRole.EXECUTE or store.instance is None:
            return None
        if not isinstance(store.value, ir.Fma) or not isinstance(store.value.c, ir.Load):
            return None
        a, b, own = store.value.a, store.value.b, store.value.c
        if not isinstance(a, ir.Load) or not isinstance(b, ir.Load):
            return None
        row, panel = (b, a) if varies_with(a.subscripts, tile.lanes.variable) else (a, b)
        site = _Site(loop, tile, tile.rows, store, row, panel, own)
        fits = self._has_steps(site) and self._is_narrow(site) and self._is_row(site)
        return site if fits and self._is_panel(site) else None

    def _has_steps(self, site: _Site) -> bool:
        low, high = site.loop.lower, site.loop.upper
        if low != ir.Int(0) or not isinstance(high, ir.Int) or site.loop.step != 1 or site.loop.asks:
            return False
        return high.value >= FEWEST_STEPS and high.value % STEPS == 0

    def _is_narrow(self, site: _Site) -> bool:
        """One whole vector of lanes, accumulators by points of the tile, rows that leave registers for the parts."""
        lanes, rows = site.tile.lanes, site.rows
        buffer = self.kernel.buffer(site.store.buffer)
        own = (ir.Var(rows.variable), ir.Var(lanes.variable))
        whole = lanes.limit is None and lanes.start == ir.Int(0) and rows.start == ir.Int(0)
        shape = (ir.Int(rows.extent), ir.Int(lanes.extent))
        if buffer.space is not ir.Space.REGISTER or buffer.shape != shape or not whole:
            return False
        if site.store.subscripts != own or (site.own.buffer, site.own.subscripts) != (buffer.name, own):
            return False
        return lanes.extent == self.machine.lanes(buffer.dtype.bits) and rows.extent <= rows_of(self.machine)

    def _is_row(self, site: _Site) -> bool:
        """Whether steps go along memory, and lanes do not move it."""
        buffer, step, lane = self.kernel.buffer(site.row.buffer), site.loop.variable, site.tile.lanes.variable
        *outer, last = site.row.subscripts
        form = linear(last)
        others = (*outer, *(atom for atom, _ in form.terms if atom != ir.Var(step)))
        dense = buffer.strides is None and buffer.space is not ir.Space.REGISTER
        moved = any(varies_with(part, name) for part in others for name in (step, lane))
        return dense and form.coefficient(ir.Var(step)) == 1 and not moved and not varies_with(last, lane)

    def _is_panel(self, site: _Site) -> bool:
        """Whether it is ours to lay out: private, steps by lanes, read by such loops only."""
        buffer = self.kernel.buffer(site.panel.buffer)
        wanted = (site.loop.upper, ir.Int(site.tile.lanes.extent))
        if buffer.space is not ir.Space.SCRATCH or buffer.strides is not None or buffer.shape[-2:] != wanted:
            return False
        if site.panel.subscripts[-2:] != (ir.Var(site.loop.variable), ir.Var(site.tile.lanes.variable)):
            return False
        if any(varies_with(site.panel.subscripts[:-2], name) for name in (site.loop.variable, site.rows.variable)):
            return False
        loads = [load for load in nodes_of(self.kernel.stages, ir.Load) if load.buffer == buffer.name]
        return all(load == site.panel for load in loads) and self._is_only_copied_into(buffer)

    def _is_only_copied_into(self, panel: ir.Buffer) -> bool:
        stores = [a for a in accesses_in(self.kernel.stages) if isinstance(a, ir.Store) and a.buffer == panel.name]
        return all(store.role in (ir.StoreRole.COPY, ir.StoreRole.FILL) for store in stores)

    # --- what becomes of it ---------------------------------------------------------------------------------------

    def _woven(self, site: _Site) -> Nodes:
        lanes, loop = site.tile.lanes, site.loop
        panel = self.kernel.buffer(site.panel.buffer)
        *outer, steps, width = panel.shape
        assert isinstance(steps, ir.Int) and isinstance(width, ir.Int)
        laid_out = (*outer, ir.Int(steps.value // STEPS), ir.Int(width.value * STEPS))
        self.panels[panel.name] = replace(panel, shape=laid_out)
        accumulators = self.kernel.buffer(site.store.buffer)
        wide = ir.Axis(f"{lanes.variable}_step", ir.Int(0), lanes.extent * STEPS)
        parts = replace(accumulators, name=self._name(accumulators), shape=(accumulators.shape[0], ir.Int(wide.extent)))
        self.parts.append(parts)
        self.notes.append(f"{STEPS} steps of {loop.variable} in a vector of {accumulators.name}")
        own = (ir.Var(site.rows.variable), ir.Var(wide.variable))
        fill = ir.Store(parts.name, own, identity("+", parts.dtype), ir.StoreRole.FILL)
        whole = replace(site.rows, limit=None)
        upper = ir.Int(steps.value // STEPS)
        update = replace(loop, upper=upper, body=(ir.Tile(site.rows, wide, (self._update(site, parts, wide),)),))
        total = self._total(site, parts)
        return ir.Tile(whole, wide, (fill,)), update, ir.Tile(site.rows, lanes, (total,))

    def _name(self, accumulators: ir.Buffer) -> str:
        name, taken = f"{accumulators.name}_steps", {b.name for b in (*self.kernel.buffers, *self.parts)}
        while name in taken:
            name += "_"
        return name

    def _update(self, site: _Site, parts: ir.Buffer, wide: ir.Axis) -> ir.Store:
        """The instance of lane j / 4 at step 4 k + j % 4."""
        place, number = ir.Var(wide.variable), ir.Int(STEPS)
        moved: Mapping[str, ir.IntExpr] = {
            site.tile.lanes.variable: ir.IntOp("/", place, number),
            site.loop.variable: ir.IntOp(
                "+", ir.IntOp("*", ir.Var(site.loop.variable), number), ir.IntOp("%", place, number)
            ),
        }
        assert isinstance(site.store.value, ir.Fma) and site.store.instance is not None
        own = (ir.Var(site.rows.variable), place)
        row = replace(site.row, subscripts=tuple(simplify(map_integers(s, moved)) for s in site.row.subscripts))
        panel = replace(site.panel, subscripts=(*site.panel.subscripts[:-2], ir.Var(site.loop.variable), place))
        first, second = (panel, row) if site.store.value.a == site.panel else (row, panel)
        value = replace(site.store.value, a=first, b=second, c=replace(site.own, buffer=parts.name, subscripts=own))
        point = tuple(simplify(map_integers(index, moved)) for index in site.store.instance.point)
        instance = replace(site.store.instance, point=point)
        return replace(site.store, buffer=parts.name, subscripts=own, value=value, instance=instance)

    def _total(self, site: _Site, parts: ir.Buffer) -> ir.Store:
        """An accumulator takes its parts, by halves."""
        dtype, row, lane = parts.dtype, ir.Var(site.rows.variable), ir.Var(site.tile.lanes.variable)
        first = ir.IntOp("*", lane, ir.Int(STEPS))
        found: list[ir.Value] = [
            ir.Load(parts.name, (row, simplify(ir.IntOp("+", first, ir.Int(step)))), dtype) for step in range(STEPS)
        ]
        while len(found) > 1:
            found = [_sum(found[at : at + 2]) for at in range(0, len(found), 2)]
        own = ir.Load(site.store.buffer, site.store.subscripts, dtype)
        return ir.Store(site.store.buffer, site.store.subscripts, _sum([own, *found]), ir.StoreRole.COMBINE)

    def laid_out(self, access: ir.Load | ir.Store) -> ir.Load | ir.Store:
        """What is copied into a panel goes to its new place."""
        if access.buffer not in self.panels or isinstance(access, ir.Load):
            return access
        *outer, step, lane = access.subscripts
        number = ir.Int(STEPS)
        place = ir.IntOp("+", ir.IntOp("*", lane, number), ir.IntOp("%", step, number))
        return replace(access, subscripts=(*outer, simplify(ir.IntOp("/", step, number)), simplify(place)))


def _sum(values: Sequence[ir.Value]) -> ir.Value:
    return reduce(lambda left, right: ir.BinaryOp("+", left, right, right.dtype), values)
