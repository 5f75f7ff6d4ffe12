"""Random words: Philox4x32-10 (`lang.philox`) on scalars or vectors.

In: six `Lanes` of uint32.  Out: `Lanes` of uint32.
Invariant: integer arithmetic alone, so every target gives the same bits.

A word lives in the low half of 64 bits, with anything in the high half: the one multiplication that vectors have for
32 bits by 32 reads low halves only and gives all 64 bits of a product.  So a round is two of these, two shifts and
two exclusive ors of three; nothing is narrowed before the end.
"""

from __future__ import annotations

from numba import types

from comprehension.codegen.arithmetic import emit_convert
from comprehension.codegen.lanes import Lanes
from comprehension.lang.philox import MULTIPLIERS, ROUNDS, WEYL

_LOW = 0xFFFFFFFF


def philox(*words: Lanes) -> Lanes:
    """Word 0 of the block that a counter (c0, c1, c2, c3) selects under a key (k0, k1)."""
    c0, c1, c2, c3, k0, k1 = (emit_convert(word, types.uint64) for word in words)
    for number in range(ROUNDS):
        first, second = (c0 & _LOW) * MULTIPLIERS[0], (c2 & _LOW) * MULTIPLIERS[1]
        c0, c1 = (second >> 32) ^ c1 ^ (k0 + number * WEYL[0]), second
        c2, c3 = (first >> 32) ^ c3 ^ (k1 + number * WEYL[1]), first
    return emit_convert(c0, types.uint32)
