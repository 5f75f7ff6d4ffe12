"""Property 1 for tensors that live in their own buffer: every dependence runs forward in the kernel.

In: a Scop and an `Extraction`.  Out: findings.
Dependences are made here again from the Scop's accesses and order, so that the proof does not rest on the
analysis that the scheduler used: all pairs of accesses to one element of which one writes.  Under
math="fast" the pairs inside one declared reduction may run in any order.
"""

from __future__ import annotations

from collections.abc import Iterator

from comprehension.poly import isl
from comprehension.poly.proof.extract import Access, Action, Extraction
from comprehension.poly.proof.instances import inside
from comprehension.poly.proof.verdict import Finding, Property, must_be_empty
from comprehension.poly.scop import Scop, ScopAccess, ScopRole, ScopStatement


def is_reorderable(statement: ScopStatement) -> bool:
    """An update whose value does not read what it updates: its instances commute."""
    if statement.role is not ScopRole.UPDATE:
        return False
    *others, own = statement.reads
    return all(read.tensor != own.tensor for read in others)


def check_order(scop: Scop, extraction: Extraction, tensors: set[str], *, fast: bool) -> Iterator[Finding]:
    """The dependences through `tensors`."""
    keeper = _Order(scop, extraction, fast=fast)
    for tensor in sorted(tensors):
        accesses = scop.accesses_to(tensor)
        writes = [a for a in accesses if a.is_write]
        for a in accesses:
            for b in accesses if a.is_write else writes:
                yield from keeper.violations(scop.statement(a.statement), a, scop.statement(b.statement), b)


class _Order:
    def __init__(self, scop: Scop, extraction: Extraction, *, fast: bool) -> None:
        self.fast = fast
        self.order = scop.times
        self.extraction = extraction
        self.times: dict[tuple[str, int], isl.Map | None] = {}

    def violations(
        self, first: ScopStatement, a: ScopAccess, second: ScopStatement, b: ScopAccess
    ) -> Iterator[Finding]:
        """a of `first` comes before b of `second` in the Scop, but not in the kernel."""
        own = (0, len(first.accesses) - 1)
        inner = first is second and a.number in own and b.number in own
        if inner and self.fast and is_reorderable(first) and self.updates_at_once(first):
            return
        before = self.order[first.name].lex_lt_map(self.order[second.name])
        must = a.relation.apply_range(b.relation.reverse()).intersect(before)
        early, late = self.time(first, a), self.time(second, b)
        if must.is_empty() or early is None or late is None:
            return
        broken = must.intersect(early.lex_ge_map(late))
        what = f"{first.name} must {_verb(a)} {a.tensor} before {second.name} does {_verb(b)} it, but it does not"
        yield from must_be_empty(Property.DEPENDENCES, broken, what)

    def updates_at_once(self, statement: ScopStatement) -> bool:
        """Whether each update reads its target in the very store that writes it: nothing can come in between."""
        target = statement.accesses[-1]
        return all(
            read.time.is_equal(action.time)
            for action in self.extraction.executing(statement.name)
            for read in performed_by(action, target)
        )

    def time(self, statement: ScopStatement, access: ScopAccess) -> isl.Map | None:
        """When each instance performs the access in the kernel; None if it never does."""
        key = (statement.name, access.number)
        if key not in self.times:
            total: isl.Map | None = None
            for action in self.extraction.executing(statement.name):
                instances = inside(action, statement).reverse()
                for performed in performed_by(action, access):
                    part = instances.apply_range(performed.time)
                    total = part if total is None else total.union(part)
            self.times[key] = total
        return self.times[key]


def performed_by(action: Action, access: ScopAccess) -> list[Access]:
    """The loads or the store of an action that perform this access of its statement."""
    if access.is_write:
        assert action.write is not None
        return [action.write]
    return [read for read in action.reads if read.number == access.number]


def _verb(access: ScopAccess) -> str:
    return "write" if access.is_write else "read"
