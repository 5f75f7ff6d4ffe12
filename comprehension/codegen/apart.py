"""Lanes that lie a few elements apart: whole vectors are loaded, and the lanes picked from them in registers.

In: where the first lane lies, and a literal stride of 2 to `NEAR`.  Out: a vector of the lanes.
Invariant: nothing is read before the first lane or behind the last one.  What lies between lanes is read along with
them and never used: a few elements between two that are read are there as well.  With a mask only lanes are read.

Of W lanes the vectors begin at every W-th element, but the last one ends with the last lane (stride 2, 4 lanes):

    0 . 2 .        and        . 4 . 6
"""

from __future__ import annotations

from llvmlite import ir

from comprehension.codegen.lanes import constant_vector, shuffle
from comprehension.codegen.memory import Memory
from comprehension.machine import NEAR


def is_near(stride: int | None, width: int) -> bool:
    """Whether lanes so far apart are read in this way."""
    return stride is not None and 1 < stride <= NEAR <= width


def vector_starts(stride: int, width: int) -> list[int]:
    """Where the vectors begin, in elements behind the first lane.

    >>> vector_starts(2, 8)
    [0, 7]
    """
    return [*(number * width for number in range(stride - 1)), stride * (width - 1) + 1 - width]


def read_apart(
    builder: ir.IRBuilder, memory: Memory, first: ir.Value, stride: int, width: int, active: ir.Value | None
) -> ir.Value:
    """The elements at `first + lane * stride`; 0 where a lane is not active."""
    starts = vector_starts(stride, width)
    vectors = [lane * stride // width for lane in range(width)]  # of each lane, its vector, and its place there
    places = [lane * stride - starts[vector] for lane, vector in enumerate(vectors)]
    found: ir.Value | None = None
    picked = places
    for number, start in enumerate(starts):
        address = memory.address(builder.add(first, ir.Constant(first.type, start)))
        if active is None:
            loaded = memory.read(address, width)
        else:
            here = {place: lane for lane, place in enumerate(places) if vectors[lane] == number}
            nothing = constant_vector(active.type.element, [0] * width)
            wanted = shuffle(builder, active, nothing, [here.get(place, width) for place in range(width)])
            loaded = memory.read_masked(address, wanted)
        if found is None:
            found = loaded
        else:
            order = [width + place if vectors[lane] == number else picked[lane] for lane, place in enumerate(places)]
            picked, found = list(range(width)), shuffle(builder, found, loaded, order)
    assert found is not None
    return found
