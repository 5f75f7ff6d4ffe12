"""Stages whose data may or may not fit the caches: one body for either, and the condition on sizes that decides.

In: a kernel with symbolic sizes, the machine, typical sizes.  Out: the kernel with its accesses placed.
Invariant: both bodies are one but for marks on accesses (`kernel.verify` compares them), so that a certificate of
the one holds for the other.

`kernel.locality` needs numbers: it sees the kernel once at typical sizes and once at sizes far beyond the caches,
and what it marks there is carried over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeVar

from comprehension.kernel import ir
from comprehension.kernel.locality import Placed, place_accesses
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import linear, simplify
from comprehension.kernel.walk import accesses_in
from comprehension.machine import Machine

PAST = "written past the caches"  # as `kernel.locality` says it, which it is in the second body alone
LARGE = 16  # times a typical size: no tensor of such sizes fits a cache
Tree = TypeVar("Tree")
_SHARED = (ir.Space.INPUT, ir.Space.OUTPUT, ir.Space.WORKSPACE)


def place_at_launch(
    kernel: ir.Kernel, machine: Machine, typical: Mapping[str, int], others: Mapping[str, int] | None = None
) -> Placed:
    """Marks accesses where sizes decide at the launch whether they go past the caches.

    `typical`: the sizes that the kernel is planned for.  `others`: typical ones in general, where these are not.
    """
    large = {name: LARGE * max(size, (others or typical).get(name, size)) for name, size in typical.items()}
    known = at_sizes(kernel, typical)
    usual, beyond = place_accesses(known, machine), place_accesses(at_sizes(kernel, large), machine, known)
    stages, notes = [], []
    for stage, note, plain, past in zip(
        kernel.stages, usual.notes, usual.kernel.stages, beyond.kernel.stages, strict=True
    ):
        asked = _Carrier(kernel, (typical, large), _accesses(plain.body), _accesses(past.body))
        marked, around = (asked.marked(stage.body, streams=streams) for streams in (False, True))
        around = _without_results(around)
        note = "; ".join(part for part in note.split("; ") if PAST not in part)
        streamed = {a.buffer for a in accesses_in(around) if isinstance(a, ir.Store) and a.streaming}
        if streamed:
            touched = {access.buffer for access in accesses_in(around)}
            condition = _and(
                _larger(kernel, touched, machine.kept_bytes),
                *(_larger(kernel, {name}, machine.l2_bytes) for name in sorted(streamed)),
            )
            stage = replace(stage, beyond=ir.Beyond(condition, around))
            note += f"; at sizes beyond the caches {', '.join(sorted(streamed))} written past them"
        stages.append(replace(stage, body=marked))
        notes.append(f"at typical sizes {note}")
    return Placed(replace(kernel, stages=tuple(stages)), tuple(notes))


def unmarked(body: tuple[ir.Node, ...]) -> tuple[ir.Node, ...]:
    """The body with plain accesses."""
    plain = rewrite(body, ir.Store, lambda store: replace(store, streaming=False))
    return rewrite(plain, ir.Load, lambda load: replace(load, ahead=0, ahead_lanes=None))


def _without_results(nodes: tuple[ir.Node, ...]) -> tuple[ir.Node, ...]:
    """Nodes where no tile is written past the caches that loops beside it compute: arithmetic hides its way to memory.

    A body of its own for large sizes, which takes numba as long as the first one, gains little there.
    """
    computed = any(isinstance(node, ir.Loop) for node in nodes)
    found: list[ir.Node] = []
    for node in nodes:
        match node:
            case ir.Loop(body=body) | ir.If(body=body):
                found.append(replace(node, body=_without_results(body)))
            case ir.Tile() if computed:
                found.append(rewrite(node, ir.Store, lambda store: replace(store, streaming=False)))
            case _:
                found.append(node)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Carrier:
    """Carries marks over from a stage at typical and at large sizes; both have its accesses in the same order."""

    kernel: ir.Kernel
    sizes: tuple[Mapping[str, int], Mapping[str, int]]
    usual: Sequence[ir.Load | ir.Store]
    large: Sequence[ir.Load | ir.Store]

    def marked(self, body: tuple[ir.Node, ...], *, streams: bool) -> tuple[ir.Node, ...]:
        models = zip(self.usual, self.large, strict=True)

        def mark(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
            usual, large = next(models)
            if isinstance(access, ir.Store):
                return replace(access, streaming=streams and isinstance(large, ir.Store) and large.streaming)
            distances = [like.ahead for like in (usual, large) if isinstance(like, ir.Load)]
            found = [distance for distance in distances if isinstance(distance, int)]
            distance, lanes = self._distance(access, found), large.ahead_lanes if isinstance(large, ir.Load) else None
            return replace(access, ahead=distance, ahead_lanes=lanes if distance else None)

        return rewrite(body, (ir.Load, ir.Store), mark)

    def _distance(self, load: ir.Load, found: Sequence[int]) -> int | ir.IntExpr:
        """The distance that is `found` at both sizes: a number, or so many steps of one loop; 0 where there is none."""
        if found[0] == found[1] or 0 in found:
            return found[0] if found[0] == found[1] else 0
        for variable in {v.name: None for v in nodes_of(load.subscripts, ir.Var)}:
            step = self._step(load, variable)
            steps = [_value(step, sizes) for sizes in self.sizes]
            counts = {
                distance // each if each and distance % each == 0 else 0
                for distance, each in zip(found, steps, strict=True)
            }
            if len(counts) == 1 and (count := counts.pop()):
                return simplify(ir.IntOp("*", ir.Int(count), step))
        return 0

    def _step(self, load: ir.Load, variable: str) -> ir.IntExpr:
        """How many elements a load moves when a variable grows by one."""
        total: ir.IntExpr = ir.Int(0)
        stride: ir.IntExpr = ir.Int(1)
        for subscript, extent in zip(
            reversed(load.subscripts), reversed(self.kernel.buffer(load.buffer).shape), strict=True
        ):
            move = linear(subscript).coefficient(ir.Var(variable))
            total = ir.IntOp("+", total, ir.IntOp("*", ir.Int(move), stride))
            stride = ir.IntOp("*", stride, extent)
        return simplify(total)


def _accesses(body: tuple[ir.Node, ...]) -> list[ir.Load | ir.Store]:
    """Accesses in the order in which `rewrite` meets them."""
    found: list[ir.Load | ir.Store] = []

    def note(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
        found.append(access)
        return access

    rewrite(body, (ir.Load, ir.Store), note)
    return found


def at_sizes(kernel: ir.Kernel, sizes: Mapping[str, int]) -> ir.Kernel:
    """The kernel with numbers for its sizes."""
    return _numbers(kernel, {name: sizes[name] for name in kernel.sizes})


def _numbers(node: Tree, sizes: Mapping[str, int]) -> Tree:
    """An expression, or all in a node, with numbers for sizes."""
    numbers = map_integers(node, {name: ir.Int(size) for name, size in sizes.items()})
    return rewrite(numbers, ir.IntOp, simplify)


def _value(expr: ir.IntExpr, sizes: Mapping[str, int]) -> int:
    found = simplify(_numbers(expr, sizes))
    return found.value if isinstance(found, ir.Int) else 0


def _larger(kernel: ir.Kernel, names: Collection[str], limit: int) -> ir.Condition:
    """Whether the tensors take more than so many bytes together."""
    total: ir.IntExpr = ir.Int(0)
    for buffer in kernel.buffers:
        if buffer.name in names and buffer.space in _SHARED:
            size: ir.IntExpr = ir.Int(buffer.dtype.bits // 8)
            for extent in buffer.shape:
                size = ir.IntOp("*", size, extent)
            total = ir.IntOp("+", total, size)
    return ir.Compare("<", ir.Int(limit), simplify(total))


def _and(*conditions: ir.Condition) -> ir.Condition:
    return reduce(lambda first, second: ir.BoolOp("and", first, second), conditions)
