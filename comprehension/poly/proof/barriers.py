"""Property 6, on a GPU: threads that depend on each other meet at a barrier in between.

In: an `Extraction` of a kernel whose loops are mapped.  Out: findings.
The other properties are those of the loops as they stand, one iteration after another; this one says that blocks and
threads side by side do the same:

- every store stands under one loop of each dimension that its stage divides, so that one thread runs it;
- what different blocks do never meets in memory that they share;
- where two threads of a block meet, the order of the loops is kept by a barrier, at which all threads of the block
  arrive: it stands in no loop that threads divide.  A block runs one unit after another, so that what it keeps in
  memory of its own must be safe from its next unit, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.poly.proof.extract import Extraction, Wait
from comprehension.poly.proof.instances import PRIVATE
from comprehension.poly.proof.meetings import Meeting, at_one, between, mapping_of, meetings, positions
from comprehension.poly.proof.verdict import Finding, Property, Violation, must_be_empty


def check_barriers(extraction: Extraction) -> Iterator[Finding]:
    for number, stage in enumerate(extraction.kernel.stages):
        used = {loop.mapping for loop in nodes_of(stage, ir.Loop) if loop.mapping is not None}
        waits = [wait for wait in extraction.waits if wait.stage == number]
        yield from _run_by_one(extraction, number, used)
        yield from _arrived_at(waits)
        if used:
            for meeting in meetings(extraction, number):
                yield from _kept_in_order(extraction, meeting, waits)


def _run_by_one(extraction: Extraction, stage: int, used: set[str]) -> Iterator[Finding]:
    for action in extraction.actions:
        if action.stage != stage:
            continue
        own = [mapping for loop in action.loops if (mapping := mapping_of(loop)) is not None]
        for mapping in sorted(used):
            if own.count(mapping) != 1:
                what = f"{action.place}: stands under {own.count(mapping)} loops of {mapping}, which its stage divides"
                yield Violation(Property.BARRIERS, what)


def _arrived_at(waits: list[Wait]) -> Iterator[Finding]:
    for wait in waits:
        for loop in wait.loops:
            if (mapping_of(loop) or "").startswith("thread."):
                what = f"{wait.place}: not all threads come to a barrier inside of a loop that they divide"
                yield Violation(Property.BARRIERS, what)


def _kept_in_order(extraction: Extraction, meeting: Meeting, waits: list[Wait]) -> Iterator[Finding]:
    space = extraction.buffer(meeting.buffer).space
    if space in PRIVATE and space is not ir.Space.SHARED:
        return  # each thread has its own
    pairs = meeting.pairs
    if space is not ir.Space.SHARED:
        one_block = at_one(positions(meeting.first, "block"), positions(meeting.second, "block"))
        yield from must_be_empty(Property.BARRIERS, pairs.subtract(one_block), f"{meeting.what}, in another block")
        pairs = pairs.intersect(one_block)
    one_thread = at_one(positions(meeting.first, "thread"), positions(meeting.second, "thread"))
    pairs = pairs.subtract(one_thread)
    if not pairs.is_empty():
        unordered = pairs.subtract(between(meeting.first, meeting.second, waits))
        what = f"{meeting.what}, in another thread, without a barrier in between"
        yield from must_be_empty(Property.BARRIERS, unordered, what)
