"""Register buffers whose inactive points nobody reads: their stores need no blend.

In: the body of a stage.  Out: names of register buffers that a limited tile may overwrite whole.
Invariant: a buffer is named only if no point outside the limits of its writers can be observed: it is filled
whole first, whoever passes its values on has all those limits, and the limits stay what they are in between.

In the inner loop of a product with a ragged edge this is the difference between one fused multiply-add a
vector and three operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from comprehension.codegen.subscript import polynomial, variables
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of

Limits = dict[str, tuple[tuple[object, int], ...]]  # "rows" or "lanes" to the number of active points
Path = tuple[int, ...]  # the way from the stage's body to a statement's body, by positions


@dataclass(frozen=True, slots=True)
class _Touch:
    """A statement that reads or writes a register buffer; it `consumes` if a point reads other points or passes on.

    It `covers` the buffer if its tile has a point for each element.
    """

    path: Path
    tile: ir.Tile | None
    reads: bool
    writes: bool
    consumes: bool
    covers: bool

    @property
    def limits(self) -> Limits:
        return {} if self.tile is None else _limits(self.tile)

    @property
    def is_fill(self) -> bool:
        """Whether every point is written, whatever it was."""
        return self.writes and not self.reads and self.tile is not None and not self.limits


def overwritable(kernel: ir.Kernel, body: Sequence[ir.Node]) -> frozenset[str]:
    """The register buffers of a stage whose limited stores need not keep what is outside the limits."""
    loops: dict[Path, ir.Node] = {}
    touches: dict[str, list[_Touch]] = {}
    registers = {b.name: b.shape for b in kernel.buffers if b.space is ir.Space.REGISTER}
    for name, touch in _touches(body, (), None, loops, registers):
        if name in registers:
            touches.setdefault(name, []).append(touch)
    return frozenset(name for name, found in touches.items() if _is_overwritable(found, loops))


def _touches(
    body: Sequence[ir.Node],
    path: Path,
    tile: ir.Tile | None,
    loops: dict[Path, ir.Node],
    shapes: Mapping[str, tuple[ir.IntExpr, ...]],
) -> Iterator[tuple[str, _Touch]]:
    for position, node in enumerate(body):
        match node:
            case ir.Loop() | ir.If():
                inner = (*path, position)
                loops[inner] = node
                yield from _touches(node.body, inner, None, loops, shapes)
            case ir.Tile():
                yield from _touches(node.body, path, node, loops, shapes)
            case ir.Store() | ir.Define():
                loads: dict[str, list[ir.Load]] = {}
                for load in nodes_of(node.value, ir.Load):
                    loads.setdefault(load.buffer, []).append(load)
                written = {node.buffer} if isinstance(node, ir.Store) else set()
                for name in sorted(loads.keys() | written):
                    consumes = not all(_is_own(node, load) for load in loads.get(name, ()))
                    covers = isinstance(node, ir.Store) and name in written and _covers(tile, node, shapes.get(name))
                    yield name, _Touch(path, tile, name in loads, name in written, consumes, covers)
            case ir.Barrier():
                pass


def _covers(tile: ir.Tile | None, store: ir.Store, shape: tuple[ir.IntExpr, ...] | None) -> bool:
    """Whether the points of a tile are the elements of a buffer, one by one."""
    if tile is None or shape is None:
        return False
    axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None and axis.start == ir.Int(0)]
    elements = {(ir.Var(axis.variable), ir.Int(axis.extent)) for axis in axes}
    wanted = {place for place in zip(store.subscripts, shape, strict=True) if place != (ir.Int(0), ir.Int(1))}
    return elements == wanted


def _is_own(node: ir.Store | ir.Define, load: ir.Load) -> bool:
    """Whether a point reads only what it is about to overwrite."""
    if not isinstance(node, ir.Store) or (node.buffer, node.subscripts) != (load.buffer, load.subscripts):
        return False
    return not any(True for _ in nodes_of(node.value, ir.Fold))


def _is_overwritable(touches: list[_Touch], loops: dict[Path, ir.Node]) -> bool:
    runs = _runs(touches)
    inside = [(first[0].path, later[0].path) for first, later in itertools.combinations(runs, 2)]
    nested = any(_loop_between(outer, inner, loops) for outer, inner in inside)
    return not nested and all(_is_closed(run, loops) for run in runs)


def _runs(touches: list[_Touch]) -> list[list[_Touch]]:
    """The touches from each fill of the whole buffer up to the next: whole and ragged tiles are filled apart."""
    runs: list[list[_Touch]] = []
    for touch in touches:
        if (touch.is_fill and touch.covers) or not runs:
            runs.append([])
        runs[-1].append(touch)
    return runs


def _loop_between(outer: Path, inner: Path, loops: dict[Path, ir.Node]) -> bool:
    """Whether the inner path leads through a loop that the outer one ends before: what stands between comes again."""
    if inner[: len(outer)] != outer:
        return False
    return any(isinstance(loops[inner[:depth]], ir.Loop) for depth in range(len(outer) + 1, len(inner) + 1))


def _is_closed(run: list[_Touch], loops: dict[Path, ir.Node]) -> bool:
    """Whether no point outside the limits of a run's writers is seen in it."""
    fill, *others = run
    if not fill.is_fill:
        return False
    written: Limits = {}
    for touch in others:
        if touch.writes:
            for axis, count in touch.limits.items():
                if written.setdefault(axis, count) != count:
                    return False
    consumers = [touch for touch in others if touch.consumes]
    if any(written.items() - touch.limits.items() for touch in consumers):
        return False
    return all(_same_iteration(fill, touch, loops) for touch in others)


def _same_iteration(fill: _Touch, touch: _Touch, loops: dict[Path, ir.Node]) -> bool:
    """Whether the limits have one value from the fill to this tile.

    True if the tile stands below what the fill stands in, and the loops in between do not move the limits.
    """
    if touch.path[: len(fill.path)] != fill.path or touch.tile is None:
        return False
    between = [loops[touch.path[:depth]] for depth in range(len(fill.path) + 1, len(touch.path) + 1)]
    moving = {loop.variable for loop in between if isinstance(loop, ir.Loop)}
    return not moving & _limit_variables(touch.tile)


def _limits(tile: ir.Tile) -> Limits:
    """How many points are active along each limited axis, as polynomials."""
    found: Limits = {}
    for kind, axis in (("rows", tile.rows), ("lanes", tile.lanes)):
        if axis is not None and axis.limit is not None:
            count = polynomial(ir.IntOp("-", axis.limit, axis.start))
            found[kind] = tuple(sorted(count.items(), key=repr))
    return found


def _limit_variables(tile: ir.Tile) -> frozenset[str]:
    axes = [axis for axis in (tile.rows, tile.lanes) if axis is not None and axis.limit is not None]
    return frozenset().union(*(variables(axis.start) | variables(axis.limit) for axis in axes))
