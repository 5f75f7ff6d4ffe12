"""Moving: the iterations at which statements run.

    for i in 0:n: S(i)   ->   for i in 1-n:1: S(-i)                        reverse("i")
    for i in 0:n: S(i)   ->   for i in by:n+by: S(i - by)                  shift("S.i", by)
    for t: for i: S(t, i)  ->  for t: for i: S(t, i - by * t)              skew("i", "t", by)

Shifting one statement of a fused loop changes which instances share an iteration: a stencil may then follow, in one
loop, what it reads.
"""

from __future__ import annotations

from dataclasses import replace

from comprehension.errors import ComprehensionError
from comprehension.poly import isl
from comprehension.poly.looptree.order import need_plain
from comprehension.poly.looptree.tree import LoopTree


def reverse(tree: LoopTree, name: str) -> LoopTree:
    """The loop from its last iteration to its first."""
    path = tree.find(name)
    loop = need_plain(tree, path, "reverse")
    return tree.with_nodes(path, replace(loop, values={s: value.neg() for s, value in loop.values.items()}))


def shift(tree: LoopTree, name: str, by: int) -> LoopTree:
    """The statements that `name` speaks of (`S1.i`: only S1), `by` iterations later."""
    path = tree.find(name)
    loop = need_plain(tree, path, "shift")
    moved = tree.named(name)
    values = {
        statement: value.add_constant_val(isl.Val(by, value.get_ctx())) if statement in moved else value
        for statement, value in loop.values.items()
    }
    return tree.with_nodes(path, replace(loop, values=values))


def skew(tree: LoopTree, name: str, along: str, by: int) -> LoopTree:
    """The loop `by` iterations later for each iteration of `along`, a loop around it."""
    path, outer = tree.find(name), tree.find(along)
    loop = need_plain(tree, path, "skew")
    if path[: len(outer)] != outer or path == outer:
        raise ComprehensionError(f"schedule: skew: {along} is no loop around {name}")
    slope = tree.loop_at(outer).values
    values = {s: value.add(slope[s].scale_val(isl.Val(by, value.get_ctx()))) for s, value in loop.values.items()}
    return tree.with_nodes(path, replace(loop, values=values))
