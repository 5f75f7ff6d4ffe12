"""Lessons: what the traces of a step have taught, for the graph that is made of the next ones.

In: a TraceGraph after a merge.  Out: the `Lessons` that it was made with or further ones, and the reasons for these.
Invariant: lessons only grow, save that sizes are numbers for a while: each change costs a graph, so their number is
bounded by the places of the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coexec.traces.trace_graph import Kin, Kind, Lessons, TraceGraph

MOST_IN_A_ROW = 6  # traces, one after the other, that needed another node of a kin before its kind is left to Python,
MOST_VARIANTS = 12  # and traces in all: as many lengths may a loop have


def revised(traces: TraceGraph) -> tuple[Lessons, list[str]]:
    """What is known after the latest trace, and what to tell of it.

    Sizes that turn out to be one another's share a symbol.  Where operations need sizes as numbers, each size is traced
    by itself as long as those are few; only then sizes become symbols, and what cannot have them, or has as many
    attributes, is left to Python.
    """
    known, reasons = traces.lessons, []
    if traces.foldable:
        known = replace(known, folded=known.folded | traces.foldable)
    if traces.unlifted:
        known = replace(known, lifted=known.lifted | traces.unlifted)
    most = MOST_IN_A_ROW if known.numbers else MOST_VARIANTS
    many = [kin for kin, r in traces.restless.items() if r.times > most or r.in_a_row > MOST_IN_A_ROW]
    restless = {node.kind for kin in many for node in traces.by_kin[kin]}
    if known.numbers and restless:
        reasons.append(f"{_names(restless)}: more than {MOST_IN_A_ROW} sizes or attributes; sizes are symbols now")
        varied = {node.kind for kin in many if _varies(traces, kin) for node in traces.by_kin[kin]}
        known = replace(known, volatile=_left(known, varied), numbers=False, many_sizes=True)
    elif traces.rigid and not known.many_sizes:
        reasons.append(f"{_names(traces.rigid)}: sizes vary that a graph must know; each is traced by itself now")
        known = replace(known, volatile=_left(known, restless), numbers=True)
    elif volatile := restless | traces.rigid:
        reasons.append(f"{_names(volatile)}: attributes or sizes vary that a graph must know; left to Python now")
        known = replace(known, volatile=_left(known, volatile))
    if traces.unlifted and not known.numbers:
        names = _names(kind for kind, _, _ in traces.unlifted)
        reasons.append(f"{names}: sizes are those of other operands; they have one symbol now")
    return known, reasons


def _varies(traces: TraceGraph, kin: Kin) -> bool:
    """Whether it has as many attributes, which no symbol stands for."""
    return len({node.key.attributes for node in traces.by_kin[kin] if node.key is not None}) > MOST_IN_A_ROW


def _left(known: Lessons, kinds: Iterable[Kind]) -> frozenset[Kind]:
    """What is left to Python with these, as it looks then: an operation of a gradient has no `forward` any more where
    that is left to Python itself.
    """
    left = known.volatile | set(kinds)
    places = {place for place, _ in left}
    return left | {(place, None) for place, forward in left if forward in places}


def _names(kinds: Iterable[Kind]) -> str:
    return ", ".join(sorted({name for (name, _), _ in kinds}))
