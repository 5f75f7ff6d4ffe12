"""What is known at a place of the AST while a kernel is built.

In: loops, promotions and accumulators met on the way down.  Out: where an element of a tensor lives there.
Invariant: scopes are values: going down makes a new one, nothing leaks to a sibling (`targets` alone is
shared, with the accumulate mark that made it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comprehension.errors import IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.simplify import Linear, Ranges, expression, linear, simplify
from comprehension.poly import isl
from comprehension.poly.ast import aff_expr
from comprehension.poly.schedule_tree import Promotion

Bounds = tuple[int | None, int | None]
Subscripts = tuple[ir.IntExpr, ...]
Target = tuple[str, Subscripts]


@dataclass(frozen=True, slots=True)
class Scope:
    """Loops around (outer first; `loop_names` has the schedule dimensions'), their ranges, local buffers in force."""

    loop_names: tuple[str, ...]
    iterators: tuple[str, ...] = ()
    names: Mapping[str, ir.IntExpr] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict)
    promoted: Mapping[tuple[str, str, int | None], tuple[Promotion, Subscripts]] = field(default_factory=dict)
    homes: Mapping[str, tuple[Promotion, Subscripts]] = field(default_factory=dict)  # of tensors that are nowhere else
    accumulators: Mapping[str, str] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    tile_axes: tuple[str, ...] = ()
    tiled: bool = True  # whether tile marks below become tiles

    def inside(self, iterator: str, value: ir.IntExpr, bounds: Bounds | None) -> Scope:
        """Below a loop; a degenerate one has its only `value`."""
        names = {**self.names, iterator: value}
        ranges = self.ranges if bounds is None else {**self.ranges, iterator: bounds}
        return replace(self, iterators=(*self.iterators, iterator), names=names, ranges=ranges)

    def prefix(self, settled: Sequence[isl.Aff | None]) -> tuple[ir.IntExpr, ...]:
        """The schedule dimensions here: loops, and what those before them determine where isl made no loop."""
        dims: list[ir.IntExpr] = []
        for position, value in enumerate(settled):
            name = self.loop_names[position]
            if name in self.names:
                dims.append(self.names[name])
            else:
                if value is None:
                    raise IllegalSchedule(f"isl makes no loop {position + 1}, by which a local buffer is placed")
                dims.append(simplify(aff_expr(value, dims, self.names), self.ranges))
        return tuple(dims)

    def promoting(self, promotions: Sequence[tuple[Promotion, Subscripts]]) -> Scope:
        """Below a promote mark: buffers with the offsets of their boxes."""
        new = {
            (name, held.tensor, held.access): (held, offsets)
            for held, offsets in promotions
            for name in held.statements
        }
        homes = {held.tensor: (held, offsets) for held, offsets in promotions if held.is_home}
        return replace(self, promoted={**self.promoted, **new}, homes={**self.homes, **homes})

    def accumulating(self, statement: str, buffer: str) -> Scope:
        """Below an accumulate mark; `targets` learns where the statement would have stored."""
        targets = self.targets if self.accumulators else {}  # marks around one loop learn together
        return replace(self, accumulators={**self.accumulators, statement: buffer}, targets=targets)

    def in_plain_loops(self) -> Scope:
        """Below a mark that cannot be realised: neither are the tiles that belong to it."""
        return replace(self, tiled=False)

    def place(self, statement: str, tensor: str, subscripts: Subscripts, access: int | None = None) -> Target:
        """Where an access of the statement finds the element: in the tensor or in a local buffer that stands for it."""
        found = self.promoted.get((statement, tensor, access)) or self.promoted.get((statement, tensor, None))
        return (tensor, subscripts) if found is None else self._local_place(*found, subscripts)

    def home(self, tensor: str, subscripts: Subscripts, beside: str) -> Target:
        """Where what is in the buffer `beside` comes from or goes to: the tensor, or the buffer that is its home."""
        found = self.homes.get(tensor)
        if found is None or found[0].buffer == beside:
            return tensor, subscripts
        return self._local_place(*found, subscripts)

    def place_in(self, buffer: str, subscripts: Subscripts) -> Target:
        """Where an element of a tensor stands in the local buffer."""
        found = next(held for held in self.promoted.values() if held[0].buffer == buffer)
        return self._local_place(*found, subscripts)

    def _local_place(self, promotion: Promotion, offsets: Subscripts, subscripts: Subscripts) -> Target:
        if promotion.space is ir.Space.REGISTER:
            places = tuple(self._on_tile(subscripts[axis]) for axis in promotion.axes)
            if any(
                p == ir.Int(0) and promotion.extents[axis] != 1 for p, axis in zip(places, promotion.axes, strict=True)
            ):
                raise IllegalSchedule(f"{promotion.buffer} is a register tile, of which a statement needs one element")
            return promotion.buffer, places
        box = [simplify(ir.IntOp("-", s, o), self.ranges) for s, o in zip(subscripts, offsets, strict=True)]
        return promotion.buffer, box_subscripts(promotion, box, panel_of=self._panel_place)

    def in_tile(self, axes: tuple[str, ...]) -> Scope:
        return replace(self, tile_axes=axes)

    def _on_tile(self, subscript: ir.IntExpr) -> ir.IntExpr:
        """The part of a subscript that moves with the tile's axes: the place in a register buffer."""
        form = linear(subscript, self.ranges)
        axes = [ir.Var(axis) for axis in self.tile_axes]
        return expression(Linear(0, tuple((a, c) for a, c in form.terms if a in axes)))

    def _panel_place(self, subscript: ir.IntExpr, size: int) -> tuple[ir.IntExpr, ir.IntExpr]:
        panel = simplify(ir.IntOp("/", subscript, ir.Int(size)), self.ranges)
        return panel, simplify(ir.IntOp("%", subscript, ir.Int(size)), self.ranges)


def box_subscripts(
    promotion: Promotion,
    box: Sequence[ir.IntExpr],
    *,
    panel_of: Callable[[ir.IntExpr, int], tuple[ir.IntExpr, ir.IntExpr]],
) -> Subscripts:
    """The axes of a box in the order of its buffer: panel first, place within the panel last."""
    if promotion.panel is None:
        return tuple(box[axis] for axis in promotion.axes)
    axis, size = promotion.panel
    outer, inner = panel_of(box[axis], size)
    extent = promotion.extents[axis]
    leading = [outer] if extent is None or extent > size else []
    return (*leading, *(box[a] for a in promotion.axes if a != axis), inner)
