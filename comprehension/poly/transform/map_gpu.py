"""Mapping to a GPU: the units of a stage, the loops around its body and the lanes of its tiles become threads.

    parallel i in 0:M                       for i in 0:M            on flat.0
      for j in 0:N:                           for j in 0:N          on flat.1
        tile r in 0+4 x l in s+8 below L: ->    for lane in 0:8     on flat.2
          C(r, l) = ...                           if s + lane < L:
                                                    for r in 0:4:
                                                      C(r, s + lane) = ...

Every thread runs the whole body for its point of the grid, so that no thread waits for another.  Legal where threads
neither meet in memory nor share local buffers: the mapped kernel gets a certificate of its own, and the mapping with
the most threads that has one is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from comprehension.errors import IllegalSchedule
from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import simplify
from comprehension.machine import Machine
from comprehension.poly.certificate import Math, certify
from comprehension.poly.scop import Scop

MAX_GRID = 4  # mapped loops: the index of a thread is divided that often

WARP = Machine(
    cpu="cuda",
    features="",
    vector_bits=32 * 32,
    vector_registers=64,
    l1_bytes=1 << 40,
    l2_bytes=1 << 40,
    l3_bytes=1 << 40,
    cores=1024,
    architecture="cuda",
)
"""What the model of the CPU is told when it schedules for a GPU: a warp is a vector, and nothing needs packing."""


def map_to_gpu(scop: Scop, kernel: ir.Kernel, math: Math = "fast") -> ir.Kernel:
    """The kernel with each stage on a grid of threads, as wide as can be proved.

    Raises IllegalSchedule if not even the units of a stage can be told apart, with the counterexample.
    """
    for number in range(len(kernel.stages)):
        refusals = []
        for candidate in _candidates(kernel, number):
            certificate = certify(scop, None, candidate, math)
            if certificate:
                kernel = candidate
                break
            refusals.append(certificate.text)
        else:
            raise IllegalSchedule(f"no mapping of {kernel.stages[number].name} can be proved:\n{refusals[-1]}")
    return kernel


def _candidates(kernel: ir.Kernel, number: int) -> Iterator[ir.Kernel]:
    """Mappings of one stage, widest first; tiles are loops in all of them."""
    stage = kernel.stages[number]
    outer = [] if stage.parallel is None else [stage.parallel]
    inner, core = _perfect_nest(stage.body, outer)
    spread = _spread_lanes(core, _fresh(kernel, "lane"))
    if spread is not None:
        lane, body = spread
        yield _mapped(kernel, number, [*outer, *inner, lane], body)
    for depth in range(len(inner), -1, -1):  # fewer loops mapped: the others run in the thread
        rest = (inner[depth],) if depth < len(inner) else core
        yield _mapped(kernel, number, [*outer, *inner[:depth]], _without_tiles(rest))


def _mapped(kernel: ir.Kernel, number: int, nest: Sequence[ir.Loop], body: tuple[ir.Node, ...]) -> ir.Kernel:
    """The stage as a nest of mapped loops around `body`."""
    for position, loop in reversed(list(enumerate(nest))):
        body = (replace(loop, body=body, mapping=f"flat.{position}"),)
    stage = replace(kernel.stages[number], parallel=None, body=body)
    stages = (*kernel.stages[:number], stage, *kernel.stages[number + 1 :])
    return narrowed(replace(kernel, stages=stages), [loop.variable for loop in nest])


# --- loops that threads can take ------------------------------------------------------------------------------


def _perfect_nest(body: tuple[ir.Node, ...], outer: Sequence[ir.Loop]) -> tuple[list[ir.Loop], tuple[ir.Node, ...]]:
    """Loops with nothing beside them, whose extents do not depend on each other, and what is inside of them."""
    loops: list[ir.Loop] = []
    while len(outer) + len(loops) < MAX_GRID - 1 and len(body) == 1 and isinstance(loop := body[0], ir.Loop):
        span = simplify(ir.IntOp("-", loop.upper, loop.lower))
        if {v.name for v in nodes_of(span, ir.Var)} & _loop_names([*outer, *loops]):
            break
        loops.append(loop)
        body = loop.body
    return loops, body


def _loop_names(loops: Sequence[ir.Loop]) -> set[str]:
    return {loop.variable for loop in loops}


def _spread_lanes(body: tuple[ir.Node, ...], name: str) -> tuple[ir.Loop, tuple[ir.Node, ...]] | None:
    """The body for one lane, and the loop over lanes around it; None where not all work is done by lanes."""
    extents = {tile.lanes.extent for tile in nodes_of(body, ir.Tile)}
    if len(extents) != 1 or any(nodes_of(body, ir.Fold)) or not _all_in_tiles(body):
        return None
    lane = ir.Loop(name, ir.Int(0), ir.Int(extents.pop()), ())
    return lane, _scalar_body(body, name)


def _all_in_tiles(body: tuple[ir.Node, ...]) -> bool:
    for node in body:
        match node:
            case ir.Tile() | ir.Barrier():
                pass
            case ir.Loop(body=inner) | ir.If(body=inner):
                if not _all_in_tiles(inner):
                    return False
            case ir.Define() | ir.Store():
                return False
            case _:
                assert_never(node)
    return True


# --- tiles as loops -------------------------------------------------------------------------------------------


def _scalar_body(body: tuple[ir.Node, ...], lane: str | None) -> tuple[ir.Node, ...]:
    """Tiles as loops over their rows, and over their lanes unless `lane` names the one that runs."""
    result: list[ir.Node] = []
    for node in body:
        match node:
            case ir.Tile():
                result.extend(_scalar_tile(node, lane))
            case ir.Loop(body=inner) | ir.If(body=inner):
                result.append(replace(node, body=_scalar_body(inner, lane)))
            case ir.Define() | ir.Store() | ir.Barrier():
                result.append(node)
            case _:
                assert_never(node)
    return tuple(result)


def _without_tiles(body: tuple[ir.Node, ...]) -> tuple[ir.Node, ...]:
    return _scalar_body(body, None)


def _scalar_tile(tile: ir.Tile, lane: str | None) -> Sequence[ir.Node]:
    if any(nodes_of(tile, ir.Fold)):
        return [tile]  # printed as a loop that combines
    body: tuple[ir.Node, ...] = tile.body
    if tile.rows is not None:
        body = (_axis_loop(tile.rows, body),)
    if lane is None:
        return [_axis_loop(tile.lanes, body)]
    here = simplify(ir.IntOp("+", tile.lanes.start, ir.Var(lane)))
    body = map_integers(body, {tile.lanes.variable: here})
    return body if tile.lanes.limit is None else [ir.If(ir.Compare("<", here, tile.lanes.limit), body)]


def _axis_loop(axis: ir.Axis, body: tuple[ir.Node, ...]) -> ir.Loop:
    end = simplify(ir.IntOp("+", axis.start, ir.Int(axis.extent)))
    if axis.limit is not None:
        end = simplify(ir.IntOp("min", end, axis.limit))
    return ir.Loop(axis.variable, axis.start, end, body)


# --- local buffers of one thread ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Use:
    """An access to a local buffer."""

    buffer: str
    subscripts: tuple[ir.IntExpr, ...]


def narrowed(kernel: ir.Kernel, threads: Sequence[str]) -> ir.Kernel:
    """Local buffers without the axes along which every thread has one place of its own.

    acc(r, lane) becomes acc(r) where `lane` is mapped to threads and every access says `lane` there.
    """
    local = {b.name: b for b in kernel.buffers if b.space in (ir.Space.SCRATCH, ir.Space.REGISTER)}
    uses = [_Use(n.buffer, n.subscripts) for n in nodes_of(kernel.stages, ir.Load) if n.buffer in local]
    uses += [_Use(n.buffer, n.subscripts) for n in nodes_of(kernel.stages, ir.Store) if n.buffer in local]
    dropped = {name: _private_axes([u for u in uses if u.buffer == name], threads) for name in local}
    buffers = tuple(replace(b, shape=_kept(b.shape, dropped[b.name])) if b.name in local else b for b in kernel.buffers)
    return replace(kernel, buffers=buffers, stages=_renumbered(kernel.stages, dropped))


def _private_axes(uses: Sequence[_Use], threads: Sequence[str]) -> frozenset[int]:
    if not uses:
        return frozenset()
    own = [ir.Var(name) for name in threads]
    axes = range(len(uses[0].subscripts))
    return frozenset(a for a in axes if any(all(u.subscripts[a] == v for u in uses) for v in own))


def _kept(parts: tuple[ir.IntExpr, ...], dropped: frozenset[int]) -> tuple[ir.IntExpr, ...]:
    return tuple(part for axis, part in enumerate(parts) if axis not in dropped)


def _renumbered(stages: tuple[ir.Stage, ...], dropped: dict[str, frozenset[int]]) -> tuple[ir.Stage, ...]:
    def change(node: ir.Load | ir.Store) -> ir.Load | ir.Store:
        return replace(node, subscripts=_kept(node.subscripts, dropped.get(node.buffer, frozenset())))

    return rewrite(stages, (ir.Load, ir.Store), change)


def _fresh(kernel: ir.Kernel, wish: str) -> str:
    taken = {n.variable for n in nodes_of(kernel.stages, ir.Loop)} | {
        n.variable for n in nodes_of(kernel.stages, ir.Axis)
    }
    taken |= {b.name for b in kernel.buffers} | set(kernel.sizes) | {name for name, _ in kernel.scalars}
    count, name = 0, wish
    while name in taken:
        count += 1
        name = f"{wish}{count}"
    return name
