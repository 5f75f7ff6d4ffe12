"""Unroll and jam: several iterations of a loop side by side in the loops inside of it.

    for h in 0:H:                              for h in 0:H/2*2 step 2:
        tile r, l: acc[r, l] = 0                   tile r, l: acc[r, l] = 0
                                                   tile r, l: acc_2[r, l] = 0
        for k:                          ->         for k:
            tile r, l: acc += x[h+k] * w[k]            tile r, l: acc   += x[h+k] * w[k]
                                                       tile r, l: acc_2 += x[h+1+k] * w[k]
        tile r, l: y[h, r, l] = acc                tile r, l: y[h, r, l] = acc
                                                   tile r, l: y[h+1, r, l] = acc_2

What does not move with the loop is read once for all of them (w[k]), and where an inner loop moves an operand by the
same step, what one iteration reads its neighbour has read before (x[h+k]): LLVM unrolls short inner loops and reads
such elements once.

In: a loop and the local buffers.  Out: the nodes in its place, and the buffers of further iterations; None where
iterations cannot share a body.  Where it is not known how often the loop runs, a loop over what is left follows.
Invariant: each iteration does what it did, in the same order; only iterations are interleaved.  The mapper asks for
it where they are independent, and the certificate proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.rewrite import rewrite
from comprehension.kernel.simplify import linear, simplify, varies_with
from comprehension.kernel.unroll import iteration, last_multiple, trips_of
from comprehension.kernel.walk import accesses_in

Nodes = tuple[ir.Node, ...]


@dataclass(frozen=True, slots=True)
class Jammed:
    """What stands in a loop's place, and the registers of other iterations than the first."""

    nodes: Nodes
    registers: tuple[ir.Buffer, ...]


def jam(loop: ir.Loop, copies: int, buffers: Mapping[str, ir.Buffer], name_of: Callable[[str], str]) -> Jammed | None:
    """`copies` iterations of a loop in one body; `name_of` gives a name that is free for a buffer."""
    trips, touched = trips_of(loop), dict.fromkeys(access.buffer for access in accesses_in(loop.body))
    local = [buffers[name] for name in touched if name in buffers]
    if trips is not None and trips < 2:
        return None
    if any(b.space is not ir.Space.REGISTER and _is_of_one_iteration(b.name, loop) for b in local):
        return None
    copies = copies if trips is None else min(copies, trips)
    rest = 1 if trips is None else trips % copies
    end = last_multiple(loop, copies)
    # Registers of their own for the rest, too: whoever asks what becomes of a register finds it filled once.
    registers = {
        b.name: (b, *(replace(b, name=name_of(f"{b.name}_{number}")) for number in range(2, copies + rest + 1)))
        for b in local
        if b.space is ir.Space.REGISTER
    }
    jammer = _Jammer(loop, {name: tuple(b.name for b in found) for name, found in registers.items()})
    body = jammer.nodes(loop.body, ir.Var(loop.variable), range(copies))
    main = replace(loop, upper=end, step=copies * loop.step, body=body)
    if trips is None:
        alone = jammer.nodes(loop.body, ir.Var(loop.variable), range(copies, copies + 1))
        last: Nodes = (replace(loop, lower=end, body=alone),)
    else:
        last = jammer.nodes(loop.body, end, range(copies, copies + rest)) if rest else ()
    return Jammed((main, *last), tuple(b for _, *others in registers.values() for b in others))


@dataclass(frozen=True, slots=True)
class _Jammer:
    loop: ir.Loop
    registers: Mapping[str, Sequence[str]]  # what each iteration calls them

    def nodes(self, nodes: Nodes, start: ir.IntExpr, iterations: range) -> Nodes:
        """The body for iterations from `start` on: loops that all of them run alike are shared."""
        found: list[ir.Node] = []
        for node in nodes:
            if isinstance(node, ir.Loop | ir.If) and not varies_with(_head(node), self.loop.variable):
                found.append(replace(node, body=self.nodes(node.body, start, iterations)))
            else:
                found += [self._copy(node, start, number - iterations.start, number) for number in iterations]
        return tuple(found)

    def _copy(self, node: ir.Node, start: ir.IntExpr, number: int, registers: int) -> ir.Node:
        (moved,) = iteration(replace(self.loop, body=(node,)), simplify(start), number)
        names = {name: own[registers] for name, own in self.registers.items()}

        def change(access: ir.Load | ir.Store) -> ir.Load | ir.Store:
            return replace(access, buffer=names.get(access.buffer, access.buffer))

        return rewrite(moved, (ir.Load, ir.Store), change)


def _is_of_one_iteration(buffer: str, loop: ir.Loop) -> bool:
    """Whether what the loop writes there is in the way of its next iteration (what is packed in it): not where all
    accesses have the loop's variable, or a constant more, as the same subscript.
    """
    accesses = [access for access in accesses_in(loop.body) if access.buffer == buffer]
    if not any(isinstance(access, ir.Store) for access in accesses):
        return False
    places = [{linear(subscript) for subscript in axis} for axis in zip(*(a.subscripts for a in accesses), strict=True)]
    own = ((ir.Var(loop.variable), 1),)
    return not any(len(found) == 1 and next(iter(found)).terms == own for found in places)


def _head(node: ir.Loop | ir.If) -> object:
    return (node.lower, node.upper, node.asks) if isinstance(node, ir.Loop) else node.condition
