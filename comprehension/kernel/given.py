"""A stage at the sizes that it is for: numbers in place of some symbolic sizes, just before it is printed.

    given P = 3:  for p in 0:P: tile r in 0+4 below F: ...     ->     for p in 0:3: ...

In: a proved kernel and a stage that launches of `Stage.given` sizes alone run.  Out: both with these numbers.
Invariant: the same instances in the same order.  Only sizes are replaced; branches and limits that they decide go.

LLVM unrolls a short loop of known length, and what its iterations share stays in registers: the taps of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from comprehension.kernel import ir
from comprehension.kernel.edges import limit_of, loop_ranges
from comprehension.kernel.rewrite import map_integers, rewrite
from comprehension.kernel.simplify import Ranges, simplify, simplify_condition, truth


def at_given_sizes(kernel: ir.Kernel, stage: ir.Stage) -> tuple[ir.Kernel, ir.Stage]:
    """The kernel's buffers and the stage with numbers for the sizes that the stage is for."""
    if not stage.given:
        return kernel, stage
    numbers: dict[str, ir.IntExpr] = {name: ir.Int(size) for name, size in stage.given}
    buffers, body, parallel = map_integers((kernel.buffers, stage.body, stage.parallel), numbers)
    buffers, body, parallel = rewrite((buffers, body, parallel), ir.IntOp, simplify)
    sizes: Ranges = dict.fromkeys(kernel.sizes, (0, None))
    ranges = sizes if parallel is None else loop_ranges(parallel, sizes)
    body = _decided(rewrite(body, ir.Compare, simplify_condition), ranges)
    return replace(kernel, buffers=buffers), replace(stage, body=body, parallel=parallel)


def _decided(nodes: Sequence[ir.Node], ranges: Ranges) -> tuple[ir.Node, ...]:
    """The nodes without branches and limits that are decided."""
    found: list[ir.Node] = []
    for node in nodes:
        match node:
            case ir.Loop(body=body):
                found.append(replace(node, body=_decided(body, loop_ranges(node, ranges))))
            case ir.If(condition=condition, body=body):
                holds = truth(condition, ranges)
                inside = () if holds is False else _decided(body, ranges)
                found += inside if holds is not None else (replace(node, body=inside),)
            case ir.Tile(rows=rows, lanes=lanes):
                whole = None if rows is None else _unlimited(rows, ranges)
                found.append(replace(node, rows=whole, lanes=_unlimited(lanes, ranges)))
            case _:
                found.append(node)
    return tuple(found)


def _unlimited(axis: ir.Axis, ranges: Ranges) -> ir.Axis:
    """The axis without a limit that none of its points reaches."""
    if axis.limit is not None and truth(limit_of(axis).is_beyond, ranges):
        return replace(axis, limit=None)
    return axis
