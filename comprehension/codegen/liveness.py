"""Register buffers whose inactive points nobody reads: their stores need no blend.

In: the body of a stage.  Out: names of register buffers that a limited tile may overwrite whole.
Invariant: a buffer is named only if no point outside the limits of its writers can be observed: it is filled
whole first, whoever passes its values on has all those limits, and the limits stay what they are in between.

In the inner loop of a product with a ragged edge this is the difference between one fused multiply-add a
vector and three operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comprehension.codegen.subscript import polynomial, variables
from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of

Limits = dict[str, tuple[tuple[object, int], ...]]  # "rows" or "lanes" to the number of active points
Path = tuple[int, ...]  # the way from the stage's body to a statement's body, by positions


@dataclass(frozen=True, slots=True)
class _Touch:
    """A statement that reads or writes a register buffer; it `consumes` if a point reads other points or passes on."""

    path: Path
    tile: ir.Tile | None
    reads: bool
    writes: bool
    consumes: bool

    @property
    def limits(self) -> Limits:
        return {} if self.tile is None else _limits(self.tile)


def overwritable(kernel: ir.Kernel, body: Sequence[ir.Node]) -> frozenset[str]:
    """The register buffers of a stage whose limited stores need not keep what is outside the limits."""
    loops: dict[Path, ir.Node] = {}
    touches: dict[str, list[_Touch]] = {}
    registers = {b.name for b in kernel.buffers if b.space is ir.Space.REGISTER}
    for name, touch in _touches(body, (), None, loops):
        if name in registers:
            touches.setdefault(name, []).append(touch)
    return frozenset(name for name, found in touches.items() if _is_overwritable(found, loops))


def _touches(
    body: Sequence[ir.Node], path: Path, tile: ir.Tile | None, loops: dict[Path, ir.Node]
) -> Iterator[tuple[str, _Touch]]:
    for position, node in enumerate(body):
        match node:
            case ir.Loop() | ir.If():
                inner = (*path, position)
                loops[inner] = node
                yield from _touches(node.body, inner, None, loops)
            case ir.Tile():
                yield from _touches(node.body, path, node, loops)
            case ir.Store() | ir.Define():
                loads: dict[str, list[ir.Load]] = {}
                for load in nodes_of(node.value, ir.Load):
                    loads.setdefault(load.buffer, []).append(load)
                written = {node.buffer} if isinstance(node, ir.Store) else set()
                for name in sorted(loads.keys() | written):
                    consumes = not all(_is_own(node, load) for load in loads.get(name, ()))
                    yield name, _Touch(path, tile, name in loads, name in written, consumes)
            case ir.Barrier():
                pass


def _is_own(node: ir.Store | ir.Define, load: ir.Load) -> bool:
    """Whether a point reads only what it is about to overwrite."""
    if not isinstance(node, ir.Store) or (node.buffer, node.subscripts) != (load.buffer, load.subscripts):
        return False
    return not any(True for _ in nodes_of(node.value, ir.Fold))


def _is_overwritable(touches: list[_Touch], loops: dict[Path, ir.Node]) -> bool:
    fill, *others = touches
    if fill.reads or not fill.writes or fill.tile is None or fill.limits:
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
