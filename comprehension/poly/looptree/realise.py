"""Realising: how loops run: unrolled, in parallel, as the lanes of a tile; and which tensors they hold in buffers.

    for j in 0:n:                 for j.outer:
        S(j)              ->          tile of 16 lanes: S(16 * j.outer + lane)         vectorize("j", 16)
        for k: T(j, k)                for k: tile of 16 lanes: T(16 * j.outer + lane, k)

The loop within a tile sinks below everything that stands in it, statement by statement; with two loops the first one
gives rows, and the tile is two-dimensional.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comprehension.errors import ComprehensionError
from comprehension.poly.looptree.order import chain_of, chained, need_plain
from comprehension.poly.looptree.split import as_lanes, parts_of
from comprehension.poly.looptree.tree import Hold, Loop, LoopTree, Node, statements_of


def unroll(tree: LoopTree, name: str, times: int) -> LoopTree:
    """The body of the loop stands there `times` times."""
    path = tree.find(name)
    return tree.with_nodes(path, replace(need_plain(tree, path, "unroll"), unroll=times))


def parallelize(tree: LoopTree, name: str) -> LoopTree:
    """The iterations of an outermost loop divided among workers."""
    path = tree.find(name)
    loop = need_plain(tree, path, "parallelize")
    if len(path) > 1:
        around = tree.around(path)[0].label
        raise ComprehensionError(
            f"schedule: parallelize: {name} stands in {around}; only outermost loops are divided among workers"
        )
    return tree.with_nodes(path, replace(loop, parallel=True))


def vectorize(tree: LoopTree, sizes: Sequence[tuple[str, int]]) -> LoopTree:
    """The last loop named in tiles of lanes; the one before it, if any, in tiles of rows."""
    paths = [tree.find(name) for name, _ in sizes]
    chain = chain_of(tree, paths, "vectorize")
    if chain.path != paths[0]:
        raise ComprehensionError(
            f"schedule: vectorize: the rows' loop must stand around the lanes' loop {sizes[-1][0]}"
        )
    outers, inners = {}, []
    for path, (_, size) in zip(paths, sizes, strict=True):
        loop = need_plain(tree, path, "vectorize")
        outer, inner = parts_of(tree, loop, size)
        outers[id(loop)] = outer
        inners.append(replace(inner, unroll=1, holds=(), lanes=as_lanes(tree, loop, size, rows=path != paths[-1])))
    for loop in inners[:-1]:
        _need_no_reduction(tree, loop, sizes)
    body = chain.loops[-1].body
    if any(loop.lanes is not None for _, loop in LoopTree(tree.scop, body).loops()):
        raise ComprehensionError(f"schedule: vectorize: what stands in {sizes[-1][0]} is vectorized already")
    kept = [outers.get(id(loop), loop) for loop in chain.loops]
    return tree.with_nodes(chain.path, chained(kept, _sunk(inners, body)))


def _need_no_reduction(tree: LoopTree, rows: Loop, sizes: Sequence[tuple[str, int]]) -> None:
    """Lanes of a tile can be added up in the end, its rows cannot."""
    assert rows.lanes is not None
    for name, dim in rows.lanes.dims.items():
        source = tree.scop.statement(name).source
        if dim is not None and dim >= source.left:
            (over, rows_size), (lanes, size) = sizes
            raise ComprehensionError(
                f"schedule: vectorize: {name} reduces over {over}: what it reduces over may be lanes of a tile, but no "
                f"rows; unroll({over!r}, {rows_size}).vectorize({lanes!r}, {size}) has as much in one body"
            )


def _sunk(points: Sequence[Loop], nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes with the loops of a tile around each run of statements; neighbours share a tile."""
    result: list[Node] = []
    for node in nodes:
        if isinstance(node, Loop):
            result.append(replace(node, body=_sunk(points, node.body)))
        elif result and isinstance(last := result[-1], Loop) and last.lanes is not None:
            result[-1] = _tile(points, [*statements_of([last]), node])
        else:
            result.append(_tile(points, [node]))
    return tuple(result)


def _tile(points: Sequence[Loop], statements: Sequence[str]) -> Loop:
    body: tuple[Node, ...] = tuple(statements)
    for loop in reversed(points):
        body = (loop.restricted(body),)
    (only,) = body
    assert isinstance(only, Loop)
    return only


def promote(tree: LoopTree, tensor: str, at: str, *, packed: bool) -> LoopTree:
    """The tensor in a local buffer of its own in each iteration of the loop `at`."""
    what = "pack" if packed else "promote"
    path = tree.find(at)
    loop = need_plain(tree, path, what)
    known = [info.name for info in tree.scop.program.tensors]
    if tensor not in known:
        raise ComprehensionError(f"schedule: {what}: there is no tensor {tensor!r}; there are {', '.join(known)}")
    below = set(statements_of([loop]))
    if not any(access.statement in below for access in tree.scop.accesses_to(tensor)):
        raise ComprehensionError(f"schedule: {what}: nothing below {at} touches {tensor}")
    held = [around for around in (*tree.around(path), loop) if any(h.tensor == tensor for h in around.holds)]
    inside = [loop for _, loop in LoopTree(tree.scop, loop.body).loops() if any(h.tensor == tensor for h in loop.holds)]
    if held or inside:
        raise ComprehensionError(f"schedule: {what}: {tensor} is held below {(held or inside)[0].label} already")
    return tree.with_nodes(path, replace(loop, holds=(*loop.holds, Hold(tensor, packed))))
