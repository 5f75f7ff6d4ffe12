"""Which loops of a stage could be divided, and where their iterations would have to wait for each other.

In: the extraction of a kernel whose loops are not mapped yet.  Out: answers about its loops, by identity.
Invariant: a loop is called parallel only if no iteration of it depends on another through memory that they share, and
none reads from a local buffer what another has left there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comprehension.kernel import ir
from comprehension.poly import isl
from comprehension.poly.proof.extract import Action, Extraction
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.meetings import (
    Loop,
    Meeting,
    at_equal,
    at_one,
    at_unequal,
    carried_by,
    meetings,
    positions,
)
from comprehension.poly.proof.writers import Timed, last_writers

DividedBy = Callable[[Loop], str | None]


@dataclass(slots=True, eq=False)
class Parallelism:
    """Of one stage."""

    extraction: Extraction
    stage: int
    meetings: list[Meeting] = field(init=False)
    _parallel: dict[int, bool] = field(default_factory=dict)
    _flows: dict[str, isl.UnionMap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.meetings = list(meetings(self.extraction, self.stage))

    def is_parallel(self, loop: ir.Loop) -> bool:
        """Whether its iterations may run in any order, local buffers being each iteration's own."""
        if id(loop) not in self._parallel:
            self._parallel[id(loop)] = not any(self._is_carried(meeting, loop) for meeting in self.meetings)
        return self._parallel[id(loop)]

    def _is_carried(self, meeting: Meeting, loop: ir.Loop) -> bool:
        depth = _depth_of(loop, meeting)
        if depth is None or carried_by(meeting, depth).is_empty():
            return False
        if self.extraction.buffer(meeting.buffer).space not in PRIVATE:
            return True
        users = [action for action in self.extraction.touching(meeting.buffer) if action.stage == self.stage]
        if not all(any(around is loop for around in user.loops) for user in users):
            return True
        return self._flows_across(meeting.buffer, depth)

    def _flows_across(self, buffer: str, depth: int) -> bool:
        """Whether a read sees what another iteration of a loop wrote; all users stand in that loop."""
        if buffer not in self._flows:
            self._flows[buffer] = self._flow(buffer)
        return any(not at_unequal(at_equal(m, depth), depth).is_empty() for m in isl.maps_of(self._flows[buffer]))

    def _flow(self, buffer: str) -> isl.UnionMap:
        """Reads -> the writes that they see."""
        reads, writes = [], []
        for action in self.extraction.touching(buffer):
            if action.stage != self.stage:
                continue
            for number, read in enumerate(action.reads):
                if read.buffer == buffer:
                    name = f"{action.name}r{number}"
                    both = (part.set_tuple_name(isl.dim_type.in_, name) for part in (read.relation, read.time))
                    reads.append(Timed(*both))
            if action.write is not None and action.write.buffer == buffer:
                writes.append(Timed(action.write.relation, action.time))
        return last_writers(reads, writes, self.extraction.context.get_space()).writers

    def needs_barrier(self, loop: ir.Loop, divided_by: DividedBy) -> bool:
        """Whether threads that share an iteration of the loop depend on each other, if loops inside are so divided."""
        for meeting in self.meetings:
            depth = _depth_of(loop, meeting)
            if depth is None or self._is_own(meeting.buffer, divided_by):
                continue
            first, second = (positions(node, "thread", divided_by) for node in (meeting.first, meeting.second))
            if not at_equal(meeting.pairs, depth + 1).subtract(at_one(first, second)).is_empty():
                return True
        return False

    def _is_own(self, buffer: str, divided_by: DividedBy) -> bool:
        """Whether a local buffer is used inside of one divided loop only: each thread then has its own."""
        if self.extraction.buffer(buffer).space not in PRIVATE:
            return False
        users = [action for action in self.extraction.touching(buffer) if action.stage == self.stage]
        return len({_home(action, divided_by) for action in users}) == 1


def _depth_of(loop: ir.Loop, meeting: Meeting) -> int | None:
    """The dimension of a loop that both actions of a meeting stand in."""
    shared = meeting.first.loops[: meeting.shared_loops]
    return next((depth for depth, around in enumerate(shared) if around is loop), None)


def _home(action: Action, divided_by: DividedBy) -> int:
    """The innermost divided loop around an action, by identity; 0 where there is none."""
    return next((id(loop) for loop in reversed(action.loops) if divided_by(loop) is not None), 0)
