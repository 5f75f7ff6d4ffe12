"""Packing: the operand of a register tile in panels, so that the inner loop reads memory in order.

    for t (tiles of n):                               for t:
        for m, k: c[m, n] += a[m, k] * b[k, n]   ->       for k: panel[k, :] = b[k, 16 t : 16 t + 16]
                                                          for m, k: c[m, n] += a[m, k] * panel[k, n - 16 t]

Beyond the tensor's edge panels hold zeros.

Legal where nothing below the place writes the tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.kernel.ir import Space
from comprehension.poly import isl
from comprehension.poly.access import innermost_axis, strides_of
from comprehension.poly.schedule_tree import CopyStatement, Promotion, TileMark
from comprehension.poly.scop import Scop
from comprehension.poly.tile_plan import Operand
from comprehension.poly.transform.copies import CopyLoop, graft_copy
from comprehension.poly.transform.promote import Prefix, box_of, footprint, settled_dimensions

TRANSPOSED_ROWS = 16  # contiguous elements taken at once where the panel runs across them


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """What a pack adds to a tree: the buffer, the copy and the tile mark around it."""

    promotion: Promotion
    copy: CopyStatement
    touched: isl.Map
    loops: tuple[CopyLoop, ...]
    points: tuple[CopyLoop, ...]
    mark: TileMark

    def graft(self, node: isl.ScheduleNode) -> isl.ScheduleNode:
        name = self.copy.name
        return graft_copy(node, self.touched, name, self.loops, self.points, f"tile {name}", before=True)


def pack(
    node: isl.ScheduleNode,
    statement: str,
    operand: Operand,
    extent: int,
    lower: isl.PwAff,
    scop: Scop,
    suffix: str = "",
) -> Packing | None:
    """Panels of `extent` along the operand's axis, for what is touched below `node`.

    `suffix` tells the panels of one tensor apart where several accesses have their own.
    """
    access = scop.statement(statement).accesses[operand.access]
    touched = footprint(Prefix(node, scop), [access])
    if touched is None:
        return None
    offsets, extents = box_of(touched)
    strides = strides_of(scop.program, operand.tensor)
    axis = operand.axis
    rest = [a for a in range(len(strides)) if a != axis and extents[a] != 1]
    name = f"pack {operand.tensor}{suffix}"
    promotion = Promotion(
        operand.tensor,
        f"{operand.tensor}_packed{suffix}",
        Space.SCRATCH,
        offsets,
        extents,
        frozenset({statement}),
        (*rest, axis),
        settled_dimensions(node, scop),
        panel=(axis, extent),
        access=operand.access,
    )
    copy = CopyStatement(name, promotion.buffer, operand.tensor, into_buffer=True)
    lanes = CopyLoop(axis, point=extent, lower=lower)
    tiles = CopyLoop(axis, tile=extent, lower=lower)
    contiguous = innermost_axis(strides)
    if contiguous == axis or contiguous not in rest:
        loops = (tiles, *(CopyLoop(a) for a in rest))
        return Packing(promotion, copy, touched, loops, (lanes,), TileMark(extent))
    across = CopyLoop(contiguous, point=TRANSPOSED_ROWS)
    others = tuple(CopyLoop(a) for a in rest if a != contiguous)
    loops = (tiles, *others, CopyLoop(contiguous, tile=TRANSPOSED_ROWS))
    return Packing(promotion, copy, touched, loops, (across, lanes), TileMark(extent, TRANSPOSED_ROWS))
