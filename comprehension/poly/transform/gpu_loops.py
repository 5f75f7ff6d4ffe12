"""Which loops of a stage blocks and threads divide: the original's naive mapping (reference section 4).

    for i: for j: { C(i, j) = 0  for k: C(i, j) += ... }

    for it in 0:M step 8      on block.x             the outermost parallel loops around everything else
      for jt in 0:N step 32   on block.y             in tiles of `tile`, or of as many iterations as there are threads
        for i in it:it+8      on thread.y            the innermost parallel loops, the last one on x
          for j in jt:jt+32   on thread.x
            C(i, j) = 0  for k: C(i, j) += ...

    for i: { s = 0  for j: s += X(i, j)  for j: Y(i, j) = X(i, j) / s }

    for i                     on block.x
      for only in 0:1         on thread.x            what threads do not divide is left to the first one
        s = 0  for j: s += X(i, j)
      for j                   on thread.x
        Y(i, j) = X(i, j) / s

In: a stage of plain loops and what is known of them (`Parallelism`).  Out: the stage, its loops mapped; barriers come
later.  Nothing here is taken for granted: the certificate proves the mapped kernel anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import assert_never

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of
from comprehension.kernel.simplify import simplify
from comprehension.poly.transform.names import Names
from comprehension.poly.transform.parallelism import Parallelism

DIMENSIONS = "xyz"

Body = tuple[ir.Node, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the options ask for: threads of a block, tiles of the outermost loops (0: untiled), dimensions of blocks."""

    threads: tuple[int, ...]
    tile: tuple[int, ...] = ()
    blocks: int = len(DIMENSIONS)


@dataclass(slots=True)
class _Mapper:
    parallelism: Parallelism
    shape: Shape
    names: Names
    threads: dict[int, str] = field(default_factory=dict)  # loop, by identity -> what divides it

    def stage(self, stage: ir.Stage) -> ir.Stage:
        nest, inside = self._outer_nest(stage.body)
        inner, used = self._inner(inside)
        loops = [node for node in nest if isinstance(node, ir.Loop)]
        by_thread: dict[int, str] = {}
        for loop in reversed(loops):  # the innermost first
            if used == len(self.shape.threads) or not self._may_be_threads(loop, used):
                break
            by_thread[id(loop)] = self.threads[id(loop)] = f"thread.{DIMENSIONS[used]}"
            used += 1
        return replace(stage, body=self._nest(nest, by_thread, inner))

    # --- the loops around everything ----------------------------------------------------------------------------------

    def _outer_nest(self, body: Body) -> tuple[list[ir.Loop | ir.If], Body]:
        """Parallel loops with nothing beside them whose bounds do not depend on each other, conditions on sizes
        among them, and what is inside."""
        nest: list[ir.Loop | ir.If] = []
        variables: set[str] = set()
        while len(body) == 1 and isinstance(node := body[0], ir.Loop | ir.If):
            parts = node.condition if isinstance(node, ir.If) else (node.lower, node.upper)
            if {v.name for v in nodes_of(parts, ir.Var)} & variables:
                break
            if isinstance(node, ir.Loop):
                if not self.parallelism.is_parallel(node):
                    break
                variables.add(node.variable)
            nest.append(node)
            body = node.body
        return nest, body

    def _nest(self, nest: Sequence[ir.Loop | ir.If], by_thread: Mapping[int, str], inner: Body) -> Body:
        """Tiles outside, points inside; conditions stay around what they are around."""
        tiles: list[ir.Loop | ir.If] = []
        points: list[ir.Loop] = []
        blocks, depth = 0, 0
        for node in nest:
            if isinstance(node, ir.If):
                tiles.append(node)
                continue
            thread = by_thread.get(id(node))
            block = f"block.{DIMENSIONS[blocks]}" if blocks < self.shape.blocks else None
            tile, point = self._tiled(node, self._tile_size(node, depth, thread), thread, block)
            if tile is not None:
                tiles.append(tile)
                blocks += tile.mapping is not None
            if point is not None:
                points.append(point)
            depth += 1
        body = inner
        for around in reversed([*tiles, *points]):
            body = (replace(around, body=body),)
        return body

    def _tile_size(self, loop: ir.Loop, depth: int, thread: str | None) -> int:
        """Iterations of a tile; 0: the loop is not tiled."""
        if depth < len(self.shape.tile):
            return self.shape.tile[depth]
        return 0 if thread is None else self.shape.threads[DIMENSIONS.index(thread[-1])]

    def _tiled(
        self, loop: ir.Loop, size: int, thread: str | None, block: str | None
    ) -> tuple[ir.Loop | None, ir.Loop | None]:
        """A loop over tiles and one over the points of a tile; one of them alone where that is all there is to do."""
        extent = simplify(ir.IntOp("-", loop.upper, loop.lower))
        if isinstance(extent, ir.Int) and size * loop.step >= extent.value:
            size = 0 if thread is not None else size
        if size == 0:
            return (None, replace(loop, mapping=thread)) if thread is not None else (replace(loop, mapping=block), None)
        if size == 1:
            return (replace(loop, mapping=block), None) if thread is None else self._single(loop, thread, block)
        first = self.names.fresh(f"{loop.variable}t")
        end = simplify(ir.IntOp("min", ir.IntOp("+", ir.Var(first), ir.Int(size * loop.step)), loop.upper))
        tile = ir.Loop(first, loop.lower, loop.upper, (), size * loop.step, mapping=block)
        return tile, replace(loop, lower=ir.Var(first), upper=end, mapping=thread)

    def _single(self, loop: ir.Loop, thread: str, block: str | None) -> tuple[ir.Loop, ir.Loop]:
        """Tiles of one point: blocks divide the loop, the first thread runs it."""
        return replace(loop, mapping=block), self._first(thread)

    def _first(self, mapping: str) -> ir.Loop:
        return ir.Loop(self.names.fresh("only"), ir.Int(0), ir.Int(1), (), mapping=mapping)

    # --- what is inside -----------------------------------------------------------------------------------------------

    def _inner(self, body: Body) -> tuple[Body, int]:
        """The nodes with their innermost parallel loops on threads, and how many dimensions these use.

        Every node is covered in all of these dimensions: by its own loops, or by leaving it to the first thread.
        """
        parts: list[tuple[ir.Node, int]] = []
        for node in body:
            match node:
                case ir.Loop():
                    parts.append(self._loop(node))
                case ir.If(body=inside):
                    mapped, used = self._inner(inside)
                    parts.append((replace(node, body=mapped), used))
                case ir.Define() | ir.Store():
                    parts.append((node, 0))
                case ir.Tile() | ir.Barrier():
                    raise ValueError(f"{type(node).__name__}: loops of threads are made from plain loops")
                case _:
                    assert_never(node)
        used = max((used for _, used in parts), default=0)
        return self._covered(parts, used), used

    def _loop(self, loop: ir.Loop) -> tuple[ir.Loop, int]:
        inside, used = self._inner(loop.body)
        if used < len(self.shape.threads) and self._may_be_threads(loop, used):
            mapping = f"thread.{DIMENSIONS[used]}"
            self.threads[id(loop)] = mapping
            return replace(loop, body=inside, mapping=mapping), used + 1
        return replace(loop, body=inside), used

    def _may_be_threads(self, loop: ir.Loop, used: int) -> bool:
        """Parallel, and threads that share an iteration of it never wait for each other."""
        if not self.parallelism.is_parallel(loop):
            return False
        return used == 0 or not self.parallelism.needs_barrier(loop, lambda node: self.threads.get(id(node)))

    def _covered(self, parts: Sequence[tuple[ir.Node, int]], used: int) -> Body:
        """What uses fewer dimensions is left to the first thread of the others."""
        result: list[ir.Node] = []
        for own, group in groupby(parts, key=lambda part: part[1]):
            nodes = tuple(node for node, _ in group)
            if own == used:
                result.extend(nodes)
            elif own == 0:
                result.extend(self._left_to_first(nodes, own, used))
            else:  # one by one: barriers may have to stand between them
                result.extend(self._left(node, own, used) for node in nodes)
        return tuple(result)

    def _left(self, node: ir.Node, own: int, used: int) -> ir.Node:
        """As above, for a node that has loops of threads in it."""
        if isinstance(node, ir.If) or (isinstance(node, ir.Loop) and node.mapping is None):
            return replace(node, body=tuple(self._left(part, own, used) for part in node.body))
        (left,) = self._left_to_first((node,), own, used)
        return left

    def _left_to_first(self, body: Body, own: int, used: int) -> Body:
        for dimension in DIMENSIONS[own:used]:
            body = (replace(self._first(f"thread.{dimension}"), body=body),)
        return body


def map_stage(stage: ir.Stage, parallelism: Parallelism, shape: Shape, names: Names) -> ir.Stage:
    """The stage (its range a loop like the others) with its loops mapped, as far as they are parallel."""
    return _Mapper(parallelism, shape, names).stage(stage)


def threads_used(stage: ir.Stage) -> int:
    """How many dimensions of a block a stage's loops divide."""
    mappings = {loop.mapping for loop in nodes_of(stage, ir.Loop)}
    return sum(f"thread.{dimension}" in mappings for dimension in DIMENSIONS)
