"""Splitting and tiling: a loop becomes a loop over tiles and a loop within the tile.

    for i in lower : upper:          for i.outer in 0 : ceil((upper - lower) / size):
        S(i)                   ->        for i.inner in 0 : size:
                                             S(lower + size * i.outer + i.inner)

Splitting keeps the order of instances; tiling also moves the loops over tiles outwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from comprehension.errors import ComprehensionError
from comprehension.poly import isl
from comprehension.poly.looptree.order import chain_of, chained, need_plain
from comprehension.poly.looptree.tree import Lanes, Loop, LoopTree, index_of


def split(tree: LoopTree, name: str, size: int) -> LoopTree:
    """The loop `name` in tiles of `size` iterations."""
    path = tree.find(name)
    loop = need_plain(tree, path, "split")
    outer, inner = parts_of(tree, loop, size)
    return tree.with_nodes(path, replace(outer, body=(replace(inner, body=loop.body),)))


def tile(tree: LoopTree, sizes: Sequence[tuple[str, int]]) -> LoopTree:
    """The loops named in tiles: those over tiles outermost, in the order given."""
    paths = [tree.find(name) for name, _ in sizes]
    chain = chain_of(tree, paths, "tile")
    cut = {id(tree.at(path)): parts_of(tree, need_plain(tree, path, "tile"), size) for path, (_, size) in zip(
        paths, sizes, strict=True)}  # fmt: skip
    outers = [cut[id(tree.at(path))][0] for path in paths]
    inners = [cut[id(loop)][1] if id(loop) in cut else loop for loop in chain.loops]
    return tree.with_nodes(chain.path, chained([*outers, *inners], chain.loops[-1].body))


def parts_of(tree: LoopTree, loop: Loop, size: int) -> tuple[Loop, Loop]:
    """The loop over tiles and the loop within one, both without a body."""
    lower = lower_bound(tree, loop)
    outer: dict[str, isl.PwAff] = {}
    inner: dict[str, isl.PwAff] = {}
    for name, value in loop.values.items():
        step = isl.Val(size, value.get_ctx())
        counted = value.sub(on_instances(lower, tree.scop.statement(name).domain.get_space()))
        outer[name] = counted.scale_down_val(step).floor()
        inner[name] = counted.mod_val(step)
    labels = loop.labels
    return (
        replace(loop, labels=_suffixed(labels, "outer"), values=outer, body=(), unroll=1, holds=()),
        replace(loop, labels=_suffixed(labels, "inner"), values=inner, body=(), parallel=False),
    )


def as_lanes(tree: LoopTree, loop: Loop, extent: int, *, rows: bool = False) -> Lanes:
    """What the loop within a tile of `loop` is as lanes (or rows)."""
    dims = {name: index_of(value, tree.scop.statement(name)) for name, value in loop.values.items()}
    return Lanes(extent, lower_bound(tree, loop), dims, rows)


def lower_bound(tree: LoopTree, loop: Loop) -> isl.PwAff:
    """The least value of the loop over all its statements, as a function of the sizes.

    Raises ComprehensionError where there is none.
    """
    reached: isl.Set | None = None
    for name, value in loop.values.items():
        own = isl.Map.from_pw_aff(value).intersect_domain(tree.scop.statement(name).domain).range()
        reached = own if reached is None else reached.union(own)
    assert reached is not None
    if reached.is_empty():
        return isl.PwAff.from_aff(isl.Aff.zero_on_domain(isl.LocalSpace.from_space(reached.get_space().params())))
    if not reached.dim_is_bounded(isl.dim_type.set, 0):
        raise ComprehensionError(f"schedule: the loop {loop.label} has no lower bound that depends on sizes alone")
    lowest = isl.wherever_it_runs(reached).dim_min(0)
    return lowest.gist(lowest.domain())  # where the loop is empty any value will do


def on_instances(value: isl.PwAff, space: isl.Space) -> isl.PwAff:
    """A function of the sizes as one on the instances of a statement."""
    return value.insert_domain(space)


def _suffixed(labels: Mapping[str, str], part: str) -> dict[str, str]:
    return {name: f"{label}.{part}" for name, label in labels.items()}
