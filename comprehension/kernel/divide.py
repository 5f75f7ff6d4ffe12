"""Long reductions, divided: in chunks that workers share, and in blocks, so that rounding stays small.

Blocks, where one accumulator would take very many terms:

    for k in 0:K: acc += x[k]        ->      for b in 0:K / B:
                                                 part = 0
                                                 for k in B b : B b + B: part += x[k]
                                                 acc += part
                                             for k in K / B * B : K: acc += x[k]

In: a Kernel under math="fast", typical sizes.  Out: one that does the same, with more accumulators.
Invariant: what is combined with what, and in which order, depends on sizes and never on the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from comprehension.kernel import ir
from comprehension.kernel.chunks import in_chunks
from comprehension.kernel.simplify import simplify
from comprehension.kernel.sites import BLOCK, Nodes, Site, Sites, combined, filled, moved_into

FEWEST = 16  # at typical sizes: what is open but so short (a window) has no blocks


@dataclass(frozen=True, slots=True)
class Divided:
    """The kernel, and in words what was divided."""

    kernel: ir.Kernel
    notes: tuple[str, ...]


def divide_reductions(kernel: ir.Kernel, typical: Mapping[str, int]) -> Divided:
    """Long reductions in chunks and blocks."""
    sites = Sites(kernel, typical)
    stages = [part for stage in kernel.stages for part in in_chunks(stage, sites)]
    stages = [replace(stage, body=_blocked(stage.body, sites)) for stage in stages]
    stages = [replace(stage, name=f"stage{number}") for number, stage in enumerate(stages)]
    divided = replace(kernel, buffers=(*kernel.buffers, *sites.buffers.values()), stages=tuple(stages))
    return Divided(divided, tuple(dict.fromkeys(sites.notes)))


def _blocked(body: Nodes, sites: Sites) -> Nodes:
    """A body with its long sums in blocks."""
    return tuple(part for node in body for part in _parts(node, sites))


def _parts(node: ir.Node, sites: Sites) -> Nodes:
    site = sites.site(node)
    if site is not None:
        return _in_blocks(site, sites) if _needs_blocks(site) else (node,)
    if isinstance(node, ir.Loop | ir.If):
        return (replace(node, body=_blocked(node.body, sites)),)
    return (node,)


def _needs_blocks(site: Site) -> bool:
    """Sums and products of floats that are long; or may be, where few are held at once and a branch costs nothing."""
    if not any(each.buffer.dtype.is_float and each.op in ("+", "*") for each in site.accumulators):
        return False
    terms = site.trips * site.inner
    return terms > BLOCK or (terms >= FEWEST and not site.is_static and len(site.axes) < 2)


def _in_blocks(site: Site, sites: Sites) -> Nodes:
    loop, size = site.loop, max(1, BLOCK // site.inner)
    number, step = f"{loop.variable}_block", ir.Int(size * loop.step)
    parts = tuple(sites.add(replace(e.buffer, name=f"{e.buffer.name}_block")) for e in site.accumulators)
    count = simplify(ir.IntOp("/", ir.IntOp("-", loop.upper, loop.lower), step))
    first = site.start(number, size)
    whole = replace(loop, lower=first, upper=simplify(ir.IntOp("+", first, step)), body=moved_into(parts, site))
    inside = _blocked(whole.body, sites) if site.inner > BLOCK else whole.body
    body = (*filled(site, parts), replace(whole, body=inside), *combined(site, first, parts))
    blocks = ir.Loop(number, ir.Int(0), count, body)
    sites.notes.append(f"{site.operators}, in blocks of {size * site.inner} terms")
    rest = replace(loop, lower=simplify(ir.IntOp("+", loop.lower, ir.IntOp("*", count, step))))
    first_part = site.if_any((blocks,))
    return first_part if rest.lower == rest.upper else (*first_part, rest)
