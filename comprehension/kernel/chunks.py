"""Chunks: a stage with next to nothing to run in parallel shares its long reductions among workers.

    acc = 0                                  parallel chunk in 0:ceil(K / C):
    for k in 0:K: acc += x[k]        ->          part = 0
    s = s + fold(acc)                            for k in C chunk : min(C chunk + C, K): part += x[k]
                                                 parts[chunk] = part
                                             acc = 0
                                             for chunk: acc += parts[chunk]
                                             s = s + fold(acc)

In: a stage, the sites of its kernel.  Out: the stages that it becomes.
Invariant: chunks are cut by sizes alone, and combined in order: the result does not depend on the number of workers.
What a reduction reads has been written by an earlier stage; no register or scratch lives from one stage to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import simplify
from comprehension.kernel.sites import Nodes, Parts, Site, Sites, combined, filled, moved_into, stored
from comprehension.kernel.walk import accesses_in

CHUNK = 1 << 16  # terms of a worker's chunk: some 20 µs of reading
FEWEST_CHUNKS = 4
ENOUGH_PARALLEL = 8  # units that a stage needs, so that its reductions need not be divided
NUMBER = "chunk"


def in_chunks(stage: ir.Stage, sites: Sites) -> list[ir.Stage]:
    """The stages that a stage becomes: chunks of its long reductions, and what remains of it."""
    if stage.parallel is not None and not _is_narrow(stage.parallel):
        return [stage]
    body = stage.body
    if len(body) == 1 and isinstance(guard := body[0], ir.If):  # sizes that leave nothing to do
        inside = _Cutter(sites, replace(stage, body=guard.body)).stages()
        return [replace(part, body=(replace(guard, body=part.body),)) for part in inside]
    return _Cutter(sites, stage).stages()


def _is_narrow(loop: ir.Loop) -> bool:
    """Too few units for workers to share, whatever the sizes."""
    width = simplify(ir.IntOp("-", loop.upper, loop.lower))
    return isinstance(width, ir.Int) and width.value < ENOUGH_PARALLEL * loop.step


@dataclass(slots=True)
class _Cutter:
    """Cuts one stage: `done` are stages that come before; `chunks` run before `later`, what is left of the stage."""

    sites: Sites
    stage: ir.Stage
    done: list[ir.Stage] = field(default_factory=list)
    chunks: list[tuple[Site, Parts, Parts]] = field(default_factory=list)  # site, parts of a chunk, parts of all
    later: list[ir.Node] = field(default_factory=list)

    def stages(self) -> list[ir.Stage]:
        for node in self.stage.body:
            site = self.sites.site(node)
            long = site is not None and site.trips * site.points >= FEWEST_CHUNKS * CHUNK
            kept = self._chunked(site) if site is not None and long and self._may_go_first(site) else (node,)
            self.later.extend(kept)
        first = [self._first()] if self.chunks else []
        return [*self.done, *first, self._rest(self.later)]

    def _may_go_first(self, site: Site) -> bool:
        """Whether the loop's chunks can run before all that stands before it in the stage, or that can be cut off."""
        reads = _touched([site.loop]) - site.names
        if reads & self._private or any(True for _ in nodes_of(site.loop, ir.Local)):
            return False
        known = self.chunks[-1][0].loop if self.chunks else site.loop
        alike = (known.lower, known.upper, known.step) == (site.loop.lower, site.loop.upper, site.loop.step)
        if alike and not reads & _written(self.later):
            return True
        return self._cut(site) and not reads & _written(self.later)

    def _cut(self, site: Site) -> bool:
        """Makes stages of all that stands before the site's accumulator is set, if nothing private lives across."""
        start = next((i for i, node in enumerate(self.later) if site.names & _touched([node])), len(self.later))
        head, tail = self.later[:start], self.later[start:]
        across = _touched(head) & _touched([*tail, site.loop]) & self._private
        if across or any(True for _ in nodes_of(tuple(head), ir.Define)):
            return False
        if self.chunks:
            self.done.append(self._first())
        if head:
            self.done.append(self._rest(head))
        self.chunks, self.later = [], tail
        return True

    @property
    def _private(self) -> set[str]:
        """What a worker has to itself: accumulators, panels, boxes."""
        own = (ir.Space.REGISTER, ir.Space.SCRATCH)
        return {buffer.name for buffer in self.sites.kernel.buffers if buffer.space in own}

    def _chunked(self, site: Site) -> Nodes:
        """Notes the site's chunks; what stands in its place."""
        count, header = self._count(site), self.stage.parallel
        rows = () if header is None else (simplify(ir.IntOp("-", header.upper, header.lower)),)
        buffers = [each.buffer for each in site.accumulators]
        own = tuple(self.sites.add(replace(buffer, name=f"{buffer.name}_chunk")) for buffer in buffers)
        shared = [replace(b, shape=(count, *rows, *b.shape), space=ir.Space.WORKSPACE) for b in buffers]
        parts = tuple(self.sites.add(replace(buffer, name=f"{buffer.name}_parts")) for buffer in shared)
        self.chunks.append((site, own, parts))
        self.sites.notes.append(f"{site.operators}, in chunks of {_size(site) * site.points} terms")
        combination = combined(site, site.start(NUMBER, _size(site)), parts, self._place())
        return site.if_any((ir.Loop(NUMBER, ir.Int(0), count, combination),))

    def _count(self, site: Site) -> ir.IntExpr:
        step = _size(site) * site.loop.step
        width = ir.IntOp("+", ir.IntOp("-", site.loop.upper, site.loop.lower), ir.Int(step - 1))
        return simplify(ir.IntOp("/", width, ir.Int(step)))

    def _place(self) -> tuple[ir.IntExpr, ...]:
        """Where a chunk's results stand among all."""
        header = self.stage.parallel
        row = () if header is None else (simplify(ir.IntOp("-", ir.Var(header.variable), header.lower)),)
        return (ir.Var(NUMBER), *row)

    def _first(self) -> ir.Stage:
        """The stage of the chunks noted so far."""
        body: list[ir.Node] = []
        for site, own, parts in self.chunks:
            first = site.start(NUMBER, _size(site))
            end = ir.IntOp("+", first, ir.Int(_size(site) * site.loop.step))
            last = simplify(ir.IntOp("min", end, site.loop.upper))
            loop = replace(site.loop, lower=first, upper=last, body=moved_into(own, site))
            body += [*filled(site, own), loop, *stored(site, first, own, parts, self._place())]
        header = self.stage.parallel
        inner = tuple(body) if header is None else (replace(header, body=tuple(body)),)
        count = self._count(self.chunks[0][0])
        return replace(self.stage, body=inner, parallel=ir.Loop(NUMBER, ir.Int(0), count, ()), grain=1)

    def _rest(self, body: Sequence[ir.Node]) -> ir.Stage:
        return replace(self.stage, body=tuple(body))


def _size(site: Site) -> int:
    """Iterations of a chunk."""
    return max(1, CHUNK // site.points)


def _touched(nodes: Sequence[ir.Node]) -> set[str]:
    return {access.buffer for node in nodes for access in accesses_in(node)}


def _written(nodes: Sequence[ir.Node]) -> set[str]:
    return {store.buffer for node in nodes for store in nodes_of(node, ir.Store)}
