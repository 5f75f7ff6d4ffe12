"""Order: loops that change places, and loops that become one, or several.

for i:                      for j:
    for j: S(i, j)   ->         for i: S(i, j)              reorder("j", "i")

for i: S(i)                 for i:
for i: T(i)          ->         S(i)                         fuse("S.i", "T.i"); distribute("i") is the way back
                                T(i)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from comprehension.errors import ComprehensionError
from comprehension.poly.looptree.tree import Loop, LoopTree, Node, Path


def reorder(tree: LoopTree, names: Sequence[str]) -> LoopTree:
    """The loops named in this order, outermost first; loops between them stay where they are."""
    paths = [tree.find(name) for name in names]
    chain = chain_of(tree, paths, "reorder")
    named = [need_plain(tree, path, "reorder") for path in paths]
    places = iter(named)
    chosen = {id(loop) for loop in named}
    order = [next(places) if id(loop) in chosen else loop for loop in chain.loops]
    return tree.with_nodes(chain.path, chained(order, chain.loops[-1].body))


def fuse(tree: LoopTree, names: Sequence[str], *, low: bool = False) -> LoopTree:
    """The loops named, which stand side by side, as one around all their bodies.

    It stands where the first of them does, before what is between them; with `low` where the last does.
    """
    for other in names[1:]:
        tree = _fuse_two(tree, names[0], other, low=low)
    return tree


def _fuse_two(tree: LoopTree, first: str, second: str, *, low: bool) -> LoopTree:
    paths = tree.find(first), tree.find(second)
    if paths[0] == paths[1]:
        raise ComprehensionError(f"schedule: fuse: {first} and {second} are one loop already")
    if paths[0][:-1] != paths[1][:-1]:
        raise ComprehensionError(
            f"schedule: fuse: {first} and {second} do not stand side by side; fuse the loops around them first"
        )
    upper, lower = (need_plain(tree, path, "fuse") for path in paths)
    one = replace(
        upper,
        labels={**upper.labels, **lower.labels},
        values={**upper.values, **lower.values},
        body=(*upper.body, *lower.body),
        unroll=max(upper.unroll, lower.unroll),
        holds=(*upper.holds, *lower.holds),
    )
    ends = sorted(path[-1] for path in paths)
    kept, left_out = (ends[1], ends[0]) if low else (ends[0], ends[1])
    merged = [
        one if position == kept else node
        for position, node in enumerate(tree.siblings(paths[0]))
        if position != left_out
    ]
    return _with_siblings(tree, paths[0], merged)


def distribute(tree: LoopTree, name: str) -> LoopTree:
    """For each node in the body of the loop a loop of its own."""
    path = tree.find(name)
    loop = need_plain(tree, path, "distribute")
    if loop.holds:
        held = ", ".join(hold.tensor for hold in loop.holds)
        raise ComprehensionError(f"schedule: distribute: {name} holds {held} in a local buffer for all of its body")
    return tree.with_nodes(path, *(loop.restricted([node]) for node in loop.body))


def _with_siblings(tree: LoopTree, path: Path, nodes: Sequence[Node]) -> LoopTree:
    if len(path) == 1:
        return replace(tree, nodes=tuple(nodes))
    return tree.with_nodes(path[:-1], replace(tree.loop_at(path[:-1]), body=tuple(nodes)))


# --- chains -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chain:
    """Loops each of which has only the next one in its body, from `path` downwards."""

    path: Path
    loops: tuple[Loop, ...]


def chain_of(tree: LoopTree, paths: Sequence[Path], what: str) -> Chain:
    """The chain from the outermost to the innermost of some loops.

    Raises ComprehensionError where they do not stand in one another, or something stands between them.
    """
    ordered = sorted(paths, key=len)
    outermost, innermost = ordered[0], ordered[-1]
    for path in ordered:
        if innermost[: len(path)] != path:
            labels = " and ".join(tree.loop_at(p).label for p in (path, innermost))
            raise ComprehensionError(f"schedule: {what}: {labels} do not stand one in the other")
    loops = [tree.loop_at(innermost[:depth]) for depth in range(len(outermost), len(innermost) + 1)]
    for loop in loops[:-1]:
        if len(loop.body) > 1:
            beside = ", ".join(node if isinstance(node, str) else f"loop {node.label}" for node in loop.body)
            raise ComprehensionError(
                f"schedule: {what}: {loop.label} has more than one loop in its body ({beside});"
                f" distribute({loop.label!r}) first"
            )
        if loop.holds:
            raise ComprehensionError(f"schedule: {what}: a tensor is held in a local buffer below {loop.label}")
    return Chain(outermost, tuple(loops))


def chained(loops: Sequence[Loop], body: tuple[Node, ...]) -> Loop:
    """The loops one in the other, around `body`."""
    for loop in reversed(loops):
        body = (replace(loop, body=body),)
    (only,) = body
    assert isinstance(only, Loop)
    return only


def need_plain(tree: LoopTree, path: Path, what: str) -> Loop:
    """The loop at a path.  Raises ComprehensionError if it is already the lanes or rows of a tile."""
    loop = tree.loop_at(path)
    if loop.lanes is not None:
        kind = "rows" if loop.lanes.rows else "lanes"
        raise ComprehensionError(
            f"schedule: {what}: {loop.label} is the {kind} of a tile: change loops before vectorize"
        )
    return loop
