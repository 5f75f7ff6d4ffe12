"""What a generated module imports: memory, regions of tile points, and operations on scalars and tiles.

In: generated source.  Out: nothing but names; each is an intrinsic that becomes a few LLVM instructions.
Invariant: a name here means the same for scalars and tiles.
"""

from __future__ import annotations

from comprehension.codegen.arithmetic import (
    convert,
    floor_div,
    floor_mod,
    fma,
    half,
    logical_not,
    maximum,
    minimum,
    select,
)
from comprehension.codegen.cycle import load_cycle, sum_neighbours
from comprehension.codegen.fold import (
    keep,
    max_lanes,
    max_rows,
    min_lanes,
    min_rows,
    product_lanes,
    product_rows,
    ramp,
    spread,
    spread_lanes,
    spread_rows,
    sum_lanes,
    sum_rows,
)
from comprehension.codegen.memory import buffer, scratch_buffer
from comprehension.codegen.move import move
from comprehension.codegen.quotient import quotient
from comprehension.codegen.region import (
    afresh,
    gather,
    gather_where,
    load,
    load_where,
    scatter,
    store,
    tile,
    tile_part,
    tile_within,
)
from comprehension.codegen.stream import ahead, settle, stream
from comprehension.codegen.window import max_window, min_window

__all__ = [
    "afresh",
    "ahead",
    "buffer",
    "convert",
    "floor_div",
    "floor_mod",
    "fma",
    "gather",
    "gather_where",
    "half",
    "keep",
    "load",
    "load_cycle",
    "load_where",
    "logical_not",
    "max_lanes",
    "max_rows",
    "max_window",
    "maximum",
    "min_lanes",
    "min_rows",
    "min_window",
    "minimum",
    "move",
    "product_lanes",
    "product_rows",
    "quotient",
    "ramp",
    "scatter",
    "scratch_buffer",
    "select",
    "settle",
    "spread",
    "spread_lanes",
    "spread_rows",
    "store",
    "stream",
    "sum_lanes",
    "sum_neighbours",
    "sum_rows",
    "tile",
    "tile_part",
    "tile_within",
]
