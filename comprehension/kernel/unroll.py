"""Unrolling: an innermost loop repeats its body.

    for k in 0:K:                     for k in 0:K/2*2 step 2:
        S(k)                  ->          S(k)
                                          S(k + 1)
                                      for k in K/2*2:K:
                                          S(k)

In: a kernel, and how often the body of an innermost loop may stand there (`MappingOptions.unroll`); a loop with a
request of its own (`Loop.unroll`) follows that.  Out: a kernel without requests.
Invariant: the same instances in the same order.  A loop whose iterations all fit is replaced by them, and the loop
around it is then an innermost one.  What unrolling adds to a kernel stays below `BUDGET`, because the proof, numba
and LLVM take time for all of it: beyond that loops stay loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from comprehension.kernel import ir
from comprehension.kernel.rewrite import map_integers, nodes_of, rewrite
from comprehension.kernel.simplify import simplify, simplify_condition

BUDGET = 512
"""Vector operations that unrolling may add to a kernel; a statement counts as `STATEMENT` at least: some 0.3 s."""

STATEMENT = 24

_LANES = 16  # of a vector, for counting
_COSTS = {
    ir.Load: 1, ir.UnaryOp: 1, ir.BinaryOp: 1, ir.Fma: 1, ir.SelectValue: 1, ir.Convert: 1, ir.Fold: 1,
    ir.Builtin: 12,  # a polynomial exp, tanh, ...
}  # fmt: skip


def unroll(kernel: ir.Kernel, most: int) -> ir.Kernel:
    """The kernel with its innermost loops unrolled: at most `most` copies of a body where nothing else is asked for."""
    unroller = _Unroller(most, BUDGET)
    stages = tuple(replace(stage, body=unroller.body(stage.body).nodes) for stage in kernel.stages)
    return replace(kernel, stages=stages)


@dataclass(frozen=True, slots=True)
class _Part:
    """Nodes, how often the innermost bodies in them are repeated, and whether a loop is left."""

    nodes: tuple[ir.Node, ...]
    repeated: int = 1
    loops: bool = False


@dataclass(slots=True)
class _Unroller:
    most: int
    left: int  # of the budget

    def body(self, nodes: Sequence[ir.Node]) -> _Part:
        parts = [self._node(node) for node in nodes]
        return _Part(
            tuple(node for part in parts for node in part.nodes),
            max((part.repeated for part in parts), default=1),
            any(part.loops for part in parts),
        )

    def _node(self, node: ir.Node) -> _Part:
        match node:
            case ir.Loop():
                return self._loop(node)
            case ir.If():
                inner = self.body(node.body)
                return replace(inner, nodes=(replace(node, body=inner.nodes),))
            case _:
                return _Part((node,))

    def _loop(self, loop: ir.Loop) -> _Part:
        inner = self.body(loop.body)
        plain = replace(loop, body=inner.nodes, unroll=1)
        work = max(1, weight(inner.nodes))
        wanted = loop.unroll if loop.unroll > 1 else self.most // inner.repeated
        copies = min(wanted, 1 + self.left // work)
        trips = trips_of(plain)
        whole = trips is not None and trips <= copies
        copies = copies if whole else min(copies, self.left // work)  # the loop over the rest is one more
        if inner.loops or loop.mapping is not None or copies < 2:
            return _Part((plain,), inner.repeated, loops=True)
        if trips is not None and trips <= copies:
            self.left -= work * max(0, trips - 1)
            nodes = tuple(node for number in range(trips) for node in iteration(plain, plain.lower, number))
            return _Part(nodes, inner.repeated * max(1, trips))
        copies = _even(copies, trips)
        self.left -= work * copies
        return _Part(tuple(_stepped(plain, copies, trips)), inner.repeated * copies, loops=True)


def trips_of(loop: ir.Loop) -> int | None:
    """How often the loop runs, if that is known."""
    if isinstance(loop.lower, ir.Int) and isinstance(loop.upper, ir.Int):
        return max(0, -(-(loop.upper.value - loop.lower.value) // loop.step))
    return None


def _even(copies: int, trips: int | None) -> int:
    """A number of copies that leaves no rest, if there is one that is not much smaller."""
    if trips is not None:
        for fewer in range(copies, max(2, copies // 2 + 1) - 1, -1):
            if trips % fewer == 0:
                return fewer
    return copies


def _stepped(loop: ir.Loop, copies: int, trips: int | None) -> list[ir.Node]:
    """The loop in steps of several iterations, and a loop for those that are left."""
    middle = last_multiple(loop, copies)
    start = ir.Var(loop.variable)
    body = tuple(node for number in range(copies) for node in iteration(loop, start, number))
    main = replace(loop, upper=middle, step=copies * loop.step, body=body)
    return [main] if trips is not None and trips % copies == 0 else [main, replace(loop, lower=middle)]


def last_multiple(loop: ir.Loop, copies: int) -> ir.IntExpr:
    """Where the iterations end that come in groups of so many."""
    stride = ir.Int(copies * loop.step)
    length: ir.IntExpr = ir.IntOp("-", loop.upper, loop.lower)
    if trips_of(loop) is None:  # it may be negative
        length = ir.IntOp("max", length, ir.Int(0))
    length = ir.IntOp("+", length, ir.Int(loop.step - 1))  # the last iteration begins before the end
    return simplify(ir.IntOp("+", loop.lower, ir.IntOp("*", ir.IntOp("/", length, stride), stride)))


def iteration(loop: ir.Loop, start: ir.IntExpr, number: int) -> tuple[ir.Node, ...]:
    """The body of the loop at `start + number * step`; what it names gets a name of its own."""
    value = simplify(ir.IntOp("+", start, ir.Int(number * loop.step)))
    body = _simplified(map_integers(loop.body, {loop.variable: value}))
    return _renamed(body, number) if number else body


def _simplified(body: tuple[ir.Node, ...]) -> tuple[ir.Node, ...]:
    body = rewrite(body, ir.IntOp, simplify)
    return rewrite(body, ir.Compare, simplify_condition)


def _renamed(body: tuple[ir.Node, ...], number: int) -> tuple[ir.Node, ...]:
    """The body with the values that it defines under names of this copy."""
    names = {define.name: f"{define.name}_{number}" for define in nodes_of(body, ir.Define)}

    def change(node: Any) -> Any:
        return replace(node, name=names.get(node.name, node.name))

    return rewrite(body, (ir.Define, ir.Local), change) if names else body


def weight(nodes: Sequence[ir.Node]) -> int:
    """About how many vector operations a body is."""
    total = 0
    for node in nodes:
        match node:
            case ir.Loop(body=body) | ir.If(body=body):
                total += weight(body)
            case ir.Tile(rows=rows, lanes=lanes, body=body):
                vectors = (rows.extent if rows else 1) * -(-lanes.extent // _LANES)
                total += sum(_weight(statement, vectors) for statement in body)
            case ir.Define() | ir.Store():
                total += _weight(node, 1)
    return total


def _weight(statement: ir.Define | ir.Store, vectors: int) -> int:
    operations = 1 + sum(_COSTS.get(type(part), 0) for part in nodes_of(statement.value, object))
    return max(STATEMENT, vectors * operations)
