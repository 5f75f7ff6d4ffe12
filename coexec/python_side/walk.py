"""The walk: what the Python side compares each operation with while it runs ahead of the graph.

In: made by `build` together with the SymbolicGraph, node for node.  Out: followed by `python_runner`.
Invariant: immutable once built, but for what a `WalkNode` learns (`macros`, `outside`); a graph that grows gets a new
walk.  Everything that can be computed before the step is: validation is comparisons of identities, one of attributes,
and few others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from coexec.graph.match import Matcher, make_matcher
from coexec.graph.symbolic import Dim, Output, ScalarValue
from coexec.traces.trace_graph import Kind, TraceFeed, TraceGraph, TraceNode, TraceOutput
from minitensor.ops.opdef import OpDef


class WalkOutput:
    """One output: where the graph has it, and whether Python may ask for it.

    `shape` is None where a dimension is a symbol; `dims` has it in any case (and `known_shape` is for where it is
    not None).  `number`: among all outputs.
    """

    __slots__ = ("dims", "dtype", "kept", "known_shape", "number", "output", "shape", "told", "trace")

    def __init__(self, number: int, trace: TraceOutput) -> None:
        spec = trace.node.output_specs[trace.index]
        self.number = number
        self.trace = trace
        self.output = Output(trace.node.number, trace.index)
        self.dims = spec.shape
        extents = tuple([d for d in spec.shape if isinstance(d, int)])
        self.known_shape = extents
        self.shape = extents if len(extents) == len(spec.shape) else None
        self.dtype: np.dtype[Any] = spec.dtype
        self.kept = trace.node.kept[trace.index]
        maker = trace.node
        self.told = f"{maker.op.name if maker.op else ''} at {maker.where}"  # for people


# --- what is expected of an input that is not simply the output of one node ------------------------------


@dataclass(frozen=True, slots=True)
class ExpectPhi:
    """The output that was last selected for `slot` on this path; `among`: which ones can be, by number."""

    position: int
    slot: int
    among: frozenset[int]


@dataclass(frozen=True, slots=True)
class ExpectFeed:
    """Any tensor of this type if `slot` is still free, otherwise the one that it has.

    `shape` is None where the node compares it with symbols.
    """

    position: int
    slot: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class ExpectSame:
    """The tensor that stands at `other` among the inputs of this operation."""

    position: int
    other: int


@dataclass(frozen=True, slots=True)
class ExpectScalar:
    """Any number of this type (an int: from `low` to `high`, inclusive)."""

    position: int
    slot: int
    kind: type
    low: int
    high: int

    def admits(self, number: Any) -> bool:
        if type(number) is not self.kind:
            return False
        return self.kind is not int or self.low <= cast(int, number) <= self.high


Expectation = ExpectPhi | ExpectSame | ExpectScalar


class WalkNode:
    """One operation, the start or the end.

    What its inputs must be: `sources` (position, number of the one output expected), `fed` (position, slot of a feed
    that every path here has sent), `feeds`, `constants` and `others`.
    `only`: the single operation that may follow (None: a fork or the end).  `case`: its choice word.
    `sends`: (slot, position) of the inputs to feed, each unless the path has fed it before.
    `fits`: whether inputs are as `sources`, `fed` and `constants` say; `fits_all`: there is nothing else to compare.
    `symbolic`: inputs whose dimensions are compared with symbols; empty where all shapes follow from the producers.
    `rounds`: where the node ends loops: what a further round from that first operation replaces.
    `plain`: its one output, of known shape, where a valid operation needs nothing but a promise for it.
    `simple`: the same where `fits`, equal attributes of `types` (None: where none is a number) and `feeds` are all that
    makes it valid, and it may have feeds.
    `macros`: what `coexec.python_side.macros` has learned of calls that begin behind it.
    `outside`: whether Python has its output without the graph (`coexec.traces.outside`), once that was asked.
    """

    __slots__ = (
        "attributes", "case", "children", "constants", "ends", "fed", "feeds", "fits", "fits_all", "inputs", "macros",
        "number", "only", "op", "others", "outputs", "outside", "plain", "reads", "rounds", "selects", "sends",
        "shape_symbols", "simple", "sources", "symbolic", "trace", "types", "unifies",
    )  # fmt: skip

    def __init__(self, trace: TraceNode, outputs: tuple[WalkOutput, ...]) -> None:
        self.trace = trace
        self.number = trace.number
        self.op: OpDef | None = trace.op
        self.attributes = trace.attributes
        has_numbers = any(isinstance(v, bool | int | float | complex) for v in trace.attributes.values())
        self.types = tuple(map(type, trace.attributes.values())) if has_numbers else None  # 1 is not True
        self.outputs = outputs
        self.inputs = len(trace.inputs)
        self.sources: tuple[tuple[int, int], ...] = ()
        self.fed: tuple[tuple[int, int], ...] = ()
        self.feeds: tuple[ExpectFeed, ...] = ()
        self.constants: tuple[tuple[int, ScalarValue], ...] = ()
        self.others: tuple[Expectation, ...] = ()
        self.fits: Matcher = make_matcher([])
        self.fits_all = False
        self.sends: tuple[tuple[int, int], ...] = ()
        self.symbolic: tuple[tuple[int, tuple[Dim, ...]], ...] = ()
        self.unifies = False  # whether these or the attribute `shape` are compared with symbols
        self.shape_symbols = False  # whether the attribute `shape` holds symbols
        self.plain: WalkOutput | None = None
        self.simple: WalkOutput | None = None
        self.children: tuple[WalkNode, ...] = ()
        self.only: WalkNode | None = None
        self.case: int | None = None
        self.ends: int | None = None  # which of `children` is the end
        self.rounds: dict[WalkNode, frozenset[WalkOutput]] = {}
        self.reads: frozenset[WalkOutput] = frozenset()
        self.selects: tuple[tuple[int, WalkOutput], ...] = ()
        self.macros: Any = None
        self.outside: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """`feeds[slot]` is the TraceGraph's feed (None for a scalar); `symbols` maps a name to its index.
    `traces`: the TraceGraph it was made from, which may have grown since.
    `may_have_macros`: no node is come to twice on a path."""

    traces: TraceGraph
    start: WalkNode
    outputs: tuple[WalkOutput, ...]  # by number
    feeds: tuple[TraceFeed | None, ...]
    phis: int
    symbols: dict[str, int]
    volatile: frozenset[Kind]
    may_have_macros: bool = False
