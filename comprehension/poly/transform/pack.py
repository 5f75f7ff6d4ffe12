"""Panels: an operand of a register tile so that the inner loop reads memory in order, or its sums between blocks.

    for t (tiles of n):                               for t:
        for m, k: c[m, n] += a[m, k] * b[k, n]   ->       for k: panel[k, :] = b[k, 16 t : 16 t + 16]
                                                          for m, k: c[m, n] += a[m, k] * panel[k, n - 16 t]

    for b (blocks of k):                              for b, tiles, k in b: held[t, m, :] += a[m, k] * b[k, tile t]
        for tiles, k in b: c[m, n] += ...        ->   for t, m: c[m, tile t] = held[t, m, :]

Beyond the tensor's edge packed panels hold zeros.

Legal where nothing below the place writes a packed tensor, and where what stands below writes each element of a held
one before it reads it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from comprehension.kernel.ir import Space
from comprehension.poly import isl
from comprehension.poly.access import innermost_axis, strides_of
from comprehension.poly.schedule_tree import CopyStatement, Promotion, TileMark
from comprehension.poly.scop import Scop
from comprehension.poly.tile_plan import Operand
from comprehension.poly.transform.copies import CopyLoop, graft_copy
from comprehension.poly.transform.promote import Prefix, box_of, footprint

TRANSPOSED_ROWS = 16  # contiguous elements taken at once where the panel runs across them


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """What panels add to a tree: the buffer, the copy and the tile mark around it."""

    promotion: Promotion
    copy: CopyStatement
    touched: isl.Map
    loops: tuple[CopyLoop, ...]
    points: tuple[CopyLoop, ...]
    mark: TileMark

    def graft(self, node: isl.ScheduleNode) -> isl.ScheduleNode:
        name, first = self.copy.name, self.copy.into_buffer
        return graft_copy(node, self.touched, name, self.loops, self.points, f"tile {name}", before=first)


def pack(
    prefix: Prefix,
    statement: str,
    operand: Operand,
    extent: int,
    lower: isl.PwAff,
    suffix: str = "",
) -> Panels | None:
    """Panels of `extent` along the operand's axis, for what is touched below the node of `prefix`.

    `suffix` tells the panels of one tensor apart where several accesses have their own.
    """
    touched = footprint(prefix, [prefix.scop.statement(statement).accesses[operand.access]])
    if touched is None:
        return None
    offsets, extents = box_of(touched)
    rest = _beside(operand, extents)
    promotion = Promotion(
        operand.tensor,
        f"{operand.tensor}_packed{suffix}",
        Space.SCRATCH,
        offsets,
        extents,
        frozenset({statement}),
        (*rest, operand.axis),
        prefix.settled,
        panel=(operand.axis, extent),
        access=operand.access,
    )
    copy = CopyStatement(f"pack {operand.tensor}{suffix}", promotion.buffer, operand.tensor, into_buffer=True)
    return _panels(promotion, copy, touched, lower, prefix.scop)


def hold(
    prefix: Prefix,
    names: Collection[str],
    operand: Operand,
    extent: int,
    lower: isl.PwAff,
    suffix: str = "",
) -> Panels | None:
    """Panels of `extent` along the operand's axis, in which the sums of the statements `names` stay while they run."""
    touched = footprint(prefix, [a for a in prefix.scop.accesses_to(operand.tensor) if a.statement in names])
    if touched is None:
        return None
    offsets, extents = box_of(touched)
    promotion = Promotion(
        operand.tensor,
        f"{operand.tensor}_held{suffix}",
        Space.SCRATCH,
        offsets,
        extents,
        frozenset(names),
        (*_beside(operand, extents), operand.axis),
        prefix.settled,
        panel=(operand.axis, extent),
        is_home=True,
    )
    copy = CopyStatement(f"unpack {operand.tensor}{suffix}", promotion.buffer, operand.tensor, into_buffer=False)
    return _panels(promotion, copy, touched, lower, prefix.scop)


def _beside(operand: Operand, extents: tuple[int | None, ...]) -> list[int]:
    """The axes of a box besides that of its panels, without those of one element."""
    return [axis for axis, extent in enumerate(extents) if axis != operand.axis and extent != 1]


def _panels(promotion: Promotion, copy: CopyStatement, touched: isl.Map, lower: isl.PwAff, scop: Scop) -> Panels:
    """The copy in tiles: whole pieces of memory where the tensor is contiguous along the lanes, else across them."""
    assert promotion.panel is not None
    axis, extent = promotion.panel
    rest = [each for each in promotion.axes if each != axis]
    lanes = CopyLoop(axis, point=extent, lower=lower)
    tiles = CopyLoop(axis, tile=extent, lower=lower)
    contiguous = innermost_axis(strides_of(scop.program, promotion.tensor))
    if contiguous == axis or contiguous not in rest:
        loops = (tiles, *(CopyLoop(a) for a in rest))
        return Panels(promotion, copy, touched, loops, (lanes,), TileMark(extent))
    across = CopyLoop(contiguous, point=TRANSPOSED_ROWS)
    others = tuple(CopyLoop(a) for a in rest if a != contiguous)
    loops = (tiles, *others, CopyLoop(contiguous, tile=TRANSPOSED_ROWS))
    return Panels(promotion, copy, touched, loops, (across, lanes), TileMark(extent, TRANSPOSED_ROWS))
