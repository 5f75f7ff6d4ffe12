"""The last write before each read of a memory.

In: accesses with times.  Out: for each read the write whose value it sees.
Invariant: exact last writers (isl's flow analysis), not an approximation: a write that another one covers is no source.

isl's analysis compares all writes in all iterations.  Two cases need less, and are looked for first:

- Each read sees a write of its own iteration of the loops around all that touches the memory, as in most private
  buffers: that is the last one, for whatever an earlier iteration wrote came before it.
- Each cell is written once, as in most outputs: a read sees that write if it comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from comprehension.poly import isl
from comprehension.poly.proof.places import Entry


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """`writers`: read -> writes whose value it sees; `initial`: read -> element that nobody wrote before."""

    writers: isl.UnionMap
    initial: isl.UnionMap


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """One access under a name of its own: points named `relation`'s input tuple, at `time`.

    `path`: where it stands (`Place.time`); empty for what stands in no loop.
    """

    relation: isl.Map
    time: isl.Map
    path: tuple[Entry, ...] = ()

    @property
    def memory(self) -> str:
        """The name of the cells."""
        return str(self.relation.get_tuple_name(isl.dim_type.out))


def last_writers(reads: Iterable[Timed], writes: Iterable[Timed], parameters: isl.Space) -> Sources:
    """For each read the last write of the same element at an earlier time."""
    reads, writes = list(reads), list(writes)
    sinks = isl.union_map(parameters, (r.relation for r in reads))
    sources = isl.union_map(parameters, (w.relation for w in writes))
    times = isl.union_map(parameters, (a.time for a in (*reads, *writes)))
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
        return self.sources_nearby() or self.sources_of_single_writes() or self.sources_anywhere()

    def sources_anywhere(self) -> Sources:
        """The same, whatever the accesses: all writes in all iterations compared."""
        return last_writers(self.reads, self.writes, self.parameters)

    def sources_nearby(self) -> Sources | None:
        """The same where each read sees a write of its own iteration of the loops around all; None elsewhere."""
        shared = _shared_entries([timed.path for timed in (*self.reads, *self.writes)])
        if not any(isinstance(entry, str) for entry in shared):
            return None
        reads, writes = ([_in_iteration(timed, shared) for timed in of] for of in (self.reads, self.writes))
        found = last_writers(reads, writes, self.parameters)
        return found if found.initial.is_empty() else None

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


def _shared_entries(paths: Sequence[tuple[Entry, ...]]) -> tuple[Entry, ...]:
    """Where the outermost loops stand that are around all of these places, and what they are called.

    Equal positions down to a loop are the same loop, whatever its variable is called.
    """
    return tuple(entries[0] for entries in takewhile(lambda e: len(set(e)) == 1, zip(*paths, strict=False)))


def _in_iteration(timed: Timed, shared: Sequence[Entry]) -> Timed:
    """The access, its cells told apart by the iteration of outer loops, its time counted within that.

    These loops are a point's first dimensions.
    """
    loops = sum(isinstance(entry, str) for entry in shared)
    points = isl.Map.identity(timed.relation.get_space().domain().map_from_set())
    iteration = points.project_out(isl.dim_type.out, loops, points.dim(isl.dim_type.out) - loops)
    cells = iteration.set_tuple_name(isl.dim_type.out, "iteration").flat_range_product(timed.relation)
    time = timed.time.project_out(isl.dim_type.out, 0, len(shared))
    return Timed(cells.set_tuple_name(isl.dim_type.out, timed.memory), time)
