"""The last write before each read of a memory.

In: accesses with times.  Out: for each read the write whose value it sees.
Invariant: exact last writers (isl's flow analysis), not an approximation: a write that another one covers is no source.

isl's analysis compares all writes in all iterations.  Where each cell is written once, as in most outputs, a read sees
that write if it comes later: this is looked for first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from comprehension.poly import isl


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """`writers`: read -> writes whose value it sees; `initial`: read -> element that nobody wrote before."""

    writers: isl.UnionMap
    initial: isl.UnionMap


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """One access under a name of its own: points named `relation`'s input tuple, at `time`."""

    relation: isl.Map
    time: isl.Map

    @property
    def memory(self) -> str:
        """The name of the cells."""
        return str(self.relation.get_tuple_name(isl.dim_type.out))


def last_writers(reads: Iterable[Timed], writes: Iterable[Timed], parameters: isl.Space) -> Sources:
    """For each read the last write of the same element at an earlier time.

    Times are counted behind a constant: isl 2026.2 finds wrong writers for reads that share not even a first dimension
    of time with several writes of one loop.
    """
    reads, writes = list(reads), list(writes)
    sinks = isl.union_map(parameters, (r.relation for r in reads))
    sources = isl.union_map(parameters, (w.relation for w in writes))
    zero = isl.Val(0, parameters.get_ctx())
    later = (a.time.insert_dims(isl.dim_type.out, 0, 1).fix_val(isl.dim_type.out, 0, zero) for a in (*reads, *writes))
    times = isl.union_map(parameters, later)
    info = isl.UnionAccessInfo.from_sink(sinks).set_must_source(sources).set_schedule_map(times)
    flow = info.compute_flow()
    return Sources(flow.get_must_dependence().reverse(), flow.get_must_no_source())


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """All that touches the cells of one name."""

    parameters: isl.Space
    reads: list[Timed] = field(default_factory=list)
    writes: list[Timed] = field(default_factory=list)

    def sources(self) -> Sources:
        """For each read the last write."""
        return self.sources_of_single_writes() or self.sources_anywhere()

    def sources_anywhere(self) -> Sources:
        """The same, whatever the accesses: all writes in all iterations compared."""
        return last_writers(self.reads, self.writes, self.parameters)

    def sources_of_single_writes(self) -> Sources | None:
        """The same where no cell is written twice; None elsewhere."""
        if not isl.union_map(self.parameters, (write.relation for write in self.writes)).is_injective():
            return None
        pairs = (
            read.relation.apply_range(write.relation.reverse()).intersect(read.time.lex_gt_map(write.time))
            for read in self.reads
            for write in self.writes
        )
        writers = isl.union_map(self.parameters, pairs)
        reads = isl.union_map(self.parameters, (read.relation for read in self.reads))
        return Sources(writers, reads.subtract_domain(writers.domain()))


def sources_in(memories: Iterable[Memory], parameters: isl.Space) -> Sources:
    """Those of several memories."""
    writers, initial = isl.union_map(parameters, ()), isl.union_map(parameters, ())
    for sources in (memory.sources() for memory in memories):
        writers, initial = writers.union(sources.writers), initial.union(sources.initial)
    return Sources(writers, initial)
