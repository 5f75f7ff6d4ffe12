"""Local buffers on a GPU: what the threads of a block share, and what each keeps to itself.

    for i on block.x:                              E(N) shared
      for j on thread.x: E(j) = ...
      for j on thread.x: ... E(N - 1 - j)

    for i on block.x:                              x() scratch, instead of x(N)
      for j on thread.x: { x(j) = ...  ... x(j) }

In: a kernel with mapped loops.  Out: the same with the space and shape of its local buffers changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import rewrite
from comprehension.kernel.walk import accesses_in

_LOCAL = (ir.Space.SCRATCH, ir.Space.REGISTER)


@dataclass(frozen=True, slots=True)
class _Use:
    """An access to a local buffer: its subscripts, the innermost mapped loop around it (by identity), all of them."""

    buffer: str
    subscripts: tuple[ir.IntExpr, ...]
    home: int
    divided: frozenset[str]


def place_local_buffers(kernel: ir.Kernel) -> ir.Kernel:
    """Shared where more than one divided loop uses it; otherwise a thread's own, without needless axes."""
    local = {b.name: b for b in kernel.buffers if b.space in _LOCAL}
    uses: dict[str, list[_Use]] = {name: [] for name in local}
    for stage in kernel.stages:
        for use in _uses(stage.body, (), local):
            uses[use.buffer].append(use)
    shared = {name for name, found in uses.items() if len({use.home for use in found}) > 1}
    dropped = {name: frozenset() if name in shared else _needless_axes(found) for name, found in uses.items()}
    buffers = []
    for buffer in kernel.buffers:
        if buffer.name in shared:
            buffer = replace(buffer, space=ir.Space.SHARED)
        elif buffer.name in local:
            buffer = replace(buffer, shape=_kept(buffer.shape, dropped[buffer.name]))
        buffers.append(buffer)
    return replace(kernel, buffers=tuple(buffers), stages=_renumbered(kernel.stages, dropped))


def _uses(nodes: Sequence[ir.Node], around: tuple[ir.Loop, ...], local: dict[str, ir.Buffer]) -> Iterator[_Use]:
    """`around`: the divided loops."""
    for node in nodes:
        match node:
            case ir.Loop(body=body):
                yield from _uses(body, around if node.mapping is None else (*around, node), local)
            case ir.If(body=body):
                yield from _uses(body, around, local)
            case _:
                home, divided = id(around[-1]) if around else 0, frozenset(loop.variable for loop in around)
                for access in accesses_in(node):
                    if access.buffer in local:
                        yield _Use(access.buffer, access.subscripts, home, divided)


def _needless_axes(uses: Sequence[_Use]) -> frozenset[int]:
    """Axes along which every thread has one place of its own: the variable of a divided loop."""
    if not uses:
        return frozenset()
    first = uses[0]
    return frozenset(
        axis
        for axis, subscript in enumerate(first.subscripts)
        if isinstance(subscript, ir.Var)
        and subscript.name in first.divided
        and all(use.subscripts[axis] == subscript for use in uses)
    )


def _kept(parts: tuple[ir.IntExpr, ...], dropped: frozenset[int]) -> tuple[ir.IntExpr, ...]:
    return tuple(part for axis, part in enumerate(parts) if axis not in dropped)


def _renumbered(stages: tuple[ir.Stage, ...], dropped: dict[str, frozenset[int]]) -> tuple[ir.Stage, ...]:
    def change(node: ir.Load | ir.Store) -> ir.Load | ir.Store:
        axes = dropped.get(node.buffer)
        return replace(node, subscripts=_kept(node.subscripts, axes)) if axes else node

    return rewrite(stages, (ir.Load, ir.Store), change)
