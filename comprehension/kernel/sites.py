"""Sites: loops that combine terms into register buffers, and the pieces that dividing them is made of.

In: nodes of a kernel, typical sizes.  Out: `Site`s; fills, copies and combinations of partial accumulators.
Invariant: a site's loop does nothing else, so its terms may be shared out among accumulators of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from math import prod
from typing import TypeVar

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import linear, simplify, truth, varies_with
from comprehension.kernel.values import identity
from comprehension.kernel.walk import accesses_in
from comprehension.lang.tree import ReduceOp

BLOCK = 4096  # terms that one accumulator takes in a row

Nodes = tuple[ir.Node, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Accumulator:
    """A register buffer that terms are combined into: one for each point of a tile."""

    buffer: ir.Buffer
    op: ReduceOp


@dataclass(frozen=True, slots=True)
class Site:
    """`trips` of the loop, `inner` terms of one accumulator in each, `points` of a whole buffer in each.

    At typical sizes where `is_static` does not hold.  `axes` are those of its tiles.
    """

    loop: ir.Loop
    accumulators: tuple[Accumulator, ...]
    trips: int
    inner: int
    points: int
    is_static: bool
    axes: tuple[ir.Axis, ...]

    def start(self, number: str, size: int) -> ir.IntExpr:
        """The first of the iterations of part `number`, where each part has `size` of them."""
        step = ir.Int(size * self.loop.step)
        return simplify(ir.IntOp("+", self.loop.lower, ir.IntOp("*", ir.Var(number), step)))

    def if_any(self, nodes: Nodes) -> Nodes:
        """Nodes that combine parts, where the loops inside leave terms: empty parts would only be passed on."""
        inside = [loop for loop in nodes_of(self.loop.body, ir.Loop) if truth(_runs(loop)) is not True]
        if not inside:
            return nodes
        runs = [_runs(loop) for loop in inside]
        return (ir.If(reduce(lambda a, b: ir.BoolOp("and", a, b), runs), nodes),)

    @property
    def names(self) -> set[str]:
        return {accumulator.buffer.name for accumulator in self.accumulators}

    @property
    def operators(self) -> str:
        return ", ".join(f"{each.buffer.name} takes {each.op}" for each in self.accumulators)


@dataclass(slots=True)
class Sites:
    """Finds sites; holds the buffers and the remarks that dividing them adds to a kernel."""

    kernel: ir.Kernel
    typical: Mapping[str, int]
    buffers: dict[str, ir.Buffer] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, buffer: ir.Buffer) -> ir.Buffer:
        """A buffer under a name of its own."""
        taken = {b.name for b in self.kernel.buffers} | self.buffers.keys()
        name = buffer.name
        while name in taken and self.buffers.get(name) != replace(buffer, name=name):
            name += "_"
        self.buffers[name] = replace(buffer, name=name)
        return self.buffers[name]

    def site(self, node: ir.Node) -> Site | None:
        """What a loop accumulates; None if it does something else, or runs unknown times."""
        if not isinstance(node, ir.Loop) or any(True for _ in nodes_of(node, ir.Define)):
            return None
        accumulators = self._accumulators(node)
        tiles = {_axes_of(tile) for tile in nodes_of(node, ir.Tile)}
        axes = _only(tiles) if tiles else ()
        trips, inner = self._trips(node), self._terms(node.body)
        if not accumulators or axes is None or trips is None or inner is None:
            return None
        extents = tuple(ir.Int(axis.extent) for axis in axes)
        if any(each.buffer.shape != extents for each in accumulators):
            return None
        bounds = [bound for loop in nodes_of(node, ir.Loop) for bound in (loop.lower, loop.upper)]
        if any(varies_with(bound, loop.variable) for bound in bounds for loop in nodes_of(node, ir.Loop)):
            return None  # how many terms there are changes on the way
        static = all(isinstance(bound, ir.Int) for bound in bounds)
        points = inner * prod(axis.extent for axis in axes)
        return Site(node, accumulators, trips, inner, points, static, axes)

    def _accumulators(self, loop: ir.Loop) -> tuple[Accumulator, ...]:
        """The register buffers that a loop updates; none if it does anything else."""
        stores = list(nodes_of(loop, ir.Store))
        found = []
        for name in dict.fromkeys(store.buffer for store in stores):
            buffer = self.buffers.get(name) or self.kernel.buffer(name)
            own = [store for store in stores if store.buffer == name]
            op = _only({_update_op(store) for store in own})
            touched = sum(access.buffer == name for access in accesses_in(loop))
            if buffer.space is not ir.Space.REGISTER or op is None or touched != 2 * len(own):
                return ()
            found.append(Accumulator(buffer, op))
        return tuple(found)

    def _terms(self, body: Nodes) -> int | None:
        """How many terms one accumulator takes in a body."""
        total = 0
        for node in body:
            match node:
                case ir.Loop(body=inside):
                    trips, inner = self._trips(node), self._terms(inside)
                    found = None if trips is None or inner is None else trips * inner
                case ir.If(body=inside):
                    found = self._terms(inside)
                case _:
                    found = 1
            if found is None:
                return None
            total += found
        return total

    def _trips(self, loop: ir.Loop) -> int | None:
        values: dict[str, ir.IntExpr] = {name: ir.Int(size) for name, size in self.typical.items()}
        width = simplify(map_integers(ir.IntOp("-", loop.upper, loop.lower), values))
        return -(-width.value // loop.step) if isinstance(width, ir.Int) else None


def _runs(loop: ir.Loop) -> ir.Condition:
    return ir.Compare("<", loop.lower, loop.upper)


def _only(found: set[T]) -> T | None:
    return next(iter(found)) if len(found) == 1 else None


def _axes_of(tile: ir.Tile) -> tuple[ir.Axis, ...] | None:
    """The axes of a tile whose points are numbered like the accumulators."""
    axes = (tile.lanes,) if tile.rows is None else (tile.rows, tile.lanes)
    return axes if all(axis.start == ir.Int(0) for axis in axes) else None


def _update_op(store: ir.Store) -> ReduceOp | None:
    """The operator by which an update of a reduction combines its target with a term; None for other stores."""
    match store.value:
        case ir.Fma(c=ir.Load() as target):
            op: ReduceOp = "+"
        case ir.BinaryOp(op="+" | "*" | "min" | "max" as op, left=ir.Load() as target):
            pass
        case _:
            return None
    own = (target.buffer, target.subscripts) == (store.buffer, store.subscripts)
    return op if own and store.role is ir.StoreRole.EXECUTE else None


# --- pieces ---------------------------------------------------------------------------------------------------


Parts = tuple[ir.Buffer, ...]
"""A buffer for each of a site's accumulators."""


def filled(site: Site, parts: Parts) -> Nodes:
    """The parts at the identity."""
    axes, own = _axes(site, (None,) * len(site.axes))
    fills = [
        ir.Store(part.name, own, identity(each.op, part.dtype), ir.StoreRole.FILL)
        for part, each in zip(parts, site.accumulators, strict=True)
    ]
    return _over(axes, fills)


def stored(site: Site, first: ir.IntExpr, parts: Parts, into: Parts, place: tuple[ir.IntExpr, ...]) -> Nodes:
    """The parts of the terms from iteration `first` on, copied to their place among all."""
    axes, own = _axes(site, _limits(site, first))
    copies = [
        ir.Store(target.name, (*place, *own), ir.Load(part.name, own, part.dtype), ir.StoreRole.COPY)
        for part, target in zip(parts, into, strict=True)
    ]
    return _over(axes, copies)


def combined(site: Site, first: ir.IntExpr, parts: Parts, place: tuple[ir.IntExpr, ...] = ()) -> Nodes:
    """The site's accumulators take the parts of the terms from iteration `first` on."""
    axes, own = _axes(site, _limits(site, first))
    return _over(axes, [_taking(each, own, part, place) for each, part in zip(site.accumulators, parts, strict=True)])


def _taking(each: Accumulator, own: tuple[ir.IntExpr, ...], part: ir.Buffer, place: tuple[ir.IntExpr, ...]) -> ir.Store:
    name, dtype = each.buffer.name, each.buffer.dtype
    total = ir.BinaryOp(each.op, ir.Load(name, own, dtype), ir.Load(part.name, (*place, *own), dtype), dtype)
    return ir.Store(name, own, total, ir.StoreRole.COMBINE)


def moved_into(parts: Parts, site: Site) -> Nodes:
    """The body of the site's loop with other accumulators."""
    names = {each.buffer.name: part.name for each, part in zip(site.accumulators, parts, strict=True)}

    def moved(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
        return replace(access, buffer=names.get(access.buffer, access.buffer))

    return rewrite(site.loop.body, (ir.Load, ir.Store), moved)


def _limits(site: Site, first: ir.IntExpr) -> tuple[ir.IntExpr | None, ...]:
    """Where accumulators end that take any term at all from iteration `first` on: others are not combined."""
    lowest = {loop.variable: loop.lower for loop in nodes_of(site.loop, ir.Loop)}
    return tuple(_loosest(axis, {**lowest, site.loop.variable: first}) for axis in site.axes)


def _loosest(axis: ir.Axis, lowest: dict[str, ir.IntExpr]) -> ir.IntExpr | None:
    """The limit in the first iterations of the loops around, where it is widest; None if nothing says that it is."""
    if axis.limit is None:
        return None
    limit = axis.limit
    for variable in reversed(lowest):  # a loop's bound may name those further out
        form = linear(limit)
        hidden = any(varies_with(atom, variable) for atom, _ in form.terms if not isinstance(atom, ir.Var))
        if hidden or form.coefficient(ir.Var(variable)) > 0:
            return None
        limit = simplify(map_integers(limit, {variable: lowest[variable]}))
    return None if isinstance(limit, ir.Int) and limit.value >= axis.extent else limit


def _axes(site: Site, limits: Sequence[ir.IntExpr | None]) -> tuple[list[ir.Axis], tuple[ir.IntExpr, ...]]:
    """Tile axes over the accumulators, and the subscripts of a point."""
    names = ("part_row", "part_lane")[-len(limits) :] if limits else ()
    each = zip(names, site.axes, limits, strict=True)
    axes = [ir.Axis(name, ir.Int(0), axis.extent, limit) for name, axis, limit in each]
    return axes, tuple(ir.Var(axis.variable) for axis in axes)


def _over(axes: Sequence[ir.Axis], stores: Sequence[ir.Store]) -> Nodes:
    if not axes:
        return tuple(stores)
    return (ir.Tile(axes[0] if len(axes) > 1 else None, axes[-1], tuple(stores)),)
