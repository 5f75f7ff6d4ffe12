"""SymbolicGraph: the operations of all traces so far plus the points where the two runners meet.

In: made by `build` from a `TraceGraph`.  Out: read by `partition`, `lower` and `plan`; drawn by `report`.
Invariant: blocks form a control-flow graph with one entry; every path from it to an `End` is a path that
the TraceGraph accepts; every input of an op is defined on every path that reaches the op.

The GraphRunner walks the blocks.  It waits only at `Feed`s not yet given, at `Case` words and at loop words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minitensor.ops.opdef import OpDef

Dim = int | str  # a str names a symbol of the TraceGraph; its value is fed at the start of a step or at first use


@dataclass(frozen=True, slots=True)
class SymbolicSpec:
    shape: tuple[Dim, ...]
    dtype: np.dtype[Any]


# --- where an input comes from ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Output:
    """Output `index` of op node `node` of this graph (if it ran more than once in a loop: the latest)."""

    node: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Feed:
    """A value that Python sends: a tensor that no recorded op made, or a numeric scalar that varies."""

    slot: int
    spec: SymbolicSpec


@dataclass(frozen=True, slots=True)
class Constant:
    """A Python scalar equal in all traces."""

    value: bool | int | float | complex


@dataclass(frozen=True, slots=True)
class Phi:
    """One of several sources, chosen by the path taken: `slot` is set by `Select`s on the way here."""

    slot: int
    spec: SymbolicSpec


Source = Output | Feed | Constant | Phi


@dataclass(frozen=True, slots=True, eq=False)
class OpNode:
    """One operation of the graph; `attributes` are equal in all traces (numbers that vary became feeds).

    `fetched`: outputs that Python read in some trace.  `kept`: outputs alive after the step in some trace
    (weak references, variables).  `where`: file:line of the user's code, for messages and drawings.
    """

    id: int
    op: OpDef
    attributes: dict[str, Any]
    inputs: tuple[Source, ...]
    outputs: tuple[SymbolicSpec, ...]
    fetched: tuple[bool, ...]
    kept: tuple[bool, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Select:
    """On this path, `phi` holds `source` from here on."""

    phi: int
    source: Source


Item = OpNode | Select


@dataclass(frozen=True, slots=True)
class Goto:
    block: int


@dataclass(frozen=True, slots=True)
class Case:
    """Python's choice word `slot` selects the next block.  Loop exits are cases whose target is the head."""

    slot: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class End:
    pass


Terminator = Goto | Case | End


@dataclass(frozen=True, slots=True)
class Block:
    id: int
    items: tuple[Item, ...]
    terminator: Terminator


@dataclass(frozen=True, slots=True, eq=False)
class SymbolicGraph:
    blocks: tuple[Block, ...]  # blocks[0] is the entry
    feeds: tuple[Feed, ...]
    cases: int  # how many choice words
    symbols: tuple[str, ...]
