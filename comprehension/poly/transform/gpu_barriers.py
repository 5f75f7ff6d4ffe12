"""Barriers: where threads of a block have to wait for each other, and nowhere else.

    for t in 1:T                                   for t in 1:T
      for j on thread.x: E(j) = ...                  for j on thread.x: E(j) = ...
      for j on thread.x: O(t, j) = E(N - 1 - j)      barrier                        for E, before it is read
                                                     for j on thread.x: O(t, j) = E(N - 1 - j)
                                                     barrier                        before E is written again

In: a kernel with mapped loops and its extraction.  Out: the kernel with barriers.
From the top, a barrier stands before the first node that meets what has run since the last one (fewest barriers in a
straight line), and at the end of a loop whose next iteration meets what has run since.  The certificate proves that
these are enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.poly.proof.extract import Extraction
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.meetings import Meeting, at_equal, at_one, carried_by, meetings, positions

Numbers = frozenset[int]  # of actions
NONE: Numbers = frozenset()


def with_barriers(kernel: ir.Kernel, extraction: Extraction) -> ir.Kernel:
    """The kernel with barriers where threads meet."""
    stages, first = [], 0
    for number, stage in enumerate(kernel.stages):
        placer = _Placer(_waiting(extraction, number), first)
        body = placer.body(stage.body, 0).nodes
        first = placer.next
        stages.append(replace(stage, body=body))
    return replace(kernel, stages=tuple(stages))


@dataclass(slots=True)
class _Waiting:
    """Pairs of actions, the first earlier, whose threads must meet in between.

    `together`: in one iteration of all loops that they share; `carried[depth]`: from one iteration of the loop at that
    depth to a later one.
    """

    together: set[tuple[int, int]] = field(default_factory=set)
    carried: dict[int, set[tuple[int, int]]] = field(default_factory=dict)


def _waiting(extraction: Extraction, stage: int) -> _Waiting:
    found = _Waiting()
    for meeting in meetings(extraction, stage):
        across = _across_threads(extraction, meeting)
        if across is None:
            continue
        pair = meeting.first.number, meeting.second.number
        if not at_equal(across.pairs, meeting.shared_loops).is_empty():
            found.together.add(pair)
        for depth in range(meeting.shared_loops):
            if not carried_by(across, depth).is_empty():
                found.carried.setdefault(depth, set()).add(pair)
    return found


def _across_threads(extraction: Extraction, meeting: Meeting) -> Meeting | None:
    """The pairs of a meeting that may be of two threads of one block."""
    space = extraction.buffer(meeting.buffer).space
    if space in PRIVATE and space is not ir.Space.SHARED:
        return None
    pairs = meeting.pairs
    if space is not ir.Space.SHARED:
        pairs = pairs.intersect(at_one(positions(meeting.first, "block"), positions(meeting.second, "block")))
    pairs = pairs.subtract(at_one(positions(meeting.first, "thread"), positions(meeting.second, "thread")))
    return None if pairs.is_empty() else replace(meeting, pairs=pairs)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Nodes with their barriers; what runs before the first and after the last of these."""

    nodes: tuple[ir.Node, ...]
    before: Numbers
    after: Numbers


@dataclass(slots=True)
class _Placer:
    waiting: _Waiting
    next: int  # the number of the next action: they are counted as the extraction counts them

    def body(self, nodes: Sequence[ir.Node], depth: int) -> _Placed:
        """`depth`: how many loops stand around these nodes."""
        result: list[ir.Node] = []
        before, after, parted = NONE, NONE, False
        for node in nodes:
            placed = self._node(node, depth)
            if _meet(self.waiting.together, after, placed.before):
                result.append(ir.Barrier())
                after, parted = NONE, True
            result.extend(placed.nodes)
            before = before if parted else before | placed.before
            after |= placed.after
        return _Placed(tuple(result), before, after)

    def _node(self, node: ir.Node, depth: int) -> _Placed:
        if isinstance(node, ir.Loop) and _has_threads_inside(node):
            return self._loop(node, depth)
        if isinstance(node, ir.If) and _has_threads(node.body):
            inner = self.body(node.body, depth)
            return replace(inner, nodes=(replace(node, body=inner.nodes),))
        numbers = frozenset(self.next + count for count, _ in enumerate(_acting(node)))
        self.next += len(numbers)
        return _Placed((node,), numbers, numbers)

    def _loop(self, loop: ir.Loop, depth: int) -> _Placed:
        inner = self.body(loop.body, depth + 1)
        nodes, after = inner.nodes, inner.after
        if _meet(self.waiting.carried.get(depth, set()), inner.after, inner.before):
            nodes, after = (*nodes, ir.Barrier()), NONE
        return _Placed((replace(loop, body=nodes),), inner.before, after)


def _meet(pairs: set[tuple[int, int]], first: Numbers, second: Numbers) -> bool:
    return any(a in first and b in second for a, b in pairs)


def _has_threads_inside(loop: ir.Loop) -> bool:
    """Whether threads divide loops in it, but not the loop itself."""
    return not (loop.mapping or "").startswith("thread.") and _has_threads(loop.body)


def _has_threads(body: Sequence[ir.Node]) -> bool:
    return any((loop.mapping or "").startswith("thread.") for loop in nodes_of(tuple(body), ir.Loop))


def _acting(node: ir.Node) -> Iterator[ir.Node]:
    """The definitions and stores at or below a node."""
    return (part for part in nodes_of(node, object) if isinstance(part, ir.Define | ir.Store))
