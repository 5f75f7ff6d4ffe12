"""Scalars in registers: an element that a run of statements uses again and again is kept by the thread.

    C(m, n) = 0                          c = 0
    for k: C(m, n) += A(m, k) * B(k, n)  for k: c += A(m, k) * B(k, n)
    C(m, n) = max(C(m, n), 0)            c = max(c, 0)
                                         C(m, n) = c

In: a kernel with mapped loops.  Out: the same with scalar REGISTER buffers.
A run is kept where every access in it to the buffer is to one element that does not change during the run, and a loop
in it uses the element.  Where the run does not begin by writing the element, it is read first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of, rewrite
from comprehension.kernel.walk import accesses_in, walk_nodes
from comprehension.poly.transform.names import Names

Body = tuple[ir.Node, ...]
_MEMORY = (ir.Space.OUTPUT, ir.Space.WORKSPACE, ir.Space.SHARED, ir.Space.SCRATCH)


def keep_in_registers(kernel: ir.Kernel, names: Names) -> ir.Kernel:
    """The kernel with what threads use repeatedly in registers."""
    keeper = _Keeper({buffer.name: buffer for buffer in kernel.buffers if buffer.space in _MEMORY}, names)
    stages = tuple(replace(stage, body=keeper.body(stage.body)) for stage in kernel.stages)
    return replace(kernel, buffers=(*kernel.buffers, *keeper.made), stages=stages)


@dataclass(frozen=True, slots=True)
class _Run:
    """Nodes `start` to `end` of a body, and the element that they use."""

    start: int
    end: int
    buffer: str
    subscripts: tuple[ir.IntExpr, ...]


@dataclass(slots=True)
class _Keeper:
    memory: dict[str, ir.Buffer]
    names: Names
    made: list[ir.Buffer] = field(default_factory=list)

    def body(self, nodes: Body) -> Body:
        """Outermost runs first: an element that a whole body uses is not looked at again inside."""
        if not any(_divides(node) for node in walk_nodes(nodes)):
            while (run := self._run(nodes)) is not None:
                nodes = self._kept(nodes, run)
        return tuple(self._inside(node) for node in nodes)

    def _inside(self, node: ir.Node) -> ir.Node:
        if isinstance(node, ir.Loop | ir.If):
            return replace(node, body=self.body(node.body))
        return node

    def _run(self, nodes: Body) -> _Run | None:
        candidates = dict.fromkeys(
            (access.buffer, access.subscripts)
            for node in nodes
            if isinstance(node, ir.Loop)
            for access in accesses_in(node)
            if isinstance(access, ir.Store) and access.buffer in self.memory
        )
        for buffer, subscripts in candidates:
            for run in _runs(nodes, buffer, subscripts):
                if _is_worth_it(nodes[run.start : run.end], run):
                    return run
        return None

    def _kept(self, nodes: Body, run: _Run) -> Body:
        memory = self.memory[run.buffer]
        own = ir.Buffer(
            self.names.fresh(f"{run.buffer}_kept"),
            memory.dtype,
            (),
            ir.Space.REGISTER,
            promoted_from=memory.promoted_from or run.buffer,
        )
        self.made.append(own)

        def change(node: ir.Load | ir.Store) -> ir.Load | ir.Store:
            return replace(node, buffer=own.name, subscripts=()) if node.buffer == run.buffer else node

        inside = rewrite(nodes[run.start : run.end], (ir.Load, ir.Store), change)
        copy = ir.StoreRole.COPY
        out = ir.Store(run.buffer, run.subscripts, ir.Load(own.name, (), memory.dtype), copy)
        first = nodes[run.start]
        written_first = isinstance(first, ir.Store) and not any(
            load.buffer == run.buffer for load in nodes_of(first.value, ir.Load)
        )
        head: Body = ()
        if not written_first:
            head = (ir.Store(own.name, (), ir.Load(run.buffer, run.subscripts, memory.dtype), copy),)
        return (*nodes[: run.start], *head, *inside, out, *nodes[run.end :])


def _runs(nodes: Body, buffer: str, subscripts: tuple[ir.IntExpr, ...]) -> Iterator[_Run]:
    """The longest runs whose accesses to the buffer are all to this element, without needless ends."""
    start: int | None = None
    last = 0
    for position, node in enumerate(nodes):
        accesses = [access for access in accesses_in(node) if access.buffer == buffer]
        if not accesses:
            continue
        if all(access.subscripts == subscripts for access in accesses) and not _changes(node, subscripts):
            start = position if start is None else start
            last = position + 1
        elif start is not None:
            yield _Run(start, last, buffer, subscripts)
            start = None
    if start is not None:
        yield _Run(start, last, buffer, subscripts)


def _changes(node: ir.Node, subscripts: Sequence[ir.IntExpr]) -> bool:
    """Whether the element may be another one at different times of the node."""
    if any(nodes_of(tuple(subscripts), ir.FromValue)):
        return True
    own = {part.variable for part in nodes_of(node, ir.Loop)} | {part.variable for part in nodes_of(node, ir.Axis)}
    return bool(own & {variable.name for variable in nodes_of(tuple(subscripts), ir.Var)})


def _is_worth_it(nodes: Sequence[ir.Node], run: _Run) -> bool:
    """Whether a loop of the run uses the element, and the run writes it."""
    uses = any(
        isinstance(node, ir.Loop) and any(access.buffer == run.buffer for access in accesses_in(node)) for node in nodes
    )
    writes = any(isinstance(a, ir.Store) and a.buffer == run.buffer for node in nodes for a in accesses_in(node))
    return uses and writes


def _divides(node: ir.Node) -> bool:
    return isinstance(node, ir.Barrier) or (isinstance(node, ir.Loop) and node.mapping is not None)
