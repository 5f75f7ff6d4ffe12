"""Philox4x32-10: random words as a pure function of a counter and a key.

In: four counter words and two key words, uint32.  Out: word 0 of the block that they select.
Invariant: this function and its constants are what every target computes, bit for bit.
Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key's words after each round
ROUNDS = 10
_MASK = 0xFFFFFFFF


def philox(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> int:
    """Word 0 for the counter (c0, c1, c2, c3), least word first, under the key (k0, k1).

    >>> hex(philox(0, 0, 0, 0, 0, 0))
    '0x6627e8d5'
    """
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & _MASK, (first >> 32) ^ c3 ^ k1, first & _MASK
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0
