"""How long steps are recorded in vain before recording rests, and for how long it rests.

In: the steps of one function that were recorded, with the time that they took.  Out: when to rest, for how many steps.
Invariant: rests double at least; from `LATER_REST` on, what is recorded in vain takes `MOST_LOST` of the program's time
at most.
"""

from __future__ import annotations

TRIES = 16  # steps in a row, traced or fallen back, before recording rests; a quarter of it after a rest
FIRST_REST, LONGEST_REST = 16, 4096  # steps; each rest is at least twice as long as the one before
LATER_REST = 4 * FIRST_REST  # from here on also long enough for what was recorded in vain before it to be
MOST_LOST = 0.05  # of the program's time at most


class Patience:
    """What is left of it.  `in_vain`: steps recorded since there was reason for hope."""

    __slots__ = ("_began", "_rest", "_resting", "_tries", "_vain_s", "in_vain")

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """A step was co-executed, or nothing is known yet."""
        self.hope()
        self._tries = TRIES
        self._rest = FIRST_REST

    def hope(self) -> None:
        """What was in vain so far may not have been: sizes, say, are treated in another way from now on."""
        self.in_vain = 0
        self._vain_s = 0.0

    def begin(self, now: float) -> None:
        """A step begins."""
        self._began = now

    def lose(self, now: float) -> bool:
        """The step under way was recorded in vain; whether that was one too many."""
        self.in_vain += 1
        self._vain_s += now - self._began
        return self.in_vain >= self._tries

    def take_rest(self, eager_s: float) -> int:
        """A rest begins; how many steps it lasts.  `eager_s`: what an eager one takes, 0 where unknown."""
        if self._rest >= LATER_REST and eager_s:
            self._rest = min(max(self._rest, int(self._vain_s / (MOST_LOST * eager_s))), LONGEST_REST)
        self.hope()
        self._tries = TRIES // 4
        self._resting = self._rest  # steps left of the rest under way
        self._rest = min(2 * self._rest, LONGEST_REST)
        return self._resting

    def wake(self) -> bool:
        """One more step of the rest is over; whether it was the last."""
        self._resting -= 1
        return not self._resting
