"""What a check of an indirect subscript says: which subscript left its tensor.

In: made where checks are (`codegen.checks`).  Out: kept in manifests, shown by launches.
Invariant: `statement` is the loop program's name of a statement, `tensor` and `axis` are as it has them, so that the
access can be found in the text again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outside:
    """Subscript `axis` of `tensor` in `statement` (empty where a value is shared) is out of range.

    >>> print(Outside("A", 0, "S1").seen(7, 3))
    S1: subscript 0 of A is out of range: 7, where 0 to 2 are allowed
    """

    tensor: str
    axis: int
    statement: str = ""
    unsigned: bool = False  # the subscript is a value of type uint64: the 64 bits of `seen` are to be read as such

    def __str__(self) -> str:
        place = f"{self.statement}: " if self.statement else ""
        return f"{place}subscript {self.axis} of {self.tensor} is out of range"

    def seen(self, subscript: int, extent: int) -> str:
        """The message for a subscript (as a signed number of 64 bits) and the size that it had to stay below."""
        found = subscript % (1 << 64) if self.unsigned else subscript
        allowed = f"where 0 to {extent - 1} are allowed" if extent > 0 else f"and '{self.tensor}' has no elements there"
        return f"{self}: {found}, {allowed}"
